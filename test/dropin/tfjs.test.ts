// fovea/tfjs: graphs as converters write them give the same numbers fused, on TensorFlow.js's own backends, and leak nothing.
import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-backend-wasm";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { readEncoderFiles } from "../../lib/encoder/files.js";
import { Tokenizer } from "../../lib/encoder/tokenizer.js";
import { Tensor, type AttentionOptions } from "../../lib/index.js";
import { attention, attentionSync, fuseAttention, fusedCalls, recordWeights, type FuseReport } from "../../lib/tfjs.js";
import { farthest, naive, numbers, random } from "./naive.js";
import { GraphMaker, string, strings, yes } from "./tfjs-graph.js";

const tolerance = 1e-5;
const [B, H, L, S, D, E] = [2, 3, 4, 5, 8, 6];

interface Case {
  name: string;
  shapes: Record<string, number[]>;
  build: (g: GraphMaker) => void;
  /** Inputs that are bool: what is at an index. */
  bools?: Record<string, (index: number) => boolean>;
  outputs: string[];
  /** Default: fused, and computed by fovea. */
  how?: "composite" | "skipped";
  /** Of what is skipped. */
  reason?: string;
  keep?: string[];
  signature?: object;
}

const four = { q: [B, H, L, D], k: [B, H, S, D], v: [B, H, S, E] };
const scoresOf = (g: GraphMaker, op = "BatchMatMulV2"): string => g.node(op, "scores", ["q", "k"], { adj_y: yes });
const outputOf = (g: GraphMaker, weights: string, op = "BatchMatMulV2"): string => g.node(op, "output", [weights, "v"]);

const cases: Case[] = [
  {
    name: "scale and mask on the scores",
    shapes: { ...four, mask: [B, 1, 1, S] },
    outputs: ["output"],
    build(g) {
      const scaled = g.node("Mul", "scaled", [g.floats("scale", [0.3]), scoresOf(g)]);
      outputOf(g, g.node("Softmax", "weights", [g.node("AddV2", "masked", [scaled, "mask"])]));
    },
  },
  {
    name: "a divided query, an explicitly transposed key, a transposed output",
    shapes: { q: [B, L, H, D], k: [B, H, S, D], v: [B, H, S, E] },
    outputs: ["combined"],
    build(g) {
      const heads = g.node("Transpose", "heads", ["q", g.ints("perm", [0, 2, 1, 3])]);
      const query = g.node("RealDiv", "query", [heads, g.floats("root", [2.5])]);
      const key = g.node("Transpose", "key", ["k", g.ints("swap", [0, 1, 3, 2])]);
      const scores = g.node("BatchMatMul", "scores", [query, key]);
      const output = outputOf(g, g.node("Softmax", "weights", [scores]), "BatchMatMul");
      g.node("Transpose", "combined", [output, "perm"]);
    },
  },
  {
    name: "Keras' Einsum, [batch, length, heads, dim]",
    shapes: { q: [B, L, H, D], k: [B, S, H, D], v: [B, S, H, E], mask: [B, 1, L, S] },
    outputs: ["output"],
    build(g) {
      const query = g.node("Mul", "query", ["q", g.floats("scale", [0.4])]);
      const scores = g.node("Einsum", "scores", ["k", query], { equation: string("aecd,abcd->acbe") });
      const weights = g.node("Softmax", "weights", [g.node("AddV2", "masked", [scores, "mask"])]);
      g.node("Einsum", "output", [g.node("Identity", "dropout", [weights]), "v"], {
        equation: string("acbe,aecd->abcd"),
      });
    },
  },
  {
    name: "Einsum with the values first, heads before the batch",
    shapes: { q: [L, B, D], k: [S, B, D], v: [S, B, E] },
    outputs: ["output"],
    build(g) {
      const scores = g.node("Einsum", "scores", ["q", "k"], { equation: string("ibd,jbd->bij") });
      g.node("Einsum", "output", ["v", g.node("Softmax", "weights", [scores])], { equation: string("jbe,bij->ibe") });
    },
  },
  {
    name: "the root of a dimension that is known at run time",
    shapes: four,
    outputs: ["output"],
    build(g) {
      const shape = g.node("Shape", "shape", ["k"], { out_type: { type: "DT_INT32" } });
      const dim = g.node("StridedSlice", "dim", [shape, g.ints("from", [-1]), g.ints("to", [4]), g.ints("by", [1])], {
        shrink_axis_mask: { i: "1" },
      });
      const root = g.node("Sqrt", "root", [g.node("Cast", "cast", [dim], { DstT: { type: "DT_FLOAT" } })]);
      outputOf(g, g.node("Softmax", "weights", [g.node("RealDiv", "scaled", [scoresOf(g), root])]));
    },
  },
  {
    name: "three dimensions, four while the mask is added (TFBart)",
    shapes: { q: [B * H, L, D], k: [B * H, S, D], v: [B * H, S, E], mask: [B, 1, L, S] },
    outputs: ["output"],
    build(g) {
      const apart = g.node("Reshape", "apart", [scoresOf(g), g.ints("four", [B, H, L, S])]);
      const masked = g.node("AddV2", "masked", [apart, "mask"]);
      outputOf(g, g.node("Softmax", "weights", [g.node("Reshape", "together", [masked, g.ints("three", [-1, L, S])])]));
    },
  },
  {
    name: "a softmax of two dimensions, by the shape of the scores (TensorFlow 1)",
    shapes: { ...four, mask: [B, 1, 1, S] },
    outputs: ["output", "sizes"],
    build(g) {
      const masked = g.node("Add", "masked", [scoresOf(g), "mask"]);
      const shape = g.node("Shape", "sizes", [masked], { out_type: { type: "DT_INT32" } });
      const last = g.node("Slice", "last", [shape, g.ints("begin", [3]), g.ints("size", [1])]);
      const flat = g.node("ConcatV2", "flat", [g.ints("all", [-1]), last, g.ints("axis", [0])], { N: { i: "2" } });
      const softmax = g.node("Softmax", "softmax", [g.node("Reshape", "rows", [masked, flat])]);
      outputOf(g, g.node("Reshape", "weights", [softmax, shape]));
    },
  },
  {
    name: "matrices, both of the first product transposed, a bias in it",
    shapes: { q: [D, L], k: [D, S], v: [E, S], bias: [S] },
    outputs: ["output"],
    build(g) {
      const scores = g.node("_FusedMatMul", "scores", ["q", "k", "bias"], {
        transpose_a: yes,
        fused_ops: strings("BiasAdd"),
        num_args: { i: "1" },
      });
      g.node("MatMul", "output", [g.node("Softmax", "weights", [scores]), "v"], { transpose_b: yes });
    },
  },
  {
    name: "biases, some of them subtracted, before and after a factor",
    shapes: { ...four, mask: [B, 1, 1, S], bias: [H, L, S], vector: [S] },
    outputs: ["output"],
    build(g) {
      const plus = g.node("AddV2", "plus", ["bias", scoresOf(g)]);
      const times = g.node("Mul", "times", [plus, g.floats("two", [0.5], [1, 1])]);
      const minus = g.node("Sub", "minus", [times, "mask"]);
      const added = g.node("BiasAdd", "added", [minus, "vector"]);
      outputOf(g, g.node("Softmax", "weights", [added]));
    },
  },
  {
    // Not spread over dimensions within: TensorFlow.js 4.22 multiplies the wrong matrices then.
    name: "five dimensions, keys for all of the outermost, a bias of the outermost",
    shapes: { q: [2, B, H, L, D], k: [1, B, H, S, D], v: [B, H, S, E], bias: [2, 1, 1, L, S] },
    outputs: ["output"],
    build(g) {
      outputOf(g, g.node("Softmax", "weights", [g.node("AddV2", "biased", [scoresOf(g), "bias"])]));
    },
  },
  {
    name: "a bias that spreads the scores over a batch",
    shapes: { q: [1, H, L, D], k: [1, H, S, D], v: [B, H, S, E], bias: [B, 1, L, S] },
    outputs: ["output"],
    build(g) {
      outputOf(g, g.node("Softmax", "weights", [g.node("AddV2", "biased", [scoresOf(g), "bias"])]));
    },
  },
  ...[
    { where: "true", order: ["scaled", "low"] },
    { where: "false", order: ["low", "scaled"] },
  ].map(({ where, order }): Case => ({
    name: `Where the mask is ${where}, then a factor and another mask (TFGPTJ)`,
    shapes: { ...four, causal: [1, 1, L, S], mask: [B, 1, 1, S] },
    bools: { causal: (i) => i % S <= Math.floor(i / S) === (where === "true") },
    outputs: ["output"],
    build(g) {
      g.node("Mul", "scaled", [g.floats("scale", [0.3]), scoresOf(g)]);
      g.floats("low", [-1e9]);
      const seen = g.node("SelectV2", "seen", ["causal", ...order]);
      const less = g.node("RealDiv", "less", [seen, g.floats("root", [2])]);
      outputOf(g, g.node("Softmax", "weights", [g.node("AddV2", "masked", [less, "mask"])]));
    },
  })),
  {
    name: "Where a mask leaves a row nothing: computed as the graph says, which weighs all alike",
    shapes: { ...four, seen: [L, 1] },
    bools: { seen: (i) => i !== 2 },
    outputs: ["output"],
    how: "composite",
    build(g) {
      const masked = g.node("SelectV2", "masked", ["seen", scoresOf(g), g.floats("low", [-1e9])]);
      outputOf(g, g.node("Softmax", "weights", [masked]));
    },
  },
  {
    name: "Where a mask's number is one that counts, once it is divided",
    shapes: { ...four, seen: [L, S] },
    bools: { seen: (i) => i % 2 === 0 },
    outputs: ["output"],
    how: "composite",
    build(g) {
      const masked = g.node("SelectV2", "masked", ["seen", scoresOf(g), g.floats("low", [-1e6])]);
      const less = g.node("RealDiv", "less", [masked, g.floats("much", [1e6])]);
      outputOf(g, g.node("Softmax", "weights", [less]));
    },
  },
  {
    name: "Where two masks follow each other",
    shapes: { ...four, seen: [L, S] },
    bools: { seen: (i) => i % 2 === 0 },
    outputs: ["output"],
    how: "skipped",
    reason: "second is a second mask on its scores",
    build(g) {
      const first = g.node("SelectV2", "first", ["seen", scoresOf(g), g.floats("low", [-1e9])]);
      outputOf(g, g.node("Softmax", "weights", [g.node("SelectV2", "second", ["seen", first, "low"])]));
    },
  },
  {
    name: "a scale per head, as an input: computed as the graph says",
    shapes: { ...four, factors: [H, 1, 1] },
    outputs: ["combined"],
    how: "composite",
    build(g) {
      const scaled = g.node("Mul", "scaled", [scoresOf(g), "factors"]);
      const output = outputOf(g, g.node("Softmax", "weights", [scaled]));
      g.node("Transpose", "combined", [output, g.ints("perm", [0, 2, 1, 3])]);
    },
  },
  {
    name: "a scale per head, constant",
    shapes: four,
    outputs: ["output"],
    how: "skipped",
    reason: "scaled: the factor on its scores is more than one number",
    build(g) {
      const scaled = g.node("Mul", "scaled", [scoresOf(g), g.floats("scale", [1, 2, 3], [H, 1, 1])]);
      outputOf(g, g.node("Softmax", "weights", [scaled]));
    },
  },
  {
    name: "scores that are used elsewhere",
    shapes: four,
    outputs: ["output", "loss"],
    how: "skipped",
    reason: "scores is used elsewhere too: loss",
    build(g) {
      outputOf(g, g.node("Softmax", "weights", [scoresOf(g)]));
      g.node("Neg", "loss", ["scores"]);
    },
  },
  {
    name: "weights that the signature has as an output",
    shapes: four,
    outputs: ["output", "weights"],
    how: "skipped",
    reason: "weights is an output",
    signature: { outputs: { attention: { name: "weights:0" }, result: { name: "output:0" } } },
    build(g) {
      outputOf(g, g.node("Softmax", "weights", [scoresOf(g)]));
    },
  },
  {
    name: "scores that are to be kept",
    shapes: four,
    outputs: ["output", "scores"],
    how: "skipped",
    reason: "scores is an output",
    keep: ["scores"],
    build(g) {
      outputOf(g, g.node("Softmax", "weights", [scoresOf(g)]));
    },
  },
  {
    name: "weights that go through something else",
    shapes: four,
    outputs: ["output"],
    how: "skipped",
    reason: "its weights go into Relu (relu)",
    build(g) {
      outputOf(g, g.node("Relu", "relu", [g.node("Softmax", "weights", [scoresOf(g)])]));
    },
  },
  {
    name: "a classifier",
    shapes: { q: [L, D], w: [D, S] },
    outputs: ["classes"],
    how: "skipped",
    reason: "nothing uses classes further on",
    build(g) {
      const logits = g.node("BiasAdd", "logits", [
        g.node("MatMul", "product", ["q", "w"]),
        g.floats("b", [1, 2, 3, 4, 5], [S]),
      ]);
      g.node("Softmax", "classes", [logits]);
    },
  },
];

type Inputs = Record<string, tf.Tensor>;

function inputsOf(shapes: Case["shapes"], bools: Case["bools"] = {}): Inputs {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const bits = bools[name] && Uint8Array.from({ length: size }, (_, i) => (bools[name]!(i) ? 1 : 0));
      return [name, bits ? tf.tensor(bits, shape, "bool") : tf.tensor(numbers(size), shape)];
    }),
  );
}

async function numbersOf(result: tf.Tensor | tf.Tensor[]): Promise<{ shape: number[]; data: ArrayLike<number> }[]> {
  const list = [result].flat();
  const read = await Promise.all(list.map(async (one) => ({ shape: one.shape, data: await one.data() })));
  tf.dispose(list);
  return read;
}

const opsOf = (artifacts: tf.io.ModelArtifacts): string[] =>
  (artifacts.modelTopology as { node: { op: string }[] }).node.map(({ op }) => op);

beforeAll(() => {
  tf.enableProdMode();
  vi.spyOn(console, "warn").mockImplementation(() => {}); // executeAsync advises execute, where nothing is dynamic
});

describe.each(["cpu", "wasm"])("on the %s backend", (backend) => {
  beforeAll(async () => {
    if (!(await tf.setBackend(backend))) throw new Error(`${backend} does not start`);
  });

  test.each(cases)("$name", async ({ shapes, bools, build, outputs, how = "fused", reason, keep, signature }) => {
    const maker = new GraphMaker();
    for (const [name, shape] of Object.entries(shapes)) maker.input(name, shape, bools?.[name] && "DT_BOOL");
    build(maker);
    const artifacts = maker.artifacts(signature);
    const before = JSON.stringify(artifacts.modelTopology);
    const { source, report } = await fuseAttention(artifacts, { keep });
    const { source: asyncSource } = await fuseAttention(
      { load: () => Promise.resolve(artifacts) },
      { keep, async: true },
    );
    expect(JSON.stringify(artifacts.modelTopology)).toBe(before);
    if (how === "skipped") {
      expect(report).toEqual({
        fused: [],
        skipped: [{ softmax: expect.any(String) as string, reason: expect.stringContaining(reason!) as string }],
      });
      expect(source).toBe(artifacts);
    } else {
      expect(report).toMatchObject({ fused: [{ softmax: expect.any(String) as string }], skipped: [] });
      const ops = opsOf(source);
      expect(ops.filter((op) => op === "FoveaAttention")).toHaveLength(1);
      expect(ops.filter((op) => /MatMul|Einsum|Softmax|Select|Add|Mul|RealDiv|Transpose/.test(op))).toEqual([]);
    }

    const load = (from: tf.io.ModelArtifacts): Promise<GraphModel> =>
      loadGraphModel({ load: () => Promise.resolve(from) });
    const [plain, fused, later] = [await load(artifacts), await load(source), await loadGraphModel(asyncSource)];
    const inputs = inputsOf(shapes, bools);
    await tf.setBackend("cpu"); // the other has no Einsum
    const expected = await numbersOf(plain.execute(inputs, outputs));
    await tf.setBackend(backend);
    const calls = fusedCalls();
    const tensors = tf.memory().numTensors;
    for (const result of [
      fused.execute(inputs, outputs),
      await fused.executeAsync(inputs, outputs),
      await later.executeAsync(inputs, outputs),
    ]) {
      const actual = await numbersOf(result);
      expect(actual.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
      for (const [i, { data }] of actual.entries()) expect(farthest(data, expected[i]!.data)).toBeLessThan(tolerance);
    }
    expect(tf.memory().numTensors).toBe(tensors);
    const { kernel, composite } = fusedCalls();
    const three = { fused: [3, 0], composite: [0, 3], skipped: [0, 0] }[how];
    expect([kernel - calls.kernel, composite - calls.composite]).toEqual(three);
    tf.dispose(inputs);
    for (const model of [plain, fused, later]) model.dispose();
  });

  test("the Universal Sentence Encoder Lite runs fused, both layers, with the same embeddings", async () => {
    const { artifacts, vocabulary } = await readEncoderFiles();
    const { source, report } = await fuseAttention(artifacts);
    expect(layersOf(report)).toEqual(["Layer_0", "Layer_1"]);
    expect(report.skipped).toEqual([]);
    expect(opsOf(source).filter((op) => op === "Softmax" || op.startsWith("BatchMatMul"))).toEqual([]);

    const tokenizer = new Tokenizer(vocabulary);
    const texts = ["The cat sat on the mat because it was tired.", "Hello, world!", "Attention is all you need"];
    const tokens = texts.map((text) => tokenizer.tokenize(text).map(({ id }) => id));
    const places = tokens.flatMap((ids, text) => ids.map((_, place) => [text, place] as [number, number]));
    const inputs = {
      indices: tf.tensor2d(places, [places.length, 2], "int32"),
      values: tf.tensor1d(tokens.flat(), "int32"),
    };
    const [plain, fused] = await Promise.all(
      [artifacts, source].map((from) => loadGraphModel({ load: () => Promise.resolve(from) })),
    );
    const run = async (model: GraphModel) => (await numbersOf(await model.executeAsync(inputs)))[0]!;
    const expected = await run(plain!);
    const [calls, tensors] = [fusedCalls(), tf.memory().numTensors];
    const actual = await run(fused!);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(fusedCalls()).toEqual({ kernel: calls.kernel + 2, composite: calls.composite });
    expect(actual.shape).toEqual([3, 512]);
    expect(farthest(actual.data, expected.data)).toBeLessThan(2e-6);
    tf.dispose(inputs);
    for (const model of [plain!, fused!]) model.dispose();
  });

  test("attention and attentionSync on tensors: options, shapes, nothing leaked", async () => {
    const [q, k, v] = [random(2, 4, 5, 8), random(2, 2, 7, 8), random(2, 2, 7, 6)];
    const bits = Uint8Array.from(numbers(35), (x) => (x > -0.7 ? 1 : 0)).fill(1, 0, 7);
    const given = [q, k, v].map(({ data, shape }) => tf.tensor(data, [...shape])) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const options = {
      mask: tf.tensor(bits, [5, 7], "bool"),
      bias: tf.tensor(numbers(7), [1, 7]),
      keyLengths: tf.tensor1d([7, 6], "int32"),
      scale: 0.5,
      returnWeights: true,
    };
    const bias = await options.bias.data();
    const expected = naive(q, k, v, 0.5, (s, b, _h, i, j) =>
      bits[i * 7 + j] === 1 && j < 7 - b ? s + bias[j]! : -Infinity,
    );
    const tensors = tf.memory().numTensors;
    const { output, weights, plan } = await attention(...given, options);
    expect(tf.memory().numTensors).toBe(tensors + 2);
    expect([output.shape, weights!.shape, plan.device]).toEqual([[2, 4, 5, 6], [2, 4, 5, 7], "cpu"]);
    expect(farthest(await output.data(), expected.output)).toBeLessThan(tolerance);
    expect(farthest(await weights!.data(), expected.weights)).toBeLessThan(tolerance);
    tf.dispose([output, weights!]);
    const sum = tf.tidy(() => tf.sum(attentionSync(...given, options).output));
    expect((await sum.data())[0]).toBeCloseTo(
      expected.output.reduce((a, b) => a + b, 0),
      3,
    );
    expect(tf.memory().numTensors).toBe(tensors + 1);
    await expect(attention(given[0], given[0], given[2])).rejects.toThrow("value: expected");
    await expect(attention(given[0], q as never, given[2])).rejects.toThrow("key: expected a tensor of TensorFlow.js");
    for (const wrong of [null, 5, [], new Map(), options.mask]) {
      const message = "options: expected an object";
      await expect(attention(...given, wrong as never)).rejects.toMatchObject({
        name: "FoveaError",
        message: expect.stringContaining(message) as string,
      });
      expect(() => attentionSync(...given, wrong as never)).toThrow(message);
    }
    expect(tf.memory().numTensors).toBe(tensors + 1);
  });

  test("lengths, offsets and page tables are those of the moment of the call", async () => {
    const [q, keys] = [random(2, 2, 3, 4), random(2, 2, 4, 4)].map(({ data, shape }) => tf.tensor(data, [...shape]));
    const two = (values: Int32Array) => Tensor.from(values, [2]);
    const makers: ((values: Int32Array) => AttentionOptions)[] = [
      (keyLengths) => ({ keyLengths }),
      (values) => ({ keyLengths: two(values) }),
      (queryOffset) => ({ causal: true, queryOffset }),
      (values) => ({ causal: true, queryOffset: two(values) }),
      (values) => ({ pageTable: Tensor.from(values, [2, 1]), keyLengths: Int32Array.of(4, 4) }),
    ];
    for (const make of makers) {
      const values = Int32Array.of(1, 0);
      const expected = attentionSync(q!, keys!, keys!, make(values));
      const later = attention(q!, keys!, keys!, make(values));
      values.fill(1);
      const { output } = await later;
      expect(await output.data()).toEqual(await expected.output.data());
    }
    const queryOffset = [1, 0];
    const options = { causal: true, queryOffset };
    const expected = attentionSync(q!, keys!, keys!, options);
    const later = attention(q!, keys!, keys!, options);
    queryOffset.fill(3);
    expect(await (await later).output.data()).toEqual(await expected.output.data());
    const none = { queryOffset: null as never };
    const refused = { code: "ERR_FOVEA_OPTION" }; // as of attentionSync
    expect(() => attentionSync(q!, keys!, keys!, none)).toThrow(expect.objectContaining(refused));
    await expect(attention(q!, keys!, keys!, none)).rejects.toMatchObject(refused);
  });
});

const layersOf = ({ fused }: FuseReport): string[] =>
  fused.map(({ node }) => /Layer_\d/.exec(node.replace("TransformerStack/", ""))![0]);

describe("sources", () => {
  const maker = (): GraphMaker => {
    const g = new GraphMaker();
    for (const [name, shape] of Object.entries(four)) g.input(name, shape);
    outputOf(g, g.node("Softmax", "weights", [scoresOf(g)]));
    return g;
  };

  test("a model.json's object, with its weights or without, comes back as what it was", async () => {
    const { modelTopology, weightSpecs, weightData } = maker().artifacts();
    const json = {
      modelTopology,
      weightsManifest: [{ paths: ["a.bin"], weights: weightSpecs }],
      format: "graph-model",
    } as unknown as tf.io.ModelJSON;
    const { source, report } = await fuseAttention(json);
    expect(report.fused).toHaveLength(1);
    expect(source).toMatchObject({ format: "graph-model", weightsManifest: json.weightsManifest });
    const pair = await fuseAttention([json, weightData as ArrayBuffer] as const);
    expect(pair.source[1]).toBe(weightData);
    const sync = await fuseAttention(tf.io.fromMemorySync(maker().artifacts()));
    expect(opsOf(sync.source.load!())).toContain("FoveaAttention");
  });

  test("a URL is loaded by its handler", async () => {
    tf.io.registerLoadRouter((url) =>
      url === "here://model" ? { load: () => Promise.resolve(maker().artifacts()) } : (null as never),
    );
    const { source } = await fuseAttention("here://model");
    expect(opsOf(await source.load!())).toContain("FoveaAttention");
  });

  test("attention in a function: a branch of an If", async () => {
    const g = new GraphMaker();
    const args = { q: "DT_FLOAT", k: "DT_FLOAT", v: "DT_FLOAT" };
    outputOf(g, g.node("Softmax", "weights", [scoresOf(g)]));
    g.functionOf("then", args, "output");
    g.node("Softmax", "alone", ["v"]);
    g.functionOf("otherwise", args, "alone");
    for (const [name, shape] of Object.entries(four)) g.input(name, shape);
    g.input("which", [], "DT_BOOL");
    g.node("StatelessIf", "chosen", ["which", "q", "k", "v"], {
      then_branch: { func: { name: "then" } },
      else_branch: { func: { name: "otherwise" } },
      Tcond: { type: "DT_BOOL" },
      Tin: { list: { type: ["DT_FLOAT", "DT_FLOAT", "DT_FLOAT"] } },
    });
    const artifacts = g.artifacts();
    await tf.setBackend("cpu");
    const inputs = inputsOf({ ...four, which: [] }, { which: () => true });
    const plain = await loadGraphModel({ load: () => Promise.resolve(artifacts) });
    const expected = await numbersOf(await plain.executeAsync(inputs, "chosen"));
    for (const later of [false, true]) {
      const { source, report } = await fuseAttention(artifacts, { async: later });
      expect(report).toEqual({
        fused: [{ node: "output", softmax: "weights", replaced: ["scores", "weights", "output"], function: "then" }],
        skipped: [{ softmax: "alone", reason: "its scores come from no matrix product", function: "otherwise" }],
      });
      const fused = await loadGraphModel({ load: () => Promise.resolve(source) });
      const calls = fusedCalls();
      const actual = await numbersOf(await fused.executeAsync(inputs, "chosen"));
      expect(farthest(actual[0]!.data, expected[0]!.data)).toBeLessThan(tolerance);
      expect(fusedCalls()).toEqual({ kernel: calls.kernel + 1, composite: calls.composite });
    }
  });

  test("recordWeights: of what runs within it, in kernels or as the graph says, and of nothing else", async () => {
    const g = maker();
    g.input("factors", [H, 1, 1]);
    const scaled = g.node("Mul", "scaled", [g.node("BatchMatMulV2", "More", ["q", "k"], { adj_y: yes }), "factors"]);
    g.node("BatchMatMulV2", "Other", [g.node("Softmax", "others", [scaled]), "v"]);
    const artifacts = g.artifacts();
    await tf.setBackend("cpu");
    const inputs = inputsOf({ ...four, factors: [H, 1, 1] });
    const plain = await loadGraphModel({ load: () => Promise.resolve(artifacts) });
    const expected = await numbersOf(plain.execute(inputs, ["weights", "others"]));
    for (const later of [false, true]) {
      const { source } = await fuseAttention(artifacts, { async: later });
      const fused = await loadGraphModel({ load: () => Promise.resolve(source) });
      const run = () => fused.executeAsync(inputs, ["output", "Other"]);
      const [{ result, weights }, alone] = await Promise.all([recordWeights(run), run()]);
      tf.dispose([result, alone].flat());
      expect(weights).toHaveLength(2);
      for (const [name, { data }] of [["output", expected[0]!] as const, ["Other", expected[1]!] as const]) {
        const own = weights.find(({ node }) => node === name)!.weights;
        expect(own.shape).toEqual([B, H, L, S]);
        expect(farthest(own.data, data)).toBeLessThan(tolerance);
      }
    }
  });

  test("recordWeights: wants a function", async () => {
    const message = "run: expected a function that runs the model, got 3";
    await expect(recordWeights(3 as never)).rejects.toMatchObject({ code: "ERR_FOVEA_ARGUMENT", message });
  });

  test("a row that an added mask closes throughout gives zeros, where TensorFlow.js has NaN", async () => {
    const g = new GraphMaker();
    for (const [name, shape] of Object.entries({ ...four, mask: [L, 1] })) g.input(name, shape);
    outputOf(g, g.node("Softmax", "weights", [g.node("AddV2", "masked", [scoresOf(g), "mask"])]));
    const artifacts = g.artifacts();
    const { source } = await fuseAttention(artifacts);
    const [plain, fused] = await Promise.all(
      [artifacts, source].map((from) => loadGraphModel({ load: () => Promise.resolve(from) })),
    );
    await tf.setBackend("cpu");
    const inputs = { ...inputsOf(four), mask: tf.tensor([0, -Infinity, 0, 0], [L, 1]) };
    const [expected, actual] = await Promise.all(
      [plain!, fused!].map(async (model) => (await numbersOf(model.execute(inputs, "output")))[0]!.data),
    );
    expect(Array.from(expected!).filter(Number.isNaN)).toHaveLength(B * H * E);
    expect(
      farthest(
        actual!,
        Array.from(expected!, (x) => (Number.isNaN(x) ? 0 : x)),
      ),
    ).toBeLessThan(tolerance);
  });

  test("what is no graph model is refused", async () => {
    const artifacts = maker().artifacts();
    await expect(fuseAttention({ modelTopology: { class_name: "Model" } } as never)).rejects.toThrow("graph model");
    await expect(fuseAttention(3 as never)).rejects.toThrow("source: expected");
    await expect(fuseAttention(artifacts, { keeep: [] } as never)).rejects.toThrow('did you mean "keep"');
    await expect(fuseAttention(artifacts, { device: "cuda" })).rejects.toThrow("device");
    await expect(fuseAttention([] as never)).rejects.toThrow("source: expected a graph model");
    const refused = async (options: object, message: string) =>
      expect(fuseAttention(artifacts, options)).rejects.toMatchObject({
        name: "FoveaError",
        message: expect.stringContaining(message) as string,
      });
    await refused({ keep: 3 }, "keep: expected an array of nodes' names, got 3");
    await refused({ keep: "weights" }, "keep: expected");
    await refused({ async: 1 }, "async: expected true or false, got 1");
  });
});
