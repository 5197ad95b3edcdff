#!/usr/bin/env bash
# Builds fovea's CUDA kernels on a machine with a GPU, tests them, records what single instructions do, and measures them
# beside PyTorch's attention. Needs bash, CMake, a C++20 compiler, nvcc and python3; with torch in that python3 it measures
# PyTorch too; with Node and fovea's own build, calls from Node. README.md beside this says what to read from it.
#
#   bench/gpu/run.sh [--quick] [--continue] [--seconds n] [--tokens n] [--samples n] [--results folder] [step...]
#
# Steps: build, record, test, measure, node, suites; all of them when none is named. And rules, which are the second half of
# measure, and shipped, which tests the images as packages have them. --seconds is for each step (450; for build 300 at least),
# so that one that is cut short still says what it found. Results go to bench/results (--results) as they come, logs to build/gpu.
# A step that fails does not keep the next from running; the exit code is 1 then. Without a GPU it says so and ends with 0.
set -uo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/local/cuda/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

seconds=450 results=bench/results steps=() measuring=() sizes=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick | --continue) measuring+=("$1") ;;
    --tokens | --samples) sizes+=("$1" "${2:?$1: a number}") && shift ;;
    --seconds) seconds=${2:?--seconds: a number} && shift ;;
    --results) results=${2:?--results: a folder} && shift ;;
    build | record | test | shipped | measure | rules | node | suites) steps+=("$1") ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
  shift
done
[ ${#steps[@]} -gt 0 ] || steps=(build record test measure node suites)

# FOVEA_CUDA_DRIVER names another driver library, the simulator's say: the figures then mean nothing, but every step
# runs.
driver=${FOVEA_CUDA_DRIVER:-}
if [ -z "$driver" ] && [ ! -e /dev/nvidia0 ] && ! nvidia-smi -L > /dev/null 2>&1; then
  echo "no GPU here: nothing to measure"
  exit 0
fi
for tool in cmake nvcc python3; do
  if ! command -v "$tool" > /dev/null; then
    echo "$tool is not here, and this needs it" >&2
    exit 1
  fi
done
mkdir -p build/gpu "$results"

# Machine code for this GPU alone, in half the time; what is not known here gets all there is. The simulator runs the images
# of the plain build.
architectures() {
  local capability
  case $driver in *cudasim*) echo "80-real;90-real;80-virtual" && return ;; esac
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | sort -u)
  case $capability in
    9.0) echo "90-real" ;;
    8.?) echo "80-real" ;;
    *) echo "80-real;90-real;80-virtual" ;;
  esac
}

# Empty: none but its own. (An option that is not given would stay what it was.)
others_images() {
  case $driver in *cudasim*) echo "$PWD/build/native/cuda" ;; esac
}

unbuildable=
step_build() {
  local log=build/gpu/build.log status most=$((seconds > 300 ? seconds : 300)) # nothing is of use without it
  cmake -S native/cuda -B build/gpu -DCMAKE_BUILD_TYPE=Release -DFOVEA_CUDA=ON \
    "-DFOVEA_CUDA_ARCHS=$(architectures)" "-DFOVEA_CUDA_IMAGES=$(others_images)" > "$log" &&
    timeout "$most" cmake --build build/gpu --parallel "$(nproc)" >> "$log" 2>&1 && return
  status=$?
  [ $status -ne 124 ] || echo "stopped after $most s"
  grep -E -A3 'error|Error|FAILED' "$log" | tail -40
  unbuildable=yes
  return 1
}

# The machine may be another one than that of the command before.
built() {
  [ -x "build/gpu/$1" ] && return
  [ -z "$unbuildable" ] || { echo "not built" && return 1; }
  echo "not built here yet: building" && step_build
}

# A test takes seconds on a GPU: one that takes longer never ends, and there may be many such.
patience() {
  case $driver in *cudasim*) echo 60 ;; *) echo 15 ;; esac
}

# Numbers first: a kernel that computes less is always faster.
step_test() {
  built test/fovea_cuda_test || return
  python3 bench/gpu/tests.py build/gpu/test/fovea_cuda_test --seconds "$seconds" --patience "$(patience)" \
    --log build/gpu/test.log
}

step_record() {
  case $driver in *cudasim*) echo "goldens are a GPU's: nothing to record on the simulator" && return ;; esac
  built test/fovea_cuda_test || return
  python3 bench/gpu/tests.py build/gpu/test/fovea_cuda_test --seconds "$seconds" --patience "$(patience)" \
    --log build/gpu/record.log --record
}

# Compressed, for all architectures; then as a GPU newer than these compiles them, which takes the driver minutes.
step_shipped() {
  case $driver in *cudasim*) echo "the simulator reads the images of the plain build: nothing to see" && return ;; esac
  local log=build/gpu/shipped.log options=(-DCMAKE_BUILD_TYPE=Release -DFOVEA_CUDA=ON -DFOVEA_CUDA_LINE_INFO=OFF)
  cmake -S native/cuda -B build/gpu-shipped "${options[@]}" > "$log" &&
    timeout "$seconds" cmake --build build/gpu-shipped --parallel "$(nproc)" --target fovea_cuda_test >> "$log" 2>&1 ||
    { tail -20 "$log" && return 1; }
  local status=0
  parity 15 images || status=1
  CUDA_FORCE_PTX_JIT=1 parity 300 ptx || status=1
  return $status
}

parity() { # parity PATIENCE NAME
  python3 bench/gpu/tests.py build/gpu-shipped/test/fovea_cuda_test --seconds "$seconds" --patience "$1" \
    --log "build/gpu/shipped-$2.log" 'parity: '
}

step_measure() {
  built bench/fovea_cuda_bench || return
  timeout -k 10 $((seconds + 120)) python3 bench/gpu/measure.py build/gpu/bench/fovea_cuda_bench --seconds "$seconds" \
    --results "$results" "${measuring[@]}" "${sizes[@]}" "$@"
}

step_rules() {
  step_measure --rules
}

step_node() {
  command -v node > /dev/null || { echo "Node is not here: nothing is measured from it" && return; }
  [ -e dist/index.js ] || { echo "fovea is not built for Node (npm run build): nothing is measured from it" && return; }
  timeout -k 10 $((seconds + 60)) node bench/gpu/from-node.mjs --seconds "$seconds" --results "$results" "${sizes[@]}"
}

# The suites of npm test that compute, on this GPU.
step_suites() {
  local vitest=node_modules/vitest/vitest.mjs log=build/gpu/suites.log status options=() workers=$(($(nproc) / 2))
  { command -v node > /dev/null && [ -e "$vitest" ]; } || { echo "no Node, or no vitest: no suites" && return; }
  options=(--maxWorkers=$((workers > 6 ? 6 : workers > 2 ? workers : 2)))
  [ -e node_modules/@jax-js/jax ] || options+=(--exclude=test/cuda/dropin.test.ts)
  FOVEA_CUDA_DRIVER=${driver:-libcuda.so.1} NO_COLOR=1 timeout -k 10 "$seconds" \
    node "$vitest" run --project cuda --reporter=verbose "${options[@]}" > "$log" 2>&1
  status=$?
  grep -E '^ *(×|FAIL)|Error: ' "$log" | cut -c1-200 | head -60
  if [ $status -eq 124 ]; then echo "stopped after $seconds s, with $(grep -c '^ *✓' "$log") passed"; fi
  grep -E '^ *(Test Files|Tests) ' "$log"
  return $status
}

failed=()
for step in "${steps[@]}"; do
  echo "=== $step"
  begin=$SECONDS
  "step_$step" || failed+=("$step")
  echo "=== $step: $((SECONDS - begin)) s"
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" && exit 1; }
