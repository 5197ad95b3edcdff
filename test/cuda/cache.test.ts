// A cache whose pages are on a GPU.
import { describe, expect, it } from "vitest";
import type { StoredDType } from "../../lib/dtype.js";
import { PagedKVCache, Tensor } from "../../lib/index.js";
import { CacheModel, relativeError, type ModelOptions } from "../support/cache-model.js";

const sizes = { layers: 2, heads: 4, kvHeads: 2, headDim: 16, pageSize: 4, pages: 40, device: "cuda" } as const;
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
