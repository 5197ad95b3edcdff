#!/usr/bin/env bash
# npm run test:arm64 [-- part of a test's name]
# The NEON kernels on other processors: fovea-native-test, compiled for AArch64, on an emulated one (QEMU). Fewer
# random problems than there: it is some ten times as slow.
set -euo pipefail

if ! command -v aarch64-linux-gnu-g++ >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
  echo "needs Debian's packages: apt-get install g++-aarch64-linux-gnu qemu-user-static" >&2
  exit 1
fi

cmake -S . -B build/arm64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DFOVEA_ADDON=OFF -DFOVEA_TESTS=ON
cmake --build build/arm64 --parallel 2
unset FOVEA_CPU_ISA # there is one set of kernels
QEMU_LD_PREFIX=/usr/aarch64-linux-gnu FOVEA_TEST_FEW=1 qemu-aarch64-static build/arm64/fovea-native-test "$@"
