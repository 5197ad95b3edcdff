// The call itself: by the kernels, or in float64 by the reference.
import { attention } from "../attention.js";
import type { Device } from "../device.js";
import { withNames } from "../dropin/names.js";
import { reordered, withTensors } from "../dropin/views.js";
import type { DataArray, FloatDType } from "../dtype.js";
import { FoveaError, show } from "../errors.js";
import type { AttentionOptions, ScoreStage } from "../options.js";
import { referenceAttentionFloat64 } from "../reference.js";
import { Tensor, viewOf } from "../tensor.js";
import type { View } from "../view.js";
import type { Attributes } from "./attributes.js";
import type { PlacedCall } from "./place.js";
import { converted, viewOver } from "./tensors.js";

interface Results {
  /** [batch, queries, heads, size] where Q has three dimensions, else [batch, heads, queries, size]; of Q's type. */
  readonly Y: View;
  readonly scores: View | undefined;
}

const stages: readonly (ScoreStage | undefined)[] = ["scaled", "capped", "biased", undefined];

/** What `attention` calls the operator's inputs. */
const foveaNames = { query: "Q", key: "K", value: "V", mask: "attn_mask", bias: "attn_mask" };

export async function compute(
  call: PlacedCall,
  rules: Attributes,
  device: Device | undefined,
  signal: AbortSignal | undefined,
): Promise<Results> {
  const { wantsScores, query, key, value, masks } = call;
  if (call.kind === "float64" && device !== undefined && device !== "cpu") {
    const message = `device: expected "cpu", where the reference computes in double, got ${show(device)}`;
    throw new FoveaError("ERR_FOVEA_DEVICE", message);
  }
  return withTensors(async (tensor) => {
    const options: AttentionOptions = {
      scale: rules.scale,
      causal: rules.causal,
      window: { left: rules.left, right: rules.right },
      softcap: rules.softcap,
      queryOffset: call.offset,
      keyLengths: call.lengths,
      mask: masks.mask && tensor(masks.mask),
      bias: masks.bias && tensor(masks.bias),
      returnScores: wantsScores ? stages[rules.outputMode] : undefined,
      returnWeights: wantsScores && rules.outputMode === 3,
      device,
      signal,
    };
    const inputs = [tensor(query), tensor(key), tensor(value)] as const;
    return withNames(foveaNames, async () =>
      call.kind === "float64" ? inFloat64(call, inputs, options) : inKernels(call, inputs, options),
    );
  });
}

type Inputs = readonly [Tensor, Tensor, Tensor];

async function inKernels(call: PlacedCall, [query, key, value]: Inputs, options: AttentionOptions): Promise<Results> {
  const [batch, heads, length] = query.shape as [number, number, number];
  const size = value.shape[3]!;
  const kind = call.kind as FloatDType;
  // Where Y has three dimensions it is written as such, with the heads of a query side by side.
  const flat = call.flat ? Tensor.empty([batch, length, heads, size], { dtype: kind }) : undefined;
  const result = await attention(query, key, value, { ...options, out: flat?.transpose(1, 2) as Tensor | undefined });
  const scores = result.scores ?? result.weights;
  return {
    Y: converted("Y", { kind, view: viewOf(flat ?? result.output, "Y") }, call.type),
    scores: scores && converted("qk_matmul_output", { kind: "float32", view: viewOf(scores, "scores") }, call.type),
  };
}

/** The tensors hold float64; see `Kind`. */
function inFloat64(call: PlacedCall, [query, key, value]: Inputs, options: AttentionOptions): Results {
  const { output, scores, weights } = referenceAttentionFloat64(query, key, value, options);
  const [batch, heads, length] = query.shape as [number, number, number];
  const keys = key.shape[2]!;
  const size = value.shape[3]!;
  const as = (name: string, numbers: Float64Array, shape: readonly number[]): View =>
    converted(name, { kind: "float64", view: viewOver(numbers as unknown as DataArray, "float64", shape) }, call.type);
  const Y = as("Y", output, [batch, heads, length, size]);
  const stage = scores ?? weights;
  return {
    Y: call.flat ? reordered(Y, [0, 2, 1, 3]) : Y,
    scores: stage && as("qk_matmul_output", stage, [batch, heads, length, keys]),
  };
}
