// Examples that take options, as people call them. (On a GPU: test/cuda/examples.test.ts; the embedding server: test/server.)
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const start = (...args: string[]) => {
  const program = fileURLToPath(new URL("../examples/decode-loop.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = Promise.all([once(child, "exit"), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code: code as number | null, stdout, stderr }),
  );
  return { child, ended };
};

describe("decode-loop", () => {
  test("refuses what it does not understand", async () => {
    const cases: [args: string[], code: number, message: string][] = [
      [["--text", "8"], 2, "Unknown option '--text'"],
      [["--device", "gpu"], 1, 'decode-loop: device: expected "cpu", "cuda" or "cuda:N", got "gpu"'],
    ];
    const all = await Promise.all(cases.map(([args]) => start(...args).ended));
    for (const [i, { code, stdout, stderr }] of all.entries()) {
      expect(stderr).toContain(cases[i]![2]);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect([code, stdout]).toEqual([cases[i]![1], ""]);
    }
  });

  test("tells what it measured until it was interrupted", async () => {
    const { child, ended } = start("--texts=3", "--layers=2", "--longest=100", "--steps=1000000");
    await once(child.stderr, "data"); // the bar
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^3 texts at a time, 2 layers, .* bfloat16 on cpu\n\d+ tokens in \d+ steps: .*\nstep: p50 .* p99 .*\npages: at most \d of 6/,
    );
  });
});
