// Wrong uses of tensors, devices and plans, each with its code and message; and what the native module's errors become.
import { describe, expect, test } from "vitest";
import { devices, explain, setThreads, streamHandle, Tensor } from "../lib/index.js";
import { loadError, nativeError } from "../lib/native.js";
import { anyText, resizable } from "./support/wrong.js";

const float = (...shape: number[]) => Tensor.zeros(shape);
const int32 = (...values: number[]) => Tensor.from(Int32Array.from(values), [values.length]);
const wide = { shape: [1, 1, 2, 4], dtype: "float32" } as const;

/** What is called, the code, the message. */
const wrongUses: [() => unknown, string, string | RegExp][] = [
  [() => Tensor.from([1, 2] as never, [2]), "ARGUMENT", "data: expected a typed array, got Array(2)"],
  [() => Tensor.from(new Float32Array(5), [2, 3]), "SHAPE", "data: expected 6 elements for shape [2, 3], got 5"],
  [
    () => Tensor.from(new Float32Array(2), [1.5] as never),
    "SHAPE",
    "shape: expected sizes that are integers >= 0, got [1.5]",
  ],
  [() => Tensor.from(new Float32Array(2), 2 as never), "SHAPE", "shape: expected a shape, an array of sizes, got 2"],
  [() => Tensor.empty([2 ** 60, 1]), "SHAPE", "shape: expected sizes below 2^53, got [1152921504606847000, 1]"],
  [() => Tensor.from(new Uint16Array(2) as never, [2]), "DTYPE", /"float16" or "bfloat16"/],
  [() => Tensor.from(new Uint8Array(2) as never, [2]), "DTYPE", 'data: Uint8Array(2) needs a dtype: expected "bool"'],
  [
    () => Tensor.from(new Float32Array(2), [2], { dtype: "float16" } as never),
    "DTYPE",
    'data: expected a Uint16Array for dtype "float16", got Float32Array(2)',
  ],
  [() => Tensor.from(resizable, [192]), "BUFFER", /^data: its ArrayBuffer is resizable/],
  [() => Tensor.from(new Float32Array(2), [2], { device: "cuda:0" }), "DEVICE", /^device: "cuda:0" cannot be used: /],
  [
    () => Tensor.empty([2], { dtyp: "float16" } as never),
    "OPTION",
    'options: there is no option "dtyp" (did you mean "dtype"?)',
  ],
  [() => Tensor.zeros([2], null as never), "OPTION", "options: expected an object, got null"],
  [() => Tensor.random([2], { seed: 1, dist: "uniform" } as never), "OPTION", 'options: there is no option "dist"'],
  [
    () => explain({ shape: [1, 1, 2, 4], dtype: "float32", strides: [1] }, wide, wide),
    "SHAPE",
    "query: expected 4 integer strides, got [1]",
  ],
  [
    () => explain({ ...wide, shape: [1, 1, 2 ** 50, 4] }, wide, wide),
    "BOUNDS",
    "queryLength: expected an integer from 0 to 1099511627776, got 1125899906842624",
  ],
  [
    () => Tensor.zeros([2], { dtype: "float8" as never }),
    "DTYPE",
    'dtype: expected one of [float32, float16, bfloat16, int32, bool], got "float8"',
  ],
  [() => Tensor.zeros([2 ** 40]), "OUT_OF_MEMORY", "cannot allocate 1099511627776 elements of float32"],
  [() => Tensor.random([2 ** 40], { seed: 1 }), "OUT_OF_MEMORY", "cannot allocate 1099511627776 elements of float64"],
  [() => Tensor.random([2], undefined as never), "OPTION", "options: expected an object, got undefined"],
  [() => Tensor.random([2], { seed: -1 }), "OPTION", "seed: expected an integer from 0 to 4294967295, got -1"],
  [
    () => Tensor.random([2], { seed: 1, dtype: "bool" as never }),
    "DTYPE",
    'dtype: expected "float32", "float16" or "bfloat16", got "bool"',
  ],
  [
    () => Tensor.random([2], { seed: 1, distribution: "cauchy" as never }),
    "OPTION",
    'distribution: expected "normal" or "uniform", got "cauchy"',
  ],
  [() => float(2, 3).transpose(0, 2), "SHAPE", "transpose: expected a dimension from -2 to 1 of [2, 3], got 2"],
  [() => float().slice(0, 1), "SHAPE", "slice: expected no dimension, as it has none, got 0"],
  [() => float(2, 3, 4).transpose(0), "SHAPE", "transpose: expected 2 dimensions or each of 3 once, got [0]"],
  [
    () => float(2, 3, 4).transpose(0, 1, 1),
    "SHAPE",
    "transpose: expected 2 dimensions or each of 3 once, got [0, 1, 1]",
  ],
  [
    () => float(2, 3).slice(0, 1, 3),
    "SHAPE",
    "slice: expected a range within the 2 indices of dimension 0, got 1 to 3",
  ],
  [
    () => float(2, 3).slice(0, 2, 1),
    "SHAPE",
    "slice: expected a range within the 2 indices of dimension 0, got 2 to 1",
  ],
  [
    () => float(2, 3).slice(0, null as never),
    "SHAPE",
    "slice: expected a range within the 2 indices of dimension 0, got null to undefined",
  ],
  [
    () => float(2, 3).slice(Symbol("dim") as never, 0),
    "SHAPE",
    "slice: expected a dimension from -2 to 1 of [2, 3], got Symbol(dim)",
  ],
  [() => Reflect.construct(Tensor, [new Float32Array(2), [2]]), "ARGUMENT", /^Tensor: .* got new Tensor$/],
  [() => float(2, 3).reshape(6 as never), "SHAPE", "reshape: expected a shape, an array of sizes, got 6"],
  [() => float(2, 3).reshape(null as never), "SHAPE", "reshape: expected a shape, an array of sizes, got null"],
  [() => float(2, 3).reshape([4]), "SHAPE", "reshape: [2, 3] has 6 elements, which do not fit [4]"],
  [() => float(2, 3).reshape([-1, 4]), "SHAPE", "reshape: [2, 3] has 6 elements, which do not fit [-1, 4]"],
  [() => float(2, 3).reshape([-1, -1]), "SHAPE", "reshape: expected at most one -1, got [-1, -1]"],
  [
    () => float(2, 3).transpose(0, 1).reshape([6]),
    "SHAPE",
    "reshape: [3, 2] with strides [1, 3] cannot be viewed as [6]; call contiguous() first, which copies",
  ],
  [() => float(2).cast("int32" as never), "DTYPE", 'cast: expected float dtypes, got "float32" to "int32"'],
  [() => int32(2).cast("float32"), "DTYPE", 'cast: expected float dtypes, got "int32" to "float32"'],
  [() => streamHandle("cpu"), "DEVICE", 'device: expected "cuda" or "cuda:N", got "cpu"'],
  [() => setThreads(0), "OPTION", "count: expected an integer from 1 to 1024, got 0"],
  [() => setThreads(1.5), "OPTION", "count: expected an integer from 1 to 1024, got 1.5"],
  [() => setThreads(5000), "OPTION", "count: expected an integer from 1 to 1024, got 5000"],
];

test.each(wrongUses)("wrong use %#: %s", (use, code, message) => {
  expect(use).toThrow(expect.objectContaining({ code: `ERR_FOVEA_${code}`, message: anyText(message) }));
});

describe("errors of the native module", () => {
  test("keep their code and have the error as cause", () => {
    const cause = Object.assign(new Error("bad numbers"), { code: "ERR_FOVEA_BOUNDS" });
    expect(nativeError(cause)).toMatchObject({
      name: "FoveaError",
      code: "ERR_FOVEA_BOUNDS",
      message: "bad numbers",
      cause,
    });
    const other = new TypeError("a bug");
    expect(nativeError(other)).toBe(other);
  });

  test("a failure to load says what may be the cause and what helps", () => {
    const cause = new Error("version `GLIBC_2.99' not found\nmore");
    const error = loadError(cause);
    expect(error).toMatchObject({ code: "ERR_FOVEA_LOAD", cause });
    expect(error.message).toMatch(/^cannot load the native module on \w+-\w+.*: version `GLIBC_2.99' not found\n/);
    for (const hint of ["npm rebuild fovea", "C++20 compiler", "musl", "npm run build"])
      expect(error.message).toContain(hint);
  });

  test("CUDA is listed with the reason why not", () => {
    const [, cuda] = devices();
    expect(cuda).toMatchObject({ device: "cuda", available: false });
    expect(cuda).toHaveProperty(
      "reason",
      expect.stringMatching(/FOVEA_CUDA_DRIVER names|no NVIDIA driver|no CUDA kernels/),
    );
  });
});
