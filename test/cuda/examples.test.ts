// Examples that take a GPU.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/** What an example prints, line by line. */
async function linesOf(example: string, args: readonly string[]): Promise<string[]> {
  const path = fileURLToPath(new URL(`../../examples/${example}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", path, ...args]);
  return stdout.trim().split("\n");
}

test("decode-paged: on a GPU as on the processor", async () => {
  const numbersOf = (lines: readonly string[]) => lines[2]!.match(/-?\d+\.\d+(e-\d+)?/g)!.map(Number);
  const [gpu, cpu] = await Promise.all(
    ["cuda", "cpu"].map((device) => linesOf("decode-paged.ts", ["--device", device, "--tokens", "1500"])),
  );
  expect(gpu!.slice(0, 2)).toEqual([
    "output [ 2, 16, 1, 128 ] float16 on cuda:0",
    expect.stringMatching(/^kernel cuda\.decode in \d+ splits, workspace \d+ bytes$/),
  ]);
  expect(cpu![1]).toMatch(/^kernel cpu\.decode/);
  numbersOf(gpu!).forEach((number, i) => expect(number).toBeCloseTo(numbersOf(cpu!)[i]!, 3));
});

test("decode-loop: on a GPU", async () => {
  const sizes = ["--texts=2", "--steps=5", "--layers=1", "--longest=16", "--dtype=int8"];
  const lines = await linesOf("decode-loop.ts", ["--device=cuda", ...sizes]);
  expect(lines).toEqual([
    "2 texts at a time, 1 layers, 32 heads (8 of keys), headDim 64, int8 on cuda:0",
    expect.stringMatching(/^10 tokens in 5 steps: \d+ tokens\/s; \d texts done$/),
    expect.stringMatching(/^step: p50 \S+ ms, p99 \S+ ms$/),
    "pages: at most 2 of 2 (136 KiB in all)",
  ]);
});
