#!/usr/bin/env bash
# scripts/each-set.sh PROGRAM [argument ...]: fovea-native-test by each set of kernels that this processor runs.
set -uo pipefail

if [ "$(uname -m)" != x86_64 ]; then exec "$@"; fi # others have one
sets=(baseline)
has() { grep -qw "$1" /proc/cpuinfo; }
if has avx2 && has fma && has f16c; then sets+=(avx2); fi
if has avx512bw && has avx512dq && has avx512vl; then sets+=(avx512); fi
if has avx512_bf16; then sets+=(avx512bf16); fi

status=0
for set in "${sets[@]}"; do FOVEA_CPU_ISA=$set "$@" || status=1; done
exit $status
