// The encoder's forward pass over many texts at once: dense layers in worker threads, attention by fovea.

import { AttentionBatcher, type BatcherMetrics } from "../../lib/index.js";
import type { DenseReplies, DenseRequest } from "./dense-worker.js";
import { embeddingSize, layers } from "./encoder-weights.js";
import { WorkerPool } from "./worker-pool.js";

export interface TextRequest {
  readonly text: string;
  /** Whether what its tokens attend to is wanted, too. */
  readonly withWeights: boolean;
}

/** What one head's tokens attend to: [tokens, tokens] of each head, [heads, tokens, tokens]. */
export interface LayerAttention {
  readonly heads: number;
  readonly weights: Float32Array;
}

export interface EncodedText {
  /** Of length 1, [512]. */
  readonly embedding: Float32Array;
  /** Tokens that were read, and whether there were more. */
  readonly tokens: number;
  readonly truncated: boolean;
  /** Only with weights. */
  readonly pieces: readonly string[];
  readonly attention: readonly LayerAttention[];
}

/** What turns texts into embeddings, so that another one can be measured in the same server. */
export interface Encoder {
  /** Passes that it computes at the same time. */
  readonly lanes: number;
  readonly healthy: boolean;
  run(texts: readonly TextRequest[]): Promise<EncodedText[]>;
  close(): Promise<void>;
}

export interface ForwardOptions {
  /** Threads that compute dense layers. */
  readonly workers: number;
  /** Tokens of a text that are read. */
  readonly maxTokens: number;
}

type Heads = (typeof layers)[number];

export class Forward implements Encoder {
  readonly lanes: number;
  readonly #pool: WorkerPool;
  readonly #batcher = new AttentionBatcher();

  private constructor(pool: WorkerPool, lanes: number) {
    this.#pool = pool;
    this.lanes = lanes;
  }

  static async start({ workers, maxTokens }: ForwardOptions): Promise<Forward> {
    const program = new URL("dense-worker.ts", import.meta.url);
    return new Forward(await WorkerPool.start(program, workers, { maxTokens }), workers);
  }

  get healthy(): boolean {
    return this.#pool.alive > 0;
  }

  metrics(): BatcherMetrics {
    return this.#batcher.metrics();
  }

  async run(texts: readonly TextRequest[]): Promise<EncodedText[]> {
    const withPieces = texts.some(({ withWeights }) => withWeights);
    const begun = await this.#dense({ stage: "begin", texts: texts.map(({ text }) => text), withPieces });
    const { lengths, truncated, pieces } = begun;
    const starts = Int32Array.from({ length: lengths.length + 1 }, (_, i) => sum(lengths.slice(0, i)));
    const wanted = [...texts.keys()].filter((i) => texts[i]!.withWeights);

    const first = await this.#attention(begun.queryKeyValue, starts, layers[0], wanted);
    const middle = await this.#dense({ stage: "middle", attended: first.attended, residual: begun.residual });
    const second = await this.#attention(middle.queryKeyValue, starts, layers[1], wanted);
    const { embeddings } = await this.#dense({
      stage: "end",
      attended: second.attended,
      residual: middle.residual,
      lengths,
    });
    return texts.map((_, i) => ({
      embedding: embeddings.subarray(i * embeddingSize, (i + 1) * embeddingSize),
      tokens: lengths[i]!,
      truncated: truncated[i]!,
      pieces: wanted.includes(i) ? pieces[i]! : [],
      attention: [first, second].flatMap(({ weights }) => weights.get(i) ?? []),
    }));
  }

  async close(): Promise<void> {
    await this.#batcher.close();
    await this.#pool.close();
  }

  async #dense<Request extends DenseRequest>(request: Request): Promise<DenseReplies[Request["stage"]]> {
    return (await this.#pool.call(request)) as DenseReplies[Request["stage"]];
  }

  /** Each text attends to itself. Text i has the rows from starts[i] up to starts[i + 1]. */
  async #attention(
    queryKeyValue: Float32Array,
    starts: Int32Array,
    { heads, headDim }: Heads,
    wanted: readonly number[],
  ) {
    const width = heads * headDim;
    /** Part 0 is the query, 1 the key, 2 the value of rows that lie there side by side. */
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
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
