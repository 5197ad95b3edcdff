// A problem for tests, said in a few words. `build` makes tensors of it, `oracle` the right answer, and `check` compares
// every engine's answer with that. What is left out of a spec takes the value of `defaults`.
import { inspect } from "node:util";
import type { FloatDType, Layout, ScoreStage } from "../../lib/index.js";

/**
 * Which dimensions of [batch, heads, queryLength, keyLength] a mask or bias has, one letter each: "bhqk" has all, "1hqk" is
 * the same for every sequence, "qk" has two dimensions, "11" is one number for all.
 */
export type Spread = string;

export interface Spec {
  /** Of all random numbers. */
  seed: number;
  dtype: FloatDType;
  layout: Layout;
  heads: number;
  /** Divides heads. */
  kvHeads: number;
  headDim: number;
  valueDim: number;
  /** One query length per sequence. */
  queries: readonly number[];
  /** One key length per sequence. */
  keys: readonly number[];
  /** Room past the longest query and key (thd: past the last token), filled with NaN. */
  spareQueries: number;
  spareKeys: number;
  /** Give lengths even where all are the same and nothing is spare. */
  lengths: boolean;
  /** Keys and values in pages of this many rows, in random order; 0: not paged. */
  pageSize: number;
  /** All sequences share the keys and values of the first (stride 0); their key lengths must be the same. Not paged or thd. */
  sharedKeys: boolean;
  causal: boolean;
  window: { readonly left?: number; readonly right?: number } | undefined;
  queryOffset: number | readonly number[] | undefined;
  scale: number | undefined;
  softcap: number;
  mask: Spread | undefined;
  bias: Spread | undefined;
  biasDtype: FloatDType;
  /** Keys of a text: mask and bias hide all other texts than the query's (and hardly any key of its own); 0: no texts. */
  texts: number;
  /** Slopes [heads] ("h") or [batch, heads] ("bh"). */
  alibi: "h" | "bh" | undefined;
  sinks: boolean;
  lse: boolean;
  weights: boolean;
  scores: ScoreStage | undefined;
  /** Seeds the order of dimensions in memory, gaps, steps and directions of all tensors; undefined: contiguous. */
  strides: number | undefined;
  /** Write into a tensor that is given. */
  out: boolean;
}

export const defaults: Spec = {
  seed: 1,
  dtype: "float32",
  layout: "bhsd",
  heads: 1,
  kvHeads: 1,
  headDim: 4,
  valueDim: 4,
  queries: [1],
  keys: [1],
  spareQueries: 0,
  spareKeys: 0,
  lengths: false,
  pageSize: 0,
  sharedKeys: false,
  causal: false,
  window: undefined,
  queryOffset: undefined,
  scale: undefined,
  softcap: 0,
  mask: undefined,
  bias: undefined,
  biasDtype: "float32",
  texts: 0,
  alibi: undefined,
  sinks: false,
  lse: false,
  weights: false,
  scores: undefined,
  strides: undefined,
  out: false,
};

/** A spec as a test says it. `kvHeads` and `valueDim` are by default as `heads` and `headDim`. */
export type SomeSpec = { readonly [Key in keyof Spec]?: Spec[Key] | undefined };

export function complete(some: SomeSpec): Spec {
  const given = Object.fromEntries(Object.entries(some).filter(([, value]) => value !== undefined)) as Partial<Spec>;
  const { heads = defaults.heads, headDim = defaults.headDim } = given;
  return { ...defaults, kvHeads: heads, valueDim: headDim, ...given };
}

/** A spec on one line, without what says nothing: a test's name, and what to paste into `check`. */
export function show(some: SomeSpec): string {
  const plain = complete({ heads: some.heads, headDim: some.headDim });
  const said = Object.entries(some).filter(
    ([key, value]) =>
      value !== undefined && (value !== plain[key as keyof Spec] || key === "heads" || key === "headDim"),
  );
  return inspect(Object.fromEntries(said), { depth: null, breakLength: Infinity, maxArrayLength: null });
}
