// The drop-in backends with a GPU: host tensors are sent there and results come back; torch's and jax's take tensors that live there.
import { numpy as np } from "@jax-js/jax";
import { loadGraphModel } from "@tensorflow/tfjs-converter";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { expect, test } from "vitest";
import { Tensor } from "../../lib/index.js";
import { dotProductAttention } from "../../lib/jax.js";
import { onnxAttention } from "../../lib/onnx.js";
import { fuseAttention, fusedCalls } from "../../lib/tfjs.js";
import { flashAttention, flashAttentionWithKvCache, scaledDotProductAttention } from "../../lib/torch.js";
import { bshd, farthest, naive, numbers, random, swapMiddle } from "../dropin/naive.js";
import { GraphMaker, yes } from "../dropin/tfjs-graph.js";

const tolerance = 2e-5;
const device = "cuda:0" as const;
const [q, k, v] = [random(2, 4, 5, 8), random(2, 2, 7, 8), random(2, 2, 7, 8)];
const causal = naive(q, k, v, 8 ** -0.5, (s, _b, _h, i, j) => (j <= i ? s : -Infinity)).output;

test("torch: host tensors are sent, GPU tensors stay", async () => {
  const options = { isCausal: true, enableGqa: true };
  const sent = await scaledDotProductAttention(q, k, v, { ...options, device });
  expect(sent.device).toBe("cpu");
  expect(farthest(sent.data, causal)).toBeLessThan(tolerance);

  const there = [q, k, v].map(({ data, shape }) => Tensor.from(data, shape, { device })) as [Tensor, Tensor, Tensor];
  const stays = await scaledDotProductAttention(...there, options);
  expect(stays.device).toBe(device);
  expect(farthest((await stays.read()).data, causal)).toBeLessThan(tolerance);

  const rows = [q, k, v].map((one) => bshd(one)).map(({ data, shape }) => Tensor.from(data, shape, { device }));
  const flash = await flashAttention(rows[0]!, rows[1]!, rows[2]!);
  const all = swapMiddle(naive(q, k, v, 8 ** -0.5).output, [2, 4, 5, 8]);
  expect(farthest((await flash.read()).data, all)).toBeLessThan(tolerance);
  for (const tensor of [...there, stays, ...rows, flash]) tensor.dispose();
});

test("torch: new keys and values go into a cache on the GPU, in entries and in blocks", async () => {
  const held = Int32Array.of(4, 2);
  const [fresh, freshValues] = [bshd(random(2, 2, 2, 8)), bshd(random(2, 2, 2, 8))];
  const caches = [bshd(random(3, 2, 6, 8)), bshd(random(3, 2, 6, 8))] as const;
  const queries = bshd(random(2, 4, 2, 8));
  const there = ({ data, shape }: { data: Float32Array; shape: number[] }) =>
    Tensor.from(data.slice(), shape, { device });
  for (const options of [
    { cacheBatchIdx: Int32Array.of(2, 0) },
    { blockTable: { data: Int32Array.of(5, 1, 2, 0, 3, 4), shape: [2, 3] } },
  ]) {
    const shape = "blockTable" in options ? [9, 2, 2, 8] : [3, 6, 2, 8];
    const [onHost, onDevice] = [false, true].map((far) =>
      caches.map(({ data }) => (far ? there({ data, shape }) : Tensor.from(data.slice(), shape))),
    ) as [[Tensor, Tensor], [Tensor, Tensor]];
    const rules = { ...options, cacheSeqlens: held, causal: true };
    const expected = await flashAttentionWithKvCache(queries, ...onHost, { ...rules, k: fresh, v: freshValues });
    const [q, k, v] = [there(queries), there(fresh), there(freshValues)];
    const output = await flashAttentionWithKvCache(q, ...onDevice, { ...rules, k, v });
    expect(output.device).toBe(device);
    expect(farthest((await output.read()).data, expected.data)).toBeLessThan(tolerance);
    for (const i of [0, 1] as const) {
      expect([...(await onDevice[i].read()).data]).toEqual([...onHost[i].data]);
      expect([...onHost[i].data]).not.toEqual([...caches[i].data]);
    }
    // Everything is checked before anything is written.
    const before = [...(await onDevice[0].read()).data];
    const far = { ...rules, k: k, v: freshValues };
    const table = there({ data: new Float32Array(64), shape: [16, 4] });
    for (const [wrong, message] of [
      [far, "v: expected a tensor on cuda:0, where its cache is, got one on cpu"],
      [{ ...rules, k: k.transpose(1, 2), v: v.transpose(1, 2) }, "k: on a GPU its rows lie densely"],
      [{ ...rules, k, v, rotaryCos: table, rotarySin: table }, "rotaryCos: expected caches on the host"],
    ] as const) {
      await expect(flashAttentionWithKvCache(q, ...onDevice, wrong)).rejects.toThrow(message);
    }
    expect([...(await onDevice[0].read()).data]).toEqual(before);
  }
});

test("jax: GPU tensors stay, those of the options too", async () => {
  const [query, key, value] = [q, k, v]
    .map((one) => bshd(one))
    .map(({ data, shape }) => Tensor.from(data, shape, { device })) as [Tensor, Tensor, Tensor];
  const mask = Tensor.from(new Uint8Array(7).fill(1), [1, 7], { dtype: "bool", device });
  const output = await dotProductAttention(query, key, value, { isCausal: true, mask });
  expect(output.device).toBe(device);
  expect(farthest((await output.read()).data, swapMiddle(causal, [2, 4, 5, 8]))).toBeLessThan(tolerance);
  const here = dotProductAttention(query, key, value, { device: "cpu" });
  await expect(here).rejects.toThrow('device: expected "cuda:0", where query lives');
  for (const tensor of [query, key, value, mask, output]) tensor.dispose();
});

test("jax and onnx: arrays are sent and results come back", async () => {
  const arrays = [q, k, v].map((one) => bshd(one)).map(({ data, shape }) => np.array(data, { shape }));
  const output = await dotProductAttention(arrays[0]!, arrays[1]!, arrays[2]!, { isCausal: true, device });
  expect(farthest(await output.data(), swapMiddle(causal, [2, 4, 5, 8]))).toBeLessThan(tolerance);

  const as = ({ data, shape }: { data: Float32Array; shape: readonly number[] }) => ({
    type: "float32",
    data,
    dims: shape,
  });
  const { Y, qk_matmul_output } = await onnxAttention(
    { Q: as(q), K: as(k), V: as(v) },
    { is_causal: 1, qk_matmul_output_mode: 3 },
    { opset: 24, outputs: ["qk_matmul_output"], device },
  );
  expect(farthest(Y.data, causal)).toBeLessThan(tolerance);
  expect(qk_matmul_output.dims).toEqual([2, 4, 5, 7]);

  const flat = (x: typeof q) => ({ type: "float32", data: bshd(x).data, dims: [2, x.shape[2], x.shape[1] * 8] });
  const three = await onnxAttention(
    { Q: flat(q), K: flat(k), V: flat(v) },
    { is_causal: 1, q_num_heads: 4, kv_num_heads: 2 },
    { opset: 24, device },
  );
  expect(farthest(three.Y.data, swapMiddle(causal, [2, 4, 5, 8]))).toBeLessThan(tolerance);
});

test("tfjs: a fused graph computes there", async () => {
  tf.enableProdMode();
  await tf.setBackend("cpu");
  const g = new GraphMaker();
  for (const name of ["q", "k", "v"]) g.input(name, [2, 3, 4, 8]);
  const heads = ["q", "k", "v"].map((name) => g.node("Transpose", `${name}s`, [name, "perm"])) as [
    string,
    string,
    string,
  ];
  g.ints("perm", [0, 2, 1, 3]);
  const scores = g.node("BatchMatMulV2", "scores", heads.slice(0, 2), { adj_y: yes });
  g.input("seen", [3, 3], "DT_BOOL");
  const masked = g.node("SelectV2", "masked", ["seen", scores, g.floats("low", [-1e9])]);
  const weights = g.node("Softmax", "weights", [masked]);
  g.node("Transpose", "combined", [g.node("BatchMatMulV2", "output", [weights, heads[2]]), "perm"]);
  const artifacts = g.artifacts();
  const { source } = await fuseAttention(artifacts, { device });
  const [plain, fused] = await Promise.all(
    [artifacts, source].map((from) => loadGraphModel({ load: () => Promise.resolve(from) })),
  );
  const inputs = {
    ...Object.fromEntries(["q", "k", "v"].map((name) => [name, tf.tensor(numbers(192), [2, 3, 4, 8])])),
    seen: tf.tensor([1, 0, 0, 1, 1, 0, 0, 1, 1], [3, 3], "bool"),
  };
  const run = async (model: typeof plain) => (model!.execute(inputs) as tf.Tensor).data();
  const calls = fusedCalls();
  expect(farthest(await run(fused), await run(plain))).toBeLessThan(tolerance);
  expect(fusedCalls()).toEqual({ kernel: calls.kernel + 1, composite: calls.composite });
});

test("torch: one tensor as both caches holds the values, as on the processor", async () => {
  const [queries, added, values, cached] = [
    random(1, 2, 1, 8),
    random(1, 2, 1, 8),
    random(1, 2, 1, 8),
    random(1, 4, 2, 8),
  ];
  const caches: Tensor[] = [];
  for (const where of ["cpu", device] as const) {
    const of = ({ data, shape }: { data: Float32Array; shape: readonly number[] }) =>
      Tensor.from(data.slice(), shape, { device: where });
    const cache = of(cached); // [batch, room, heads, dim]
    caches.push(cache);
    await flashAttentionWithKvCache(of(bshd(queries)), cache, cache, {
      k: of(bshd(added)),
      v: of(bshd(values)),
      cacheSeqlens: 0,
    });
  }
  expect([...(await caches[1]!.read()).data]).toEqual([...caches[0]!.data]);
});
