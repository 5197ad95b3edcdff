import type { Device } from "./device.js";
import type { FloatDType } from "./dtype.js";
import type { ShapeInput, TensorInput } from "./input.js";
import type { Plan } from "./plan.js";
import type { Tensor } from "./tensor.js";

/**
 * The order of the dimensions of query, key, value and output.
 *
 * - `bhsd`: [batch, heads, length, dim]
 * - `bshd`: [batch, length, heads, dim]
 * - `thd`: ragged, all sequences one after the other: [tokens, heads, dim], with `cuSeqlensQuery` and `cuSeqlensKey`
 */
export type Layout = "bhsd" | "bshd" | "thd";

/**
 * `standard` materialises all scores, `tiled` never does (an online softmax: Milakov and Gimelshein, arXiv:1805.02867, and for
 * attention Dao et al., arXiv:2205.14135); `auto` takes what is better (tiled, unless scores are wanted).
 */
export type Algorithm = "auto" | "standard" | "tiled";

/** Which scores to return: after the scale, after the softcap, or after bias and ALiBi (masked ones are then -Infinity). */
export type ScoreStage = "scaled" | "capped" | "biased";

/** Integers by position, read when the call is made: an Int32Array, or an int32 tensor of one dimension. */
export type IntegerInput = Int32Array | TensorInput;

/** Float32 numbers by position. */
export type VectorInput = Float32Array | TensorInput;

/**
 * How queries attend. For query i and key j of one head, with p = i + queryOffset:
 *
 *     s  = scale * (query i . key j)
 *     s  = softcap * tanh(s / softcap)     with softcap
 *     s += bias[i, j]
 *     s -= alibiSlope * |p - j|
 *     output i = sum over allowed j of softmax(s)j * value j
 *
 * A key is allowed when causal (j <= p), window (p - left <= j <= p + right), the sequence's key length, mask (true) and bias
 * (above -Infinity) all allow it. A query without any allowed key, or past its sequence's length, gets output 0, weights 0
 * and lse -Infinity.
 */
export interface AttentionOptions {
  /** Default "auto". On a GPU "tiled" takes headDim and valueDim up to 256, and "auto" takes "standard" beyond. */
  algorithm?: Algorithm | undefined;
  /** Default "bhsd". */
  layout?: Layout | undefined;
  /** Factor on the dot products, at most 2.3e38 in size. Default 1 / sqrt(headDim). */
  scale?: number | undefined;
  /** Whether a query sees only keys at or before its place. Default false. */
  causal?: boolean | undefined;
  /**
   * The place of query 0 among the keys: one integer within ±2^52, or one per sequence. By default the sequence's key
   * length minus its query length, so that the last query sits on the last key. 0 aligns the first ones (top-left), as
   * PyTorch's is_causal does.
   */
  queryOffset?: number | readonly number[] | IntegerInput | undefined;
  /** How many keys before and after its place a query sees: integers >= 0; no limit where one is left out. */
  window?: { readonly left?: number | undefined; readonly right?: number | undefined } | undefined;
  /**
   * bool; true may attend. Default: all may. Broadcast to [batch, heads, queryLength, keyLength], aligned at the right, from
   * two dimensions on.
   * With thd: [sequences or 1, heads or 1, >= longest query, >= longest key], of which each sequence takes the top-left
   * corner.
   */
  mask?: TensorInput | undefined;
  /** Added to the scores: any float dtype, shaped like `mask`. Default: none. */
  bias?: TensorInput | undefined;
  /** ALiBi slopes (Press, Smith and Lewis, arXiv:2108.12409): float32 [heads] or [batch, heads]. Default: none. */
  alibiSlopes?: VectorInput | undefined;
  /** Scores are squashed to (-softcap, softcap), as in Gemma 2 (arXiv:2408.00118). At most 2.3e38; 0 (the default) is none. */
  softcap?: number | undefined;
  /**
   * One more logit per head in the softmax's denominator, without a value, as in gpt-oss (arXiv:2508.10925); lse includes it.
   * float32 [heads]. Default: none.
   */
  sinks?: VectorInput | undefined;
  /** How many queries of each sequence exist: [batch]. Not with thd. Default: all. */
  queryLengths?: IntegerInput | undefined;
  /** How many keys of each sequence exist: [batch]; what lies past them is not read. Default: all. With thd only when paged. */
  keyLengths?: IntegerInput | undefined;
  /** thd: where each sequence's queries start, and where the last end: [sequences + 1], from 0 on, never decreasing. */
  cuSeqlensQuery?: IntegerInput | undefined;
  /** thd: where each sequence's keys start, and where the last end: [sequences + 1], from 0 on, never decreasing. */
  cuSeqlensKey?: IntegerInput | undefined;
  /**
   * Keys and values in pages: int32 [batch, maxPages]; key j of sequence b is row j % pageSize of page
   * pageTable[b, floor(j / pageSize)]. Key and value are then [pages, kvHeads, pageSize, dim] (bshd and thd: [pages,
   * pageSize, kvHeads, dim]), the key length of shapes is maxPages * pageSize, and `keyLengths` is required. Entries past a
   * sequence's length are not read.
   */
  pageTable?: TensorInput | undefined;
  /**
   * Whether to return `lse`: ln(sum over j of exp(s)), float32 [batch, heads, queryLength] (thd: [heads, tokens]). "tiled"
   * counts a bias beyond 2.3e38 in size as that. Default false.
   */
  returnLse?: boolean | undefined;
  /** Whether to return `weights`, the softmax: float32 [batch, heads, queryLength, keyLength]. Not with thd. Default false. */
  returnWeights?: boolean | undefined;
  /**
   * Returns `scores` of that stage: float32 [batch, heads, queryLength, keyLength]. Not with thd or "tiled". Past a sequence's
   * lengths they are 0 ("biased": -Infinity).
   */
  returnScores?: ScoreStage | undefined;
  /**
   * Where to write the output, which is then this tensor: exactly its shape and dtype, any strides that do not overlap, and
   * no memory shared with an input.
   */
  out?: Tensor | undefined;
  /** Where to compute. Default: where the query lives. */
  device?: Device | undefined;
  /** Aborts the call; see `attention`. */
  signal?: AbortSignal | undefined;
}

/** The options of `explain`: the same, and tensors may be without data. */
export interface ExplainOptions extends Omit<
  AttentionOptions,
  "mask" | "bias" | "alibiSlopes" | "sinks" | "pageTable"
> {
  mask?: ShapeInput | undefined;
  bias?: ShapeInput | undefined;
  alibiSlopes?: ShapeInput | Float32Array | undefined;
  sinks?: ShapeInput | Float32Array | undefined;
  pageTable?: ShapeInput | undefined;
}

/** What a call returns: always `output` and `plan`, the rest as the options ask for it. */
export type AttentionResult<Options = AttentionOptions, D extends FloatDType = FloatDType> = {
  /** In the layout and dtype of the query, with the value's last dimension. */
  readonly output: Tensor<D>;
  /** How it was computed. */
  readonly plan: Plan;
} & Returned<"lse", Option<Options, "returnLse">> &
  Returned<"weights", Option<Options, "returnWeights">> &
  Returned<"scores", Option<Options, "returnScores">>;

type Option<Options, Name> = Name extends keyof Options ? Options[Name] : undefined;

/** Absent where the flag is known to be off, there where it is known to be on, and optional where it is not known. */
type Returned<Name extends string, Flag> = [Flag] extends [false | undefined]
  ? unknown
  : [Extract<Flag, false | undefined>] extends [never]
    ? { readonly [Key in Name]: Tensor<"float32"> }
    : { readonly [Key in Name]?: Tensor<"float32"> };

/** Makes an option that does not exist a type error, although the options' type is inferred. */
export type KnownOptions<Options, Known = AttentionOptions> = {
  readonly [Key in Exclude<keyof Options, keyof Known>]: never;
};

/** Every option, for the check of their names. */
export const optionNames: ReadonlySet<string> = new Set(
  Object.keys({
    algorithm: true,
    layout: true,
    scale: true,
    causal: true,
    queryOffset: true,
    window: true,
    mask: true,
    bias: true,
    alibiSlopes: true,
    softcap: true,
    sinks: true,
    queryLengths: true,
    keyLengths: true,
    cuSeqlensQuery: true,
    cuSeqlensKey: true,
    pageTable: true,
    returnLse: true,
    returnWeights: true,
    returnScores: true,
    out: true,
    device: true,
    signal: true,
  } satisfies Record<keyof AttentionOptions, true>),
);
