// fovea/jax beside jax-js's own dotProductAttention, on the same arrays.
import "../../bench/lib/iterator-helpers.js";
import { numpy as np, nn, type Array as JaxArray } from "@jax-js/jax";
import { describe, expect, test } from "vitest";
import { Tensor } from "../../lib/index.js";
import { dotProductAttention, type DotProductAttentionOptions } from "../../lib/jax.js";
import { bshd, farthest, naive, numbers, random, swapMiddle } from "./naive.js";

const tolerance = 1e-5;
const array = (data: Float32Array<ArrayBuffer>, shape: number[]): JaxArray => np.array(data, { shape });
const random4 = (...shape: [number, number, number, number]): JaxArray =>
  array(numbers(shape.reduce((a, b) => a * b, 1)), shape);
const q = random4(2, 5, 4, 8);
const k = random4(2, 7, 2, 8);
const v = random4(2, 7, 2, 8);
const bools = (shape: number[]): JaxArray =>
  np.array(
    Array.from(numbers(shape.reduce((a, b) => a * b, 1)), (x, i) => x > -0.5 || i % 7 === 0),
    { shape },
  );

describe("as jax-js computes it", () => {
  const bias = random4(2, 1, 5, 7);
  const mask = bools([4, 5, 7]);
  const lengths = np.array([6, 3], { dtype: np.int32 });
  const cases: [string, DotProductAttentionOptions & Record<string, unknown>][] = [
    ["defaults", {}],
    ["scale and bias", { scale: 0.2, bias }],
    ["a mask, which broadcasts", { mask }],
    ["causal from the top left", { isCausal: true }],
    ["a window on both sides, with causal", { localWindowSize: 2, isCausal: true }],
    ["a window", { localWindowSize: [1, 3] }],
    ["lengths of keys", { keyValueSeqLengths: lengths, bias, mask: bools([1, 1, 1, 7]).add(1).notEqual(0) }],
  ];
  test.each(cases)("%s", async (_, options) => {
    const kept = () =>
      Object.fromEntries(
        Object.entries(options).map(([name, value]) => [name, isArray(value) ? value.ref : value]),
      ) as Parameters<typeof nn.dotProductAttention>[3];
    const expected = await nn.dotProductAttention(q.ref, k.ref, v.ref, kept()).data();
    const output = await dotProductAttention(q.ref, k.ref, v.ref, kept() as DotProductAttentionOptions);
    expect(output.shape).toEqual([2, 5, 4, 8]);
    expect(output.device).toBe(q.device);
    expect(farthest(await output.data(), expected)).toBeLessThan(tolerance);
  });

  const isArray = (value: unknown): value is JaxArray => value instanceof Object && "refCount" in value;

  test("without a batch", async () => {
    const flat = (x: JaxArray) => x.ref.slice(0);
    const expected = await nn.dotProductAttention(flat(q), flat(k), flat(v), { isCausal: true }).data();
    const output = await dotProductAttention(flat(q), flat(k), flat(v), { isCausal: true });
    expect(output.shape).toEqual([5, 4, 8]);
    expect(farthest(await output.data(), expected)).toBeLessThan(tolerance);
  });
});

test("queries past a sequence's length are zeros, as are those that see nothing", async () => {
  const lengths = np.array([5, 2], { dtype: np.int32 });
  const mask = np.array([...new Array<boolean>(4).fill(true), false], { shape: [5, 1] });
  const output = await (await dotProductAttention(q.ref, k.ref, v.ref, { querySeqLengths: lengths, mask })).data();
  const all = await nn.dotProductAttention(q.ref, k.ref, v.ref).data();
  const row = 4 * 8;
  for (let b = 0, at = 0; b < 2; b++) {
    for (let i = 0; i < 5; i++, at += row) {
      const expected = i < (b === 0 ? 4 : 2) ? all.slice(at, at + row) : new Float32Array(row);
      expect(farthest(output.slice(at, at + row), expected)).toBeLessThan(tolerance);
    }
  }
});

test("lengths are those of the moment of the call, of tensors and of arrays", async () => {
  const [query, key] = [bshd(random(2, 4, 5, 8)), bshd(random(2, 2, 7, 8))];
  const ofTensors = (lengths: Int32Array) => dotProductAttention(query, key, key, { keyValueSeqLengths: lengths });
  const ofArrays = (lengths: Int32Array) => dotProductAttention(q.ref, k.ref, v.ref, { keyValueSeqLengths: lengths });
  const lengths = Int32Array.of(6, 3);
  const later = [ofTensors(lengths), ofArrays(lengths)] as const;
  lengths.fill(7);
  expect((await later[0]).data).toEqual((await ofTensors(Int32Array.of(6, 3))).data);
  expect(await (await later[1]).data()).toEqual(await (await ofArrays(Int32Array.of(6, 3))).data());
});

test("arrays are consumed as by jax-js, also by a call that fails, and nothing else is held", async () => {
  const [a, b, c, bias] = [random4(1, 2, 1, 4), random4(1, 2, 1, 4), random4(1, 2, 1, 4), random4(1, 1, 2, 2)];
  const output = await dotProductAttention(a.ref, b.ref, c.ref, { bias: bias.ref });
  expect([a, b, c, bias].map((x) => x.refCount)).toEqual([1, 1, 1, 1]);
  expect(output.refCount).toBe(1);
  output.dispose();
  await expect(dotProductAttention(a, b, random4(1, 3, 1, 4), { bias })).rejects.toThrow("value: expected");
  expect([a, b, bias].map((x) => x.refCount)).toEqual([0, 0, 0]);
});

test("plain tensors come back as fovea's", async () => {
  const [query, key] = [random(1, 2, 3, 4), random(1, 1, 5, 4)];
  const output = await dotProductAttention(bshd(query), bshd(key), bshd(key), { scale: 1 });
  expect(output.dtype).toBe("float32");
  expect(farthest(output.data, swapMiddle(naive(query, key, key, 1).output, [1, 2, 3, 4]))).toBeLessThan(tolerance);
});

test("options are as they were when the call was made, and so are tensors", async () => {
  const made = () => ({ scale: 0.1, localWindowSize: [2, 0] as [number, number] });
  const expected = Array.from((await dotProductAttention(q.ref, k.ref, v.ref, made())).dataSync());
  const options = made();
  const call = dotProductAttention(q.ref, k.ref, v.ref, options);
  options.scale = 50;
  options.localWindowSize[0] = 0;
  expect(Array.from((await call).dataSync())).toEqual(expected);

  const tensor = Tensor.random([1, 4, 1, 8], { seed: 1 });
  const given = tensor.toNumbers();
  const held = dotProductAttention(tensor, tensor, tensor, { localWindowSize: [0, 0] });
  tensor.dispose();
  expect((await held).toNumbers()).toEqual(given);
});

test("what cannot be is refused", async () => {
  const refused = (options: object, message: string) =>
    expect(dotProductAttention(q.ref, k.ref, v.ref, options)).rejects.toMatchObject({
      name: "FoveaError",
      message: expect.stringContaining(message) as string,
    });
  await refused({ is_causal: true }, 'did you mean "isCausal"');
  await refused({ localWindowSize: -1 }, "localWindowSize");
  await refused({ mask: random4(1, 1, 5, 7) }, 'mask: expected dtype "bool"');
  await refused(
    { keyValueSeqLengths: np.array([1, 8], { dtype: np.int32 }) },
    "keyValueSeqLengths[1]: expected 0 to 7",
  );
  await expect(dotProductAttention(q.ref, k.ref.slice(0), v.ref)).rejects.toThrow("key: expected 4 dimensions");
  const gone = Tensor.zeros([1, 1, 1, 4]);
  gone.dispose();
  await expect(dotProductAttention(gone, gone, gone)).rejects.toThrow("query: ");
});
