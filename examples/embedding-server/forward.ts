// The encoder's forward pass over many texts at once: dense layers in worker threads, attention between them.

import type { Attention, LayerAttention } from "./attention.js";
import type { DenseReplies, DenseRequest } from "./dense-worker.js";
import { embeddingSize, layers } from "./encoder-weights.js";
import { WorkerPool } from "./worker-pool.js";

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

export class Forward implements Encoder {
  readonly lanes: number;
  readonly #pool: WorkerPool;
  readonly #attention: Attention;

  private constructor(pool: WorkerPool, lanes: number, attention: Attention) {
    this.#pool = pool;
    this.lanes = lanes;
    this.#attention = attention;
  }

  /** `attention` is closed with it. */
  static async start({ workers, maxTokens }: ForwardOptions, attention: Attention): Promise<Forward> {
    const program = new URL("dense-worker.ts", import.meta.url);
    return new Forward(await WorkerPool.start(program, workers, { maxTokens }), workers, attention);
  }

  get healthy(): boolean {
    return this.#pool.alive > 0;
  }

  async run(texts: readonly TextRequest[]): Promise<EncodedText[]> {
    const withPieces = texts.some(({ withWeights }) => withWeights);
    const begun = await this.#dense({ stage: "begin", texts: texts.map(({ text }) => text), withPieces });
    const { lengths, truncated, pieces } = begun;
    const starts = Int32Array.from({ length: lengths.length + 1 }, (_, i) => sum(lengths.slice(0, i)));
    const wanted = [...texts.keys()].filter((i) => texts[i]!.withWeights);

    const first = await this.#attention.attend(begun.queryKeyValue, starts, layers[0], wanted);
    const middle = await this.#dense({ stage: "middle", attended: first.attended, residual: begun.residual });
    const second = await this.#attention.attend(middle.queryKeyValue, starts, layers[1], wanted);
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
    await this.#attention.close();
    await this.#pool.close();
  }

  async #dense<Request extends DenseRequest>(request: Request): Promise<DenseReplies[Request["stage"]]> {
    return (await this.#pool.call(request)) as DenseReplies[Request["stage"]];
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
