// The embedding server with its attention on a GPU: the simulated one, where there is no other.

import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { installed, Server, until } from "./harness.js";
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

  test.skipIf(!existsSync(simulator))("says that it is not well when its GPU is lost", async () => {
    const settings = join(mkdtempSync(join(tmpdir(), "fovea-")), "settings");
    writeFileSync(settings, "");
    const env = { ...process.env, FOVEA_CUDA_DRIVER: simulator, FOVEA_SIM_SETTINGS: settings };
    await using server = await Server.startWith(env, "--device=cuda", "--workers=1");
    expect((await server.fetch("/healthz")).status).toBe(200);
    writeFileSync(settings, "FOVEA_SIM_LOSE_DEVICE=1\n");
    expect((await server.post("/embed", { texts: ["a"] })).status).toBe(500);
    await until("it says so", async () => (await server.fetch("/healthz")).status === 503);
    await until("it refuses", async () => (await server.post("/embed", { texts: ["a"] })).status === 503);
    server.signal("SIGTERM");
    expect(await server.ended()).toBe(0);
  });

  test("does not start where there is none", async () => {
    const env = { ...process.env, FOVEA_CUDA_DRIVER: "/no/such/driver" };
    await expect(Server.startWith(env, "--device=cuda", "--workers=1")).rejects.toThrow("/no/such/driver");
  });
});
