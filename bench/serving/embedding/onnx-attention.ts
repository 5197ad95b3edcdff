// Attention as exporters write it: scores, softmax and values as three products of onnxruntime, text by text.

import type { Attended, Attention, Heads } from "../../../examples/embedding-server/attention.js";
import { WorkerPool } from "../../../examples/embedding-server/worker-pool.js";
import type { AttendReply, AttendRequest } from "./onnx-attention-worker.js";

export class OnnxAttention implements Attention {
  readonly #pool: WorkerPool;

  private constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  static async start(workers: number): Promise<OnnxAttention> {
    return new OnnxAttention(await WorkerPool.start(new URL("onnx-attention-worker.ts", import.meta.url), workers, {}));
  }

  async attend(queryKeyValue: Float32Array, starts: Int32Array, heads: Heads): Promise<Attended> {
    const request: AttendRequest = { queryKeyValue, starts: [...starts], ...heads };
    const { attended } = (await this.#pool.call(request)) as AttendReply;
    return { attended, weights: new Map() };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
