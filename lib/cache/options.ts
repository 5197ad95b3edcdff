import { checkDevice, type Device } from "../device.js";
import type { StoredDType } from "../dtype.js";
import { FoveaError, show } from "../errors.js";
import type { AttentionOptions, IntegerInput } from "../options.js";
import { checkNames, optionError } from "../rules.js";
import { starts } from "../sequences.js";
import { maxDim, maxHeads } from "../shape.js";
import type { PageShape } from "./pages.js";
import type { Rope } from "./rope.js";

/** The sizes of a `PagedKVCache`. */
export interface PagedKVCacheOptions {
  /** Layers of the model: 1 to 65536. */
  layers: number;
  /** Heads of keys and values: 1 to 2^20. */
  kvHeads: number;
  /** Sizes of a key and of a value: 1 to 512. `valueDim` is `headDim` by default. */
  headDim: number;
  valueDim?: number | undefined;
  /** Tokens of a page. Default 64. */
  pageSize?: number | undefined;
  /** Pages, each of all layers. pages * pageSize tokens are at most 2^31 - 1. */
  pages: number;
  /**
   * Element type of the pages; "float32" by default. What is appended is rounded to it. "int8" holds each token's
   * vector of a head as integers from -127 to 127 times a float32 scale, its largest magnitude / 127: a relative RMS error of
   * about 0.6 % on normally distributed elements, 1.5 % at most. One element that is k times larger than the others makes their
   * error about k / 3 times larger: a head with outlier channels is better rotated or kept in 16 bits. A vector with infinities or
   * NaN becomes NaN, one whose largest magnitude is below 1.5e-36 becomes zeros.
   */
  dtype?: StoredDType | undefined;
  /** Where the pages live and attention is computed; "cpu" by default. */
  device?: Device | undefined;
}

/** How tokens are appended. */
export interface AppendOptions {
  /**
   * Where each sequence's tokens start in `key` and `value`, and where the last one's end: [sequences + 1], from 0 on, never
   * decreasing. By default every sequence has as many: tokens / sequences.
   */
  cuSeqlens?: IntegerInput | undefined;
  /** Rotates the keys before they are stored; give `attend` the same. */
  rope?: Rope | undefined;
}

/** How queries attend to what is cached: see `AttentionOptions` for what those that are named alike mean. */
export interface AttendOptions extends Pick<
  AttentionOptions,
  "scale" | "window" | "softcap" | "sinks" | "alibiSlopes" | "returnLse" | "out" | "signal"
> {
  /** Which layer's keys and values: 0 to layers - 1. */
  layer: number;
  /** Whether a query sees only tokens up to its own. Default true: queries are the sequence's last tokens. */
  causal?: boolean | undefined;
  /** Where each sequence's queries start in `query`, and where the last one's end, as in `AppendOptions`. */
  cuSeqlens?: IntegerInput | undefined;
  /** Rotates the queries, as `append` did the keys. */
  rope?: Rope | undefined;
}

const cacheNames = new Set(
  Object.keys({
    layers: true,
    kvHeads: true,
    headDim: true,
    valueDim: true,
    pageSize: true,
    pages: true,
    dtype: true,
    device: true,
  } satisfies Record<keyof PagedKVCacheOptions, true>),
);

export const appendNames: ReadonlySet<string> = new Set(
  Object.keys({ cuSeqlens: true, rope: true } satisfies Record<keyof AppendOptions, true>),
);

export const attendNames: ReadonlySet<string> = new Set(
  Object.keys({
    layer: true,
    scale: true,
    causal: true,
    window: true,
    softcap: true,
    sinks: true,
    alibiSlopes: true,
    cuSeqlens: true,
    rope: true,
    returnLse: true,
    out: true,
    signal: true,
  } satisfies Record<keyof AttendOptions, true>),
);

const dtypes = ["float32", "float16", "bfloat16", "int8"] as const;
const maxTokens = 2 ** 31 - 1;
/** Of the kernels that store no scores: larger ones read pages of the query's dtype alone. */
const maxInt8DimOnGpu = 256;

export function checkCacheOptions(options: PagedKVCacheOptions): PageShape {
  checkNames("options", options, cacheNames);
  const { valueDim = options.headDim, pageSize = 64, dtype = "float32" } = options;
  if (!dtypes.includes(dtype)) {
    throw new FoveaError("ERR_FOVEA_DTYPE", `dtype: expected ${dtypes.map(show).join(" or ")}, got ${show(dtype)}`);
  }
  const shape = {
    layers: integer("layers", options.layers, 1, 65536),
    kvHeads: integer("kvHeads", options.kvHeads, 1, maxHeads),
    headDim: integer("headDim", options.headDim, 1, maxDim),
    valueDim: integer("valueDim", valueDim, 1, maxDim),
    pageSize: integer("pageSize", pageSize, 1, maxTokens),
    pages: integer("pages", options.pages, 1, maxTokens),
    dtype,
    device: checkDevice("device", options.device),
  };
  if (shape.pages * shape.pageSize > maxTokens) {
    throw optionError("pages", `at most ${Math.floor(maxTokens / shape.pageSize)} of ${pageSize} tokens`, shape.pages);
  }
  const largest = Math.max(shape.headDim, shape.valueDim);
  if (dtype === "int8" && shape.device !== "cpu" && largest > maxInt8DimOnGpu) {
    const message = `dtype: "int8" pages on ${shape.device} have headDim and valueDim up to ${maxInt8DimOnGpu}, got ${largest}`;
    throw new FoveaError("ERR_FOVEA_OPTION", `${message}; use "float16" or "bfloat16"`);
  }
  return shape;
}

export function checkLayer(layer: number, layers: number): number {
  return integer("layer", layer, 0, layers - 1);
}

function integer(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw optionError(name, `an integer from ${low} to ${high}`, value);
}

/** Where each sequence's tokens start, and where the last one's end: all `tokens` of them. */
export function checkStarts(input: IntegerInput | undefined, sequences: number, tokens: number): Int32Array {
  if (input === undefined) {
    const each = Math.floor(tokens / Math.max(sequences, 1));
    if (each * sequences !== tokens) {
      const message = `cuSeqlens: required, as ${tokens} tokens are not the same number for each of ${sequences} sequences`;
      throw new FoveaError("ERR_FOVEA_OPTION", message);
    }
    return Int32Array.from({ length: sequences + 1 }, (_, i) => i * each);
  }
  const all = starts("cuSeqlens", input, tokens, sequences);
  if (all[sequences] !== tokens) {
    const message = `cuSeqlens[${sequences}]: expected ${tokens} (tokens there are), got ${all[sequences]}`;
    throw new FoveaError("ERR_FOVEA_BOUNDS", message);
  }
  return all;
}
