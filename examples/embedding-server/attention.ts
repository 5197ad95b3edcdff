// Attention of many texts by fovea: a call for each pass, and the calls of all passes in few launches.

import { AttentionBatcher, type BatcherMetrics } from "../../lib/index.js";

/** What the tokens of a text attend to in one layer. */
export interface LayerAttention {
  readonly heads: number;
  /** [heads, tokens, tokens] */
  readonly weights: Float32Array;
}

export interface Attended {
  /** [tokens, heads · headDim] */
  readonly attended: Float32Array;
  /** Of the texts for which they are wanted. */
  readonly weights: ReadonlyMap<number, LayerAttention>;
}

export interface Heads {
  readonly heads: number;
  readonly headDim: number;
}

/** What computes attention, so that another one can be measured in the same server. */
export interface Attention {
  /**
   * Each text attends to itself. `queryKeyValue` is [tokens, 3 · heads · headDim], query, key and value side by side; text i has the
   * rows from starts[i] up to starts[i + 1].
   */
  attend(queryKeyValue: Float32Array, starts: Int32Array, heads: Heads, wanted: readonly number[]): Promise<Attended>;
  close(): Promise<void>;
}

export class FoveaAttention implements Attention {
  readonly #batcher = new AttentionBatcher();

  async attend(
    queryKeyValue: Float32Array,
    starts: Int32Array,
    { heads, headDim }: Heads,
    wanted: readonly number[],
  ): Promise<Attended> {
    const width = heads * headDim;
    /** Part 0 is the query, 1 the key, 2 the value: used where they lie. */
    const view = (part: number, first: number, end: number, ...batch: 1[]) => ({
      data: queryKeyValue,
      shape: [...batch, end - first, heads, headDim],
      strides: [...batch.map(() => 0), 3 * width, headDim, 1],
      offset: first * 3 * width + part * width,
    });
    const count = starts.at(-1)!;
    const all = this.#batcher.attention(view(0, 0, count), view(1, 0, count), view(2, 0, count), {
      layout: "thd",
      cuSeqlensQuery: starts,
      cuSeqlensKey: starts,
    });
    const weights = wanted.map(async (i): Promise<[number, LayerAttention]> => {
      const part = (which: number) => view(which, starts[i]!, starts[i + 1]!, 1);
      const options = { layout: "bshd", returnWeights: true } as const;
      const result = await this.#batcher.attention(part(0), part(1), part(2), options);
      return [i, { heads, weights: result.weights.data }];
    });
    const [{ output }, list] = await Promise.all([all, Promise.all(weights)]);
    return { attended: output.data as Float32Array, weights: new Map(list) };
  }

  metrics(): BatcherMetrics {
    return this.#batcher.metrics();
  }

  close(): Promise<void> {
    return this.#batcher.close();
  }
}
