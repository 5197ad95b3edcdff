// Where tensors lie: layouts, pages, padding, strides, given outputs. The right answers are computed on plain copies.
import { describe, expect, test } from "vitest";
import { attentionSync, Tensor } from "../../lib/index.js";
import { algorithms, backends, run } from "../support/backends.js";
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
