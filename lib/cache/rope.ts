import { types } from "node:util";
import { allocateFloat64 } from "../dtype.js";
import { FoveaError, list } from "../errors.js";
import { integers } from "../input.js";
import type { IntegerInput } from "../options.js";
import { checkNames, optionError } from "../rules.js";

/**
 * Rotary position embedding (Su et al., RoFormer, 2021), applied to keys when they are appended and to queries when they
 * attend: pair i of a vector at position p is turned by the angle p * frequencies[i]. Angles are computed in float64.
 */
export type Rope = {
  /** How many elements of each vector take part: even, at most headDim. The others stay as they are. Default: all there are. */
  readonly dim?: number | undefined;
  /** Whether element 2i pairs with 2i + 1 (GPT-J), or i with i + dim / 2 (GPT-NeoX, Llama; the default). */
  readonly interleaved?: boolean | undefined;
  /**
   * The position of each token, [tokens]: integers, from -2^31 to 2^31 - 1. Default: its index in its sequence, from 0 on.
   */
  readonly positions?: IntegerInput | undefined;
} & (
  | { /** frequencies[i] = theta ^ (-2i / dim). */ readonly theta: number; readonly frequencies?: undefined }
  | {
      /** Radians per position, [dim / 2]: for scaled variants (YaRN, Llama 3). */
      readonly frequencies: Float64Array | Float32Array | readonly number[];
      readonly theta?: undefined;
    }
);

/** A checked rope, as native code takes it. */
export interface Rotation {
  readonly dim: number;
  readonly interleaved: boolean;
  readonly frequencies: Float64Array;
  readonly positions: Int32Array;
}

const names = new Set(["theta", "frequencies", "dim", "interleaved", "positions"]);

/** `positionsOf`: the default positions. */
export function checkRope(
  rope: Rope | undefined,
  headDim: number,
  tokens: number,
  positionsOf: () => Int32Array,
): Rotation | undefined {
  if (rope === undefined) return undefined;
  checkNames("rope", rope, names);
  const { theta, frequencies, interleaved = false } = rope;
  if ((theta === undefined) === (frequencies === undefined)) {
    const got = theta === undefined ? "neither" : "both";
    throw new FoveaError("ERR_FOVEA_OPTION", `rope: expected either theta or frequencies, got ${got}`);
  }
  if (frequencies !== undefined && !isListOfNumbers(frequencies))
    throw optionError("rope.frequencies", "an array, Float32Array or Float64Array", frequencies);
  const { dim = frequencies === undefined ? headDim : 2 * frequencies.length } = rope;
  if (!Number.isInteger(dim) || dim < 2 || dim > headDim || dim % 2 !== 0) {
    throw optionError("rope.dim", `an even number from 2 to ${headDim} (headDim)`, dim);
  }
  if (typeof interleaved !== "boolean") throw optionError("rope.interleaved", "true or false", interleaved);
  const positions = rope.positions === undefined ? positionsOf() : integers("rope.positions", rope.positions);
  if (positions.length !== tokens) {
    const message = `rope.positions: expected ${list([tokens])} (tokens), got ${list([positions.length])}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  return { dim, interleaved, frequencies: frequenciesOf(rope, dim), positions };
}

function frequenciesOf({ theta, frequencies }: Rope, dim: number): Float64Array {
  const result = allocateFloat64(dim / 2);
  if (frequencies === undefined) {
    if (typeof theta !== "number" || !(theta > 0 && theta < Infinity))
      throw optionError("rope.theta", "a number > 0", theta);
    return result.map((_, i) => theta ** ((-2 * i) / dim));
  }
  if (frequencies.length !== dim / 2) {
    const message = `rope.frequencies: expected ${list([dim / 2])} (dim / 2), got ${list([frequencies.length])}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  for (let i = 0; i < result.length; i++) {
    if (!Number.isFinite(frequencies[i]))
      throw optionError(`rope.frequencies[${i}]`, "a finite number", frequencies[i]);
    result[i] = frequencies[i]!;
  }
  return result;
}

/** As far as its kind tells. */
function isListOfNumbers(list: unknown): boolean {
  return Array.isArray(list) || types.isFloat32Array(list) || types.isFloat64Array(list);
}
