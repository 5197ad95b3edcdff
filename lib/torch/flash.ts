// flash-attn's flash_attn_func and flash_attn_varlen_func.
import { attention } from "../attention.js";
import type { Device } from "../device.js";
import type { FloatDType } from "../dtype.js";
import { withNames, type Names } from "../dropin/names.js";
import { FoveaError, show, showList } from "../errors.js";
import { integers, type FloatDTypeOf, type TensorInput } from "../input.js";
import type { AttentionOptions, IntegerInput, VectorInput } from "../options.js";
import { checkNames } from "../rules.js";
import type { Tensor } from "../tensor.js";
import { refuseDropout } from "./dropout.js";

/** What flash-attn's functions have in common, with its defaults, and where to compute. */
export interface FlashAttentionOptions {
  /** 0 (the default): this is inference, and anything else is an error. */
  dropoutP?: number | undefined;
  /** Default 1 / sqrt(headdim). */
  softmaxScale?: number | undefined;
  /** Whether a query sees no later key; the last query sits on the last key (bottom-right). Default false. */
  causal?: boolean | undefined;
  /** [left, right]: how many keys before and after its place a query sees; -1 is no limit. Default [-1, -1]. */
  windowSize?: readonly [left: number, right: number] | undefined;
  /** 0 (the default) is none. */
  softcap?: number | undefined;
  /** float32 [heads] or [batch, heads]: -slope * |i + seqlenK - seqlenQ - j| is added to the scores. */
  alibiSlopes?: VectorInput | undefined;
  /** Whether to return `{ output, softmaxLse }` rather than the output. Default false. */
  returnSoftmaxLse?: boolean | undefined;
  /** Default: where the query lives. */
  device?: Device | undefined;
  signal?: AbortSignal | undefined;
}

export interface FlashAttentionVarlenOptions extends FlashAttentionOptions {
  /** [batch + 1]: where each sequence's queries start, and where the last end. */
  cuSeqlensQ: IntegerInput;
  /** [batch + 1]: the same of the keys. */
  cuSeqlensK: IntegerInput;
  /** Longest query and key sequences. Not needed; where given, a longer one is an error. */
  maxSeqlenQ?: number | undefined;
  maxSeqlenK?: number | undefined;
  /** int32 [batch, maxBlocks]: keys and values are then [blocks, blockSize, kvHeads, headdim], and cuSeqlensK gives their lengths. */
  blockTable?: TensorInput | undefined;
}

/** The output, or with `returnSoftmaxLse: true` that and ln of the sums, float32. */
export type FlashResult<Options, D extends FloatDType> = [Flag<Options>] extends [false | undefined]
  ? Tensor<D>
  : [Flag<Options>] extends [true]
    ? WithLse<D>
    : Tensor<D> | WithLse<D>;

type Flag<Options> = "returnSoftmaxLse" extends keyof Options ? Options["returnSoftmaxLse"] : undefined;

interface WithLse<D extends FloatDType> {
  readonly output: Tensor<D>;
  readonly softmaxLse: Tensor<"float32">;
}

/** What `attention` calls the arguments of all of them. */
export const flashFoveaNames = {
  scale: "softmaxScale",
  returnLse: "returnSoftmaxLse",
  query: "q",
  key: "k",
  value: "v",
};

const commonNames = {
  dropoutP: true,
  softmaxScale: true,
  causal: true,
  windowSize: true,
  softcap: true,
  alibiSlopes: true,
  returnSoftmaxLse: true,
  device: true,
  signal: true,
} satisfies Record<keyof FlashAttentionOptions, true>;

export const flashNames: ReadonlySet<string> = new Set(Object.keys(commonNames));
const varlenNames = new Set(
  Object.keys({
    ...commonNames,
    cuSeqlensQ: true,
    cuSeqlensK: true,
    maxSeqlenQ: true,
    maxSeqlenK: true,
    blockTable: true,
  } satisfies Record<keyof FlashAttentionVarlenOptions, true>),
);

const varlenFoveaNames = {
  ...flashFoveaNames,
  cuSeqlensQuery: "cuSeqlensQ",
  cuSeqlensKey: "cuSeqlensK",
  keyLengths: "(lengths of cuSeqlensK)",
  pageTable: "blockTable",
};

/**
 * `flash_attn_func`: q [batch, seqlenQ, heads, headdim], k and v [batch, seqlenK, kvHeads, headdim] (v's may differ) to
 * [batch, seqlenQ, heads, headdim]; `softmaxLse` is [batch, heads, seqlenQ]. kvHeads divides heads. float32 too. A query that
 * sees no key gets zeros (and lse -Infinity).
 */
export async function flashAttention<Query extends TensorInput, const Options extends FlashAttentionOptions = {}>(
  q: Query,
  k: TensorInput,
  v: TensorInput,
  options?: Options,
): Promise<FlashResult<Options, FloatDTypeOf<Query>>> {
  const given: FlashAttentionOptions = options === undefined ? {} : options;
  checkNames("options", given, flashNames);
  return run(q, k, v, { ...flashRules(given), layout: "bshd" }, flashFoveaNames) as Promise<
    FlashResult<Options, FloatDTypeOf<Query>>
  >;
}

/**
 * `flash_attn_varlen_func`: all sequences one after the other, q [totalQ, heads, headdim], k and v [totalK, kvHeads, headdim] to
 * [totalQ, heads, headdim]; `softmaxLse` is [heads, totalQ].
 */
export async function flashAttentionVarlen<
  Query extends TensorInput,
  const Options extends FlashAttentionVarlenOptions = FlashAttentionVarlenOptions,
>(q: Query, k: TensorInput, v: TensorInput, options: Options): Promise<FlashResult<Options, FloatDTypeOf<Query>>> {
  checkNames("options", options, varlenNames);
  const { cuSeqlensQ, cuSeqlensK, blockTable }: FlashAttentionVarlenOptions = options;
  const lengthsQ = lengthsOf("cuSeqlensQ", cuSeqlensQ, "maxSeqlenQ", options.maxSeqlenQ);
  const lengthsK = lengthsOf("cuSeqlensK", cuSeqlensK, "maxSeqlenK", options.maxSeqlenK);
  if (lengthsQ.length !== lengthsK.length) {
    const message = `cuSeqlensK: expected [${lengthsQ.length + 1}] as cuSeqlensQ, got [${lengthsK.length + 1}]`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  const rules: AttentionOptions = {
    ...flashRules(options),
    layout: "thd",
    cuSeqlensQuery: cuSeqlensQ,
    ...(blockTable === undefined ? { cuSeqlensKey: cuSeqlensK } : { pageTable: blockTable, keyLengths: lengthsK }),
  };
  return run(q, k, v, rules, varlenFoveaNames) as Promise<FlashResult<Options, FloatDTypeOf<Query>>>;
}

/** flash-attn's options as fovea's. */
export function flashRules(options: FlashAttentionOptions): AttentionOptions {
  refuseDropout(options.dropoutP);
  const { softmaxScale, causal, softcap, alibiSlopes, returnSoftmaxLse, device, signal } = options;
  const window = windowOf(options.windowSize);
  return { scale: softmaxScale, causal, window, softcap, alibiSlopes, returnLse: returnSoftmaxLse, device, signal };
}

function windowOf(size: unknown): AttentionOptions["window"] {
  if (size === undefined) return undefined;
  const fits =
    Array.isArray(size) && size.length === 2 && size.every((side) => Number.isSafeInteger(side) && side >= -1);
  if (!fits) {
    const message = `windowSize: expected [left, right], integers >= -1 (-1: no limit), got ${showList(size)}`;
    throw new FoveaError("ERR_FOVEA_OPTION", message);
  }
  const [left, right] = (size as number[]).map((side) => (side < 0 ? undefined : side));
  return { left, right };
}

/** Each sequence's length. (That starts never decrease is checked with the call.) */
function lengthsOf(name: string, input: IntegerInput, maxName: string, longest: unknown): Int32Array {
  if (input === undefined) throw new FoveaError("ERR_FOVEA_OPTION", `${name}: required`);
  const starts = integers(name, input);
  const lengths = Int32Array.from({ length: Math.max(0, starts.length - 1) }, (_, i) => starts[i + 1]! - starts[i]!);
  if (longest === undefined) return lengths;
  if (!Number.isSafeInteger(longest)) {
    throw new FoveaError("ERR_FOVEA_OPTION", `${maxName}: expected an integer, got ${show(longest)}`);
  }
  const over = lengths.findIndex((length) => length > (longest as number));
  if (over < 0) return lengths;
  const message = `${maxName}: expected at least ${lengths[over]!}, the length of sequence ${over}, got ${show(longest)}`;
  throw new FoveaError("ERR_FOVEA_BOUNDS", message);
}

/** The call, and its result as flash-attn returns it. `names`: what `attention` calls the caller's arguments. */
export async function run(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options: AttentionOptions,
  names: Names,
): Promise<unknown> {
  const { output, lse } = await withNames(names, () => attention(q, k, v, options));
  return lse === undefined ? output : { output, softmaxLse: lse };
}
