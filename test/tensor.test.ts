import { inspect } from "node:util";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../lib/dtype.js";
import { attention, mergeAttention, referenceAttention, Tensor } from "../lib/index.js";
import { viewOf } from "../lib/tensor.js";

const count = (n: number) => Float32Array.from({ length: n }, (_, i) => i);
const numbers = (tensor: Tensor) => [...tensor.toNumbers()];

describe("making tensors", () => {
  test("from wraps without copying", () => {
    const data = count(6);
    const tensor = Tensor.from(data, [2, 3]);
    expect(tensor.data).toBe(data);
    expect(tensor).toMatchObject({ shape: [2, 3], strides: [3, 1], dtype: "float32", device: "cpu", size: 6 });
    expect(tensor.isContiguous).toBe(true);
    data[0] = 42;
    expect(numbers(tensor)).toEqual([42, 1, 2, 3, 4, 5]);
  });

  test("from takes each kind of array with its dtype", () => {
    expect(Tensor.from(new Int32Array([-1]), [1]).dtype).toBe("int32");
    expect(numbers(Tensor.from(new Uint8Array([0, 1]), [2], { dtype: "bool" }))).toEqual([0, 1]);
    expect(numbers(Tensor.from(new Uint16Array([0x3c00, 0xc000]), [2], { dtype: "float16" }))).toEqual([1, -2]);
    expect(numbers(Tensor.from(new Uint16Array([0x3f80, 0xc000]), [2], { dtype: "bfloat16" }))).toEqual([1, -2]);
  });

  test("from takes a Float16Array, where there is one, as the memory it is", () => {
    const bits = new Uint16Array([0x3c00, 0xc000]);
    const likeFloat16 = new Proxy(bits, {
      get: (target, key) => {
        if (key === Symbol.toStringTag) return "Float16Array";
        const value: unknown = Reflect.get(target, key, target);
        return value;
      },
    });
    // ArrayBuffer.isView does not see through a proxy; a subclass is seen.
    class Float16Array extends Uint16Array {
      override get [Symbol.toStringTag](): never {
        return "Float16Array" as never;
      }
    }
    expect(ArrayBuffer.isView(likeFloat16)).toBe(false);
    const half = new Float16Array(bits.buffer);
    const tensor = Tensor.from(half as never, [2]) as Tensor;
    expect(tensor.dtype).toBe("float16");
    expect(tensor.data.buffer).toBe(bits.buffer);
    expect(numbers(tensor)).toEqual([1, -2]);
  });

  test("from and calls take arrays of another realm, of whose classes they are no instances", async () => {
    const theirs = (of: string): unknown => runInNewContext(of);
    const query = Tensor.from(theirs("new Float32Array(4).fill(2)") as Float32Array, [1, 1, 2, 2]);
    expect(query.dtype).toBe("float32");
    const key = { data: theirs("new Float32Array(4)") as Float32Array, shape: [1, 1, 2, 2] };
    const value = {
      data: theirs("Float32Array.of(1, 2, 3, 4)") as Float32Array,
      shape: [1, 1, 2, 2],
      dtype: "float32",
    };
    const keyLengths = theirs("Int32Array.of(1)") as Int32Array;
    const sinks = theirs("new Float32Array(1)") as Float32Array;
    const { output } = await attention(query, key, value, { keyLengths, sinks });
    expect(numbers(output)).toEqual([0.5, 1, 0.5, 1]);
    const mask = { data: theirs("Uint8Array.of(0, 1)") as Uint8Array, shape: [1, 2], dtype: "bool" };
    expect(numbers((await attention(query, key, value, { mask })).output)).toEqual([3, 4, 3, 4]);
    const half = theirs("Uint16Array.of(0x3c00, 0xc000)") as Uint16Array;
    expect(numbers(Tensor.from(half, [2], { dtype: "float16" }))).toEqual([1, -2]);
  });

  test("zeros and empty have the dtype asked for", () => {
    expect(numbers(Tensor.zeros([2, 2]))).toEqual([0, 0, 0, 0]);
    expect(Tensor.zeros([3], { dtype: "bfloat16" }).data).toBeInstanceOf(Uint16Array);
    expect(Tensor.empty([3, 0, 2])).toMatchObject({ size: 0, shape: [3, 0, 2] });
    expect(Tensor.zeros([], { dtype: "int32" }).data).toHaveLength(1);
  });

  test("the shape is its own", () => {
    const shape = [2, 3];
    const tensor = Tensor.zeros(shape);
    shape[0] = 100;
    expect(tensor.shape).toEqual([2, 3]);
    expect(() => ((tensor.shape as number[])[0] = 9)).toThrow(TypeError);
  });

  test("random is the same for the same seed and differs between seeds", () => {
    const first = Tensor.random([4, 5], { seed: 1 });
    expect(numbers(first)).toEqual(numbers(Tensor.random([20], { seed: 1 })));
    const second = numbers(Tensor.random([4, 5], { seed: 2 }));
    expect(numbers(first).filter((value, i) => value === second[i])).toEqual([]);
    // Pinned: these numbers are part of what people publish.
    expect([...Tensor.random([3], { seed: 7 }).toNumbers()].map((x) => x.toFixed(6))).toMatchInlineSnapshot(`
      [
        "-0.053502",
        "0.032189",
        "1.084307",
      ]
    `);
  });

  test("random has the moments of its distribution", () => {
    const moments = (distribution: "normal" | "uniform") => {
      const values = Tensor.random([100_000], { seed: 3, distribution }).toNumbers();
      const mean = values.reduce((a, b) => a + b) / values.length;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
      return { mean, variance, least: Math.min(...values), most: Math.max(...values) };
    };
    const normal = moments("normal");
    expect(normal.mean).toBeCloseTo(0, 1.9);
    expect(normal.variance).toBeCloseTo(1, 1.6);
    expect(normal.most).toBeGreaterThan(3.5);
    const uniform = moments("uniform");
    expect(uniform.mean).toBeCloseTo(0.5, 2);
    expect(uniform.variance).toBeCloseTo(1 / 12, 2);
    expect(uniform.least).toBeGreaterThanOrEqual(0);
    expect(uniform.most).toBeLessThan(1);
  });

  test("shows itself in one line", () => {
    expect(inspect(Tensor.zeros([2, 3], { dtype: "float16" }))).toBe("Tensor float16 [2, 3]");
    expect(String(Tensor.zeros([1]))).toBe("Tensor float32 [1]");
  });
});

describe("views", () => {
  const tensor = Tensor.from(count(24), [2, 3, 4]);

  test("transpose exchanges two dimensions, or orders all", () => {
    const swapped = tensor.transpose(1, 2);
    expect(swapped).toMatchObject({ shape: [2, 4, 3], strides: [12, 1, 4], isContiguous: false });
    expect(numbers(swapped).slice(0, 6)).toEqual([0, 4, 8, 1, 5, 9]);
    expect(tensor.transpose(2, 0, 1)).toMatchObject({ shape: [4, 2, 3], strides: [1, 12, 4] });
    expect(tensor.transpose(0, -1)).toMatchObject({ shape: [4, 3, 2] });
    expect(Tensor.from(count(6), [2, 3]).transpose(0, 1).shape).toEqual([3, 2]);
  });

  test("slice takes a range of one dimension", () => {
    expect(numbers(tensor.slice(2, 1, 3).slice(0, 1))).toEqual([13, 14, 17, 18, 21, 22]);
    expect(numbers(tensor.slice(1, -1).slice(0, 0, 1))).toEqual([8, 9, 10, 11]);
    expect(tensor.slice(0, 1, 1)).toMatchObject({ shape: [0, 3, 4], size: 0 });
    expect(tensor.slice(-1, 0, -1).shape).toEqual([2, 3, 3]);
    expect(Tensor.zeros([4, 4]).slice(1, 2).slice(0, 4, 4)).toMatchObject({ shape: [0, 2], size: 0 });
  });

  test("reshape views what can be viewed and names contiguous() for the rest", () => {
    expect(tensor.reshape([6, 4]).strides).toEqual([4, 1]);
    expect(tensor.reshape([-1, 2]).shape).toEqual([12, 2]);
    expect(tensor.slice(0, 1).reshape([3, 1, 2, 2]).strides).toEqual([4, 4, 2, 1]);
    expect(() => tensor.transpose(0, 1).reshape([6, 4])).toThrow(/contiguous\(\)/);
    expect(numbers(tensor.transpose(0, 1).contiguous().reshape([6, 4])).slice(0, 8)).toEqual([
      0, 1, 2, 3, 12, 13, 14, 15,
    ]);
  });

  test("views share memory, and data starts at the first element", () => {
    const whole = Tensor.from(count(12), [3, 4]);
    const row = whole.slice(0, 1, 2);
    expect([...row.data]).toEqual([4, 5, 6, 7]);
    row.data[0] = -1;
    expect(whole.data[4]).toBe(-1);
    const column = whole.slice(1, 1, 2);
    expect([...column.data]).toEqual([1, 2, 3, -1, 5, 6, 7, 8, 9]);
    expect(column.data[2 * column.strides[0]!]).toBe(9);
  });

  test("contiguous copies only what is not", () => {
    expect(tensor.contiguous().data).toBe(tensor.data);
    const copy = tensor.transpose(0, 2).contiguous();
    expect(copy).toMatchObject({ shape: [4, 3, 2], strides: [6, 2, 1], isContiguous: true });
    expect(copy.data).not.toBe(tensor.data);
    expect(numbers(copy)).toEqual(numbers(tensor.transpose(0, 2)));
  });

  /** Any chain of views, beside a model that moves the numbers themselves. */
  test("any chain of views shows the numbers that copies would", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("transpose" as const), a: fc.nat(3), b: fc.nat(3) }),
      fc.record({ kind: fc.constant("slice" as const), a: fc.nat(3), b: fc.nat(5), c: fc.nat(5) }),
      fc.record({ kind: fc.constant("merge" as const), a: fc.nat(3) }),
      fc.record({ kind: fc.constant("split" as const), a: fc.nat(3) }),
    );
    const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
    const run = (shape: number[], steps: typeof step extends fc.Arbitrary<infer S> ? S[] : never) => {
      let tensor: Tensor = Tensor.from(count(shape.reduce((a, b) => a * b)), shape);
      for (const { kind, ...n } of steps) {
        const rank = tensor.shape.length;
        const dim = n.a % rank;
        const model = tensor.contiguous();
        if (kind === "transpose") {
          const other = (n as { b: number }).b % rank;
          tensor = rank > 1 && dim !== other ? tensor.transpose(dim, other) : tensor;
        } else if (kind === "slice") {
          const { b, c } = n as { b: number; c: number };
          const length = tensor.shape[dim]!;
          const [from, to] = [b % (length + 1), c % (length + 1)].sort((x, y) => x - y);
          tensor = tensor.slice(dim, from!, to);
          expect(numbers(tensor)).toEqual(numbers(model.slice(dim, from!, to)));
        } else {
          const merged =
            kind === "merge" && dim + 1 < rank
              ? [
                  ...tensor.shape.slice(0, dim),
                  tensor.shape[dim]! * tensor.shape[dim + 1]!,
                  ...tensor.shape.slice(dim + 2),
                ]
              : tensor.shape.flatMap((size, i) => (i === dim && size % 2 === 0 ? [size / 2, 2] : [size, 1]));
          let viewed: Tensor | undefined;
          try {
            viewed = tensor.reshape(merged);
          } catch {
            expect(tensor.isContiguous).toBe(false);
          }
          if (viewed !== undefined) expect(numbers(viewed)).toEqual(numbers(model));
          tensor = viewed ?? tensor;
        }
        expect(tensor.size).toBe(tensor.shape.reduce((a, b) => a * b));
      }
    };
    fc.assert(fc.property(shapes, fc.array(step, { maxLength: 5 }), run), { numRuns: 500 });
  });
});

test("nobody changes the shape or the strides of a tensor", async () => {
  const zeros = Tensor.zeros([1, 1, 4, 8]);
  const data = new Float32Array(32);
  const shape = [1, 1, 4, 8];
  const like = { data, shape, strides: [32, 32, 8, 1] };
  const { output, lse, weights } = await attention(like, like, like, { returnLse: true, returnWeights: true });
  const merged = await mergeAttention([{ output: like, lse: { data: data.subarray(28), shape: [1, 1, 4] } }]);
  const reference = referenceAttention(like, like, like, { returnScores: "scaled" });
  const tensors = [
    [zeros, Tensor.empty(shape), Tensor.from(data, shape), Tensor.random(shape, { seed: 1 })],
    [zeros.transpose(2, 3), zeros.transpose(0, 1, 3, 2), zeros.slice(2, 1), zeros.slice(2, 0, 0), zeros.reshape(shape)],
    [zeros.reshape([-1]), zeros.contiguous(), zeros.transpose(2, 3).contiguous(), zeros.cast("float16")],
    [await zeros.to("cpu"), await zeros.read()],
    [output, lse, weights, merged.output, merged.lse, reference.output, reference.scores],
  ].flat();
  for (const tensor of tensors) {
    for (const sizes of [tensor.shape, tensor.strides] as number[][]) {
      const before = [...sizes];
      expect(() => (sizes[0] = 0)).toThrow(TypeError);
      expect(() => sizes.push(1)).toThrow(TypeError);
      expect(sizes).toEqual(before);
    }
  }
  shape[2] = like.strides[2] = 0; // whose they are may
  for (const tensor of [output, merged.output, tensors[1]!]) expect(tensor.shape).toEqual([1, 1, 4, 8]);
});

describe("dtypes", () => {
  const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i);

  test.each(["float16", "bfloat16"] as const)("every %s survives a round trip", (dtype) => {
    const tensor = Tensor.from(allBits, [65536], { dtype });
    const there = tensor.cast("float32");
    expect(there.dtype).toBe("float32");
    const back = there.cast(dtype);
    const values = tensor.toNumbers();
    const wrong = [...back.data].filter((bits, i) => {
      return Number.isNaN(values[i]) ? !Number.isNaN(decode(dtype, back.data, i)) : bits !== i;
    });
    expect(wrong).toEqual([]);
  });

  /** The nearest of all values of the dtype, the even one of two that are as near. */
  test.each([
    ["float16", 0x7bff, 65520],
    ["bfloat16", 0x7f7f, (2 - 2 ** -8) * 2 ** 127],
  ] as const)("rounding to %s is to nearest, ties to even", (dtype, largestBits, overflow) => {
    const finite = Array.from({ length: largestBits + 1 }, (_, bits) => decode(dtype, allBits, bits));
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: largestBits - 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (bits, t) => {
          const [low, high] = [finite[bits]!, finite[bits + 1]!];
          const value = Math.fround(low + t * (high - low));
          const [toLow, toHigh] = [value - low, high - value];
          const expected = toLow < toHigh ? bits : toHigh < toLow ? bits + 1 : bits + (bits & 1);
          expect(encode(Float32Array.of(value), dtype)[0]).toBe(expected);
          expect(encode(Float32Array.of(-value), dtype)[0]).toBe(expected | 0x8000);
        },
      ),
    );
    const halfway = Float32Array.from({ length: 1000 }, (_, i) => (finite[i + 0x3c00]! + finite[i + 0x3c01]!) / 2);
    expect([...encode(halfway, dtype)]).toEqual(Array.from(halfway, (_, i) => i + 0x3c00 + (i & 1)));
    expect(decode(dtype, encode(Float64Array.of(overflow), dtype), 0)).toBe(Infinity);
    expect(decode(dtype, encode(Float64Array.of(overflow * (1 - 1e-7)), dtype), 0)).toBe(finite[largestBits]);
    expect(decode(dtype, encode(Float64Array.of(NaN, -Infinity), dtype), 0)).toBeNaN();
    expect(decode(dtype, encode(Float64Array.of(NaN, -Infinity), dtype), 1)).toBe(-Infinity);
  });

  test("bfloat16 is rounded once, not by way of float32", () => {
    const nearTies = [1, 1 + 2 ** -7].flatMap((even) => [-1, 0, 1].map((side) => even + 2 ** -8 + side * 2 ** -40));
    const expected = [0x3f80, 0x3f80, 0x3f81, 0x3f81, 0x3f82, 0x3f82];
    expect([...encode(Float64Array.from(nearTies), "bfloat16")]).toEqual(expected);
    const negative = nearTies.map((x) => -x);
    expect([...encode(Float64Array.from(negative), "bfloat16")]).toEqual(expected.map((bits) => bits | 0x8000));
  });

  test("a bfloat16 NaN whose payload is in the lower half stays a NaN", () => {
    const quiet = new Float32Array(new Uint32Array([0x7f800001, 0xff800001]).buffer);
    expect(Tensor.from(quiet, [2]).cast("bfloat16").toNumbers()).toEqual(Float64Array.of(NaN, NaN));
  });

  test("cast takes views, and goes between the 16-bit types", () => {
    const tensor = Tensor.from(count(6), [2, 3]).transpose(0, 1).cast("float16");
    expect(tensor).toMatchObject({ shape: [3, 2], dtype: "float16", isContiguous: true });
    expect(numbers(tensor.cast("bfloat16"))).toEqual([0, 3, 1, 4, 2, 5]);
    expect(numbers(Tensor.from(Float32Array.of(1e6), [1]).cast("float16"))).toEqual([Infinity]);
  });
});

describe("lifetime", () => {
  test("dispose ends one handle, the last one lets the memory go, and twice is once", () => {
    const whole = Tensor.zeros([2, 2]);
    const part = whole.slice(0, 1);
    const { storage } = viewOf(whole, "whole");
    whole.dispose();
    whole.dispose();
    expect([whole.disposed, part.disposed, storage!.released]).toEqual([true, false, false]);
    expect(() => whole.data).toThrow(expect.objectContaining({ code: "ERR_FOVEA_DISPOSED" }));
    expect(whole.shape).toEqual([2, 2]);
    expect(numbers(part)).toEqual([0, 0]);
    expect(storage!.space).toBe(part.data.buffer);
    part.dispose();
    expect(storage!.released).toBe(true);
    expect(storage!.space).toBe(0); // nothing keeps the memory from the garbage collector
    expect(String(part)).toBe("Tensor float32 [1, 2] (disposed)");
  });

  test("using disposes", () => {
    let outside: Tensor;
    {
      using tensor = Tensor.zeros([1]);
      outside = tensor;
    }
    expect(outside.disposed).toBe(true);
  });

  test("every use of a disposed tensor is an error", async () => {
    const tensor = Tensor.zeros([2, 2]);
    tensor.dispose();
    const uses: (() => unknown)[] = [
      () => tensor.data,
      () => tensor.transpose(0, 1),
      () => tensor.slice(0, 0),
      () => tensor.reshape([4]),
      () => tensor.contiguous(),
      () => tensor.cast("float16"),
      () => tensor.toNumbers(),
    ];
    for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: "ERR_FOVEA_DISPOSED" }));
    await expect(tensor.read()).rejects.toMatchObject({ code: "ERR_FOVEA_DISPOSED" });
    await expect(tensor.to("cpu")).rejects.toMatchObject({ code: "ERR_FOVEA_DISPOSED" });
  });

  test("read and to give a handle of their own", async () => {
    const tensor = Tensor.from(count(2), [2]);
    const read = await tensor.read();
    const moved = await tensor.to("cpu");
    tensor.dispose();
    expect([numbers(read), numbers(moved)]).toEqual([
      [0, 1],
      [0, 1],
    ]);
    await expect(read.to("cuda")).rejects.toMatchObject({ code: "ERR_FOVEA_DEVICE", message: /built without CUDA/ });
  });

  test("a buffer transferred away is an error", () => {
    const tensor = Tensor.from(count(4), [4]);
    structuredClone(tensor.data.buffer, { transfer: [tensor.data.buffer as ArrayBuffer] });
    expect(() => tensor.toNumbers()).toThrow(expect.objectContaining({ code: "ERR_FOVEA_BUFFER" }));
  });
});
