// Attention over disjoint sets of keys, merged: against attention over all of them.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  attention,
  mergeAttention,
  mergeAttentionSync,
  setThreads,
  Tensor,
  type AttentionPart,
  type FloatDType,
  type Layout,
} from "../lib/index.js";
import { referenceAttentionFloat64, referenceMergeFloat64 } from "../lib/reference.js";
import { round } from "./support/build.js";
import { compareEach } from "./support/compare.js";

/** In a layout's order. */
const shapeOf = (layout: Layout, batch: number, heads: number, length: number, dim: number): number[] =>
  layout === "bhsd"
    ? [batch, heads, length, dim]
    : layout === "bshd"
      ? [batch, length, heads, dim]
      : [length, heads, dim];

/** The same numbers with dimensions in another order in memory, gaps between elements, and the first one reversed. */
function scattered(tensor: Tensor): { data: ArrayBufferView; shape: number[]; strides: number[]; offset: number } & {
  dtype: string;
} {
  const { shape, dtype, data } = tensor;
  const strides = new Array<number>(shape.length);
  let size = 2;
  for (let i = 0; i < shape.length; i++) [strides[i], size] = [size, size * Math.max(shape[i]!, 1)];
  const array = new (data.constructor as new (length: number) => typeof data)(size + 1);
  const offset = 1 + Math.max(shape[0]! - 1, 0) * strides[0]!;
  strides[0] = -strides[0]!;
  for (let i = 0; i < data.length; i++) {
    let [at, rest] = [offset, i];
    for (let dim = shape.length - 1; dim >= 0; dim--) {
      at += (rest % shape[dim]!) * strides[dim]!;
      rest = Math.floor(rest / shape[dim]!);
    }
    array[at] = data[i]!;
  }
  return { data: array, shape: [...shape], strides, offset, dtype };
}

/** Outputs that are averages of values of size 1, and lse's: off by float32 sums, and by the output's own rounding. */
function expectClose(
  dtype: FloatDType,
  merged: { output: Tensor; lse: Tensor },
  expected: { output: Float64Array; lse: Float64Array },
) {
  const { output, lse } = expected;
  const rounded = dtype === "float32" ? output : round(output, dtype);
  const bound = (value: number, i: number) =>
    2e-6 * Math.max(1, Math.abs(value)) + 1.01 * Math.abs(rounded[i]! - value);
  expect(compareEach("output", merged.output.toNumbers(), output, bound)).toBeUndefined();
  expect(
    compareEach("lse", merged.lse.toNumbers(), lse, (value) => 1e-6 * Math.max(1, Math.abs(value))),
  ).toBeUndefined();
}

const dtypes = fc.constantFrom("float32", "float16", "bfloat16");
const merges = fc.record({
  seed: fc.integer({ min: 0, max: 1000 }),
  dtype: dtypes,
  layout: fc.constantFrom("bhsd", "bshd", "thd"),
  batch: fc.integer({ min: 0, max: 3 }),
  heads: fc.integer({ min: 1, max: 3 }),
  length: fc.integer({ min: 0, max: 4 }),
  dim: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(15, 16, 17, 64, 80)),
  /** lse's of a part are this far up, or -Infinity. */
  parts: fc.array(fc.constantFrom(0, 1, -5, 80, -Infinity), { minLength: 1, maxLength: 5 }),
  strided: fc.boolean(),
  out: fc.boolean(),
} as const);

test("any parts, as the reference merges them", async () => {
  await fc.assert(
    fc.asyncProperty(merges, async ({ seed, dtype, layout, batch, heads, length, dim, parts, strided, out }) => {
      const shape = shapeOf(layout, batch, heads, length, dim);
      const made = parts.map((height, i) => {
        const output = Tensor.random(shape, { seed: seed + 2 * i, dtype });
        const lse = Tensor.random(layout === "thd" ? [heads, length] : [batch, heads, length], {
          seed: seed + 2 * i + 1,
        });
        // Every third row saw no key at all.
        lse.data.forEach((value, row) => (lse.data[row] = (row + i) % 3 === 0 ? -Infinity : value + height));
        return strided ? { output: scattered(output), lse: scattered(lse) } : { output, lse };
      }) as AttentionPart[];
      const given = out
        ? Tensor.zeros([...shape].reverse(), { dtype }).transpose(...shape.map((_, i) => shape.length - 1 - i))
        : undefined;
      const merged = await mergeAttention(made, { layout, out: given });
      if (given !== undefined) expect(merged.output).toBe(given);
      expect(merged.output.shape).toEqual(shape);
      expectClose(dtype, merged, referenceMergeFloat64(made, { layout }));
      const again = mergeAttentionSync(made, { layout });
      expect(again.output.toNumbers()).toEqual(merged.output.toNumbers());
      expect(again.lse.data).toEqual(merged.lse.data);
    }),
    { numRuns: 150, seed: 20251101 },
  );
});

const splits = fc.record({
  seed: fc.integer({ min: 0, max: 1000 }),
  dtype: dtypes,
  layout: fc.constantFrom("bhsd", "bshd"),
  kvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  queries: fc.integer({ min: 1, max: 5 }),
  /** Keys of each part; some have none. */
  keys: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }),
  causal: fc.boolean(),
  sinks: fc.boolean(),
} as const);

test("attention over parts of the keys becomes attention over all keys", async () => {
  await fc.assert(
    fc.asyncProperty(
      splits,
      async ({ seed, dtype, layout, kvHeads, group, queries, keys, causal, sinks: hasSinks }) => {
        const heads = kvHeads * group;
        const all = keys.reduce((sum, count) => sum + count, 0);
        const query = Tensor.random(shapeOf(layout, 2, heads, queries, 8), { seed, dtype });
        const key = Tensor.random(shapeOf(layout, 2, kvHeads, all, 8), { seed: seed + 1, dtype });
        const value = Tensor.random(shapeOf(layout, 2, kvHeads, all, 5), { seed: seed + 2, dtype });
        const sinks = hasSinks ? Tensor.random([heads], { seed: seed + 3 }) : undefined;
        const offset = all - queries; // the last query sits on the last key
        const along = layout === "bhsd" ? 2 : 1;
        let first = 0;
        const parts = await Promise.all(
          keys.map((count, i) => {
            const [from, to] = [first, (first += count)];
            return attention(query, key.slice(along, from, to), value.slice(along, from, to), {
              layout,
              causal,
              queryOffset: offset - from,
              sinks: i === 0 ? sinks : undefined,
              returnLse: true,
            });
          }),
        );
        const merged = await mergeAttention(parts, { layout });
        const options = { layout, causal, queryOffset: offset, sinks, returnLse: true } as const;
        const whole = referenceAttentionFloat64(query, key, value, options);
        // Each part was rounded to the dtype, and so is the result.
        const step = { float32: 0, float16: 2 ** -10, bfloat16: 2 ** -7 }[dtype];
        const bound = (x: number) => (4e-6 + step) * Math.max(1, Math.abs(x)) * 2;
        expect(compareEach("output", merged.output.toNumbers(), whole.output, bound)).toBeUndefined();
        expect(
          compareEach("lse", merged.lse.toNumbers(), whole.lse, (x) => 1e-5 * Math.max(1, Math.abs(x))),
        ).toBeUndefined();
      },
    ),
    { numRuns: 100, seed: 20251102 },
  );
});

describe("rows", () => {
  /** One row per lse: outputs of part i are i + 1. */
  const part = (i: number, lses: readonly number[], output = i + 1): AttentionPart => ({
    output: Tensor.from(new Float32Array(lses.length * 3).fill(output), [1, 1, lses.length, 3]),
    lse: Tensor.from(Float32Array.from(lses), [1, 1, lses.length]),
  });
  const merge = (...parts: AttentionPart[]) => {
    const { output, lse } = mergeAttentionSync(parts);
    expectClose("float32", { output, lse }, referenceMergeFloat64(parts));
    return { output: [...output.data].filter((_, i) => i % 3 === 2), lse: [...lse.data] };
  };

  test("without keys in any part become 0 and -Infinity", () => {
    const empty = [-Infinity, -Infinity];
    expect(merge(part(0, empty, NaN), part(1, empty))).toEqual({ output: [0, 0], lse: empty });
  });

  test("take nothing from a part without keys, whatever its output", () => {
    expect(merge(part(0, [-Infinity, 5], NaN), part(1, [7, -Infinity]))).toEqual({ output: [2, NaN], lse: [7, 5] });
  });

  test("that one part alone sees stay as they are, bit for bit", () => {
    const alone = { output: Tensor.random([1, 1, 4, 7], { seed: 1 }), lse: Tensor.random([1, 1, 4], { seed: 2 }) };
    const nothing = {
      output: Tensor.zeros([1, 1, 4, 7]),
      lse: Tensor.from(new Float32Array(4).fill(-Infinity), [1, 1, 4]),
    };
    const merged = mergeAttentionSync([nothing, alone, nothing]);
    expect(merged.output.data).toEqual(alone.output.data);
    expect(merged.lse.data).toEqual(alone.lse.data);
  });

  test("of scores of any size are safe", () => {
    const { output, lse } = merge(part(0, [3e38, -3e38, 1e4, -1e4]), part(1, [3e38, -3e38, 1e4, -1e4]));
    expect(output).toEqual([1.5, 1.5, 1.5, 1.5]);
    expect(lse).toEqual([3e38, -3e38, 1e4 + Math.LN2, -1e4 + Math.LN2].map(Math.fround));
    expect(merge(part(0, [3e38]), part(1, [-3e38]))).toEqual({ output: [1], lse: [Math.fround(3e38)] });
  });

  test("with an infinite sink are what the sink says", () => {
    expect(merge(part(0, [Infinity], 0), part(1, [5]))).toEqual({ output: [0], lse: [Infinity] });
  });

  test("to which a part with a NaN adds next to nothing are NaN, unless it saw no key", () => {
    // Weights far below the smallest float32, and below the smallest float64.
    const merged = merge(part(0, [-90, -200, -2000, -Infinity], NaN), part(1, [0, 0, 0, 0]));
    expect(merged).toEqual({ output: [NaN, NaN, NaN, 2], lse: [0, 0, 0, 0] });
  });

  test("of which several parts are infinite are those parts' mean", () => {
    expect(merge(part(0, [Infinity]), part(1, [Infinity]), part(2, [5]))).toEqual({ output: [1.5], lse: [Infinity] });
  });

  test("whose lse is NaN become NaN, and no others", () => {
    expect(merge(part(0, [NaN, 1, NaN]), part(1, [1, 1, -Infinity]))).toEqual({
      output: [NaN, 1.5, NaN],
      lse: [NaN, Math.fround(1 + Math.LN2), NaN],
    });
  });
});

test("the same bits by any number of threads, alone or in a batch", async () => {
  const part = (i: number) => ({
    output: Tensor.random([4, 8, 32, 64], { seed: i, dtype: "bfloat16" }),
    lse: Tensor.random([4, 8, 32], { seed: 100 + i }),
  });
  const bits = ({ output, lse }: { output: Tensor; lse: Tensor }, first: number) =>
    [output, lse].map((tensor) =>
      Buffer.from(tensor.slice(0, first).contiguous().data.slice().buffer).toString("base64"),
    );
  const parts = [part(1), part(2), part(3)];
  const merged = await mergeAttention(parts);
  const last = parts.map(({ output, lse }) => ({ output: output.slice(0, 3), lse: lse.slice(0, 3) }));
  expect(bits(mergeAttentionSync(last), 0)).toEqual(bits(merged, 3));
  for (const threads of [1, 3]) {
    setThreads(threads);
    expect(bits(mergeAttentionSync(parts), 0)).toEqual(bits(merged, 0));
    expect(bits(await mergeAttention(parts), 0)).toEqual(bits(merged, 0));
  }
});

describe("wrong calls", () => {
  const part = (shape = [2, 4, 3, 8], lse = shape.slice(0, 3)) => ({
    output: Tensor.zeros(shape),
    lse: Tensor.zeros(lse),
  });
  const right = part();
  const half = { ...right, output: Tensor.zeros([2, 4, 3, 8], { dtype: "float16" }) };
  const disposed = part();
  disposed.lse.dispose();
  const out = Tensor.zeros([2, 4, 3, 8]);
  type Call = Parameters<typeof mergeAttention>;

  test.each<[what: string, code: string, message: string, parts: unknown, options?: unknown]>([
    ["no parts", "ARGUMENT", "parts: expected a list of { output, lse }, got Array(0)", []],
    ["no list", "ARGUMENT", "parts: expected a list of { output, lse }, got { output, lse }", right],
    [
      "a hole in the list",
      "ARGUMENT",
      "parts[1]: expected { output, lse }, got undefined",
      Object.assign([right], { length: 2 }),
    ],
    ["a part that is none", "ARGUMENT", "parts[1]: expected { output, lse }, got 3", [right, 3]],
    [
      "a part without lse",
      "ARGUMENT",
      "parts[0].lse: expected a tensor, got undefined; attention returns it with returnLse: true",
      [{ output: right.output }],
    ],
    [
      "a part without output",
      "ARGUMENT",
      "parts[1].output: expected a Tensor or { data: typed array, shape, dtype }, got undefined",
      [right, { lse: right.lse }],
    ],
    [
      "outputs of another rank",
      "SHAPE",
      "parts[0].output: expected [*, *, *] (tokens, heads, valueDim), got [2, 4, 3, 8]",
      [right],
      { layout: "thd" },
    ],
    [
      "outputs that differ",
      "SHAPE",
      "parts[1].output: expected [2, 4, 3, 8] (batch, heads, queryLength, valueDim), got [2, 4, 3, 7]",
      [right, part([2, 4, 3, 7])],
    ],
    [
      "lse in another layout",
      "SHAPE",
      "parts[0].lse: expected [2, 3, 4] (batch, heads, queryLength), got [2, 4, 3]",
      [right],
      { layout: "bshd" },
    ],
    [
      "lse of thd",
      "SHAPE",
      "parts[0].lse: expected [4, 3] (heads, tokens), got [3, 4]",
      [part([3, 4, 8], [3, 4])],
      { layout: "thd" },
    ],
    [
      "dtypes that differ",
      "DTYPE",
      'parts[1].output: expected dtype "float32" as in parts[0], got "float16"',
      [right, half],
    ],
    [
      "an lse of 16 bits",
      "DTYPE",
      'parts[0].lse: expected dtype "float32", got "float16"',
      [{ ...right, lse: Tensor.zeros([2, 4, 3], { dtype: "float16" }) }],
    ],
    [
      "integers",
      "DTYPE",
      'parts[0].output: expected dtype "float32", "float16" or "bfloat16", got "int32"',
      [{ ...right, output: Tensor.zeros([2, 4, 3, 8], { dtype: "int32" }) }],
    ],
    [
      "an option that is none",
      "OPTION",
      'options: there is no option "outs" (did you mean "out"?)',
      [right],
      { outs: out },
    ],
    [
      "a layout that is none",
      "OPTION",
      'layout: expected "bhsd" or "bshd" or "thd", got "bhds" (did you mean "bhsd"?)',
      [right],
      { layout: "bhds" },
    ],
    [
      "an out of another shape",
      "SHAPE",
      "out: expected [2, 4, 3, 8] (batch, heads, queryLength, valueDim), got [2, 4, 3]",
      [right],
      { out: right.lse },
    ],
    [
      "an out of another dtype",
      "DTYPE",
      'out: expected dtype "float32" as in parts[0].output, got "float16"',
      [right],
      { out: half.output },
    ],
    [
      "an out that is read",
      "OPTION",
      "out: expected memory of its own, but it shares some with parts[1].output",
      [part(), right],
      { out: right.output },
    ],
    ["a disposed tensor", "DISPOSED", "parts[0].lse: the tensor was disposed", [disposed]],
  ])("%s", async (_, code, message, parts, options) => {
    const expected = { name: "FoveaError", code: `ERR_FOVEA_${code}`, message };
    expect(() => mergeAttentionSync(...([parts, options] as Call))).toThrow(expect.objectContaining(expected) as Error);
    await expect(mergeAttention(...([parts, options] as Call))).rejects.toMatchObject(expected);
  });

  test("memory of an unsettled merge", async () => {
    const parts = [part([4, 16, 128, 64]), part([4, 16, 128, 64])];
    const out = Tensor.zeros([4, 16, 128, 64]);
    const merging = mergeAttention(parts, { out });
    const busy = (message: RegExp) =>
      expect.objectContaining({ code: "ERR_FOVEA_BUSY", message: expect.stringMatching(message) as string }) as Error;
    expect(() => mergeAttentionSync([{ output: out, lse: parts[0]!.lse }])).toThrow(
      busy(/^parts\[0\]\.output: is being written/),
    );
    expect(() => mergeAttentionSync([part([4, 16, 128, 64])], { out: parts[1]!.output })).toThrow(
      busy(/^out: is being read/),
    );
    const merged = await merging;
    expect(merged.output).toBe(out);
    mergeAttentionSync([{ output: out, lse: merged.lse }]);
  });
});
