// Bugs of the kernels that copy and convert tensors, and of roundings, which attention's tolerances would hide.
import type { Mutant } from "./mutant.js";

const copy = { file: "copy.cu", image: "copy" };
const ptx = { file: "ptx.cuh", image: "copy" };

export const copyMutants: readonly Mutant[] = [
  {
    ...copy,
    name: "copy: one unit too many",
    find: "unit < arguments.count;",
    replace: "unit <= arguments.count;",
    tests: ["copy: layouts"],
    caughtBy: ["out-of-bounds-global", "numbers"],
  },
  {
    ...copy,
    name: "copy: only what the grid's threads reach at once",
    find: "for (int64_t unit = int64_t(blockIdx.x) * copyThreads + threadIdx.x; unit < arguments.count; unit += threads)",
    replace:
      "if (const int64_t unit = int64_t(blockIdx.x) * copyThreads + threadIdx.x; unit < arguments.count && threads)",
    tests: ["copy: layouts"],
    caughtBy: ["numbers"],
  },
  {
    ...copy,
    name: "copy: the outermost dimension steps like the innermost",
    find: "static_cast<int64_t>(rest) * arguments.strides[0];",
    replace: "static_cast<int64_t>(rest) * arguments.strides[arguments.rank - 1];",
    tests: ["copy: layouts"],
    caughtBy: ["numbers"],
  },
  {
    ...copy,
    name: "copy: two bytes for one",
    find: "return copyUnits<uint8_t>(arguments);",
    replace: "return copyUnits<uint16_t>(arguments);",
    tests: ["copy: layouts"],
    caughtBy: ["misaligned", "race-global", "out-of-bounds-global"],
  },
  {
    ...copy,
    name: "convert: the halves of a word swapped",
    find: "values[i] = ptx::toFloat(Element{static_cast<uint16_t>(words[i / 2])});",
    replace: "values[i] = ptx::toFloat(Element{static_cast<uint16_t>(words[i / 2] >> 16)});",
    tests: ["copy: float16 to float32"],
    caughtBy: ["numbers"],
  },
  {
    ...copy,
    name: "convert: vectors of eight written four apart",
    find: "reinterpret_cast<float4*>(to) + 2 * unit;",
    replace: "reinterpret_cast<float4*>(to) + unit;",
    tests: ["copy: float16 to float32"],
    caughtBy: ["race-global"],
  },
  {
    ...ptx,
    name: "ptx: pairs of float16 cut instead of rounded",
    find: "cvt.rn.f16x2.f32",
    replace: "cvt.rz.f16x2.f32",
    tests: ["copy: float32 to float16"],
    caughtBy: ["numbers"],
  },
  {
    ...ptx,
    name: "ptx: pairs of bfloat16 cut instead of rounded",
    find: "cvt.rn.bf16x2.f32",
    replace: "cvt.rz.bf16x2.f32",
    tests: ["copy: float32 to bfloat16"],
    caughtBy: ["numbers"],
  },
];
