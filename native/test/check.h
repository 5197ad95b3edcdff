// A few lines of test harness: the library has no dependencies, so neither have its tests.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace fovea::test {

// Sanitizers make everything ten to fifty times slower, and an emulated processor a thousand times: fewer examples
// then, the same paths.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const bool few = true;
#else
const bool few = std::getenv("FOVEA_TEST_FEW") != nullptr;
#endif

struct Case {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Register {
  Register(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

#define FOVEA_CONCAT2(a, b) a##b
#define FOVEA_CONCAT(a, b) FOVEA_CONCAT2(a, b)
/// TEST("what holds") { ... CHECK(condition) << "what was seen"; }
#define TEST(name)                                                                                     \
  static void FOVEA_CONCAT(test, __LINE__)();                                                          \
  static ::fovea::test::Register FOVEA_CONCAT(register, __LINE__)(name, FOVEA_CONCAT(test, __LINE__)); \
  static void FOVEA_CONCAT(test, __LINE__)()

class Failure {
 public:
  Failure(const char* condition, const char* file, int line) {
    text_ << file << ":" << line << ": " << condition << " ";
  }
  ~Failure() noexcept(false) { throw std::runtime_error(text_.str()); }
  template <class T>
  Failure& operator<<(const T& value) {
    text_ << value;
    return *this;
  }

 private:
  std::ostringstream text_;
};

#define CHECK(condition) \
  if (condition) {       \
  } else                 \
    ::fovea::test::Failure(#condition, __FILE__, __LINE__)

}  // namespace fovea::test
