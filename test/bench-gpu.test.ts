// bench/gpu/measure.py without a GPU: with a program that prints what fovea_cuda_bench would, and a torch that takes 4 ms for
// everything and cannot compile.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";

const scripts = fileURLToPath(new URL("../bench/gpu", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "fovea-bench-gpu-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

const bench = path.join(folder, "fovea_cuda_bench");
writeFileSync(
  bench,
  `#!/usr/bin/env python3
import json, os, sys, time
if "--name" in sys.argv:
    sys.exit(print("Some GPU"))
if "STUCK" in os.environ:
    with open(os.environ["STUCK"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(120)
if "LOST" in os.environ:
    sys.exit(3)
first = int(sys.argv[sys.argv.index("--from") + 1])
with_rules = ("", "bias", "alibi", "key lengths", "softcap", "pages of 16")
for number, rule in enumerate(with_rules if "--rules" in sys.argv else ("", "")):
    if number < first or "--quick" in sys.argv and number > 1:
        continue
    row = dict(number=number, gpu="Some GPU", kind="decode", algorithm="tiled", kernel="cuda.decode", dtype="float16")
    row |= dict(batch=2, heads=4, kvHeads=2, queryLength=1, keyLength=64 << number, headDim=64, causal=False, rules=rule)
    row |= dict(window=-1, keyLengths=[64, 48] if rule == "key lengths" else [])
    if "--rules" in sys.argv:
        row["keyLength"] = 64
    print(json.dumps(row | {"begin": True}), flush=True)
    print(json.dumps(row | dict(milliseconds=1.0 + number, teraflops=1, gigabytesPerSecond=100, copyGigabytesPerSecond=200)), flush=True)
    input()
`,
);
chmodSync(bench, 0o755);
writeFileSync(
  path.join(folder, "torch.py"),
  `import os, sys, time
from unittest.mock import MagicMock

class OutOfMemoryError(RuntimeError):
    pass

torch = MagicMock(__version__="0")
torch.cuda.OutOfMemoryError = OutOfMemoryError
torch.cuda.Event.return_value.elapsed_time.return_value = 4.0
torch.arange.return_value.__lt__ = lambda one, other: one
torch.compile.side_effect = RuntimeError("no compiler\\nin any place")
if "SLOW_COMPILER" in os.environ:
    torch.compile.side_effect = lambda *options, **others: time.sleep(50)
def choose(backends):
    torch.chosen = backends[0]
    return MagicMock()

def attention(*inputs, **options):
    if torch.chosen is torch.SDPBackend.EFFICIENT_ATTENTION:
        raise OutOfMemoryError()

torch.sdpa_kernel.side_effect = choose
torch.nn.functional.scaled_dot_product_attention.side_effect = attention
for name in ("torch", "torch.nn", "torch.nn.attention", "torch._dynamo", "torch._inductor", "torch._inductor.config"):
    sys.modules[name] = torch
sys.modules["torch.nn.attention.flex_attention"] = torch
`,
);

interface Row {
  number: number;
  rules: string;
  torch: Record<string, { milliseconds?: number; error?: string }>;
}

function measure(results: string, ...args: string[]): { stdout: string; rows: Record<string, Row[]> } {
  const to = path.join(folder, results);
  const command = [path.join(scripts, "measure.py"), bench, "--samples", "1", "--results", to, ...args];
  const env = { ...process.env, PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: "1" };
  const { status, stdout, stderr } = spawnSync("python3", command, { encoding: "utf8", env });
  expect([status, stderr]).toEqual([0, ""]);
  const rows: Record<string, Row[]> = {};
  for (const file of readdirSync(to))
    rows[file.slice("2026-11-27-".length)] = (
      JSON.parse(readFileSync(path.join(to, file), "utf8")) as { rows: Row[] }
    ).rows;
  return { stdout, rows };
}

describe.skipIf(spawnSync("python3", ["--version"]).status !== 0)("measurements on a GPU", () => {
  test("go through both sets, each with a file of its own", () => {
    const { stdout, rows } = measure("both");
    expect(Object.keys(rows).sort()).toEqual(["some-gpu-rules.json", "some-gpu.json"]);
    expect(rows["some-gpu.json"]!.map(({ number }) => number)).toEqual([0, 1]);
    expect(rows["some-gpu-rules.json"]!.map(({ rules }) => rules)).toEqual(
      ["", "bias", "alibi", "key lengths", "softcap", "pages of 16"], // in their order
    );
    expect(stdout).toContain("x standard");
    expect(stdout).toContain("x plain");
  });

  test("tell a rule's time as a multiple of that without, and PyTorch's fastest beside it", () => {
    const { stdout } = measure("rules", "--rules");
    const [brief, line] = stdout.split("\n").filter((each) => each.includes("alibi"));
    expect(brief).toBe("2: decode alibi float16 64 2 4/2 1x64 decode 3.000 ms, 100 GB/s, 50 % of a copy; math 4.000");
    expect(line!.split(/ {2,}/)).toEqual(
      "decode|float16|64|2|4/2|1x64|alibi|decode|3.000|100 GB/s, 50 % of a copy|3.00|math|4.000|1.00|1.33".split("|"),
    );
  });

  test("go on where they were stopped, in each set", () => {
    measure("on", "--quick");
    const { stdout, rows } = measure("on", "--continue");
    expect(rows["some-gpu-rules.json"]!.map(({ number }) => number)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(stdout).toContain("6 figures, 4 of them new");
    expect(stdout).toContain("1.00     1.33"); // beside a figure of the run before
  });

  test("do not begin the second set when time is over", () => {
    const { stdout, rows } = measure("stopped", "--seconds", "0");
    expect(Object.keys(rows)).toEqual(["some-gpu.json"]);
    expect(stdout).toContain("none with rules");
  });

  test("say what PyTorch does not measure, and why", () => {
    const { rows } = measure("reasons", "--rules");
    const [plain, bias, alibi, lengths, softcap, pages] = rows["some-gpu-rules.json"]!;
    expect(plain!.torch["math"]).toEqual({ milliseconds: 4 });
    expect(plain!.torch["efficient"]).toEqual({ error: "out of memory" });
    expect(Object.keys(bias!.torch)).toEqual(["math", "flash", "efficient", "cudnn"]);
    for (const { torch } of [alibi!, lengths!, softcap!]) expect(torch["flex"]).toEqual({ error: "no compiler" });
    expect(alibi!.torch["cudnn"]).toEqual({ milliseconds: 4 });
    expect(softcap!.torch["math"]).toEqual({ error: "no softcap" });
    expect(pages!.torch["cudnn"]).toEqual({ error: "no pages of 16" });
  });

  test("compile for no longer than allowed", () => {
    vi.stubEnv("SLOW_COMPILER", "1");
    const { rows } = measure("limit", "--rules", "--compile-seconds", "0.5");
    const [, , alibi, lengths] = rows["some-gpu-rules.json"]!;
    expect(alibi!.torch["flex"]).toEqual({ error: "not compiled within 0.5 s" });
    expect(lengths!.torch["flex"]).toEqual({ error: "compiling had its 0.5 s" });
    expect(lengths!.torch["math"]).toEqual({ milliseconds: 4 });
  });

  test("end where the device is lost before there is any", () => {
    const command = [path.join(scripts, "measure.py"), bench, "--results", path.join(folder, "lost")];
    const env = { ...process.env, LOST: "1", PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: "1" };
    const { status, stderr } = spawnSync("python3", command, { encoding: "utf8", env, timeout: 20_000 });
    expect([status, stderr]).toEqual([1, expect.stringContaining("fovea_cuda_bench ended with code 3")]);
  });

  test("end with whoever began them: a GPU's next program must not run beside the last one", async () => {
    const [stuck, to] = [path.join(folder, "stuck"), path.join(folder, "killed")];
    const env = { ...process.env, PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: "1", STUCK: stuck };
    const script = spawn("python3", [path.join(scripts, "measure.py"), bench, "--results", to], {
      env,
      stdio: "ignore",
    });
    const processNumber = await vi.waitUntil(() => existsSync(stuck) && readFileSync(stuck, "utf8"), {
      timeout: 20_000,
    });
    script.kill("SIGKILL");
    await vi.waitUntil(() => hasEnded(processNumber), { timeout: 5000 });
  });
});

/** Its command is empty once it has ended, though nobody may have asked how. */
function hasEnded(processNumber: string): boolean {
  try {
    return readFileSync(`/proc/${processNumber}/cmdline`, "utf8") === "";
  } catch {
    return true;
  }
}
