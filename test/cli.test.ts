// The command line as people call it, in a process of its own.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";

const program = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "fovea-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

const fovea = (args: string[], env: Record<string, string> = {}, input = ""): Promise<Ended> =>
  new Promise((resolve) => {
    const options = { cwd: folder, env: { ...process.env, ...env } };
    const child = execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin!.end(input);
  });

const inFolder = (name: string): string => path.join(folder, name);

describe("what it does not understand", () => {
  const cases: [string[], string][] = [
    [[], "expected a command: doctor, bench, maps"],
    [["docter"], 'there is no command "docter" (did you mean "doctor"?)'],
    [["toString"], 'there is no command "toString"'],
    [["doctor", "--jsn"], "Unknown option '--jsn'"],
    [["maps"], "expected a text, or --json FILE"],
    [["maps", "The", "cat"], 'unexpected argument "cat" (a text with spaces needs quotes around it)'],
    [["maps", "  "], "the text is empty"],
    [["bench", "--heads", "none"], '--heads: expected a positive whole number, got "none"'],
    [["bench", "--min", "64", "--max", "32"], "--min 64 is more than --max 32"],
  ];
  test("is told on stderr, with exit code 2", async () => {
    const ended = await Promise.all(cases.map(([args]) => fovea(args)));
    for (const [index, { code, stdout, stderr }] of ended.entries()) {
      expect(stderr).toContain(cases[index]![1]);
      expect(stderr).toMatch(/Run fovea.* --help/);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect([code, stdout]).toEqual([2, ""]);
    }
  });
});

test("help for each command, and the version", async () => {
  const asked = [["--help"], ["doctor", "--help"], ["bench", "-h"], ["maps", "--help"], ["--version"]];
  const [all, doctor, bench, maps, version] = await Promise.all(asked.map((args) => fovea(args)));
  expect(all!.stdout).toContain("doctor|bench|maps");
  expect(doctor!.stdout).toContain("--json");
  expect(bench!.stdout).toContain("--head-dim=<head_dim>");
  expect(maps!.stdout).toContain("--out=<out>");
  expect(version!.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  for (const { code, stderr, stdout } of [all!, doctor!, bench!, maps!, version!]) {
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).not.toContain("\u001B");
  }
});

test.runIf(existsSync("/dev/full"))("output that cannot be written is a failure", async () => {
  writeFileSync(inFolder("taken"), "");
  const full = (args: string) => {
    const command = `"${process.execPath}" "${program}" ${args} >/dev/full`;
    return promisify(execFile)("sh", ["-c", command], { cwd: folder });
  };
  const [printed, written] = await Promise.allSettled([full("doctor"), full("bench --min 16 --max 16 --out taken")]);
  expect(printed).toMatchObject({ reason: { code: 1, stderr: expect.stringContaining("ENOSPC") as string } });
  // Before it has measured anything.
  expect(written).toMatchObject({
    reason: { code: 1, stderr: expect.stringMatching(/^fovea bench: EEXIST/) as string },
  });
});

test("doctor tells what can be used, and why not", async () => {
  const [json, text, wrong] = await Promise.all([
    fovea(["doctor", "--json"]),
    fovea(["doctor"]),
    fovea(["doctor"], { FOVEA_NUM_THREADS: "many" }),
  ]);
  expect(json.code).toBe(0);
  const report = JSON.parse(json.stdout) as { devices: { device: string }[]; kernels: object[] };
  expect(report).toMatchObject({ usable: true, module: expect.stringMatching(/\.node$/) as string });
  expect(report.devices.map(({ device }) => device)).toEqual(["cpu", "cuda"]);
  expect(report.kernels).toContainEqual(
    expect.objectContaining({ work: "decode", dtype: "float32", algorithm: "auto", kernel: "cpu.decode" }),
  );
  expect(text.stdout).toContain("cuda: cannot be used\n  ");
  expect(text.stdout).toContain("fovea maps TEXT: ready");
  expect(wrong.code).toBe(1);
  expect(wrong.stdout).toContain("FOVEA_NUM_THREADS=many");
  expect(wrong.stdout).toContain("cpu: cannot be used");
});

test("bench prints a table, or JSON and nothing else, and writes both files", async () => {
  const small = ["bench", "--max", "32", "--heads", "1", "--head-dim", "16", "--budget", "30"];
  const table = await fovea(small);
  expect([table.code, table.stdout]).toEqual([0, expect.stringContaining("GFLOP/s")]);
  const { code, stdout } = await fovea([...small, "--json", "--causal", "--out", "results"]);
  expect(code).toBe(0);
  const result = JSON.parse(stdout) as { points: { algorithm: string; tokens: number; seconds: number }[] };
  expect(result).toMatchObject({ options: { causal: true, headDim: 16 }, machine: { device: "cpu" } });
  expect(result.points.map(({ algorithm, tokens }) => `${algorithm} ${tokens}`)).toEqual(["standard 32", "tiled 32"]);
  expect(JSON.parse(readFileSync(inFolder("results/scaling.json"), "utf8"))).toEqual(result);
  expect(readFileSync(inFolder("results/scaling.svg"), "utf8")).toMatch(/^<svg/);
});

describe("maps", () => {
  const read = (name: string): { title: string; tokens: string[]; layers: { heads: number }[] } =>
    JSON.parse(/id="attention">(.*?)<\/script>/s.exec(readFileSync(inFolder(name), "utf8"))![1]!) as never;

  test("of a text, by words or by pieces of them", async () => {
    const [words, pieces] = await Promise.all([
      fovea(["maps", "The cat sat on the mat.", "--out", "words.html"]),
      fovea(["maps", "The cat sat on the mat.", "--pieces", "--title", "In pieces"]),
    ]);
    expect(words).toEqual({ code: 0, stdout: "wrote words.html\n", stderr: "" });
    expect(pieces.stdout).toBe("wrote attention.html\n");
    expect(read("words.html")).toMatchObject({
      title: "The cat sat on the mat.",
      tokens: ["The", "cat", "sat", "on", "the", "mat", "."],
      layers: [{ heads: 4 }, { heads: 4 }],
    });
    const { title, tokens } = read("attention.html");
    expect([title, tokens.slice(-3)]).toEqual(["In pieces", ["\u2581ma", "t", "."]]);
  });

  test("of weights in a file; what is wrong with it is told and nothing is written", async () => {
    const write = (name: string, value: unknown): void => writeFileSync(inFolder(name), JSON.stringify(value));
    write("weights.json", {
      tokens: ["a", "b"],
      queryTokens: ["x"],
      layers: [{ name: "One", weights: [[[0.5, 0.5]]] }],
    });
    write("scores.json", { tokens: ["a"], layers: [{ name: "One", weights: [[[2]]] }] });
    writeFileSync(inFolder("broken.json"), "{");
    const [good, scores, broken, none] = await Promise.all(
      ["weights", "scores", "broken", "none"].map((name) =>
        fovea(["maps", "--json", `${name}.json`, "--out", `${name}.html`]),
      ),
    );
    expect([good!.code, good!.stderr]).toEqual([0, ""]);
    expect(read("weights.html").tokens).toEqual(["a", "b"]);
    const flat = {
      tokens: ["c", "d"],
      layers: [{ name: "One", weights: { shape: [1, 2, 2], data: [1, 0, 0.5, 0.5] } }],
    };
    const given = await fovea(["maps", "--json", "-", "--out", "given.html"], {}, JSON.stringify(flat));
    expect([given.code, given.stderr]).toEqual([0, ""]);
    expect(read("given.html").tokens).toEqual(["c", "d"]);
    for (const [{ code, stdout, stderr }, message] of [
      [scores!, "layers[0].weights: expected rows that sum to 1"],
      [broken!, "broken.json: "],
      [none!, "no such file or directory, open 'none.json'"],
    ] as const) {
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^fovea maps: /);
      expect(stderr).toContain(message);
    }
    expect(readdirSync(folder).filter((name) => /^(scores|broken|none)\.html$/.test(name))).toEqual([]);
  });
});
