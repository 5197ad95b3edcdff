#!/usr/bin/env bash
# Builds fovea's CUDA kernels on a machine with a GPU, tests them, and measures them beside PyTorch's attention.
# Needs bash, CMake, a C++20 compiler, nvcc and python3; with torch in that python3 it measures PyTorch too. No Node.
#
#   bench/gpu/run.sh [--tokens n] [--samples n] [--results folder]
#
# Prints one table and writes bench/results/DATE-GPU.json. Without a GPU it says so and ends with 0.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/local/cuda/bin"

# FOVEA_CUDA_DRIVER names another driver library, the simulator's say: the figures then mean nothing, but every step
# runs.
if [ -z "${FOVEA_CUDA_DRIVER:-}" ] && [ ! -e /dev/nvidia0 ] && ! nvidia-smi -L > /dev/null 2>&1; then
  echo "no GPU here: nothing to measure"
  exit 0
fi
for tool in cmake nvcc python3; do
  if ! command -v "$tool" > /dev/null; then
    echo "$tool is not here, and this needs it" >&2
    exit 1
  fi
done

cmake -S native/cuda -B build/gpu -DCMAKE_BUILD_TYPE=Release -DFOVEA_CUDA=ON
cmake --build build/gpu --parallel "$(nproc)"
# Numbers first: a kernel that computes less is always faster.
build/gpu/test/fovea_cuda_test
python3 bench/gpu/measure.py build/gpu/bench/fovea_cuda_bench "$@"
