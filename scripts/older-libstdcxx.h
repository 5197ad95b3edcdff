// Included in every source of a prebuilt binary: of what GCC 12's libstdc++ has in a newer version, the older one, so
// that it loads with GCC 11's (RHEL 9, Amazon Linux 2023), too. The newer one differs in being noexcept.
__asm__(
    ".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE,"
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
