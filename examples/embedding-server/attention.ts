// Attention of many texts by fovea: one ragged call for all texts of a pass.

import { attentionSync, Tensor, type Device } from "../../lib/index.js";

export interface Attended {
  /** [tokens, heads · headDim]; until the next call. */
  readonly attended: Float32Array;
  /** Of each wanted text, [heads, tokens, tokens]. */
  readonly weights: readonly Float32Array[];
}

export interface Heads {
  readonly heads: number;
  readonly headDim: number;
}

/** What computes attention, so that another one can be measured in the same server. */
export interface Attention {
  /**
   * Each text attends to itself. `queryKeyValue` is [tokens, 3 · heads · headDim], query, key and value side by side; text i has the
   * rows from starts[i] up to starts[i + 1]. `wanted` are the texts whose weights are wanted, too.
   */
  attend(
    queryKeyValue: Float32Array,
    starts: Int32Array,
    heads: Heads,
    wanted: readonly number[],
  ): Attended | Promise<Attended>;
}

/** It computes before it returns: the thread that asks has nothing else to do, and may free `queryKeyValue` then. */
export class FoveaAttention implements Attention {
  readonly #device: Device;
  /** Used again and again; as long as the longest pass so far. */
  #output = new Float32Array(0);

  constructor(device: Device) {
    this.#device = device;
  }

  attend(
    queryKeyValue: Float32Array,
    starts: Int32Array,
    { heads, headDim }: Heads,
    wanted: readonly number[],
  ): Attended {
    const [count, width, device] = [starts.at(-1)!, heads * headDim, this.#device];
    /** Part 0 is the query, 1 the key, 2 the value: used where they lie. */
    const view = (part: number, first: number, end: number, ...batch: 1[]) => ({
      data: queryKeyValue,
      shape: [...batch, end - first, heads, headDim],
      strides: [...batch.map(() => 0), 3 * width, headDim, 1],
      offset: first * 3 * width + part * width,
    });
    if (this.#output.length < count * width) this.#output = new Float32Array(count * width);
    const attended = this.#output.subarray(0, count * width);
    attentionSync(view(0, 0, count), view(1, 0, count), view(2, 0, count), {
      layout: "thd",
      cuSeqlensQuery: starts,
      cuSeqlensKey: starts,
      device,
      out: Tensor.from(attended, [count, heads, headDim]),
    });
    const weights = wanted.map((i): Float32Array => {
      const part = (which: number) => view(which, starts[i]!, starts[i + 1]!, 1);
      return attentionSync(part(0), part(1), part(2), { layout: "bshd", returnWeights: true, device }).weights.data;
    });
    return { attended, weights };
  }
}
