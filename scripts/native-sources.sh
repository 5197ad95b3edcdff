#!/usr/bin/env bash
# The C++ and CUDA sources, one a line, for clang-format.
find native test/native -name '*.h' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu'
