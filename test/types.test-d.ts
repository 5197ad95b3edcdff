import { describe, expectTypeOf, test } from "vitest";
import type {
  AttentionOptions,
  AttentionResult,
  DeviceInfo,
  FloatDTypeOf,
  KnownOptions,
  Plan,
  TensorInput,
} from "../lib/index.js";
import {
  attention,
  attentionSync,
  devices,
  explain,
  FoveaError,
  mergeAttention,
  mergeAttentionSync,
  PagedKVCache,
  referenceAttention,
  Tensor,
} from "../lib/index.js";

declare const query: Tensor<"float32">;
declare const half: Tensor<"float16">;
declare const any: Tensor;
declare const options: AttentionOptions;
declare const maybe: boolean;
declare const onnx: {
  data: Float32Array | string[] | BigInt64Array;
  dims: readonly number[];
  type: string;
  size: number;
};

describe("results follow the options", () => {
  test("what is asked for is there, and nothing else", () => {
    const result = attentionSync(query, query, query, { returnWeights: true, causal: true });
    expectTypeOf(result.weights).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(result.plan).toEqualTypeOf<Plan>();
    expectTypeOf(result).not.toHaveProperty("lse");
    expectTypeOf(result).not.toHaveProperty("scores");
    expectTypeOf(attentionSync(query, query, query)).not.toHaveProperty("weights");
    expectTypeOf(attentionSync(query, query, query, { returnWeights: false })).not.toHaveProperty("weights");
    expectTypeOf(attentionSync(query, query, query, { returnScores: "capped" }).scores).toEqualTypeOf<
      Tensor<"float32">
    >();
  });

  test("what may have been asked for is optional", () => {
    expectTypeOf(attentionSync(query, query, query, options).lse).toEqualTypeOf<Tensor<"float32"> | undefined>();
    expectTypeOf(attentionSync(query, query, query, options).scores).toEqualTypeOf<Tensor<"float32"> | undefined>();
    const result = attentionSync(query, query, query, { returnLse: maybe, returnWeights: true });
    expectTypeOf(result.lse).toEqualTypeOf<Tensor<"float32"> | undefined>();
    expectTypeOf(result.weights).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf<AttentionResult["weights"]>().toEqualTypeOf<Tensor<"float32"> | undefined>();
  });

  test("a promise of the same, and the reference without a plan", async () => {
    expectTypeOf((await attention(query, query, query, { returnLse: true })).lse).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(await attention(query, query, query, { returnLse: true })).not.toHaveProperty("weights");
    const reference = referenceAttention(query, query, query, { returnLse: true });
    expectTypeOf(reference.lse).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(reference).not.toHaveProperty("plan");
  });

  test("a result with more is a result with less", () => {
    expectTypeOf(attentionSync(query, query, query, { returnLse: true })).toExtend<AttentionResult>();
  });
});

describe("dtypes", () => {
  test("the output has the query's", () => {
    expectTypeOf(attentionSync(half, half, half).output).toEqualTypeOf<Tensor<"float16">>();
    expectTypeOf(attentionSync(half, half, half).output.data).toEqualTypeOf<Uint16Array>();
    expectTypeOf(attentionSync(any, any, any).output).toEqualTypeOf<Tensor<"float32" | "float16" | "bfloat16">>();
    const data = new Float32Array(1);
    expectTypeOf(attentionSync({ data, shape: [1, 1, 1, 1] }, query, query).output.dtype).toEqualTypeOf<
      "float32" | "float16" | "bfloat16"
    >();
  });

  test("tensors know theirs", () => {
    expectTypeOf(Tensor.from(new Float32Array(1), [1])).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(Tensor.from(new Uint16Array(1), [1], { dtype: "bfloat16" }).data).toEqualTypeOf<Uint16Array>();
    expectTypeOf(Tensor.from(new Uint8Array(1), [1], { dtype: "bool" }).data).toEqualTypeOf<Uint8Array>();
    expectTypeOf(Tensor.zeros([1])).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(Tensor.zeros([1], { dtype: "int32" }).data).toEqualTypeOf<Int32Array>();
    expectTypeOf(Tensor.random([1], { seed: 1, dtype: "float16" })).toEqualTypeOf<Tensor<"float16">>();
    expectTypeOf(query.cast("bfloat16").transpose(0, 1).slice(0, 1)).toEqualTypeOf<Tensor<"bfloat16">>();
    expectTypeOf(query).toExtend<Tensor>();
    // @ts-expect-error a Uint16Array must say what its bits are
    Tensor.from(new Uint16Array(1), [1]);
    // @ts-expect-error not these bits
    Tensor.from(new Float32Array(1), [1], { dtype: "float16" });
    // @ts-expect-error cast is between floats
    query.cast("int32");
    // @ts-expect-error a seed is required
    Tensor.random([1], {});
  });
});

describe("arguments", () => {
  test("tensors of others fit", () => {
    expectTypeOf(attentionSync).toBeCallableWith(onnx, onnx, onnx);
    expectTypeOf(attentionSync).toBeCallableWith(
      { data: new Float32Array(1), shape: [1], stride: [1], offset: 0, dtype: "float32" },
      query,
      query,
    );
  });

  test("options that do not exist, or cannot be, are errors", () => {
    // @ts-expect-error a misspelt name
    attentionSync(query, query, query, { caussal: true });
    // @ts-expect-error a misspelt name beside right ones
    void attention(query, query, query, { causal: true, returnLse: true, retrunWeights: true });
    // @ts-expect-error a misspelt name
    explain(query, query, query, { widow: {} });
    // @ts-expect-error no such layout
    attentionSync(query, query, query, { layout: "hbsd" });
    // @ts-expect-error one number is no window
    attentionSync(query, query, query, { window: 4 });
    // @ts-expect-error lists of numbers are no lengths
    attentionSync(query, query, query, { keyLengths: [1, 2] });
    // @ts-expect-error out is a Tensor
    attentionSync(query, query, query, { out: { data: new Float32Array(1), shape: [1] } });
    attentionSync(query, query, query, { causal: undefined, window: { left: 3 }, queryOffset: [1, 2] });
  });

  test("explain takes shapes alone, attention does not", () => {
    const bare = { shape: [1, 1, 1, 1], dtype: "float16" } as const;
    expectTypeOf(explain(bare, bare, bare, { mask: { shape: [1, 1], dtype: "bool" } })).toEqualTypeOf<Plan>();
    // @ts-expect-error no data
    attentionSync(bare, bare, bare);
  });
});

test("devices tell apart by available, errors by code", () => {
  const device: DeviceInfo = devices()[1] ?? devices()[0];
  if (device.available && device.device === "cpu") expectTypeOf(device.threads).toEqualTypeOf<number>();
  else if (device.available) expectTypeOf(device.computeCapability).toEqualTypeOf<string>();
  else expectTypeOf(device.reason).toEqualTypeOf<string>();
  const error = new FoveaError("ERR_FOVEA_BUSY", "");
  // @ts-expect-error no such code
  expectTypeOf(error.code === "ERR_FOVEA_BUZY").toBeBoolean();
});

describe("merging", () => {
  test("has the dtype of the parts", async () => {
    const part = attentionSync(half, half, half, { returnLse: true });
    const merged = mergeAttentionSync([part, part]);
    expectTypeOf(merged.output).toEqualTypeOf<Tensor<"float16">>();
    expectTypeOf(merged.lse).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf((await mergeAttention([{ output: onnx, lse: onnx }])).output).toEqualTypeOf<
      Tensor<"float32" | "float16" | "bfloat16">
    >();
  });

  test("takes results that have an lse, and options of its own", () => {
    // @ts-expect-error there is no lse
    mergeAttentionSync([attentionSync(query, query, query)]);
    // @ts-expect-error no such option
    mergeAttentionSync([attentionSync(query, query, query, { returnLse: true })], { causal: true });
  });
});

describe("wrappers", () => {
  test("can name what a generic call returns", () => {
    const wrapped = <Q extends TensorInput, O extends AttentionOptions>(
      q: Q,
      o: O & KnownOptions<O>,
    ): AttentionResult<O & KnownOptions<O>, FloatDTypeOf<Q>> => attentionSync(q, q, q, o);
    expectTypeOf(wrapped(half, { returnLse: true }).output).toEqualTypeOf<Tensor<"float16">>();
  });
});

describe("PagedKVCache", () => {
  const cache = {} as PagedKVCache;
  const query = {} as Tensor<"bfloat16">;

  test("results follow options", () => {
    expectTypeOf(cache.attendSync(query, [], { layer: 0 }).output).toEqualTypeOf<Tensor<"bfloat16">>();
    expectTypeOf(cache.attendSync(query, [], { layer: 0, returnLse: true }).lse).toEqualTypeOf<Tensor<"float32">>();
    expectTypeOf(cache.attendSync(query, [], { layer: 0 })).not.toHaveProperty("lse");
    expectTypeOf(cache.attend(query, [cache.create()], { layer: 0 })).resolves.toHaveProperty("plan");
  });

  test("wrong options are errors", () => {
    // @ts-expect-error layer is required
    void cache.attend(query, [], {});
    // @ts-expect-error a misspelt name
    void cache.attend(query, [], { layer: 0, windw: { left: 4 } });
    // @ts-expect-error pages take no mask
    cache.attendSync(query, [], { layer: 0, returnLse: true, mask: query });
    // @ts-expect-error either theta or frequencies
    void cache.append([], 0, query, query, { rope: { theta: 1, frequencies: [1] } });
    // @ts-expect-error no such dtype
    void new PagedKVCache({ layers: 1, kvHeads: 1, headDim: 8, pages: 1, dtype: "int4" });
  });
});
