// Environments come and go: workers and processes that leave with calls in flight. In processes of their own, so that a
// crash is a failed test.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";

async function runScript(
  name: string,
  ...args: string[]
): Promise<{ code: number | null; signal: string | null; out: string }> {
  const script = fileURLToPath(new URL(`workers/${name}`, import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "ignore"] });
  const [out, [code, signal]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return { code: code as number | null, signal: signal as string | null, out };
}

// A process is the same whoever starts it: once is enough, when tests themselves run in workers.
describe("workers", () => {
  it.runIf(isMainThread).each([1, 2])(
    "load, use and leave in any way and order (seed %i)",
    async (seed) => {
      const { code, signal, out } = await runScript("storm.js", "40", String(seed));
      expect({ code, signal }).toEqual({ code: 0, signal: null });
      expect(JSON.parse(out)).toEqual({ workers: 40, right: 40, wrong: 0, unexpected: [] });
    },
    180_000,
  );

  it("compute with lib as the main thread does", async () => {
    const load = `import("tsx/esm/api").then(({ tsImport }) => tsImport("./workers/library.ts", "${import.meta.url}"))`;
    const worker = new Worker(load, { eval: true });
    const [result] = (await once(worker, "message")) as [{ difference: number; outcomes: string[] }];
    expect(result.difference).toBeLessThan(1e-5);
    expect(result.outcomes).toEqual(["fulfilled", "AbortError"]);
    await once(worker, "exit");
  });
});

describe.runIf(isMainThread)("a process with calls in flight", () => {
  it.each([1, 2, 3])("exits (run %i)", async () => {
    expect(await runScript("leave.js", "exit")).toMatchObject({ code: 7, signal: null });
    expect(await runScript("leave.js", "throw")).toMatchObject({ code: 1, signal: null });
  });
});
