import type { AttentionOptions } from "../../lib/index.js";
import { algorithms, backends, has, run } from "./backends.js";
import { build, type Problem } from "./build.js";
import { complaint } from "./compare.js";
import { oracle, type Expected } from "./oracle.js";
import { drawGpu, drawSchedule } from "./simulator.js";
import { complete, show, type SomeSpec } from "./spec.js";

/** Runs a problem by every algorithm of every backend, and compares with the right answer. */
export async function check(some: SomeSpec): Promise<void> {
  const spec = complete(some);
  const problem = build(spec);
  const expected = oracle(problem);
  drawGpu(show(some));
  drawSchedule(show(some));
  const wrong = await firstComplaint(problem, expected);
  if (wrong !== undefined) throw new Error(`${wrong}\n\n  await check(${show(some)});\n`);
}

async function firstComplaint(problem: Problem, expected: Expected): Promise<string | undefined> {
  const { spec } = problem;
  for (const backend of backends) {
    for (const algorithm of algorithms) {
      if (algorithm === "tiled" && spec.scores !== undefined) continue;
      if (!has(algorithm, spec.headDim, spec.valueDim)) continue;
      const wrong = await tryOne(problem, expected, { algorithm }, backend);
      if (wrong !== undefined) return `${backend.name} (${backend.device}), ${algorithm}: ${wrong}`;
    }
  }
  return undefined;
}

async function tryOne(
  problem: Problem,
  expected: Expected,
  options: AttentionOptions,
  backend: (typeof backends)[number],
): Promise<string | undefined> {
  const { spec, query, key, value } = problem;
  const out = spec.out ? problem.newOut() : undefined;
  const result = await run(backend, [query, key, value], { ...problem.options, ...options, out: out?.tensor });
  if (out !== undefined && result.output !== out.tensor) return "output is not the tensor given as out";
  const wrong = complaint(spec, result, expected, backend.boundsOf(result.plan));
  if (wrong !== undefined) return `${wrong} (kernel ${result.plan.kernel})`;
  if (out?.gapsAreUntouched() === false) return "out: memory beside its elements was written";
  return undefined;
}
