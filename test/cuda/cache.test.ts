// A cache whose pages are on a GPU.
import { describe, expect, it } from "vitest";
import type { StoredDType } from "../../lib/dtype.js";
import { devices, PagedKVCache, synchronize, Tensor } from "../../lib/index.js";
import { CacheModel, relativeError, type ModelOptions } from "../support/cache-model.js";
import { simulate } from "../support/simulator.js";

const sizes = { layers: 2, heads: 4, kvHeads: 2, headDim: 16, pageSize: 4, pages: 40, device: "cuda" } as const;
const simulated = devices().some((info) => info.available && info.device !== "cpu" && info.name.includes("simulator"));
const bounds = { float32: 1e-5, float16: 2e-3, bfloat16: 1.5e-2, int8: 2e-2 } as const;

/** Attends with the last tokens of all sequences, in each layer. */
async function check(model: CacheModel, dtype: StoredDType, options = {}) {
  const counts = model.sequences.map(({ tokens }, i) => Math.min(tokens.length, 1 + 2 * i));
  const queries = model.queries(counts);
  for (let layer = 0; layer < model.cache.layers; layer++) {
    const actual = await model.attend(model.sequences, counts, queries, layer, options, layer === 1);
    const expected = model.expected(model.sequences, counts, queries, layer, options);
    expect(relativeError(actual.output, expected.output)).toBeLessThan(bounds[dtype]);
  }
  model.check();
}

describe.each(["float32", "float16", "bfloat16", "int8"] as const)("%s", (dtype) => {
  const queryDtype = dtype === "int8" ? "float16" : dtype;
  const make = (more: Partial<ModelOptions> = {}) => new CacheModel({ ...sizes, dtype, queryDtype, ...more });

  it("appends, forks, copies on write, truncates and frees as on the processor", async () => {
    const model = make({ valueDim: 12, input: dtype === "float16" ? "float32" : "float16" });
    const root = model.create();
    await model.append([root], [9]);
    const child = model.fork(root);
    await model.append([root, child, model.create()], [1, 5, 7], true);
    await check(model, dtype);
    model.truncate(child, 3);
    await model.append([child], [2]);
    await check(model, dtype, { window: { left: 3 }, softcap: 5 });
    model.free(root);
    await check(model, dtype, { alibiSlopes: Float32Array.of(0.5, 0.25, 0.1, 0) });
    expect(await model.append([child], [200])).toBe(false);
    model.cache.dispose();
  });

  it("rotates keys and queries", async () => {
    for (const rope of [{ theta: 1e4 }, { frequencies: [1, 0.1, 0.01], interleaved: true }]) {
      const model = make({ rope });
      await model.append([model.create(), model.create()], [5, 11]);
      await check(model, dtype);
      model.cache.dispose();
    }
  });
});

describe("shared prefixes", () => {
  const slim = { ...sizes, layers: 1, pageSize: 16, pages: 80 } as const;

  /** 256 tokens that all share and 128 more that the last two do, in whole pages of at least 128 tokens; and their own. */
  async function family(dtype: "float32" | "bfloat16" | "int8") {
    const model = new CacheModel({ ...slim, dtype, queryDtype: dtype === "int8" ? "float16" : dtype });
    const root = model.create();
    await model.append([root], [270]);
    const child = model.fork(root);
    await model.append([root, child], [1, 125]);
    const grandchild = model.fork(child);
    await model.append([grandchild], [3]);
    return { model, all: [root, child, grandchild] };
  }

  it.each(["float32", "bfloat16", "int8"] as const)("give the same bits alone and together: %s", async (dtype) => {
    const { model, all } = await family(dtype);
    for (const [queries, options] of [
      [[1, 2, 1], {}],
      [[1, 1, 20], { window: { left: 300 } }],
      [[9, 12, 30], { alibiSlopes: Float32Array.of(0.01, 0.02, 0.1, 0), sinks: Float32Array.of(1, -1, 0, 2) }],
    ] as const) {
      const query = model.queries(queries);
      const together = await model.attend(all, queries, query, 0, options);
      const expected = model.expected(all, queries, query, 0, options);
      expect(relativeError(together.output, expected.output)).toBeLessThan(bounds[dtype]);
      const tokens = queries.reduce((sum, count) => sum + count, 0);
      let from = 0;
      for (const [i, count] of queries.entries()) {
        const rows = [from, (from += count)] as const;
        const elements = (size: number) => rows.map((row) => row * 4 * size) as [number, number];
        const alone = await model.attend([all[i]!], [count], query.slice(...elements(16)), 0, options);
        expect(alone.output).toEqual(together.output.slice(...elements(16)));
        const lse = [0, 1, 2, 3].flatMap((head) =>
          Array.from(together.lse.slice(head * tokens + rows[0], head * tokens + rows[1])),
        );
        expect([...alone.lse]).toEqual(lse);
      }
    }
    model.cache.dispose();
  });

  it("are attended once, and the plan says so", async () => {
    const { model, all } = await family("bfloat16");
    const list = all.map(({ sequence }) => sequence);
    const plan = (count: number, options = {}) =>
      model.cache.explain({ shape: [count, 4, 16], dtype: "bfloat16" }, list.slice(-count), { layer: 0, ...options });
    expect(plan(3)).toMatchObject({ sharedSegments: 2, sharedKeys: 256 + 128 });
    expect(plan(3).parts.map(({ kernel, sequences }) => [kernel, sequences])).toEqual([
      ["cuda.tiled", 0],
      ["cuda.decode", 3],
    ]);
    expect(plan(1)).toMatchObject({ sharedSegments: 0 });
    // What is shared is read once, whatever else a call reads and writes.
    const alone = list.map((sequence) =>
      model.cache.explain({ shape: [1, 4, 16], dtype: "bfloat16" }, [sequence], { layer: 0 }),
    );
    const bytes = alone.reduce((sum, one) => sum + one.bytes, 0);
    expect(bytes - plan(3).bytes).toBe((2 * 256 + 128) * 2 * 2 * 16 * 2);
    // A window that cuts a segment makes it every sequence's own.
    expect(plan(3, { window: { left: 200 } })).toMatchObject({ sharedSegments: 1, sharedKeys: 128 });
    model.cache.dispose();
  });
});

it("explains the plan by which it attends, however rows lie", async () => {
  const cache = new PagedKVCache({ ...cacheSizes, layers: 1, pageSize: 16 });
  const root = cache.create();
  const tokens = await Tensor.random([130, 2, 16], { seed: 1 }).to("cuda");
  cache.appendSync([root], 0, tokens, tokens);
  const sequences = [root, root.fork()];
  const [query, wide] = await Promise.all([
    Tensor.random([2, 4, 16], { seed: 2 }).to("cuda"),
    Tensor.random([2, 4, 17], { seed: 2 }).to("cuda"),
  ]);
  const unaligned = wide.slice(2, 1, 17); // rotated, it lies like any other
  const beside = Tensor.fromDevicePointer(wide.devicePointer + 4n, [2, 4, 16], { device: "cuda" });
  const each = Tensor.from(new Float32Array(8), [2, 4]); // slopes of two sequences, which then share nothing
  for (const [of, options, shared, plain] of [
    [query, {}, 1, 0],
    [query, { alibiSlopes: each }, 0, 0],
    [unaligned, {}, 1, 2],
    [unaligned, { rope: { theta: 1e4 } }, 1, 0],
    [beside, {}, 1, 2],
  ] as const) {
    const { plan } = cache.attendSync(of, sequences, { layer: 0, ...options });
    expect(cache.explain(of, sequences, { layer: 0, ...options })).toEqual(plan);
    const decode = plan.parts.find(({ kernel }) => kernel === "cuda.decode");
    expect([plan.sharedSegments, decode?.plainLoads]).toEqual([shared, plain]);
  }
  cache.dispose();
});

it.skipIf(!simulated)("appends nothing when a shared page cannot be copied", async () => {
  const model = new CacheModel({ ...sizes, dtype: "float32" });
  const root = model.create();
  await model.append([root], [5]);
  const all = [root, model.fork(root), model.fork(root)];
  for (const nth of [1, 8, 9]) {
    simulate({ FAIL_CALL: `cuPointerGetAttribute:${nth}:2` });
    Tensor.zeros([1], { device: "cuda" }).dispose(); // settings are read at the next allocation
    await expect(model.append(all, [1, 1, 1], true)).rejects.toMatchObject({ code: "ERR_FOVEA_OUT_OF_MEMORY" });
    model.check();
  }
  await model.append(all, [1, 1, 1], true);
  await check(model, "float32");
  model.cache.dispose();
});

it("keeps its memory, when disposed, until appends that are under way have settled", async () => {
  const cache = new PagedKVCache({ ...cacheSizes, layers: 1 });
  const tokens = await Tensor.random([4, 2, 16], { seed: 1 }).to("cuda");
  const appends = Array.from({ length: 30 }, () => cache.append([cache.create()], 0, tokens, tokens));
  cache.dispose();
  await Promise.all(appends);
  await synchronize("cuda");
});

describe("what is refused", () => {
  it("is named", async () => {
    expect(() => new PagedKVCache({ ...cacheSizes, dtype: "int8", valueDim: 264 })).toThrow(
      'dtype: "int8" pages on cuda:0 have headDim and valueDim up to 256, got 264; use "float16" or "bfloat16"',
    );
    const cache = new PagedKVCache({ ...cacheSizes, dtype: "float16" });
    const sequence = cache.create();
    const tokens = Tensor.zeros([2, 2, 16]);
    expect(() => cache.appendSync([sequence], 0, tokens, tokens)).toThrow(
      "key: expected a tensor on cuda:0, where the cache is, got one on cpu; move it with to() first",
    );
    const there = await tokens.to("cuda");
    cache.appendSync([sequence], 0, there, there);
    expect(() => cache.attendSync(there, [sequence], { layer: 0 })).toThrow(
      'query: expected dtype "float16" as in the cache',
    );
  });
});

const { heads: _, ...cacheSizes } = sizes;
