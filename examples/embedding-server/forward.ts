// The encoder's forward passes over many texts at once, each by a worker thread.

import type { Device } from "../../lib/index.js";
import type { EncodeReply, EncodeRequest } from "./encoder-worker.js";
import { embeddingSize, layers } from "./encoder-weights.js";
import { WorkerPool } from "./worker-pool.js";

/** What the tokens of a text attend to in one layer. */
export interface LayerAttention {
  readonly heads: number;
  /** [heads, tokens, tokens] */
  readonly weights: Float32Array;
}

export interface TextRequest {
  readonly text: string;
  /** Whether what its tokens attend to is wanted, too. */
  readonly withWeights: boolean;
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
  /** Passes that it takes at the same time. */
  readonly lanes: number;
  readonly healthy: boolean;
  run(texts: readonly TextRequest[]): Promise<EncodedText[]>;
  close(): Promise<void>;
}

export interface ForwardOptions {
  /** Threads that compute. */
  readonly workers: number;
  /** Tokens of a text that are read; the rest is cut off. */
  readonly maxTokens: number;
  /** Where attention is computed. */
  readonly device: Device;
}

export class Forward implements Encoder {
  readonly lanes: number;
  readonly #pool: WorkerPool;
  #attentionMilliseconds = 0;

  private constructor(pool: WorkerPool, lanes: number) {
    this.#pool = pool;
    this.lanes = lanes;
  }

  /** `program` calls `serveEncoder`. */
  static async start(options: ForwardOptions, program = new URL("fovea-worker.ts", import.meta.url)): Promise<Forward> {
    return new Forward(await WorkerPool.start(program, options.workers, options), options.workers);
  }

  get healthy(): boolean {
    return this.#pool.alive > 0;
  }

  /** That all passes together took for attention. */
  get attentionMilliseconds(): number {
    return this.#attentionMilliseconds;
  }

  async run(texts: readonly TextRequest[]): Promise<EncodedText[]> {
    const wanted = [...texts.keys()].filter((i) => texts[i]!.withWeights);
    const request: EncodeRequest = { texts: texts.map(({ text }) => text), wanted };
    const reply = (await this.#pool.call(request)) as EncodeReply;
    this.#attentionMilliseconds += reply.attentionMilliseconds;
    return texts.map((_, i): EncodedText => {
      const place = wanted.indexOf(i);
      return {
        embedding: reply.embeddings.subarray(i * embeddingSize, (i + 1) * embeddingSize),
        tokens: reply.lengths[i]!,
        truncated: reply.truncated[i]!,
        pieces: reply.pieces[place] ?? [],
        attention:
          place < 0
            ? []
            : layers.map(({ heads }, l) => ({ heads, weights: reply.weights[place * layers.length + l]! })),
      };
    });
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
