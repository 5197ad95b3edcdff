// Examples that take options, as people call them. (On a GPU: test/cuda/examples.test.ts; the embedding server: test/server.)
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";

const start = (example: string, ...args: string[]) => {
  const program = fileURLToPath(new URL(`../examples/${example}.ts`, import.meta.url));
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
    const all = await Promise.all(cases.map(([args]) => start("decode-loop", ...args).ended));
    for (const [i, { code, stdout, stderr }] of all.entries()) {
      expect(stderr).toContain(cases[i]![2]);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect([code, stdout]).toEqual([cases[i]![1], ""]);
    }
  });

  test("tells what it measured until it was interrupted", async () => {
    const { child, ended } = start("decode-loop", "--texts=3", "--layers=2", "--longest=100", "--steps=1000000");
    await once(child.stderr, "data"); // the bar
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^3 texts at a time, 2 layers, .* bfloat16 on cpu\n\d+ tokens in \d+ steps: .*\nstep: p50 .* p99 .*\npages: at most \d of 6/,
    );
  });
});

test("start: what npm start shows, without the measurements, for which a second leaves no time", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "fovea-start-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { code, stdout, stderr } = await start("start", "--seconds", "1", "--out", folder).ended;
  expect([code, stderr]).toEqual([0, expect.not.stringContaining("start:")]);

  /** The cells of the first row that begins with a name, in the section whose heading begins so. */
  const row = (section: string, name: string): string[] => {
    const lines = stdout.slice(stdout.indexOf(`\n${section}`)).split("\n");
    const cells = lines.map((line) => line.split("│").map((cell) => cell.trim()));
    return cells.find(([, first]) => first === name)!.slice(2, -1);
  };
  for (const algorithm of ["standard", "tiled"]) {
    expect(row("Devices and kernels", algorithm)).toEqual(Array(3).fill(`cpu.${algorithm}`));
  }
  expect(row("Devices and kernels", "auto")).toHaveLength(3); // the sentence, the document, longer and longer texts
  const attention = "What its words attend to";
  expect(row(attention, "it")[1]).toMatch(/^cat 0\.[5-9]/);
  expect(row(attention, "it")[2]).toMatch(/^tired 0\.[5-9]/);
  expect(row(attention, '"it" →')).toHaveLength(4);
  expect(stdout).toContain("The same for a long document");

  const read = (name: string) => readFileSync(path.join(folder, name), "utf8");
  expect(read("attention.html")).toContain("The cat sat on the mat because it was tired.");
  expect(read("scaling.svg")).toMatch(/^<svg/);
  const { points, omitted } = JSON.parse(read("scaling.json")) as Record<"points" | "omitted", { tokens: number }[]>;
  expect(points).toEqual([]);
  expect(omitted.map(({ tokens }) => tokens)).toEqual([9, 10, 11, 12, 13, 14, 15].flatMap((n) => [2 ** n, 2 ** n]));
});
