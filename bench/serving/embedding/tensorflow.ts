// The whole encoder by TensorFlow.js on its WebAssembly backend, in worker threads: it has one thread per instance in Node.

import type { EncodedText, Encoder, TextRequest } from "../../../examples/embedding-server/forward.js";
import { WorkerPool } from "../../../examples/embedding-server/worker-pool.js";
import type { TensorFlowReply, TensorFlowRequest } from "./tensorflow-worker.js";

const size = 512;

export class TensorFlowEncoder implements Encoder {
  readonly lanes: number;
  readonly #pool: WorkerPool;

  private constructor(pool: WorkerPool, lanes: number) {
    this.#pool = pool;
    this.lanes = lanes;
  }

  static async start(workers: number, maxTokens: number): Promise<TensorFlowEncoder> {
    const program = new URL("tensorflow-worker.ts", import.meta.url);
    return new TensorFlowEncoder(await WorkerPool.start(program, workers, { maxTokens }), workers);
  }

  get healthy(): boolean {
    return this.#pool.alive > 0;
  }

  async run(texts: readonly TextRequest[]): Promise<EncodedText[]> {
    const request: TensorFlowRequest = { texts: texts.map(({ text }) => text) };
    const { embeddings, lengths, truncated } = (await this.#pool.call(request)) as TensorFlowReply;
    return texts.map((_, i) => ({
      embedding: embeddings.subarray(i * size, (i + 1) * size),
      tokens: lengths[i]!,
      truncated: truncated[i]!,
      pieces: [],
      attention: [],
    }));
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
