// The embedding server with its attention on a GPU: the simulated one, where there is no other.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { installed, Server } from "./harness.js";
import { cosineDistance, TensorFlowEncoder } from "./tensorflow.js";

const simulator = fileURLToPath(new URL("../../build/libfovea-cudasim.so", import.meta.url));
const driver = existsSync("/dev/nvidiactl") ? "libcuda.so.1" : simulator;

describe.skipIf(!installed)("the embedding server on a GPU", () => {
  test.skipIf(driver === simulator && !existsSync(simulator))("gives TensorFlow.js's embeddings", async () => {
    const texts = ["Hello, world!", "", "a", "The cat sat on the mat because it was tired."];
    const env = { ...process.env, FOVEA_CUDA_DRIVER: driver };
    const [started, tensorflow] = await Promise.all([
      Server.startWith(env, "--device=cuda", "--workers=1"),
      TensorFlowEncoder.load(),
    ]);
    await using server = started;
    const [{ embeddings }, expected] = [await server.embed(...texts), await tensorflow.embed(texts)];
    for (const [i, embedding] of embeddings.entries()) {
      expect(cosineDistance(embedding, expected[i]!), texts[i]).toBeLessThan(1e-4);
    }
    const { status, body } = await server.post("/attention", { text: "Hello, world!" });
    expect(status).toBe(200);
    const { layers } = body as { layers: { weights: number[][][] }[] };
    for (const row of layers.flatMap(({ weights }) => weights.flat())) {
      expect(row.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 5);
    }
  });

  test("does not start where there is none", async () => {
    const env = { ...process.env, FOVEA_CUDA_DRIVER: "/no/such/driver" };
    await expect(Server.startWith(env, "--device=cuda", "--workers=1")).rejects.toThrow("/no/such/driver");
  });
});
