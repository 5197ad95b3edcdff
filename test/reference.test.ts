// The reference is what everything else is measured by. It is checked here by hand-worked numbers, by what must be equal
// however it is asked, and against an independent way of writing the same formulas down.
import { describe, expect, test } from "vitest";
import type { AttentionOptions } from "../lib/index.js";
import { referenceAttention, Tensor } from "../lib/index.js";
import { referenceAttentionFloat64 } from "../lib/reference.js";

const tensor = (shape: number[], ...values: number[]) => Tensor.from(Float32Array.from(values), shape);
const random = (seed: number, ...shape: number[]) => Tensor.random(shape, { seed });
const bool = (shape: number[], ...values: number[]) => Tensor.from(Uint8Array.from(values), shape, { dtype: "bool" });
const { log, exp, tanh, sqrt } = Math;

function close(actual: Iterable<number> | undefined, expected: readonly number[], digits = 12): void {
  const values = [...actual!];
  expect(values).toHaveLength(expected.length);
  expected.forEach((value, i) => {
    if (Number.isFinite(value)) expect(values[i], `element ${i}`).toBeCloseTo(value, digits);
    else expect(values[i], `element ${i}`).toBe(value);
  });
}

// One query [1] against keys ln 1, ln 2, ln 3 with values 10, 20, 30: with scale 1 the weights are 1/6, 2/6, 3/6.
const one = tensor([1, 1, 1, 1], 1);
const lnKeys = Tensor.from(Float32Array.of(0, log(2), log(3)), [1, 1, 3, 1]);
const values = tensor([1, 1, 3, 1], 10, 20, 30);
const all = { scale: 1, returnLse: true, returnWeights: true } as const;

/** `queryLength` queries of 0 against `keyLength` keys: weights are even over what is allowed. */
function visible(queryLength: number, keyLength: number, options: AttentionOptions): string[] {
  const zeros = (length: number) => Tensor.zeros([1, 1, length, 1]);
  const { weights } = referenceAttention(zeros(queryLength), zeros(keyLength), zeros(keyLength), {
    ...options,
    returnWeights: true,
  });
  const flat = [...weights.data];
  return Array.from({ length: queryLength }, (_, i) =>
    flat
      .slice(i * keyLength, (i + 1) * keyLength)
      .map((weight) => (weight > 0 ? "x" : "."))
      .join(""),
  );
}

describe("hand-worked", () => {
  test("softmax, average, lse", () => {
    const result = referenceAttention(one, lnKeys, values, all);
    close(result.weights.data, [1 / 6, 2 / 6, 3 / 6], 6);
    close(result.output.data, [140 / 6], 5);
    close(result.lse.data, [log(6)], 6);
  });

  test("the default scale is 1 / sqrt(headDim)", () => {
    const query = tensor([1, 1, 1, 4], 1, 1, 1, 1);
    const key = tensor([1, 1, 2, 4], 0, 0, 0, 0, 1, 2, 3, 4);
    const { weights, scores } = referenceAttentionFloat64(query, key, key, {
      returnWeights: true,
      returnScores: "scaled",
    });
    close(scores, [0, 10 / sqrt(4)]);
    close(weights, [1 / (1 + exp(5)), exp(5) / (1 + exp(5))]);
  });

  test("softcap, bias and ALiBi, in that order, and the scores of each stage", () => {
    const keys = tensor([1, 1, 3, 1], 4, -2, 6);
    const bias = tensor([1, 3], 0.5, -Infinity, 1);
    const options = { scale: 0.5, softcap: 2, bias, alibiSlopes: Float32Array.of(0.25), queryOffset: 1 };
    const stage = (returnScores: "scaled" | "capped" | "biased") =>
      referenceAttentionFloat64(one, keys, values, { ...options, returnScores }).scores;
    close(stage("scaled"), [2, -1, 3]);
    close(stage("capped"), [2 * tanh(1), 2 * tanh(-0.5), 2 * tanh(1.5)]);
    const biased = [2 * tanh(1) + 0.5 - 0.25, -Infinity, 2 * tanh(1.5) + 1 - 0.25];
    close(stage("biased"), biased);
    const sum = exp(biased[0]!) + exp(biased[2]!);
    close(referenceAttentionFloat64(one, keys, values, options).output, [
      (10 * exp(biased[0]!) + 30 * exp(biased[2]!)) / sum,
    ]);
  });

  test("a sink takes weight and gives nothing", () => {
    const result = referenceAttentionFloat64(one, lnKeys, values, { ...all, sinks: Float32Array.of(log(4)) });
    close(result.weights, [0.1, 0.2, 0.3], 7);
    close(result.output, [14], 5);
    close(result.lse, [log(10)], 6);
  });

  test("an infinite sink takes all weight", () => {
    const result = referenceAttentionFloat64(one, lnKeys, values, { ...all, sinks: Float32Array.of(Infinity) });
    expect([...result.weights!, ...result.output]).toEqual([0, 0, 0, 0]);
    expect([...result.lse!]).toEqual([Infinity]);
  });
});

describe("who sees whom", () => {
  test.each<[string, AttentionOptions, string[]]>([
    ["everything", {}, ["xxxxx", "xxxxx", "xxxxx"]],
    ["causal: the last query on the last key", { causal: true }, ["xxx..", "xxxx.", "xxxxx"]],
    ["causal, top-left", { causal: true, queryOffset: 0 }, ["x....", "xx...", "xxx.."]],
    ["causal, before the first key", { causal: true, queryOffset: -1 }, [".....", "x....", "xx..."]],
    ["window to the left", { window: { left: 1 } }, [".xxxx", "..xxx", "...xx"]],
    ["window to the right", { window: { right: 1 } }, ["xxxx.", "xxxxx", "xxxxx"]],
    ["window", { window: { left: 1, right: 0 } }, [".xx..", "..xx.", "...xx"]],
    ["window of one", { window: { left: 0, right: 0 }, queryOffset: 0 }, ["x....", ".x...", "..x.."]],
    ["window and causal", { window: { left: 2, right: 4 }, causal: true }, ["xxx..", ".xxx.", "..xxx"]],
    ["far past the keys", { window: { left: 1 }, queryOffset: 100 }, [".....", ".....", "....."]],
    ["as far before the keys as can be", { causal: true, queryOffset: -(2 ** 52) }, [".....", ".....", "....."]],
    [
      "windows of any size, from far away",
      { window: { left: 2 ** 52, right: 0 }, queryOffset: 2 ** 52 },
      ["xxxxx", ".xxxx", "..xxx"],
    ],
    [
      "windows without end, from far away",
      { window: { left: 2 ** 53 - 1, right: 2 ** 53 - 1 }, queryOffset: -(2 ** 52) },
      ["xxxxx", "xxxxx", "xxxxx"],
    ],
    ["lengths", { keyLengths: Int32Array.of(4), queryLengths: Int32Array.of(2) }, ["xxxx.", "xxxx.", "....."]],
    [
      "lengths, causal",
      { keyLengths: Int32Array.of(4), queryLengths: Int32Array.of(2), causal: true },
      ["xxx..", "xxxx.", "....."],
    ],
    ["a mask", { mask: bool([3, 5], 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 2) }, ["x.x.x", ".....", "xx..x"]],
    ["a row for all", { mask: bool([1, 5], 0, 1, 1, 1, 1), causal: true }, [".xx..", ".xxx.", ".xxxx"]],
    ["a column for all", { mask: bool([3, 1], 1, 0, 1) }, ["xxxxx", ".....", "xxxxx"]],
    ["a bias of -Infinity", { bias: tensor([1, 5], 0, -Infinity, 0, -Infinity, 0) }, ["x.x.x", "x.x.x", "x.x.x"]],
  ])("%s", (_, options, expected) => {
    expect(visible(3, 5, options)).toEqual(expected);
  });
});

describe("rows and keys that are not there", () => {
  const [query, key, value] = [random(1, 2, 2, 4, 3), random(2, 2, 1, 5, 3), random(3, 2, 1, 5, 2)];

  test("where a row is NaN, its sink or a key, the weights of what it does not see are 0", () => {
    const rules = { ...all, causal: true, queryOffset: -1 };
    const nan = Float32Array.of(NaN, 1);
    const [sunk, biased] = [
      referenceAttention(query, key, value, { ...rules, sinks: nan }),
      referenceAttention(query, key, value, { ...rules, bias: tensor([1, 2, 1, 1], NaN, 0) }),
    ];
    for (const { output, weights } of [sunk, biased]) {
      const first = (t: Tensor) => [...t.slice(0, 0, 1).slice(1, 0, 1).toNumbers()];
      const rows = [0, 1, 2, 3].flatMap((row) => [0, 1, 2, 3, 4].map((j) => (j < row ? NaN : 0)));
      expect(first(weights)).toEqual(rows);
      expect(first(output)).toEqual([0, 0, ...Array<number>(6).fill(NaN)]);
    }
    expect(sunk.lse.toNumbers()[0]).toBeNaN(); // the sink
    expect(biased.lse.toNumbers()[0]).toBe(-Infinity);
  });

  test("a row without any key: 0, -Infinity, never NaN; with a sink, the sink", () => {
    const options = { ...all, mask: bool([4, 1], 1, 0, 1, 1), returnScores: "biased" } as const;
    const result = referenceAttention(query, key, value, options);
    expect([...result.output.slice(2, 1, 2).toNumbers()]).toEqual(Array(8).fill(0));
    expect([...result.weights.slice(2, 1, 2).toNumbers()]).toEqual(Array(20).fill(0));
    expect([...result.lse.slice(2, 1, 2).toNumbers()]).toEqual(Array(4).fill(-Infinity));
    expect([...result.scores.slice(2, 1, 2).toNumbers()]).toEqual(Array(20).fill(-Infinity));
    const withSink = referenceAttention(query, key, value, { ...options, sinks: Float32Array.of(3, -2) });
    expect([...withSink.lse.slice(2, 1, 2).toNumbers()]).toEqual([3, -2, 3, -2]);
    expect([...withSink.output.slice(2, 1, 2).toNumbers()]).toEqual(Array(8).fill(0));
  });

  test("no keys at all", () => {
    const none = Tensor.zeros([2, 1, 0, 3]);
    const result = referenceAttention(query, none, none, all);
    expect([...result.output.data]).toEqual(Array(48).fill(0));
    expect(result.weights.shape).toEqual([2, 2, 4, 0]);
    expect([...result.lse.data]).toEqual(Array(16).fill(-Infinity));
  });

  test("what is past the lengths may hold anything", () => {
    const options = {
      ...all,
      keyLengths: Int32Array.of(3, 0),
      queryLengths: Int32Array.of(4, 2),
      returnScores: "capped",
    } as const;
    const clean = referenceAttentionFloat64(query, key, value, options);
    const poison = (from: Tensor, dim: number, start: number[]) => {
      const copy = tensor([...from.shape], ...from.toNumbers());
      start.forEach((first, batch) => {
        const past = copy.slice(0, batch, batch + 1).slice(dim, first);
        for (const row of Array.from({ length: past.shape[dim]! }, (_, i) => past.slice(dim, i, i + 1))) {
          for (let head = 0; head < row.shape[1]!; head++) row.slice(1, head, head + 1).data.fill(NaN);
        }
      });
      return copy;
    };
    const dirty = referenceAttentionFloat64(
      poison(query, 2, [4, 2]),
      poison(key, 2, [3, 0]),
      poison(value, 2, [3, 0]),
      options,
    );
    expect(dirty).toEqual(clean);
    expect(clean.output.some(Number.isNaN)).toBe(false);
    expect(clean.scores!.slice(3, 5)).toEqual(Float64Array.of(0, 0));
  });

  test("a masked NaN, in key or value, reaches nobody", () => {
    const mask = bool([1, 5], 1, 1, 0, 1, 1);
    const dirty = (from: Tensor) => {
      const copy = tensor([...from.shape], ...from.toNumbers());
      for (const batch of [0, 1])
        copy
          .slice(0, batch, batch + 1)
          .slice(2, 2, 3)
          .data.fill(NaN);
      return copy;
    };
    const expected = referenceAttentionFloat64(query, key, value, { mask });
    expect(referenceAttentionFloat64(query, dirty(key), dirty(value), { mask })).toEqual(expected);
  });

  test("scores of any finite size are safe", () => {
    const large = tensor([1, 1, 1, 1], 3e38);
    const result = referenceAttentionFloat64(large, tensor([1, 1, 2, 1], 1, 2), tensor([1, 1, 2, 1], 5, 7), all);
    expect(result.output).toEqual(Float64Array.of(7));
    expect(result.lse![0]).toBeCloseTo(2 * Math.fround(3e38), -25);
  });
});

describe("the same, asked for in another way", () => {
  const [batch, heads, kvHeads, queryLength, keyLength, dim, valueDim] = [2, 4, 2, 5, 7, 3, 4];
  const query = random(1, batch, heads, queryLength, dim);
  const key = random(2, batch, kvHeads, keyLength, dim);
  const value = random(3, batch, kvHeads, keyLength, valueDim);
  const options = {
    causal: true,
    window: { left: 4 },
    softcap: 5,
    alibiSlopes: random(4, batch, heads),
    sinks: random(5, heads),
    mask: random(6, heads, queryLength, keyLength).toNumbers(),
    bias: random(7, batch, 1, 1, keyLength),
    returnLse: true as const,
  };
  const mask = bool([heads, queryLength, keyLength], ...options.mask.map((x) => Number(x > -1)));
  const full = { ...options, mask };
  const expected = referenceAttentionFloat64(query, key, value, full);

  test("bshd", () => {
    const swap = (t: Tensor) => t.transpose(1, 2).contiguous();
    const result = referenceAttention(swap(query), swap(key), swap(value), { ...full, layout: "bshd" });
    expect(result.output.shape).toEqual([batch, queryLength, heads, valueDim]);
    close(result.output.transpose(1, 2).toNumbers(), [...expected.output], 6);
    close(result.lse.toNumbers(), [...expected.lse!], 6);
  });

  test("strided views, and out with strides of its own", () => {
    const sparse = (t: Tensor) => {
      const wide = Tensor.zeros([...t.shape.slice(0, 3), 2 * t.shape[3]! + 1]);
      const view = wide.slice(3, 1, 1 + t.shape[3]!);
      t.toNumbers().forEach((x, i) => {
        const at = [1, 2, 3].reduce(
          (sum, d) => sum + (Math.floor(i / t.strides[d]!) % t.shape[d]!) * view.strides[d]!,
          0,
        );
        view.data[Math.floor(i / t.strides[0]!) * view.strides[0]! + at] = x;
      });
      return view;
    };
    const out = Tensor.zeros([valueDim, queryLength, heads, batch]).transpose(0, 3).transpose(1, 2);
    const result = referenceAttention(sparse(query), sparse(key), sparse(value), { ...full, out });
    expect(result.output).toBe(out);
    close(out.toNumbers(), [...expected.output], 6);
  });

  test("each sequence alone, by grouped heads written out", () => {
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        const pick = (t: Tensor, head: number) => t.slice(0, b, b + 1).slice(1, head, head + 1);
        const kvHead = Math.floor(h / (heads / kvHeads));
        const alone = referenceAttentionFloat64(pick(query, h), pick(key, kvHead), pick(value, kvHead), {
          ...full,
          alibiSlopes: options.alibiSlopes.slice(0, b, b + 1).slice(1, h, h + 1),
          sinks: options.sinks.slice(0, h, h + 1),
          mask: mask.slice(0, h, h + 1),
          bias: options.bias.slice(0, b, b + 1),
        });
        const from = (b * heads + h) * queryLength * valueDim;
        expect(alone.output).toEqual(expected.output.slice(from, from + queryLength * valueDim));
      }
    }
  });

  test("ragged: every sequence as it is alone, and zeros past the last", () => {
    const [queryStarts, keyStarts] = [Int32Array.of(0, 3, 3, 8), Int32Array.of(0, 4, 6, 9)];
    const [q, k, v] = [random(8, 10, heads, dim), random(9, 11, kvHeads, dim), random(10, 11, kvHeads, valueDim)];
    const bias = random(11, 3, heads, 5, 4);
    const rules = { causal: true, window: { left: 2 }, sinks: options.sinks, returnLse: true } as const;
    const ragged = { ...rules, layout: "thd", cuSeqlensQuery: queryStarts, cuSeqlensKey: keyStarts, bias } as const;
    const { output, lse } = referenceAttention(q, k, v, ragged);
    expect([output.shape, lse.shape]).toEqual([
      [10, heads, valueDim],
      [heads, 10],
    ]);
    for (let s = 0; s < 3; s++) {
      const [q0, q1, k0, k1] = [queryStarts[s]!, queryStarts[s + 1]!, keyStarts[s]!, keyStarts[s + 1]!];
      const part = (t: Tensor, from: number, to: number) =>
        t.slice(0, from, to).reshape([1, to - from, -1, t.shape[2]!]);
      if (q1 === q0) continue;
      const alone = referenceAttention(part(q, q0, q1), part(k, k0, k1), part(v, k0, k1), {
        ...rules,
        layout: "bshd",
        bias: bias
          .slice(0, s, s + 1)
          .slice(2, 0, q1 - q0)
          .slice(3, 0, k1 - k0),
      });
      expect(output.slice(0, q0, q1).toNumbers()).toEqual(alone.output.toNumbers());
      expect(lse.slice(1, q0, q1).toNumbers()).toEqual(alone.lse.toNumbers());
    }
    expect([...output.slice(0, 8).data]).toEqual(Array(2 * heads * valueDim).fill(0));
    expect([...lse.slice(1, 8).toNumbers()]).toEqual(Array(2 * heads).fill(-Infinity));
  });

  test.each(["bhsd", "bshd", "thd"] as const)("paged, %s", (layout) => {
    const pageSize = 3;
    const pageTable = Tensor.from(Int32Array.of(4, 0, 2, 1, 5, 3), [batch, 3]);
    const keyLengths = Int32Array.of(7, 5);
    const pagesOf = (t: Tensor) => {
      const pool = Tensor.zeros([6, t.shape[1]!, pageSize, t.shape[3]!]);
      for (let b = 0; b < batch; b++) {
        for (let h = 0; h < kvHeads; h++) {
          for (let j = 0; j < keyLengths[b]!; j++) {
            const page = pageTable.data[b * 3 + Math.floor(j / pageSize)]!;
            const row = (x: Tensor, i: number, k: number) =>
              x
                .slice(0, i, i + 1)
                .slice(1, h, h + 1)
                .slice(2, k, k + 1);
            row(pool, page, j % pageSize).data.set(row(t, b, j).data);
          }
        }
      }
      return layout === "bhsd" ? pool : pool.transpose(1, 2);
    };
    const rules = { causal: true, softcap: 5, sinks: options.sinks };
    const dense = referenceAttention(query, key, value, { ...rules, keyLengths });
    const swapped = query.transpose(1, 2);
    const asked =
      layout === "bhsd" ? query : layout === "bshd" ? swapped : swapped.contiguous().reshape([-1, heads, dim]);
    const cuSeqlensQuery = Int32Array.of(0, queryLength, 2 * queryLength);
    const paged = { ...rules, layout, pageTable, keyLengths, ...(layout === "thd" && { cuSeqlensQuery }) };
    const { output } = referenceAttention(asked, pagesOf(key), pagesOf(value), paged);
    const expectedOutput = layout === "bhsd" ? dense.output : dense.output.transpose(1, 2);
    expect(output.toNumbers()).toEqual(expectedOutput.toNumbers());
  });

  test.each(["float16", "bfloat16"] as const)("%s: computed on the rounded inputs, rounded once", (dtype) => {
    const [q, k, v] = [query.cast(dtype), key.cast(dtype), value.cast(dtype)];
    const { output } = referenceAttention(q, k, v, full);
    expect(output.dtype).toBe(dtype);
    const exact = referenceAttentionFloat64(q.cast("float32"), k.cast("float32"), v.cast("float32"), full).output;
    const step = dtype === "float16" ? 2 ** -11 : 2 ** -8;
    output
      .toNumbers()
      .forEach((x, i) => expect(Math.abs(x - exact[i]!)).toBeLessThanOrEqual(step * Math.abs(exact[i]!) + 1e-7));
  });
});
