// Where tensors lie: layouts, pages, padding, strides, given outputs. The right answers are computed on plain copies.
import { describe, expect, test } from "vitest";
import { attentionSync, Tensor, type TensorInput } from "../../lib/index.js";
import { algorithms, backends, onCuda, run } from "../support/backends.js";
import { check } from "../support/check.js";
import type { SomeSpec } from "../support/spec.js";

const dtypes = ["float32", "float16", "bfloat16"] as const;
const layouts = ["bhsd", "bshd", "thd"] as const;
const few: SomeSpec = {
  heads: 4,
  kvHeads: 2,
  queries: [2, 1, 3],
  keys: [40, 7, 65],
  headDim: 16,
  valueDim: 8,
  lse: true,
};
const many: SomeSpec = {
  heads: 2,
  kvHeads: 1,
  queries: [31, 5, 60],
  keys: [40, 9, 65],
  headDim: 9,
  valueDim: 20,
  lse: true,
};

describe.each(dtypes)("%s", (dtype) => {
  describe.each(layouts)("%s", (layout) => {
    test.each([few, many])("%o", async (spec) => {
      const common = { dtype, layout, ...spec };
      await check(common);
      await check({ ...common, causal: true, spareQueries: 3, spareKeys: 6 });
      await check({ ...common, out: true, mask: "bhqk", alibi: "bh" });
    });

    test.each([1, 3, 16, 64])("pages of %i", async (pageSize) => {
      await check({ dtype, layout, ...few, pageSize });
      // Blocks of keys, and windows, that begin within a page.
      await check({ dtype, layout, ...few, keys: [300, 7, 65], pageSize });
      await check({ dtype, layout, ...few, keys: [300, 7, 65], pageSize, window: { left: 33 } });
      await check({ dtype, layout, ...many, pageSize, causal: true, spareKeys: 70, spareQueries: 2, strides: 3 });
      await check({ dtype, layout, ...many, pageSize, window: { left: 6 }, bias: "qk", softcap: 5, out: true });
    });

    test("any order, gaps, steps and directions", async () => {
      for (let strides = 1; strides <= 12; strides++) {
        const spec = strides % 2 === 0 ? few : many;
        await check({
          dtype,
          layout,
          ...spec,
          seed: strides,
          strides,
          out: true,
          bias: "bhqk",
          mask: "1hqk",
          biasDtype: dtype,
        });
      }
    });
  });

  test("keys and values shared by all sequences", async () => {
    for (const queries of [
      [1, 2],
      [20, 30],
    ]) {
      await check({
        dtype,
        queries,
        keys: [50, 50],
        sharedKeys: true,
        heads: 4,
        kvHeads: 2,
        headDim: 16,
        causal: true,
      });
      await check({ dtype, queries, keys: [50, 50], sharedKeys: true, layout: "bshd", headDim: 5, strides: 2 });
    }
  });
});

describe.each(backends)("views of tensors, $name", (backend) => {
  const packed = Tensor.random([2, 9, 3, 4, 16], { seed: 5 }); // [batch, length, query/key/value, heads, dim]
  const part = (i: number) => packed.slice(2, i, i + 1).reshape([2, 9, 4, 16]);
  const views = [part(0), part(1), part(2)] as const;

  test.each(algorithms)("query, key and value out of one tensor, %s", async (algorithm) => {
    const copies = views.map((view) => view.contiguous()) as [Tensor, Tensor, Tensor];
    const options = { algorithm, layout: "bshd", causal: true } as const;
    const ofViews = await run(backend, views, options);
    const ofCopies = await run(backend, copies, options);
    expect(ofViews.output.data).toEqual(ofCopies.output.data);
    const transposed = views.map((view) => view.transpose(1, 2)) as [Tensor, Tensor, Tensor];
    const { output } = await run(backend, transposed, { algorithm, causal: true });
    expect(output.transpose(1, 2).contiguous().data).toEqual(ofCopies.output.data);
  });

  test("one head of many as its own tensor", async () => {
    const heads = views.map((view) => view.slice(2, 2, 3)) as [Tensor, Tensor, Tensor];
    const [all, one] = [await run(backend, views, { layout: "bshd" }), await run(backend, heads, { layout: "bshd" })];
    expect(one.output.data).toEqual(all.output.slice(2, 2, 3).contiguous().data);
  });

  test("a vector spread over the whole tensor: stride 0 everywhere", async () => {
    const flat = { data: Float32Array.of(1, 2, 3, 4), shape: [2, 3, 50, 4], strides: [0, 0, 0, 1] };
    const { output } = await run(backend, [flat, flat, flat], {});
    for (const [i, value] of output.toNumbers().entries()) expect(value).toBeCloseTo(1 + (i % 4), 5);
  });

  test("inputs are left as they were", () => {
    const before = packed.toNumbers();
    attentionSync(...views, { layout: "bshd", returnWeights: true });
    expect(packed.toNumbers()).toEqual(before);
  });
});

// Not on a GPU, where the host would send all of that memory.
describe.skipIf(onCuda).each(backends)("past 2^31 elements, $name", (backend) => {
  // Zeroed memory that is never touched is not there: only what is written below takes pages.
  const far = 2 ** 31 + 64;
  const space = new Float32Array(far + 8192);
  const mask = new Uint8Array(far + 8192);
  let used = 0;

  /** Numbers [2, rows], the second half of which lies `far` after the first. */
  function apart<Data extends Float32Array | Uint8Array>(memory: Data, values: Data): number {
    const [offset, half] = [used, values.length / 2];
    memory.set(values.subarray(0, half), offset);
    memory.set(values.subarray(half), offset + far);
    used += half;
    return offset;
  }
  function tensor(seed: number, rows: number, dim: number, pages: boolean) {
    const shape = pages ? [2, 1, rows, dim] : [1, 2, rows, dim];
    const near = Tensor.random(shape, { seed });
    const strides = pages ? [far, 0, dim, 1] : [0, far, dim, 1];
    return [near, { data: space, shape, strides, offset: apart(space, near.data) }] as const;
  }

  test.each(algorithms.flatMap((algorithm) => [1, 20].map((queries) => [algorithm, queries] as const)))(
    "%s, %i queries",
    async (algorithm, queries) => {
      used = 0;
      const allowed = Uint8Array.from({ length: 2 * queries * 50 }, (_, i) => Number(i % 3 > 0));
      const rules = (masked: TensorInput) => ({ algorithm, mask: masked, returnLse: true }) as const;
      const maskShape = [1, 2, queries, 50];
      const nearMask = Tensor.from(allowed, maskShape, { dtype: "bool" });
      const farMask = { data: mask, dtype: "bool", shape: maskShape, strides: [0, far, 50, 1], offset: 0 };
      farMask.offset = apart(mask, allowed);
      const [query, key, value] = [1, 2, 3].map((seed) => tensor(seed, seed === 1 ? queries : 50, 8, false));
      const near = await run(backend, [query![0], key![0], value![0]], rules(nearMask));
      const distant = await run(backend, [query![1], key![1], value![1]], rules(farMask));
      expect(distant.output.data).toEqual(near.output.data);
      expect(distant.lse?.data).toEqual(near.lse?.data);

      const [pagedKey, pagedValue] = [4, 5].map((seed) => tensor(seed, 16, 8, true));
      const pages = {
        algorithm,
        pageTable: Tensor.from(Int32Array.of(1, 0), [1, 2]),
        keyLengths: Int32Array.of(30),
      };
      const one = query![0].slice(1, 0, 1);
      const inPages = await run(backend, [one, pagedKey![1], pagedValue![1]], pages);
      expect(inPages.output.data).toEqual((await run(backend, [one, pagedKey![0], pagedValue![0]], pages)).output.data);
    },
  );
});
