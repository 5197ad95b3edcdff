import { max } from "d3";
import type { PageLayer } from "../page-data.js";
import type { Series } from "./model.js";

/** The weights of all layers, each decoded when first asked for. */
export class Weights {
  readonly #layers: readonly PageLayer[];
  readonly #decoded: (Float32Array | undefined)[] = [];
  readonly #largest = new Map<string, number>();
  readonly queries: number;
  readonly keys: number;

  constructor(layers: readonly PageLayer[], queries: number, keys: number) {
    this.#layers = layers;
    this.queries = queries;
    this.keys = keys;
  }

  /** [queries, keys] of one head, without a copy. */
  head({ layer, head }: Series): Float32Array {
    const size = this.queries * this.keys;
    return this.#layer(layer).subarray(head * size, (head + 1) * size);
  }

  /** What one head of one query gives to each key, without a copy. */
  row(series: Series, query: number): Float32Array {
    return this.head(series).subarray(query * this.keys, (query + 1) * this.keys);
  }

  /** The largest weight of a head. */
  largest(series: Series): number {
    const name = `${series.layer} ${series.head}`;
    let most = this.#largest.get(name);
    if (most === undefined) this.#largest.set(name, (most = max(this.head(series)) ?? 0));
    return most;
  }

  #layer(index: number): Float32Array {
    return (this.#decoded[index] ??= decode(this.#layers[index]!.weights));
  }
}

/** Base64 of little-endian float16 numbers, none of them negative. */
function decode(base64: string): Float32Array {
  const bytes = atob(base64);
  const numbers = new Float32Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i++) {
    const bits = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    const exponent = bits >> 10;
    const fraction = bits & 1023;
    numbers[i] = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  }
  return numbers;
}
