// PyTorch's and flash-attn's words: the same defaults, layouts and alignments, checked against attention written out.
import { describe, expect, test } from "vitest";
import { attention, Tensor } from "../../lib/index.js";
import {
  flashAttention,
  flashAttentionVarlen,
  flashAttentionWithKvCache,
  scaledDotProductAttention,
} from "../../lib/torch.js";
import { bshd, farthest, naive, numbers, random, swapMiddle, type Score, type Values } from "./naive.js";

const tolerance = 1e-5;
const causalAt =
  (offset: number): Score =>
  (s, _b, _h, i, j) =>
    j <= i + offset ? s : -Infinity;

describe("scaledDotProductAttention", () => {
  const [q, k, v] = [random(2, 4, 5, 8), random(2, 4, 7, 8), random(2, 4, 7, 6)];

  test("defaults: scale 1 / sqrt(E), everything is seen", async () => {
    const output = await scaledDotProductAttention(q, k, v);
    expect(output.shape).toEqual([2, 4, 5, 6]);
    expect(farthest(output.data, naive(q, k, v, 8 ** -0.5).output)).toBeLessThan(tolerance);
  });

  test("isCausal begins at the top left, with fewer queries than keys and with more", async () => {
    const fewer = await scaledDotProductAttention(q, k, v, { isCausal: true, scale: 0.3 });
    expect(farthest(fewer.data, naive(q, k, v, 0.3, causalAt(0)).output)).toBeLessThan(tolerance);
    const more = await scaledDotProductAttention(k, q, q, { isCausal: true });
    expect(farthest(more.data, naive(k, q, q, 8 ** -0.5, causalAt(0)).output)).toBeLessThan(tolerance);
  });

  test("a bool attnMask lets through what is true, a float one is added; rows that see nothing are zeros", async () => {
    const bits = Uint8Array.from(numbers(2 * 5 * 7), (x, i) => (x > -0.5 && i >= 7 ? 1 : 0));
    const attnMask = { data: bits, shape: [2, 1, 5, 7], dtype: "bool" };
    const seen: Score = (s, b, _h, i, j) => (bits[(b * 5 + i) * 7 + j] === 1 ? s : -Infinity);
    const masked = await scaledDotProductAttention(q, k, v, { attnMask });
    const expected = naive(q, k, v, 8 ** -0.5, seen).output;
    expect(farthest(masked.data, expected)).toBeLessThan(tolerance);
    expect(Array.from(expected.subarray(0, 6))).toEqual([0, 0, 0, 0, 0, 0]);

    const bias = numbers(4 * 7);
    const biased = await scaledDotProductAttention(q, k, v, { attnMask: { data: bias, shape: [4, 1, 7] } });
    const plus: Score = (s, _b, h, _i, j) => s + bias[h * 7 + j]!;
    expect(farthest(biased.data, naive(q, k, v, 8 ** -0.5, plus).output)).toBeLessThan(tolerance);
  });

  test("enableGqa groups heads; without it they must be as many", async () => {
    const [few, fewValues] = [random(2, 2, 7, 8), random(2, 2, 7, 6)];
    const output = await scaledDotProductAttention(q, few, fewValues, { enableGqa: true });
    expect(farthest(output.data, naive(q, few, fewValues, 8 ** -0.5).output)).toBeLessThan(tolerance);
    await expect(scaledDotProductAttention(q, few, fewValues)).rejects.toMatchObject({
      code: "ERR_FOVEA_SHAPE",
      message: expect.stringContaining("enableGqa") as string,
    });
  });

  test("two, three and five dimensions; leading ones broadcast, in the mask too", async () => {
    const at = ({ data, shape }: Values, dims: number[]) => ({ data, shape: [...dims, ...shape.slice(2)] });
    const [one, oneKey] = [random(1, 1, 5, 8), random(1, 1, 7, 8)];
    const flat = await scaledDotProductAttention(at(one, []), at(oneKey, []), at(oneKey, []));
    expect(flat.shape).toEqual([5, 8]);
    expect(farthest(flat.data, naive(one, oneKey, oneKey, 8 ** -0.5).output)).toBeLessThan(tolerance);

    const three = await scaledDotProductAttention(at(random(1, 4, 5, 8), [4]), at(random(1, 4, 7, 8), [4]), {
      data: numbers(4 * 7 * 6),
      shape: [4, 7, 6],
    });
    expect(three.shape).toEqual([4, 5, 6]);

    // Queries [3, 2], keys [1, 2], values [3, 1], a mask [3, 1]: written out as six of a batch.
    const [queries, keys, values] = [random(6, 2, 5, 8), random(2, 2, 7, 8), random(3, 2, 7, 8)];
    const times = (from: Values, of: (n: number) => number): Values => {
      const size = from.data.length / from.shape[0];
      const parts = Array.from({ length: 6 }, (_, n) => from.data.subarray(of(n) * size, (of(n) + 1) * size));
      return {
        data: Float32Array.from(parts.flatMap((part) => [...part])),
        shape: [6, ...from.shape.slice(1)] as never,
      };
    };
    const bias = numbers(3 * 5 * 7);
    const five = await scaledDotProductAttention(at(queries, [3, 2, 2]), at(keys, [1, 2, 2]), at(values, [3, 1, 2]), {
      attnMask: { data: bias, shape: [3, 1, 1, 5, 7] },
    });
    const expected = naive(
      queries,
      times(keys, (n) => n % 2),
      times(values, (n) => Math.floor(n / 2)),
      8 ** -0.5,
      (s, b, _h, i, j) => s + bias[(Math.floor(b / 2) * 5 + i) * 7 + j]!,
    );
    expect(five.shape).toEqual([3, 2, 2, 5, 8]);
    expect(farthest(five.data, expected.output)).toBeLessThan(tolerance);
  });

  test("what cannot be is refused", async () => {
    const refused = (options: object, message: string) =>
      expect(scaledDotProductAttention(q, k, v, options)).rejects.toMatchObject({
        name: "FoveaError",
        message: expect.stringContaining(message) as string,
      });
    await refused({ dropoutP: 0.1 }, "dropoutP");
    await refused({ isCausal: true, attnMask: { data: new Float32Array(35), shape: [5, 7] } }, "not with isCausal");
    await refused({ is_causal: true }, 'did you mean "isCausal"');
    await refused({ attnMask: { data: new Float32Array(36), shape: [6, 6] } }, "attnMask");
    await refused({ attnMask: { data: new Int32Array(35), shape: [5, 7] } }, "attnMask: expected dtype");
    await refused({ isCausal: 1 }, "isCausal: expected true or false, got 1");
    for (const attnMask of [null, false, 0, ""]) await refused({ attnMask }, "attnMask: expected a Tensor");
    await refused({ enableGqa: "no" }, 'enableGqa: expected true or false, got "no"');
    await refused(Tensor.zeros([5, 7]), "options: expected an object, got Tensor");
  });

  test("16-bit tensors keep their dtype", async () => {
    const half = (x: Values) => Tensor.from(x.data, x.shape).cast("bfloat16");
    const output = await scaledDotProductAttention(half(q), half(k), half(v));
    expect(output.dtype).toBe("bfloat16");
    expect(farthest(output.toNumbers(), naive(q, k, v, 8 ** -0.5).output)).toBeLessThan(0.03);
  });
});

describe("flashAttention", () => {
  const [q, k, v] = [random(2, 4, 3, 8), random(2, 2, 7, 8), random(2, 2, 7, 8)];
  const flat = (values: Float64Array) => swapMiddle(values, [2, 4, 3, 8]);

  test("[batch, seqlen, heads, headdim]; causal and windows are at the bottom right; lse", async () => {
    const slopes = Float32Array.of(0.5, 0.25, 0.125, 0.1);
    const { output, softmaxLse } = await flashAttention(bshd(q), bshd(k), bshd(v), {
      causal: true,
      windowSize: [2, -1],
      softcap: 3,
      softmaxScale: 0.7,
      alibiSlopes: slopes,
      returnSoftmaxLse: true,
    });
    const score: Score = (s, _b, h, i, j) => {
      const p = i + 4;
      return j <= p && j >= p - 2 ? 3 * Math.tanh(s / 3) - slopes[h]! * Math.abs(p - j) : -Infinity;
    };
    const expected = naive(q, k, v, 0.7, score);
    expect(output.shape).toEqual([2, 3, 4, 8]);
    expect(farthest(output.data, flat(expected.output))).toBeLessThan(tolerance);
    expect(softmaxLse.shape).toEqual([2, 4, 3]);
    expect(farthest(softmaxLse.data, expected.lse)).toBeLessThan(tolerance);
  });

  test("a query before the first key sees nothing: zeros", async () => {
    const output = await flashAttention(bshd(k), bshd(random(2, 2, 3, 8)), bshd(random(2, 2, 3, 8)), { causal: true });
    expect(Math.max(...output.data.slice(0, 4 * 2 * 8).map(Math.abs))).toBe(0);
    expect(Math.abs(output.data[4 * 2 * 8]!)).toBeGreaterThan(0);
  });

  test("what is to be like another argument names both as flash-attn does", async () => {
    const half = (x: Values) => Tensor.from(bshd(x).data, bshd(x).shape).cast("float16");
    await expect(flashAttention(bshd(q), half(k), bshd(v))).rejects.toThrow('k: expected dtype "float32" as in q, got');
    const call = flashAttentionWithKvCache(bshd(q), bshd(k), half(v));
    await expect(call).rejects.toThrow('vCache: expected dtype "float32" as in q, got');
  });

  test("varlen: each sequence by itself, keys in blocks too", async () => {
    const lengths = [
      [3, 7],
      [1, 2],
    ] as const;
    const parts = lengths.map(([L, S]) => [random(1, 4, L, 8), random(1, 2, S, 8), random(1, 2, S, 8)] as const);
    const packed = (n: 0 | 1 | 2) => Float32Array.from(parts.flatMap((part) => [...bshd(part[n]).data]));
    const cuSeqlensQ = Int32Array.of(0, 3, 4);
    const cuSeqlensK = Int32Array.of(0, 7, 9);
    const queries = { data: packed(0), shape: [4, 4, 8] };
    const options = {
      cuSeqlensQ,
      cuSeqlensK,
      maxSeqlenQ: 3,
      maxSeqlenK: 7,
      causal: true,
      returnSoftmaxLse: true,
    } as const;
    const { output, softmaxLse } = await flashAttentionVarlen(
      queries,
      { data: packed(1), shape: [9, 2, 8] },
      { data: packed(2), shape: [9, 2, 8] },
      options,
    );
    const alone = parts.map(([q, k, v], n) => naive(q, k, v, 8 ** -0.5, causalAt(lengths[n]![1] - lengths[n]![0])));
    const rows = alone.flatMap(({ output }, n) => [...swapMiddle(output, [1, 4, lengths[n]![0], 8])]);
    expect(farthest(output.data, rows)).toBeLessThan(tolerance);
    expect(softmaxLse.shape).toEqual([4, 4]);
    expect(softmaxLse.data[3]).toBeCloseTo(alone[1]!.lse[0]!, 5);

    // The same keys in blocks of 4: 7 on blocks 2 and 0, 2 on block 1.
    const blocks = (data: Float32Array) => {
      const all = new Float32Array(3 * 4 * 16).fill(NaN);
      all.set(data.subarray(0, 4 * 16), 2 * 4 * 16);
      all.set(data.subarray(4 * 16, 7 * 16), 0);
      all.set(data.subarray(7 * 16), 1 * 4 * 16);
      return { data: all, shape: [3, 4, 2, 8] };
    };
    const paged = await flashAttentionVarlen(queries, blocks(packed(1)), blocks(packed(2)), {
      ...options,
      returnSoftmaxLse: false,
      blockTable: { data: Int32Array.of(2, 0, 1, -1), shape: [2, 2] },
    });
    expect(farthest(paged.data, rows)).toBeLessThan(tolerance);
    await expect(flashAttentionVarlen(queries, queries, queries, { ...options, maxSeqlenQ: 2 })).rejects.toThrow(
      "maxSeqlenQ: expected at least 3",
    );
  });
});

describe("flashAttentionWithKvCache", () => {
  const room = 9;
  const held = [4, 2];
  const [q, added, addedValues] = [random(2, 4, 2, 8), random(2, 2, 2, 8), random(2, 2, 2, 8)];
  const cached = [random(2, 2, room, 8), random(2, 2, room, 8)] as const;
  /** One sequence's keys once the new ones are there: [1, kvHeads, held + 2, dim]. */
  const whole = (cache: Values, fresh: Values, b: number): Values => {
    const length = held[b]! + 2;
    const data = new Float32Array(2 * length * 8);
    for (let h = 0; h < 2; h++) {
      const from = (b * 2 + h) * room * 8;
      data.set(cache.data.subarray(from, from + held[b]! * 8), h * length * 8);
      data.set(fresh.data.subarray((b * 2 + h) * 16, (b * 2 + h + 1) * 16), (h * length + held[b]!) * 8);
    }
    return { data, shape: [1, 2, length, 8] };
  };
  const queryOf = (b: number): Values => ({ data: q.data.subarray(b * 64, (b + 1) * 64), shape: [1, 4, 2, 8] });
  const expected = (fresh = added, query = queryOf) =>
    [0, 1].flatMap((b) => {
      const [keys, values] = [whole(cached[0], fresh, b), whole(cached[1], addedValues, b)];
      return [...swapMiddle(naive(query(b), keys, values, 8 ** -0.5, causalAt(held[b]!)).output, [1, 4, 2, 8])];
    });

  test("new keys go into the cache in place, then queries attend to it", async () => {
    const [kCache, vCache] = [bshd(cached[0]), bshd(cached[1])];
    const before = kCache.data.slice();
    const options = { k: bshd(added), v: bshd(addedValues), cacheSeqlens: Int32Array.from(held), causal: true };
    const output = await flashAttentionWithKvCache(bshd(q), kCache, vCache, options);
    expect(farthest(output.data, expected())).toBeLessThan(tolerance);
    const row = (b: number, i: number) => [(b * room + i) * 16, (b * room + i + 1) * 16] as const;
    for (const b of [0, 1]) {
      for (let i = 0; i < room; i++) {
        const fresh = i - held[b]!;
        const wanted =
          fresh === 0 || fresh === 1
            ? bshd(added).data.subarray((b * 2 + fresh) * 16, (b * 2 + fresh + 1) * 16)
            : before.subarray(...row(b, i));
        expect([...kCache.data.subarray(...row(b, i))]).toEqual([...wanted]);
      }
    }
  });

  test("in blocks, and by entries of a larger cache", async () => {
    const blocks = ({ data }: { data: Float32Array }) => {
      const all = new Float32Array(6 * 3 * 16).fill(NaN);
      for (const [b, pages] of [[0, [5, 1, 3]] as const, [1, [0, 2, 4]] as const]) {
        for (let j = 0; j < held[b]!; j++) {
          const from = (b * room + j) * 16;
          all.set(data.subarray(from, from + 16), (pages[Math.floor(j / 3)]! * 3 + (j % 3)) * 16);
        }
      }
      return { data: all, shape: [6, 3, 2, 8] };
    };
    const options = { k: bshd(added), v: bshd(addedValues), cacheSeqlens: Int32Array.from(held), causal: true };
    const paged = await flashAttentionWithKvCache(bshd(q), blocks(bshd(cached[0])), blocks(bshd(cached[1])), {
      ...options,
      blockTable: { data: Int32Array.of(5, 1, 3, 0, 2, 4), shape: [2, 3] },
    });
    expect(farthest(paged.data, expected())).toBeLessThan(tolerance);

    const entries = ({ data }: { data: Float32Array }) => {
      const all = new Float32Array(3 * room * 16).fill(NaN);
      all.set(data.subarray(0, room * 16), 2 * room * 16);
      all.set(data.subarray(room * 16), 0);
      return { data: all, shape: [3, room, 2, 8] };
    };
    const chosen = await flashAttentionWithKvCache(bshd(q), entries(bshd(cached[0])), entries(bshd(cached[1])), {
      ...options,
      cacheBatchIdx: Int32Array.of(2, 0),
    });
    expect(farthest(chosen.data, expected())).toBeLessThan(tolerance);
  });

  test("a cache with more entries than there are sequences: those past the batch are left alone", async () => {
    const larger = ({ data, shape }: { data: Float32Array; shape: number[] }) => {
      const all = new Float32Array(3 * room * 16).fill(NaN);
      all.set(data);
      return { data: all, shape: [3, ...shape.slice(1)] };
    };
    const [kCache, vCache] = [larger(bshd(cached[0])), larger(bshd(cached[1]))];
    const options = { k: bshd(added), v: bshd(addedValues), cacheSeqlens: Int32Array.from(held), causal: true };
    const output = await flashAttentionWithKvCache(bshd(q), kCache, vCache, options);
    expect(farthest(output.data, expected())).toBeLessThan(tolerance);
    expect([kCache, vCache].every(({ data }) => data.subarray(2 * room * 16).every(Number.isNaN))).toBe(true);

    const { data, shape } = bshd(cached[0]);
    const few = { data: data.subarray(room * 16), shape: [1, ...shape.slice(1)] };
    const call = flashAttentionWithKvCache(bshd(q), few, few, { cacheSeqlens: 3 });
    await expect(call).rejects.toThrow("kCache: expected [2, *, *, 8]");
  });

  test.each([true, false])("rotary embedding, interleaved: %s", async (interleaved) => {
    const rotaryDim = 6;
    const angle = (place: number, pair: number) => place * 10 ** (-pair / 2);
    const table = (f: (x: number) => number) => ({
      data: Float32Array.from({ length: (room * rotaryDim) / 2 }, (_, n) => f(angle(Math.floor(n / 3), n % 3))),
      shape: [room, rotaryDim / 2],
    });
    const turn = ({ data, shape }: Values, place: (b: number, i: number) => number): Values => {
      const turned = data.slice();
      const [B, H, L, D] = shape;
      for (let b = 0, at = 0; b < B; b++)
        for (let h = 0; h < H; h++)
          for (let i = 0; i < L; i++, at += D)
            for (let pair = 0; pair < 3; pair++) {
              const [x, y] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + 3];
              const a = angle(place(b, i), pair);
              turned[at + x] = data[at + x]! * Math.cos(a) - data[at + y]! * Math.sin(a);
              turned[at + y] = data[at + x]! * Math.sin(a) + data[at + y]! * Math.cos(a);
            }
      return { data: turned, shape };
    };
    const place = (b: number, i: number) => held[b]! + i;
    const output = await flashAttentionWithKvCache(bshd(q), bshd(cached[0]), bshd(cached[1]), {
      k: bshd(added),
      v: bshd(addedValues),
      cacheSeqlens: Int32Array.from(held),
      causal: true,
      rotaryCos: table(Math.cos),
      rotarySin: table(Math.sin),
      rotaryInterleaved: interleaved,
    });
    const query = (b: number) => turn(queryOf(b), (_, i) => place(b, i));
    expect(farthest(output.data, expected(turn(added, place), query))).toBeLessThan(tolerance);
  });

  test("nothing is written where anything is wrong", async () => {
    const [kCache, vCache] = [bshd(cached[0]), bshd(cached[1])];
    const before = kCache.data.slice();
    const refused = async (options: object, message: string) => {
      const good = { k: bshd(added), v: bshd(addedValues), cacheSeqlens: Int32Array.from(held) };
      await expect(
        flashAttentionWithKvCache(bshd(q), kCache, vCache, { ...good, ...options } as never),
      ).rejects.toThrow(message);
      expect([...kCache.data]).toEqual([...before]);
    };
    await refused({ cacheSeqlens: 8 }, "(cacheSeqlens + seqlenNew)[0]: expected 0 to 9, got 10");
    await refused({ cacheSeqlens: 2 ** 32 - 1 }, "cacheSeqlens: expected 0 to 9, got 4294967295");
    await refused({ cacheSeqlens: Int32Array.of(0, 2 ** 31 - 1) }, "(cacheSeqlens + seqlenNew)[1]: expected 0 to 9");
    await refused({ cacheSeqlens: undefined }, "cacheSeqlens: required");
    await refused({ k: { ...kCache, shape: [2, 2, 2, 8] } }, "k: expected memory of its own");
    const blockTable = { data: Int32Array.of(1, 0, 1, 0), shape: [2, 2] };
    await refused({ blockTable, cacheSeqlens: 3 }, "blockTable: row 3 of block 1 would be written twice");
    await refused({ v: undefined }, "expected both or neither");
    await refused({ v: bshd(random(2, 2, 3, 8)) }, "v: expected [2, 2, 2, 8]");
    await refused({ rotaryCos: bshd(added) }, "rotaryCos, rotarySin");
    await refused({ windowSize: [1] }, "windowSize");
    await refused({ rotaryInterleaved: 0 }, "rotaryInterleaved: expected true or false, got 0");
    await refused({ dropoutP: 0 }, "no option");
    await refused({ signal: AbortSignal.abort() }, "aborted");
    await refused({ device: "cuda:1000" }, 'device: "cuda:1000" cannot be used');
  });

  test("nothing is written while another call writes the query", async () => {
    const large = Tensor.random([1, 256, 8, 64], { seed: 1 });
    const query = Tensor.zeros([1, 256, 8, 64]);
    const writing = attention(large, large, large, { layout: "bshd", out: query });
    const cache = Tensor.zeros([1, 600, 8, 64]);
    const call = flashAttentionWithKvCache(query, cache, cache, { cacheSeqlens: 0, k: large, v: large });
    await expect(call).rejects.toMatchObject({ code: "ERR_FOVEA_BUSY" });
    expect(cache.data.every((x) => x === 0)).toBe(true);
    await writing;
  });

  test("a batch of more sequences than a call has arguments", async () => {
    const batch = 200_000;
    const all = { data: numbers(8), shape: [batch, 1, 1, 8], strides: [0, 8, 8, 1] };
    const output = await flashAttentionWithKvCache(all, all, all);
    expect(farthest(output.data.subarray(-8), all.data)).toBe(0);
  });

  test("a batch that is too large is refused before anything is made for each of its sequences", async () => {
    const many = { data: new Float32Array(8), shape: [2 ** 40, 1, 1, 8], strides: [0, 0, 0, 1] };
    const call = flashAttentionWithKvCache(many, many, many, { cacheSeqlens: 1 });
    await expect(call).rejects.toThrow("q: expected a batch of at most 16777216, got [1099511627776, 1, 1, 8]");
  });
});
