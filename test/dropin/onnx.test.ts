// ONNX's Attention: against its documentation written out, and against onnxruntime where that follows it.
import { runInNewContext } from "node:vm";
import { Tensor } from "onnxruntime-common";
import { describe, expect, test } from "vitest";
import { onnxAttention, type OnnxOutputName } from "../../lib/onnx.js";
import { Tensor as FoveaTensor } from "../../lib/index.js";
import { farthest, numbers } from "./naive.js";
import { attentionModel } from "./onnx-model.js";
import { oracle, type Inputs } from "./onnx-oracle.js";
import { onnxruntime } from "../support/onnxruntime.js";

const tolerance = 1e-5;
const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const float = (...dims: number[]) => new Tensor("float32", numbers(size(dims)), dims);
const double = (...dims: number[]) => new Tensor("float64", Float64Array.from(numbers(size(dims))), dims);
const bool = (...dims: number[]) =>
  new Tensor(
    "bool",
    Uint8Array.from(numbers(size(dims)), (x, i) => (x > -0.7 || i % 6 === 0 ? 1 : 0)),
    dims,
  );
const int64 = (...values: number[]) => new Tensor("int64", BigInt64Array.from(values.map(BigInt)), [values.length]);
/** Q, K and V: 3 heads, 4 queries, 6 keys. */
const four = () => ({ Q: float(2, 3, 4, 8), K: float(2, 3, 6, 8), V: float(2, 3, 6, 10) });
const flat = () => ({ Q: float(2, 4, 9 * 8), K: float(2, 6, 3 * 8), V: float(2, 6, 3 * 10) });
const past = () => ({ past_key: float(2, 3, 5, 8), past_value: float(2, 3, 5, 10) });
const heads = { q_num_heads: 9, kv_num_heads: 3 };

type Given = Record<string, Tensor>;

interface Case {
  name: string;
  inputs: Given;
  attributes?: Record<string, number>;
  /** Default: all three. */
  opsets?: (23 | 24 | 25)[];
  outputs?: OnnxOutputName[];
  /** Why onnxruntime 1.30 is not asked. */
  without?: string;
}

const present: OnnxOutputName[] = ["present_key", "present_value"];
const scores: OnnxOutputName[] = ["qk_matmul_output"];
const later: Case["opsets"] = [24, 25];
const spreadMasks = "it refuses masks that are spread over queries or keys, or are too short";
const lowest = "where a key is closed it writes the lowest float for -Infinity";
const noWindow = "it knows no window";

const cases: Case[] = [
  { name: "four dimensions, unequal sizes", inputs: four() },
  { name: "grouped heads", inputs: { Q: float(2, 9, 4, 8), K: float(2, 3, 6, 8), V: float(2, 3, 6, 8) } },
  { name: "three dimensions, grouped heads", inputs: flat(), attributes: heads },
  {
    name: "one head of keys, three dimensions",
    inputs: { Q: float(1, 2, 12), K: float(1, 5, 4), V: float(1, 5, 2) },
    attributes: { q_num_heads: 3, kv_num_heads: 1 },
  },
  { name: "scale", inputs: four(), attributes: { scale: 0.01 } },
  { name: "softcap, below 0 none", inputs: four(), attributes: { softcap: 2 } },
  { name: "causal from the top left, more keys than queries", inputs: four(), attributes: { is_causal: 1 } },
  {
    name: "causal, fewer keys than queries",
    inputs: { Q: float(1, 2, 6, 8), K: float(1, 2, 4, 8), V: float(1, 2, 4, 8) },
    attributes: { is_causal: 1 },
  },
  { name: "past and present", inputs: { ...four(), ...past() }, outputs: present },
  {
    name: "past and present, causal",
    inputs: { ...four(), ...past() },
    attributes: { is_causal: 1 },
    outputs: present,
  },
  {
    name: "past, three dimensions",
    inputs: { ...flat(), ...past() },
    attributes: { ...heads, is_causal: 1 },
    outputs: present,
  },
  {
    name: "past, a mask, causal, scores",
    inputs: { ...four(), ...past(), attn_mask: float(2, 1, 4, 11) },
    attributes: { is_causal: 1 },
    outputs: [...present, ...scores],
  },
  {
    name: "an empty past",
    inputs: { ...four(), past_key: float(2, 3, 0, 8), past_value: float(2, 3, 0, 10) },
    attributes: { is_causal: 1 },
    outputs: present,
  },
  {
    name: "present without a past is K and V",
    inputs: four(),
    outputs: present,
    without: "it wants a past for a present",
  },
  {
    name: "present without a past, three dimensions",
    inputs: flat(),
    attributes: heads,
    outputs: present,
    without: "the same",
  },
  ...[
    [4, 6],
    [3, 4, 6],
    [1, 1, 4, 6],
    [2, 1, 4, 6],
    [2, 3, 4, 6],
  ].flatMap((dims) => [
    { name: `a float mask [${dims.join(", ")}]`, inputs: { ...four(), attn_mask: float(...dims) } },
    {
      name: `a bool mask [${dims.join(", ")}], causal`,
      inputs: { ...four(), attn_mask: bool(...dims) },
      attributes: { is_causal: 1 },
    },
  ]),
  ...[[6], [1, 6], [2, 3, 1, 6]].flatMap((dims) => [
    {
      name: `a float mask [${dims.join(", ")}]`,
      inputs: { ...four(), attn_mask: float(...dims) },
      without: spreadMasks,
    },
    { name: `a bool mask [${dims.join(", ")}]`, inputs: { ...four(), attn_mask: bool(...dims) }, without: spreadMasks },
  ]),
  { name: "a mask [4, 1]", inputs: { ...four(), attn_mask: float(4, 1) }, opsets: [23], without: spreadMasks },
  {
    name: "a bool mask too short",
    inputs: { ...four(), attn_mask: bool(3, 4, 5) },
    opsets: later,
    without: spreadMasks,
  },
  {
    name: "a float mask too short, with scores",
    inputs: { ...four(), attn_mask: float(4, 2) },
    attributes: { qk_matmul_output_mode: 2 },
    opsets: later,
    outputs: scores,
    without: spreadMasks,
  },
  { name: "nonpad_kv_seqlen", inputs: { ...four(), nonpad_kv_seqlen: int64(5, 3) }, opsets: later },
  {
    name: "nonpad_kv_seqlen, causal from each sequence's own end",
    inputs: { ...four(), nonpad_kv_seqlen: int64(6, 4) },
    attributes: { is_causal: 1 },
    opsets: later,
  },
  {
    name: "nonpad_kv_seqlen, causal, fewer keys than queries",
    inputs: { ...four(), nonpad_kv_seqlen: int64(2, 0) },
    attributes: { is_causal: 1 },
    opsets: later,
  },
  {
    name: "nonpad_kv_seqlen, a mask, softcap",
    inputs: { ...four(), nonpad_kv_seqlen: int64(5, 3), attn_mask: float(2, 1, 4, 6) },
    attributes: { softcap: 1 },
    opsets: later,
  },
  ...([0, 1, 2, 3] as const).flatMap((mode) => {
    const attributes = { qk_matmul_output_mode: mode, softcap: 1.5, is_causal: 1 };
    const closed = mode === 2 ? { without: lowest } : {};
    return [
      {
        name: `scores of mode ${mode}`,
        inputs: { ...four(), attn_mask: bool(2, 1, 4, 6) },
        attributes,
        outputs: scores,
        ...closed,
      },
      {
        name: `scores of mode ${mode}, three dimensions and a past`,
        inputs: { ...flat(), ...past(), attn_mask: float(4, 11) },
        attributes: { ...attributes, ...heads, is_causal: 0 },
        outputs: [...present, ...scores],
      },
      {
        name: `scores of mode ${mode}, with lengths and a mask`,
        inputs: { ...four(), nonpad_kv_seqlen: int64(5, 3), attn_mask: bool(4, 6) },
        attributes: { qk_matmul_output_mode: mode },
        opsets: later,
        outputs: scores,
        ...closed,
      },
    ];
  }),
  { name: "softmax_precision float", inputs: four(), attributes: { softmax_precision: 1 } },
  {
    name: "softmax_precision double",
    inputs: { ...four(), attn_mask: bool(4, 6) },
    attributes: { softmax_precision: 11, is_causal: 1 },
    outputs: scores,
  },
  {
    name: "a window on both sides",
    inputs: four(),
    attributes: { left_window_size: 1, right_window_size: 2 },
    opsets: [25],
    without: noWindow,
  },
  {
    name: "a window, causal with a past",
    inputs: { ...four(), ...past() },
    attributes: { left_window_size: 3, is_causal: 1 },
    opsets: [25],
    without: noWindow,
  },
  {
    name: "a window of 0 with lengths",
    inputs: { ...four(), nonpad_kv_seqlen: int64(6, 5) },
    attributes: { left_window_size: 0, right_window_size: 0 },
    opsets: [25],
    without: noWindow,
  },
];

describe.each(cases)("$name", ({ inputs, attributes = {}, opsets = [23, 24, 25], outputs = [], without }) => {
  test.each(opsets)("opset %i", async (opset) => {
    const ours = await onnxAttention(inputs as never, attributes, { opset, outputs });
    const expected = oracle(inputs as unknown as Inputs, attributes);
    const names = ["Y", ...outputs] as const;
    expect(Object.keys(ours).toSorted()).toEqual(names.toSorted());
    for (const name of names) {
      const tensor = (ours as unknown as Given)[name]!;
      expect(tensor).toBeInstanceOf(Tensor);
      expect([name, tensor.type, tensor.dims]).toEqual([name, "float32", expected[name]!.dims]);
      expect([name, farthest(tensor.data as Float32Array, expected[name]!.data)]).toEqual([name, expect.closeTo(0, 5)]);
    }
    // Opset 25 is 24 but for windows, which onnxruntime does not know.
    if (without !== undefined || opset === 25 || !onnxruntime) return;
    const session = await onnxruntime.InferenceSession.create(attentionModel(inputs, attributes, opset, names));
    const theirs = await session.run(inputs);
    await session.release();
    for (const name of names) {
      const [a, b] = [(ours as unknown as Given)[name]!, theirs[name]!];
      expect([name, a.dims]).toEqual([name, b.dims]);
      expect(farthest(a.data as Float32Array, b.data as Float32Array)).toBeLessThan(tolerance);
    }
  });
});

test("a query that sees no key gets zeros, in Y and in the weights", async () => {
  const bits = new Uint8Array(24).fill(1).fill(0, 6, 12);
  const inputs = { ...four(), attn_mask: new Tensor("bool", bits, [4, 6]) };
  const options = { opset: 24, outputs: ["qk_matmul_output"] } as const;
  const { Y, qk_matmul_output } = await onnxAttention(inputs, { qk_matmul_output_mode: 3 }, options);
  const row = (data: unknown, i: number, width: number) =>
    Array.from(data as Float32Array).slice(i * width, (i + 1) * width);
  expect(row(Y.data, 1, 10)).toEqual(new Array(10).fill(0));
  expect(row(qk_matmul_output.data, 1, 6)).toEqual(new Array(6).fill(0));
  expect(Math.abs(row(Y.data, 2, 10)[0]!)).toBeGreaterThan(0);
});

test.each([0, 1, 2, 3])("what lies past the lengths may be NaN, also where mode %s shows scores", async (mode) => {
  const inputs = { ...four(), nonpad_kv_seqlen: int64(5, 3), attn_mask: bool(4, 6) };
  const { Y } = await onnxAttention(inputs, {}, { opset: 24 });
  const [K, V] = [inputs.K, inputs.V].map(({ data, dims: [batch, heads, keys, size] }) => {
    const padded = Float32Array.from(data, (x, at) => {
      const [key, b] = [Math.floor(at / size!) % keys!, Math.floor(at / (heads! * keys! * size!))];
      return key < [5, 3][b]! ? x : NaN;
    });
    return new Tensor("float32", padded, [batch!, heads!, keys!, size!]);
  }) as [Tensor, Tensor];
  const before = V.data.slice() as Float32Array;
  const shown = await onnxAttention(
    { ...inputs, K, V },
    { qk_matmul_output_mode: mode },
    { opset: 24, outputs: ["qk_matmul_output"] },
  );
  expect(farthest(shown.Y.data, Y.data)).toBeLessThan(tolerance);
  expect(V.data).toEqual(before);
});

test("Y may be asked for, too", async () => {
  const inputs = four();
  const { Y, present_key } = await onnxAttention(inputs, {}, { opset: 24, outputs: ["present_key", "Y"] });
  expect(farthest(Y.data, oracle(inputs, {})["Y"]!.data)).toBeLessThan(tolerance);
  expect(present_key.data).toEqual(inputs.K.data);
});

test("an empty batch with a mask and lengths", async () => {
  const none = (...dims: number[]) => new Tensor("float32", new Float32Array(0), dims);
  const inputs = { Q: none(0, 3, 4, 8), K: none(0, 3, 6, 8), V: none(0, 3, 6, 10), attn_mask: bool(4, 6) };
  const lengths = new Tensor("int64", new BigInt64Array(0), [0]);
  const options = { opset: 24, outputs: scores } as const;
  const { Y } = await onnxAttention({ ...inputs, nonpad_kv_seqlen: lengths }, {}, options);
  expect([Y.dims, Y.data]).toEqual([[0, 3, 4, 10], new Float32Array(0)]);
});

describe("types", () => {
  test("double to the last digits, as onnxruntime", async () => {
    const inputs = { Q: double(2, 4, 16), K: double(2, 6, 16), V: double(2, 6, 8) };
    const heads = { q_num_heads: 2, kv_num_heads: 2 };
    const { Y } = await onnxAttention(inputs, heads, { opset: 24 });
    expect(Y.data).toBeInstanceOf(Float64Array);
    const session = await onnxruntime?.InferenceSession.create(attentionModel(inputs, heads, 24, ["Y"]));
    const theirs = await session?.run(inputs);
    await session?.release();
    if (theirs) expect(farthest(Y.data, theirs["Y"]!.data as Float64Array)).toBeLessThan(1e-6);

    // With a mask onnxruntime 1.30 cannot: it adds one of float. The oracle is in float64, and the numbers are float32's.
    const masked = { ...inputs, attn_mask: double(4, 6) };
    const attributes = { ...heads, is_causal: 1, softcap: 3 };
    const more = await onnxAttention(masked, attributes, { opset: 24, outputs: ["present_key"] });
    expect([more.Y.type, more.Y.dims, more.present_key.type, more.present_key.dims]).toEqual([
      "float64",
      [2, 4, 8],
      "float64",
      [2, 2, 6, 8],
    ]);
    const exact = oracle(masked, attributes)["Y"]!.data;
    expect(farthest(more.Y.data, exact)).toBeLessThan(1e-14);
  });

  test("float16 and bfloat16, a V of another type, and plain objects in and out", async () => {
    const given = four();
    const as = (tensor: Tensor, type: "float16" | "bfloat16") => {
      const { data } = FoveaTensor.from(tensor.data as Float32Array, tensor.dims).cast(type);
      return { type: type as string, data: data as ArrayBufferView, dims: tensor.dims };
    };
    const read = ({ type, data, dims }: { type: string; data: unknown; dims: readonly number[] }) =>
      FoveaTensor.from(data as Uint16Array, dims, { dtype: type as "float16" }).toNumbers();
    const expected = oracle(given, {})["Y"]!.data;
    for (const type of ["float16", "bfloat16"] as const) {
      const inputs = { Q: as(given.Q, type), K: as(given.K, type), V: as(given.V, type) };
      const { Y } = await onnxAttention(inputs, {}, { opset: 23 });
      expect(Object.getPrototypeOf(Y)).toBe(Object.prototype);
      expect(Y.type).toBe(type);
      expect(farthest(read(Y), expected)).toBeLessThan(0.03);
      const plain = { type: "float32", data: given.V.data as ArrayBufferView, dims: given.V.dims };
      const mixed = await onnxAttention({ ...inputs, V: plain }, {}, { opset: 23, outputs: ["present_value"] });
      expect([mixed.Y.type, mixed.present_value.type]).toEqual([type, "float32"]);
      expect(farthest(read(mixed.Y), expected)).toBeLessThan(0.03);
      await expect(
        onnxAttention(inputs, { softmax_precision: type === "float16" ? 16 : 10 }, { opset: 23 }),
      ).rejects.toThrow("softmax_precision");
    }
    const half = { ...as(given.Q, "float16") };
    const tensor = new Tensor("float16", half.data as Uint16Array, half.dims);
    const { Y } = await onnxAttention({ Q: tensor, K: tensor, V: tensor }, {}, { opset: 23 });
    expect([Y instanceof Tensor, Y.type]).toEqual([true, "float16"]);
  });
});

test("what shares memory with no input, and inputs that stay as they are", async () => {
  const inputs = four();
  const before = inputs.K.data.slice();
  const { present_key } = await onnxAttention(inputs, {}, { opset: 24, outputs: ["present_key"] });
  present_key.data.fill(0);
  expect(farthest(inputs.K.data, before)).toBe(0);
});

test("lengths may be an array of another realm, of whose class they are no instance", async () => {
  const data = runInNewContext("BigInt64Array.of(5n, 3n)") as BigInt64Array;
  const inputs = four();
  const call = (lengths: object) =>
    onnxAttention({ ...inputs, nonpad_kv_seqlen: lengths } as never, {}, { opset: 24 }) as Promise<{ Y: Tensor }>;
  const [theirs, ours] = await Promise.all([call({ type: "int64", data, dims: [2] }), call(int64(5, 3))]);
  expect(theirs.Y.data).toEqual(ours.Y.data);
});

describe("what is wrong is named", () => {
  const refused: [string, Given, Record<string, number>, object, string][] = [
    ["an opset without Attention", four(), {}, { opset: 22 }, "opset: expected 23, 24 or 25, got 22"],
    ["an output that there is not", four(), {}, { outputs: ["qk"] }, "outputs: expected Y, present_key"],
    ["an attribute's name", four(), { is_casual: 1 }, {}, 'did you mean "is_causal"'],
    ["an input's name", { ...four(), mask: float(4, 6) }, {}, {}, "mask"],
    [
      "a Tensor of fovea",
      { ...four(), K: FoveaTensor.zeros([2, 3, 6, 8]) as never },
      {},
      {},
      "K: expected an onnxruntime Tensor or { type, data, dims }, got a Tensor of fovea",
    ],
    ["no heads", flat(), {}, {}, "q_num_heads: expected the number of heads"],
    ["heads that are others", four(), { kv_num_heads: 2 }, {}, "kv_num_heads: expected 3"],
    ["a negative scale", four(), { scale: -1 }, {}, "scale: expected a number >= 0"],
    ["a mode", four(), { qk_matmul_output_mode: 4 }, {}, "qk_matmul_output_mode: expected an integer from 0 to 3"],
    ["a precision", four(), { softmax_precision: 10 }, {}, "softmax_precision: expected 11 (double)"],
    [
      "double in float",
      { Q: double(1, 1, 2, 4), K: double(1, 1, 2, 4), V: double(1, 1, 2, 4) },
      { softmax_precision: 1 },
      {},
      "softmax_precision: expected 11 (double)",
    ],
    ["a window before opset 25", four(), { left_window_size: 1 }, {}, "left_window_size: expected opset 25"],
    [
      "lengths before opset 24",
      { ...four(), nonpad_kv_seqlen: int64(1, 1) },
      {},
      { opset: 23 },
      "nonpad_kv_seqlen: expected opset 24",
    ],
    ["lengths and a past", { ...four(), ...past(), nonpad_kv_seqlen: int64(1, 1) }, {}, {}, "not with past_key"],
    [
      "lengths and a present",
      { ...four(), nonpad_kv_seqlen: int64(1, 1) },
      {},
      { outputs: ["present_key"] },
      "not with nonpad_kv_seqlen",
    ],
    ["a length", { ...four(), nonpad_kv_seqlen: int64(1, 7) }, {}, {}, "nonpad_kv_seqlen[1]: expected 0 to 6, got 7"],
    ["half a past", { ...four(), past_key: float(2, 3, 5, 8) }, {}, {}, "expected both or neither"],
    [
      "a past's shape",
      { ...four(), ...past(), past_key: float(2, 2, 5, 8) },
      {},
      {},
      "past_key: expected [2, 3, *, 8]",
    ],
    ["K's size", { ...four(), K: float(2, 3, 6, 7) }, {}, {}, "K: expected [2, *, *, 8]"],
    ["V's length", { ...four(), V: float(2, 3, 5, 7) }, {}, {}, "V: expected [2, 3, 6, *]"],
    ["K's type", { ...four(), K: double(2, 3, 6, 8) }, {}, {}, 'K: expected "float32" as in Q'],
    ["a mask's shape", { ...four(), attn_mask: float(5, 6) }, {}, {}, "attn_mask: expected a shape that broadcasts"],
    ["a mask too short in opset 23", { ...four(), attn_mask: float(4, 5) }, {}, { opset: 23 }, "attn_mask"],
    [
      "a mask that is null",
      { ...four(), attn_mask: null as never },
      {},
      {},
      "attn_mask: expected an onnxruntime Tensor",
    ],
    ["a mask's type", { ...four(), attn_mask: double(4, 6) }, {}, {}, "attn_mask: expected"],
    ["V's dims", { ...four(), V: float(2, 3, 6, 600) }, {}, {}, "V: expected valueDim from 1 to 512"],
    ["outputs that are no list", four(), {}, { outputs: "present_key" }, "outputs: expected an array"],
    ["dimensions", { ...four(), Q: float(2, 4) }, {}, {}, "Q: expected 3 or 4 dimensions, got [2, 4]"],
    [
      "double on a GPU",
      { Q: double(1, 1, 2, 4), K: double(1, 1, 2, 4), V: double(1, 1, 2, 4) },
      {},
      { device: "cuda" },
      "device",
    ],
  ];
  test.each(refused)("%s", async (_, inputs, attributes, options, message) => {
    await expect(onnxAttention(inputs as never, attributes, { opset: 24, ...options } as never)).rejects.toMatchObject({
      name: "FoveaError",
      message: expect.stringContaining(message) as string,
    });
  });
});
