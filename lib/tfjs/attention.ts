// attention() and attentionSync() on TensorFlow.js's tensors.
import { tensor, Tensor as TfTensor, type DataTypeMap } from "@tensorflow/tfjs-core";
import { attention as foveaAttention, attentionSync as foveaAttentionSync } from "../attention.js";
import { FoveaError, show } from "../errors.js";
import { inputView, integers, type TensorInput, type TensorLike } from "../input.js";
import { packed } from "../memory.js";
import {
  optionNames,
  type AttentionOptions,
  type AttentionResult,
  type IntegerInput,
  type VectorInput,
} from "../options.js";
import type { Plan } from "../plan.js";
import { checkNames } from "../rules.js";
import { makeTensor } from "../tensor.js";

/** The options of `attention`, whose tensors may be TensorFlow.js's. Results are new tensors always: there is no `out`. */
export interface TfjsAttentionOptions extends Omit<
  AttentionOptions,
  "mask" | "bias" | "alibiSlopes" | "sinks" | "pageTable" | "out" | IntegerOption
> {
  mask?: TfTensor | TensorInput | undefined;
  bias?: TfTensor | TensorInput | undefined;
  alibiSlopes?: TfTensor | VectorInput | undefined;
  sinks?: TfTensor | VectorInput | undefined;
  pageTable?: TfTensor | TensorInput | undefined;
  queryLengths?: TfTensor | IntegerInput | undefined;
  keyLengths?: TfTensor | IntegerInput | undefined;
  cuSeqlensQuery?: TfTensor | IntegerInput | undefined;
  cuSeqlensKey?: TfTensor | IntegerInput | undefined;
}

const integerOptions = ["queryLengths", "keyLengths", "cuSeqlensQuery", "cuSeqlensKey"] as const;
type IntegerOption = (typeof integerOptions)[number];

const tensorOptions = ["mask", "bias", "alibiSlopes", "sinks", "pageTable", ...integerOptions] as const;

/** New tensors, for the caller to dispose; the plan as `attention` gives it. */
export interface TfjsAttentionResult {
  readonly output: TfTensor;
  readonly plan: Plan;
  /** Where `returnLse`, `returnWeights` and `returnScores` ask for them. */
  readonly lse?: TfTensor;
  readonly weights?: TfTensor;
  readonly scores?: TfTensor;
}

/**
 * fovea's `attention` on tensors of TensorFlow.js (float32; masks bool, lengths int32), with its shapes, options and errors:
 * [batch, heads, length, dim] by default. Computes off the event loop. What it makes is outside any `tf.tidy`, which cannot wait
 * for it. No gradients.
 */
export async function attention(
  query: TfTensor,
  key: TfTensor,
  value: TfTensor,
  options: TfjsAttentionOptions = {},
): Promise<TfjsAttentionResult> {
  const { names, tensors } = tensorsOf(query, key, value, options);
  const now = asTheyAre(options);
  const data = await Promise.all(tensors.map((one) => one.data<keyof DataTypeMap>()));
  const { q, k, v, rest } = assemble(names, tensors, data, now);
  return wrapped(await foveaAttention(q, k, v, rest));
}

/** The same, computed before it returns: for `tf.tidy`, which keeps account of the results. */
export function attentionSync(
  query: TfTensor,
  key: TfTensor,
  value: TfTensor,
  options: TfjsAttentionOptions = {},
): TfjsAttentionResult {
  const { names, tensors } = tensorsOf(query, key, value, options);
  const data = tensors.map((one) => one.dataSync<keyof DataTypeMap>());
  const { q, k, v, rest } = assemble(names, tensors, data, options);
  return wrapped(foveaAttentionSync(q, k, v, rest));
}

/** TensorFlow.js's tensors among the arguments, by name. */
function tensorsOf(
  query: unknown,
  key: unknown,
  value: unknown,
  options: TfjsAttentionOptions,
): { names: string[]; tensors: TfTensor[] } {
  checkNames("options", options, optionNames);
  if ("out" in options) throw new FoveaError("ERR_FOVEA_OPTION", "out: not on TensorFlow.js's tensors");
  const three = { query, key, value };
  for (const [name, given] of Object.entries(three)) {
    if (isTfTensor(given)) continue;
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected a tensor of TensorFlow.js, got ${show(given)}`);
  }
  const given = tensorOptions.map((name) => [name, options[name]] as const).filter(([, one]) => isTfTensor(one));
  const all = [...Object.entries(three), ...given] as [string, TfTensor][];
  return { names: all.map(([name]) => name), tensors: all.map(([, one]) => one) };
}

/** Told by `dataSync`, so that tensors of another copy of the package are tensors too. */
const isTfTensor = (value: unknown): value is TfTensor =>
  value instanceof TfTensor || typeof (value as { dataSync?: unknown } | null | undefined)?.dataSync === "function";

/** The options with integers of their own: lengths, offsets and page tables are read when the call is made. */
function asTheyAre(options: TfjsAttentionOptions): TfjsAttentionOptions {
  const own = { ...options };
  for (const name of integerOptions) {
    const given = options[name];
    if (given !== undefined && !isTfTensor(given)) own[name] = integers(name, given).slice();
  }
  const { queryOffset, pageTable } = options;
  if (Array.isArray(queryOffset)) own.queryOffset = [...(queryOffset as readonly number[])];
  else if (typeof queryOffset === "object" && queryOffset !== null)
    own.queryOffset = integers("queryOffset", queryOffset).slice();
  if (pageTable !== undefined && !isTfTensor(pageTable)) {
    own.pageTable = makeTensor(packed("pageTable", inputView("pageTable", pageTable, false)));
  }
  return own;
}

function assemble(
  names: readonly string[],
  tensors: readonly TfTensor[],
  data: readonly DataTypeMap[keyof DataTypeMap][],
  options: TfjsAttentionOptions,
): { q: TensorLike; k: TensorLike; v: TensorLike; rest: AttentionOptions } {
  const likes = tensors.map(({ shape, dtype }, i): TensorLike => ({
    data: data[i] as TensorLike["data"],
    shape,
    dtype,
  }));
  const [q, k, v, ...others] = likes;
  const rest = { ...options, ...Object.fromEntries(others.map((one, i) => [names[i + 3]!, one])) };
  return { q: q!, k: k!, v: v!, rest: rest as AttentionOptions };
}

function wrapped({ plan, ...tensors }: AttentionResult): TfjsAttentionResult {
  const made = Object.entries(tensors).map(([name, one]) => [name, tensor(one.data as Float32Array, [...one.shape])]);
  return { ...(Object.fromEntries(made) as Omit<TfjsAttentionResult, "plan">), plan };
}
