// PagedKVCache: sharing, bits, errors, quantised pages, rotation. (Random programs: cache-program.test.ts.)
import { afterAll, describe, expect, it } from "vitest";
import { FoveaError, PagedKVCache, setThreads, Tensor, type AttendOptions } from "../lib/index.js";
import { native } from "../lib/native.js";
import { randomNumbers } from "../lib/random.js";
import { CacheModel, relativeError, rotated, type ModelOptions } from "./support/cache-model.js";

const sizes = { layers: 1, kvHeads: 2, headDim: 16, pageSize: 16, pages: 1000 } as const;
const smallest = { layers: 1, kvHeads: 1, headDim: 1 } as const;
const slim = { ...sizes, kvHeads: 1, headDim: 8, heads: 2 } as const;

/** A prefix of 1300 tokens, three continuations, and two of the last of those. */
async function family(options: Partial<ModelOptions> = {}) {
  const model = new CacheModel({ ...slim, ...options });
  const root = model.create();
  await model.append([root], [1300]);
  const children = [model.fork(root), model.fork(root), model.fork(root)];
  await model.append([root, ...children], [5, 1, 30, 300]);
  const grandchildren = [model.fork(children[2]!), model.fork(children[2]!)];
  await model.append(grandchildren, [1, 9]);
  return { model, all: [root, ...children, ...grandchildren] };
}

const waysToAttend: Record<string, Omit<AttendOptions, "layer">> = {
  plainly: {},
  "with a window": { window: { left: 700 } },
  "with a window that ends in the prefix": { window: { left: 100 } },
  "with ALiBi": { alibiSlopes: Float32Array.of(0.01, 0.005) },
  "with softcap and sinks": { softcap: 2, sinks: Float32Array.of(1, -1) },
  "both ways": { causal: false },
};

describe("shared prefixes", () => {
  // Of the chunks 30, 70 and 9 queries, 218 rows, are the tiled kernel's on a CPU: their last panel is narrow, where alone 9 have
  // a wide one.
  const counts = { decoding: [1, 1, 1, 1, 1, 1], "a few queries": [3, 1, 2, 1, 3, 1], chunks: [5, 1, 30, 70, 1, 9] };

  for (const dtype of ["float32", "float16", "bfloat16", "int8"] as const) {
    it(`give the same bits alone and together, by any number of threads: ${dtype}`, async () => {
      const { model, all } = await family({ dtype });
      for (const [name, options] of Object.entries(waysToAttend)) {
        for (const [kind, queries] of Object.entries(counts)) {
          const query = model.queries(queries);
          setThreads(2);
          const together = await model.attend(all, queries, query, 0, options);
          setThreads(1);
          const rowsOf = (i: number) => queries.slice(0, i).reduce((sum, count) => sum + count, 0);
          const rows = rowsOf(all.length);
          for (let i = 0; i < all.length; i++) {
            const [from, to] = [rowsOf(i), rowsOf(i + 1)];
            const alone = await model.attend([all[i]!], [queries[i]!], query.slice(from * 16, to * 16), 0, options);
            expect(alone.output, `${name}, ${kind}, output ${i}`).toEqual(together.output.slice(from * 16, to * 16));
            const lse = [0, 1].flatMap((head) => Array.from(together.lse.slice(head * rows + from, head * rows + to)));
            expect([...alone.lse], `${name}, ${kind}, lse ${i}`).toEqual(lse);
          }
          if (dtype !== "float32") continue;
          const expected = model.expected(all, queries, query, 0, options);
          expect(relativeError(together.output, expected.output)).toBeLessThan(2e-6);
        }
      }
      model.cache.dispose();
    });
  }

  afterAll(() => setThreads(native().cpu().cores));

  // With one thread a task of decode has all these heads: of splits of a shared prefix (if it has up to 8 rows), of what each
  // sequence has for itself, and in int8 with scales of each head. With many threads it has one head, or a few.
  it.each(["float32", "int8"] as const)("give the same bits with a task for several heads: %s", async (dtype) => {
    const { model, all } = await family({ kvHeads: 8, headDim: 32, valueDim: 64, heads: 16, dtype });
    for (const some of [all, all.slice(0, 3)]) {
      const each = some.map(() => 1);
      const query = model.queries(each);
      const sequences = some.map(({ sequence }) => sequence);
      const tasks = (count: number) => {
        setThreads(count);
        return model.cache.explain({ shape: [some.length, 16, 32], dtype: "float32" }, sequences, { layer: 0 }).tasks;
      };
      expect(tasks(1)).toBeLessThan(tasks(64));
      for (const options of [{}, { window: { left: 700 } }, { softcap: 2 }]) {
        const attend = (count: number) => {
          setThreads(count);
          return model.attend(some, each, query, 0, options);
        };
        const [several, one] = [await attend(1), await attend(64)];
        expect(several.output).toEqual(one.output);
        expect(several.lse).toEqual(one.lse);
        const expected = model.expected(some, each, query, 0, options);
        expect(relativeError(several.output, expected.output)).toBeLessThan(dtype === "int8" ? 1.5e-2 : 2e-6);
      }
    }
    model.cache.dispose();
  });

  // A segment is whole pages: of 3 tokens 129, of 5 130, where the kernels' tiles of keys have 4.
  it.each([1, 3, 5])("end within a tile of keys: pages of %d tokens", async (pageSize) => {
    const model = new CacheModel({ ...slim, pageSize });
    const root = model.create();
    await model.append([root], [145]);
    const all = [root, model.fork(root)];
    for (const [name, options] of Object.entries(waysToAttend)) {
      for (const queries of [
        [1, 2],
        [100, 20],
      ]) {
        const query = model.queries(queries);
        const actual = await model.attend(all, queries, query, 0, options);
        const { output } = model.expected(all, queries, query, 0, options);
        expect(relativeError(actual.output, output), `${name}, ${queries.join(" and ")} queries`).toBeLessThan(2e-6);
      }
    }
  });

  it("are attended once, and the plan says so", async () => {
    const { model, all } = await family();
    const query = { shape: [6, 2, 8], dtype: "float32" } as const;
    const list = all.map(({ sequence }) => sequence);
    const plan = (options: Omit<AttendOptions, "layer"> = {}) =>
      model.cache.explain(query, list, { layer: 0, ...options });
    // All six share the first 1280 tokens, and the last three 256 more: whole pages, and at least 128 tokens.
    expect(plan()).toMatchObject({ sharedSegments: 2, sharedKeys: 1280 + 256, kernel: "cpu.decode" });
    const { bytes } = plan();
    const alone = list.reduce((sum, sequence) => {
      const one = model.cache.explain({ ...query, shape: [1, 2, 8] }, [sequence], { layer: 0 });
      expect(one).toMatchObject({ sharedSegments: 0, sharedKeys: 0 });
      return sum + one.bytes;
    }, 0);
    expect(alone - bytes).toBe((5 * 1280 + 2 * 256) * 2 * 8 * 4);
    // A window that cuts a segment makes it every sequence's own.
    expect(plan({ window: { left: 400 } })).toMatchObject({ sharedSegments: 1, sharedKeys: 256 });
    expect(plan({ window: { left: 10 } })).toMatchObject({ sharedSegments: 0 });
    expect(plan({ alibiSlopes: new Float32Array(2) })).toMatchObject({ sharedSegments: 2 });
  });

  it("are held once, and copied when a sequence that shares a page appends to it", async () => {
    const model = new CacheModel({ ...sizes, heads: 2, pages: 12 });
    const root = model.create();
    await model.append([root], [40]); // two pages and a half
    const child = model.fork(root);
    model.check();
    expect(model.cache.statistics).toMatchObject({ usedPages: 3, sharedPages: 3 });
    await model.append([root, child], [1, 1]); // one of them copies, and the other has the page for itself then
    expect(model.cache.statistics).toMatchObject({ usedPages: 4, sharedPages: 2 });
    model.check();
    model.truncate(child, 20);
    expect(model.cache.statistics).toMatchObject({ usedPages: 3, sharedPages: 2 });
    await model.append([child], [1]);
    expect(model.cache.statistics).toMatchObject({ usedPages: 4, sharedPages: 1 });
    const query = model.queries([2, 2]);
    const actual = await model.attend([root, child], [2, 2], query, 0);
    expect(relativeError(actual.output, model.expected([root, child], [2, 2], query, 0).output)).toBeLessThan(2e-6);
    model.free(root);
    expect(model.cache.statistics).toMatchObject({ sequences: 1, usedPages: 2, sharedPages: 0, freePages: 10 });
  });
});

it("touches no memory when it is made, however many pages it has, and so is made at once", () => {
  const makings = [1, 2, 3].map(() => {
    const before = process.memoryUsage.rss();
    const cache = new PagedKVCache({ ...smallest, pageSize: 1, pages: 20_000_000, dtype: "int8" });
    return { cache, grown: process.memoryUsage.rss() - before };
  });
  for (const { cache } of makings) cache.dispose();
  // A number for each page would be 80 MB. The least of three: other tests may run in this process.
  expect(Math.min(...makings.map(({ grown }) => grown))).toBeLessThan(40e6);
});

describe("running out of pages", () => {
  it("changes nothing, wherever it happens", async () => {
    for (let pages = 1; pages <= 7; pages++) {
      const model = new CacheModel({ ...sizes, heads: 2, pages, layers: 2 });
      const [a, b] = [model.create(), model.create()];
      let done = true;
      for (const counts of [
        [17, 3],
        [1, 0],
        [20, 20],
        [16, 1],
      ])
        done = (await model.append([a, b], counts)) && done;
      model.check();
      expect(done).toBe(pages >= 6);
      if (a.tokens.length > 0) {
        const query = model.queries([1]);
        const actual = await model.attend([a], [1], query, 1);
        expect(relativeError(actual.output, model.expected([a], [1], query, 1).output)).toBeLessThan(2e-6);
      }
    }
  });

  it("says how many are missing", async () => {
    const cache = new PagedKVCache({ ...sizes, pages: 2 });
    const tokens = Tensor.zeros([40, 2, 16]);
    expect(() => cache.appendSync([cache.create()], 0, tokens, tokens)).toThrow(
      "append: expected at least 3 free pages for these tokens, got 2; free or truncate sequences first",
    );
  });
});

describe("layers", () => {
  it("see a step's tokens as soon as they have them; lengths advance after the last", async () => {
    const cache = new PagedKVCache({ ...sizes, layers: 2, pages: 4 });
    const sequence = cache.create();
    const tokens = Tensor.random([3, 2, 16], { seed: 1 });
    cache.appendSync([sequence], 0, tokens, tokens);
    expect(sequence.length).toBe(0);
    const attend = (layer: number) => cache.attendSync(tokens, [sequence], { layer });
    expect(attend(0).output.shape).toEqual([3, 2, 16]);
    expect(() => attend(1)).toThrow(
      "cuSeqlens: expected at most 0 queries for sequences[0], which has 0 tokens in layer 1, got 3; append theirs first",
    );
    expect(() => sequence.fork()).toThrow("fork: layers from 1 on lack the last tokens");
    cache.appendSync([sequence], 1, tokens, tokens);
    expect(sequence.length).toBe(3);
    expect(attend(1).output.toNumbers()).toEqual(attend(0).output.toNumbers());
  });

  it("need not be told of a sequence that gets no tokens", () => {
    const cache = new PagedKVCache({ ...sizes, layers: 2, pages: 4 });
    const [some, none] = [cache.create(), cache.create()];
    const tokens = Tensor.random([3, 2, 16], { seed: 1 });
    cache.appendSync([some, none], 0, tokens, tokens, { cuSeqlens: Int32Array.of(0, 3, 3) });
    expect(none.fork().length).toBe(0); // it is in no step
    cache.appendSync([some], 1, tokens, tokens);
    cache.appendSync([none, some], 0, tokens, tokens, { cuSeqlens: Int32Array.of(0, 0, 3) });
    cache.appendSync([none, some], 1, tokens, tokens, { cuSeqlens: Int32Array.of(0, 0, 3) });
    expect([some.length, none.length]).toEqual([6, 0]);
    cache.appendSync([some], 0, tokens, tokens);
    const empty = Tensor.zeros([0, 2, 16]);
    expect(() => cache.appendSync([some], 0, empty, empty)).toThrow("layer: expected 1, the next one of sequences[0]");
    expect(() => cache.appendSync([some], 1, empty, empty)).toThrow("cuSeqlens: expected 3 tokens for sequences[0]");
  });

  it("can be abandoned half way", async () => {
    const cache = new PagedKVCache({ ...sizes, layers: 2, pages: 4 });
    const sequence = cache.create();
    const tokens = Tensor.random([20, 2, 16], { seed: 1 });
    for (const layer of [0, 1]) cache.appendSync([sequence], layer, tokens, tokens);
    cache.appendSync([sequence], 0, tokens, tokens);
    expect(cache.statistics.usedPages).toBe(3);
    sequence.truncate(20);
    expect(cache.statistics.usedPages).toBe(2);
    for (const layer of [0, 1]) cache.appendSync([sequence], layer, tokens, tokens);
    expect(sequence.length).toBe(40);
  });
});

describe("unsettled calls", () => {
  const tokens = Tensor.random([60_000, 2, 16], { seed: 2 });
  const make = () => {
    const cache = new PagedKVCache({ ...sizes, pages: 8000 });
    return { cache, sequence: cache.create() };
  };
  const busy = expect.objectContaining({ code: "ERR_FOVEA_BUSY" }) as FoveaError;

  it("keep what they use from being changed", async () => {
    const { cache, sequence } = make();
    const appending = cache.append([sequence], 0, tokens, tokens);
    expect(() => sequence.truncate(0)).toThrow(busy);
    expect(() => sequence.fork()).toThrow(busy);
    await expect(cache.attend(tokens, [sequence], { layer: 0 })).rejects.toEqual(busy);
    await expect(cache.append([sequence], 0, tokens, tokens)).rejects.toEqual(busy);
    await appending;
    const query = tokens.slice(0, 0, 1);
    const attending = cache.attend(query, [sequence], { layer: 0 });
    expect(() => sequence.truncate(0)).toThrow(busy);
    await expect(cache.append([sequence], 0, tokens, tokens)).rejects.toEqual(busy);
    const [{ output }, { output: again }] = [
      await attending,
      await cache.attend(query, [sequence.fork()], { layer: 0 }),
    ];
    expect(relativeError(again.toNumbers(), output.toNumbers())).toBeLessThan(1e-6);
    sequence.truncate(0);
  });

  it("keep the pages of a sequence that is freed until they have settled", async () => {
    const { cache, sequence } = make();
    await cache.append([sequence], 0, tokens, tokens);
    const query = tokens.slice(0, 0, 1);
    const expected = cache.attendSync(query, [sequence], { layer: 0 }).output.toNumbers();
    const attending = cache.attend(query, [sequence], { layer: 0 });
    sequence.free();
    expect(cache.statistics.usedPages).toBe(3750);
    expect((await attending).output.toNumbers()).toEqual(expected);
    expect(cache.statistics).toMatchObject({ usedPages: 0, sequences: 0 });
  });

  it("hold everything that they use while they rotate a large query", async () => {
    const { cache, sequence } = make();
    const rope = { theta: 10_000 };
    const query = tokens.slice(0, 0, 2000);
    await cache.append([sequence], 0, query, query, { rope });
    const expected = cache.attendSync(query, [sequence], { layer: 0, rope }).output.toNumbers();
    const out = Tensor.zeros([2000, 2, 16]);
    const view = out.slice(0, 0, 2000);
    const attending = cache.attend(query, [sequence], { layer: 0, rope, out });
    out.dispose();
    await expect(cache.attend(query, [sequence], { layer: 0, out: view })).rejects.toEqual(busy);
    await attending;
    expect(view.toNumbers()).toEqual(expected);
  });

  it("have the signal that they were given, whatever becomes of the options meanwhile", async () => {
    const { cache, sequence } = make();
    const query = tokens.slice(0, 0, 2000);
    await cache.append([sequence], 0, query, query);
    const later = new AbortController();
    const options: { layer: number; rope: { theta: number }; signal?: AbortSignal } = {
      layer: 0,
      rope: { theta: 1e4 },
    };
    const attending = cache.attend(query, [sequence], options);
    options.signal = later.signal;
    later.abort();
    await expect(attending).resolves.toMatchObject({ output: { shape: [2000, 2, 16] } });
    const aborting = new AbortController();
    const aborted = cache.attend(query, [sequence], Object.assign(options, { signal: aborting.signal }));
    delete options.signal;
    aborting.abort();
    await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
  });

  it("and rotate no query that another call still writes, nor one into itself", async () => {
    const { cache, sequence } = make();
    await cache.append([sequence], 0, tokens, tokens);
    const rope = { theta: 10_000 };
    const written = Tensor.zeros([1, 2, 16]);
    const attending = cache.attend(tokens.slice(0, 0, 1), [sequence], { layer: 0, out: written });
    await expect(cache.attend(written, [sequence], { layer: 0, rope })).rejects.toEqual(busy);
    await attending;
    expect(() => cache.attendSync(written, [sequence], { layer: 0, rope, out: written })).toThrow(
      "out: expected memory of its own, but it shares some with query",
    );
  });

  it("settle when they are aborted and when the cache is disposed", async () => {
    const { cache, sequence } = make();
    await cache.append([sequence], 0, tokens, tokens);
    const signal = AbortSignal.abort();
    await expect(cache.attend(tokens, [sequence], { layer: 0, signal })).rejects.toMatchObject({ name: "AbortError" });
    const attending = cache.attend(tokens.slice(0, 0, 1), [sequence], { layer: 0 });
    cache.dispose();
    expect((await attending).output.shape).toEqual([1, 2, 16]);
    expect(() => sequence.fork()).toThrow("sequence: its cache was disposed");
    sequence.free();
  });
});

describe("int8 pages", () => {
  /** What a cache makes of vectors of values: a sequence of one token attends to nothing else. */
  function throughCache(vectors: Float32Array, dim: number): Float64Array {
    const count = vectors.length / dim;
    const cache = new PagedKVCache({ layers: 1, kvHeads: 1, headDim: dim, pageSize: 1, pages: count, dtype: "int8" });
    const sequences = Array.from({ length: count }, () => cache.create());
    const tensor = Tensor.from(vectors, [count, 1, dim]);
    cache.appendSync(sequences, 0, tensor, tensor);
    return cache.attendSync(Tensor.zeros([count, 1, dim]), sequences, { layer: 0 }).output.toNumbers();
  }

  it("have a relative RMS error of at most 1.5e-2 on N(0, 1), for values", () => {
    for (const dim of [8, 64, 128, 512]) {
      const vectors = Float32Array.from(randomNumbers(dim * 256, dim, "normal"));
      expect(relativeError(throughCache(vectors, dim), vectors)).toBeLessThan(dim === 512 ? 1e-2 : 8e-3);
    }
  });

  it("and for keys", () => {
    // Heads as many as dimensions, each with a unit vector for its query: the lse of one token is an element of its key.
    const dim = 64;
    const cache = new PagedKVCache({ layers: 1, kvHeads: 1, headDim: dim, pages: 4, pageSize: 1, dtype: "int8" });
    const keys = Float32Array.from(randomNumbers(4 * dim, 5, "normal"));
    expect(relativeError(elementsOfKeys(cache, keys), keys)).toBeLessThan(8e-3);
  });

  it("lose the small elements beside an outlier, as documented", () => {
    const dim = 64;
    const vectors = Float32Array.from(randomNumbers(dim * 256, 3, "normal"));
    for (let i = 0; i < vectors.length; i += dim) vectors[i] = 30;
    const small = (all: ArrayLike<number>) => Array.from(all).filter((_, i) => i % dim !== 0);
    const error = relativeError(small(throughCache(vectors, dim)), small(vectors));
    expect(error).toBeGreaterThan(0.05);
    expect(error).toBeLessThan(0.08);
  });

  it("hold zeros, extremes and what is not finite", () => {
    const vectors = Float32Array.of(0, 0, 3e38, -3e38, 1e-40, 0, NaN, 1, Infinity, 1, 127, -63.5);
    const got = throughCache(vectors, 2);
    expect(Array.from(got.slice(0, 2))).toEqual([0, 0]);
    expect(relativeError(got.slice(2, 4), [3e38, -3e38])).toBeLessThan(1e-6);
    expect(Array.from(got.slice(4, 6))).toEqual([0, 0]);
    expect(Array.from(got.slice(6, 10))).toEqual([NaN, NaN, NaN, NaN]);
    expect(Array.from(got.slice(10))).toEqual([127, -64]); // ties go to the even one
  });
});

/** The elements of cached keys, [tokens, headDim] of one kv head, each token a sequence. */
function elementsOfKeys(cache: PagedKVCache, keys: Float32Array, options = {}): Float64Array {
  const dim = cache.headDim;
  const count = keys.length / dim;
  const sequences = Array.from({ length: count }, () => cache.create());
  const tensor = Tensor.from(keys, [count, 1, dim]);
  cache.appendSync(sequences, 0, tensor, tensor, options);
  const units = Float32Array.from({ length: count * dim * dim }, (_, i) =>
    i % dim === Math.floor(i / dim) % dim ? 1 : 0,
  );
  const query = Tensor.from(units, [count, dim, dim]);
  const { lse } = cache.attendSync(query, sequences, { layer: 0, scale: 1, returnLse: true });
  return lse.transpose(0, 1).contiguous().toNumbers();
}

describe("rotation", () => {
  const dim = 16;
  const make = () => new PagedKVCache({ layers: 1, kvHeads: 1, headDim: dim, pages: 64, pageSize: 1 });

  it("has the angles of float64, up to positions of a million", () => {
    const positions = Int32Array.of(0, 1, 2, 1000, 65_537, 524_287, 999_999, 1_000_000);
    const keys = Float32Array.from(randomNumbers(positions.length * dim, 7, "normal"));
    for (const rope of [
      { theta: 10_000 },
      { theta: 500_000, interleaved: true, dim: 10 },
      { frequencies: [1, 0.3, 1e-5] },
      { frequencies: Float64Array.of(1, 0.5, 0.25, 0.125, 1, 1, 1, 3), interleaved: true },
    ]) {
      const got = elementsOfKeys(make(), keys, { rope: { ...rope, positions } });
      positions.forEach((position, i) => {
        const expected = rotated(keys.slice(i * dim, (i + 1) * dim), dim, position, rope);
        got.slice(i * dim, (i + 1) * dim).forEach((x, j) => expect(Math.abs(x - expected[j]!)).toBeLessThan(2e-6));
      });
    }
  });

  it("of queries agrees with that of keys, and numbers tokens from 0 on", () => {
    const [a, b] = [Tensor.random([4, 1, dim], { seed: 1 }), Tensor.random([4, 3, dim], { seed: 2 })];
    const lse = (positions: Int32Array | undefined) => {
      const cache = make();
      const sequence = cache.create();
      const rope = { theta: 10_000, positions };
      cache.appendSync([sequence], 0, a, a, { rope });
      return cache.attendSync(b, [sequence], { layer: 0, rope, returnLse: true }).lse.toNumbers();
    };
    const near = lse(Int32Array.of(0, 1, 2, 3));
    expect(lse(undefined)).toEqual(near);
    const far = lse(Int32Array.of(1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3));
    near.forEach((x, i) => expect(Math.abs(x - far[i]!)).toBeLessThan(2e-6));
    expect(lse(Int32Array.of(0, 2, 4, 6))).not.toEqual(near);
  });
});

describe("wrong calls", () => {
  const cache = new PagedKVCache({ ...sizes, layers: 2 });
  const other = new PagedKVCache({ ...sizes });
  const sequence = cache.create();
  const freed = cache.create();
  freed.free();
  const tokens = Tensor.zeros([2, 2, 16]);
  const bad = (value: unknown) => value as never;
  const append = (options: object = {}, sequences: unknown = [sequence], layer: unknown = 0, key: unknown = tokens) =>
    cache.appendSync(bad(sequences), bad(layer), bad(key), tokens, bad(options));
  const attend = (options: object = {}, query: unknown = tokens, sequences: unknown = [sequence]) =>
    cache.attendSync(bad(query), bad(sequences), { layer: 0, ...options });

  const cases: [string, () => unknown, string, string][] = [
    [
      "no layers",
      () => new PagedKVCache({ ...sizes, layers: 0 }),
      "OPTION",
      "layers: expected an integer from 1 to 65536, got 0",
    ],
    [
      "headDim",
      () => new PagedKVCache({ ...sizes, headDim: 513 }),
      "OPTION",
      "headDim: expected an integer from 1 to 512, got 513",
    ],
    [
      "too many tokens",
      () => new PagedKVCache({ ...sizes, pages: 2 ** 28 }),
      "OPTION",
      "pages: expected at most 134217727 of 16 tokens, got 268435456",
    ],
    [
      "dtype",
      () => new PagedKVCache({ ...sizes, dtype: bad("int4") }),
      "DTYPE",
      'dtype: expected "float32" or "float16" or "bfloat16" or "int8", got "int4"',
    ],
    [
      "an unknown size",
      () => new PagedKVCache({ ...sizes, heads: 2 } as never),
      "OPTION",
      'options: there is no option "heads" (did you mean "kvHeads"?)',
    ],
    ["no array", () => append({}, sequence), "ARGUMENT", "sequences: expected an array of CacheSequences"],
    [
      "too many sequences",
      () => append({}, new Array(2 ** 24 + 1)),
      "SHAPE",
      "sequences: expected at most 16777216, got 16777217",
    ],
    ["no sequence", () => append({}, [1]), "ARGUMENT", "sequences[0]: expected a CacheSequence, got 1"],
    [
      "another cache's",
      () => append({}, [other.create()]),
      "ARGUMENT",
      "sequences[0]: expected a sequence of this cache, got one of another",
    ],
    [
      "a sequence twice",
      () => append({}, [sequence, sequence]),
      "ARGUMENT",
      "sequences[1]: expected each sequence once, got sequences[0] again",
    ],
    ["a gap", () => append({}, new Array(1)), "ARGUMENT", "sequences[0]: expected a CacheSequence, got undefined"],
    [
      "tokens of nobody",
      () => append({}, []),
      "OPTION",
      "cuSeqlens: required, as 2 tokens are not the same number for each of 0 sequences",
    ],
    [
      "queries of nobody",
      () => attend({}, tokens, []),
      "OPTION",
      "cuSeqlens: required, as 2 tokens are not the same number for each of 0 sequences",
    ],
    ["a freed one", () => append({}, [freed]), "DISPOSED", "sequences[0]: the sequence was freed"],
    [
      "layers out of order",
      () => append({}, [sequence], 1),
      "OPTION",
      "layer: expected 0, the next one of sequences[0], got 1",
    ],
    ["no such layer", () => append({}, [sequence], 2), "OPTION", "layer: expected an integer from 0 to 1, got 2"],
    [
      "key heads",
      () => append({}, [sequence], 0, Tensor.zeros([2, 3, 16])),
      "SHAPE",
      "key: expected [*, 2, 16] (tokens, kvHeads, headDim), got [2, 3, 16]",
    ],
    [
      "value tokens",
      () => append({}, [sequence], 0, Tensor.zeros([1, 2, 16])),
      "SHAPE",
      "value: expected [1, 2, 16] (tokens, kvHeads, valueDim), got [2, 2, 16]",
    ],
    [
      "key dtype",
      () => append({}, [sequence], 0, Tensor.zeros([2, 2, 16], { dtype: "int32" })),
      "DTYPE",
      'key: expected dtype "float32", "float16" or "bfloat16", got "int32"',
    ],
    [
      "uneven tokens",
      () => append({}, [sequence, cache.create(), cache.create()]),
      "OPTION",
      "cuSeqlens: required, as 2 tokens are not the same number for each of 3 sequences",
    ],
    [
      "starts too few",
      () => append({ cuSeqlens: Int32Array.of(0) }),
      "SHAPE",
      "cuSeqlens: expected [2] (sequences + 1), got [1]",
    ],
    [
      "starts decreasing",
      () => append({ cuSeqlens: Int32Array.of(0, 2, 1) }, [sequence, cache.create()]),
      "BOUNDS",
      "cuSeqlens[2]: expected 2 to 2, got 1",
    ],
    [
      "tokens left over",
      () => append({ cuSeqlens: Int32Array.of(0, 1) }),
      "BOUNDS",
      "cuSeqlens[1]: expected 2 (tokens there are), got 1",
    ],
    [
      "an unknown option",
      () => append({ cuSeqLens: 1 }),
      "OPTION",
      'options: there is no option "cuSeqLens" (did you mean "cuSeqlens"?)',
    ],
    [
      "rope without angles",
      () => append({ rope: {} }),
      "OPTION",
      "rope: expected either theta or frequencies, got neither",
    ],
    [
      "rope.dim",
      () => append({ rope: { theta: 1, dim: 18 } }),
      "OPTION",
      "rope.dim: expected an even number from 2 to 16 (headDim), got 18",
    ],
    [
      "no rope.frequencies",
      () => append({ rope: { frequencies: null } }),
      "OPTION",
      "rope.frequencies: expected an array, Float32Array or Float64Array, got null",
    ],
    [
      "a gap in rope.frequencies",
      () => append({ rope: { frequencies: new Array(2) } }),
      "OPTION",
      "rope.frequencies[0]: expected a finite number, got undefined",
    ],
    [
      "rope.positions",
      () => append({ rope: { theta: 1, positions: Int32Array.of(1) } }),
      "SHAPE",
      "rope.positions: expected [2] (tokens), got [1]",
    ],
    ["rope.theta", () => append({ rope: { theta: -1 } }), "OPTION", "rope.theta: expected a number > 0, got -1"],
    [
      "rope.frequencies",
      () => append({ rope: { frequencies: [NaN] } }),
      "OPTION",
      "rope.frequencies[0]: expected a finite number, got NaN",
    ],
    [
      "query heads",
      () => attend({}, Tensor.zeros([1, 3, 16])),
      "SHAPE",
      "query: expected [*, multiple of 2, 16] (tokens, heads, headDim), got [1, 3, 16]",
    ],
    [
      "query dims",
      () => attend({}, Tensor.zeros([1, 4, 8])),
      "SHAPE",
      "query: expected [*, *, 16] (tokens, heads, headDim), got [1, 4, 8]",
    ],
    ["a mask", () => attend({ mask: tokens }), "OPTION", 'options: there is no option "mask"'],
    ["causal", () => attend({ causal: 1 }), "OPTION", "causal: expected true or false, got 1"],
    [
      "truncate",
      () => sequence.truncate(1),
      "BOUNDS",
      "length: expected an integer from 0 to 0 (tokens there are), got 1",
    ],
    [
      "slopes",
      () => attend({ alibiSlopes: Float32Array.of(1) }, Tensor.zeros([0, 2, 16])),
      "SHAPE",
      "alibiSlopes: expected [2] (heads) or [1, 2] (batch, heads), got [1]",
    ],
  ];
  it.each(cases)("%s", (_, call, code, message) => {
    let error: unknown;
    try {
      call();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(FoveaError);
    expect(error).toMatchObject({ code: `ERR_FOVEA_${code}` });
    expect((error as FoveaError).message).toContain(message);
    expect(cache.statistics.usedPages).toBe(0);
  });
});
