import type { Array as JaxArray } from "@jax-js/jax";
import { attention } from "../attention.js";
import type { Device } from "../device.js";
import { withNames } from "../dropin/names.js";
import { inShape, takeShape, withTensors } from "../dropin/views.js";
import { FoveaError, list, shapeError, showList } from "../errors.js";
import { inputView, integers, type FloatDTypeOf, type TensorInput } from "../input.js";
import type { AttentionOptions, IntegerInput } from "../options.js";
import { checkNames } from "../rules.js";
import type { Tensor } from "../tensor.js";
import type { View } from "../view.js";
import { isJaxArray, readJaxArray, toJaxArray } from "./arrays.js";

export type { JaxArray };
export type JaxInput = JaxArray | TensorInput;
export type JaxIntegers = JaxArray | IntegerInput;

/** A jax array where the query is one, else a fovea tensor. */
export type JaxResult<Query> = Query extends JaxArray ? JaxArray : Tensor<FloatDTypeOf<Query>>;

/** The keyword arguments of jax.nn.dot_product_attention, with its defaults, and where to compute. */
export interface DotProductAttentionOptions {
  /** Added to the scaled scores; broadcasts to [B, N, T, S]. Default: none. */
  bias?: JaxInput | undefined;
  /** bool, broadcasts to [B, N, T, S]; true takes part. Default: none. */
  mask?: JaxInput | undefined;
  /** Default 1 / sqrt(H). */
  scale?: number | undefined;
  /** Whether query t sees keys 0 to t: the diagonal begins at the top left, whatever T and S are. Default false. */
  isCausal?: boolean | undefined;
  /** [B] (or one for all): how many queries of each sequence exist; the others get zeros. Default: all. */
  querySeqLengths?: JaxIntegers | undefined;
  /** [B] (or one for all): how many keys and values of each sequence exist. Default: all. */
  keyValueSeqLengths?: JaxIntegers | undefined;
  /** [left, right]: query t sees keys t - left to t + right; one number is both. Default: no limit. */
  localWindowSize?: number | readonly [left: number, right: number] | undefined;
  /** A device of fovea's. Default: where the query lives; that of jax arrays is the host. */
  device?: Device | undefined;
  signal?: AbortSignal | undefined;
}

const names = new Set(
  Object.keys({
    bias: true,
    mask: true,
    scale: true,
    isCausal: true,
    querySeqLengths: true,
    keyValueSeqLengths: true,
    localWindowSize: true,
    device: true,
    signal: true,
  } satisfies Record<keyof DotProductAttentionOptions, true>),
);

/** What `attention` calls our arguments. */
const foveaNames = { causal: "isCausal", queryLengths: "querySeqLengths", keyLengths: "keyValueSeqLengths" };

/**
 * `jax.nn.dot_product_attention`: query [B, T, N, H], key [B, S, K, H], value [B, S, K, H'] to [B, T, N, H'], or all without B.
 * K divides N. float32, float16 or (tensors) bfloat16, one for all three. A query that may see no key gets zeros.
 *
 * jax-js arrays are consumed, as by jax-js's own functions, whether the call succeeds or not: pass `array.ref` to keep one. The
 * result is a jax-js array on the query's backend. Not within `jit` or `grad`, where arrays have no numbers. Rejects with a
 * FoveaError.
 */
export async function dotProductAttention<Query extends JaxInput>(
  query: Query,
  key: JaxInput,
  value: JaxInput,
  options: DotProductAttentionOptions = {},
): Promise<JaxResult<Query>> {
  const backend = isJaxArray(query) ? query.device : undefined;
  // Before anything is checked, as arrays are consumed whatever is wrong.
  const { bias, mask, querySeqLengths, keyValueSeqLengths, ...others } = taken(options);
  const given = { query, key, value, bias, mask, querySeqLengths, keyValueSeqLengths };
  const read = Object.values(given).some(isJaxArray) ? await readAll(given) : readNow(given);
  checkNames("options", options, names);

  const views = (["query", "key", "value"] as const).map((name) => inputView(name, read[name], false));
  const [q, k, v] = views as [View, View, View];
  const rank = q.shape.length;
  if (rank !== 3 && rank !== 4) throw shapeError("query", ["*", "*", "*", "*"], "B, T, N, H; without B too", q.shape);
  for (const [name, view] of [["key", k] as const, ["value", v] as const]) {
    if (view.shape.length === rank) continue;
    const message = `${name}: expected ${rank} dimensions as in query, got ${list(view.shape)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  const batch = rank === 4 ? q.shape[0]! : 1;

  const output = await withTensors(async (tensor) => {
    const in4 = (name: string, view: View): Tensor =>
      tensor(inShape(name, view, [...new Array<number>(Math.max(0, 4 - view.shape.length)).fill(1), ...view.shape]));
    const spreadOver = (name: "bias" | "mask"): Tensor | undefined =>
      read[name] === undefined ? undefined : in4(name, inputView(name, read[name], false));
    const inputs = [in4("query", q), in4("key", k), in4("value", v)] as const;
    const call: AttentionOptions = {
      layout: "bshd",
      scale: others.scale,
      causal: others.isCausal,
      queryOffset: 0,
      window: windowOf(others.localWindowSize),
      bias: spreadOver("bias"),
      mask: spreadOver("mask"),
      queryLengths: lengthsOf("querySeqLengths", read.querySeqLengths, batch),
      keyLengths: lengthsOf("keyValueSeqLengths", read.keyValueSeqLengths, batch),
      device: others.device,
      signal: others.signal,
    };
    const result = await withNames(foveaNames, () => attention(...inputs, call));
    return rank === 4 ? result.output : takeShape(result.output, result.output.shape.slice(1));
  });
  return (backend === undefined ? output : await toJaxArray(output, backend)) as JaxResult<Query>;
}

/** The options as they are now, whatever becomes of them while arrays are read; none where they are no object. */
function taken(options: unknown): DotProductAttentionOptions {
  const given = Object(options) as DotProductAttentionOptions;
  const copy = Object.fromEntries(Array.from(names, (name) => [name, given[name as keyof DotProductAttentionOptions]]));
  const { localWindowSize } = given;
  return {
    ...copy,
    localWindowSize: Array.isArray(localWindowSize) ? localWindowSize.slice() : localWindowSize,
  } as DotProductAttentionOptions;
}

function readOne(name: string, input: unknown): unknown {
  const isLengths = name === "querySeqLengths" || name === "keyValueSeqLengths";
  return isLengths && input !== undefined ? integers(name, input).slice() : input; // as they are now
}

type Read<T> = Record<keyof T, TensorInput | undefined>;

function readNow<T extends Record<string, unknown>>(given: T): Read<T> {
  return Object.fromEntries(Object.entries(given).map(([name, input]) => [name, readOne(name, input)])) as Read<T>;
}

/** Every jax array as what it holds; each of them is consumed even where another cannot be read. */
async function readAll<T extends Record<string, unknown>>(given: T): Promise<Read<T>> {
  const entries = Object.entries(given).map(async ([name, input]) => [
    name,
    isJaxArray(input) ? await readJaxArray(name, input) : readOne(name, input),
  ]);
  const settled = await Promise.allSettled(entries);
  for (const one of settled) if (one.status === "rejected") throw one.reason;
  return Object.fromEntries(settled.map((one) => (one as PromiseFulfilledResult<[string, unknown]>).value)) as Read<T>;
}

function windowOf(size: unknown): AttentionOptions["window"] {
  if (size === undefined) return undefined;
  const [left, right, ...rest]: unknown[] = Array.isArray(size) ? size : [size, size];
  if (rest.length === 0 && isReach(left) && isReach(right)) return { left, right };
  const message = `localWindowSize: expected an integer >= 0 or [left, right], two of them, got ${showList(size)}`;
  throw new FoveaError("ERR_FOVEA_OPTION", message);
}

const isReach = (side: unknown): side is number => Number.isSafeInteger(side) && (side as number) >= 0;

function lengthsOf(name: string, input: IntegerInput | undefined, batch: number): Int32Array | undefined {
  if (input === undefined) return undefined;
  const lengths = integers(name, input);
  return lengths.length === 1 ? new Int32Array(batch).fill(lengths[0]!) : lengths;
}
