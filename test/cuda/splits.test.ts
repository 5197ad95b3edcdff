// Many rows (but few row tiles) against many keys, which are split: on every GPU there is, right, the same bits alone and in
// any batch, and the plan says so. (Small cases: of 17 rows and more, 1024 keys make two splits.)
import { describe, expect, test } from "vitest";
import { attention, devices, explain, type AttentionOptions, type Tensor } from "../../lib/index.js";
import { backends, run } from "../support/backends.js";
import { build } from "../support/build.js";
import { complaint } from "../support/compare.js";
import { oracle } from "../support/oracle.js";
import { complete, type SomeSpec } from "../support/spec.js";

const gpus = devices()
  .filter((info) => info.available && info.device !== "cpu")
  .map((info) => ({ ...backends[0]!, device: info.device, name: `${info.device} ${info.available && info.name}` }));
const onHopper = (device: string) =>
  devices().some((info) => info.device === device && "computeCapability" in info && info.computeCapability[0] === "9");

const common: SomeSpec = { heads: 12, kvHeads: 2, headDim: 16, queries: [3, 1, 4], keys: [1100, 20, 1300], lse: true };
const cases: readonly SomeSpec[] = [
  { dtype: "bfloat16", layout: "thd", causal: true, window: { left: 1150 } },
  { dtype: "float32", pageSize: 7, causal: true, sinks: true, valueDim: 24, softcap: 5 },
  { dtype: "float16", layout: "bshd", mask: "bhqk", bias: "1hqk", alibi: "h", spareKeys: 30, spareQueries: 2 },
  { dtype: "float16", keys: [2100, 9, 2050], strides: 5, out: true },
];

describe.each(gpus)("$name", (gpu) => {
  test.each(cases)("%o", async (some) => {
    const spec = complete({ ...common, ...some });
    const problem = build(spec);
    const out = spec.out ? problem.newOut() : undefined;
    const inputs = [problem.query, problem.key, problem.value] as const;
    const result = await run(gpu, inputs, { ...problem.options, out: out?.tensor });
    expect(complaint(spec, result, oracle(problem), gpu.boundsOf(result.plan))).toBeUndefined();
    expect(out?.gapsAreUntouched()).not.toBe(false);
    if (onHopper(gpu.device) && result.plan.kernel.endsWith("_sm90")) return; // those are as fast there
    expect(result.plan).toMatchObject({ kernel: "cuda.tiled", splits: spec.keys[0]! > 2000 ? 4 : 2 });
  });

  test("the same bits alone and in a batch", async () => {
    const shapes = (sequences: readonly (readonly [queries: number, keys: number])[]) => {
      const queries = sequences.map(([count]) => count),
        keys = sequences.map(([, count]) => count);
      return { ...common, dtype: "float16", layout: "thd", causal: true, queries, keys } as const;
    };
    const all = build(
      complete(
        shapes([
          [5, 1200],
          [1, 600],
          [40, 50],
          [3, 2100],
        ]),
      ),
    );
    const bits = ({ data }: Tensor) => Array.from(data as Uint16Array);
    const compute = async ({ query, key, value, options }: ReturnType<typeof build>, more: AttentionOptions = {}) =>
      bits((await attention(query, key, value, { ...options, ...more, device: gpu.device })).output);
    const together = await compute(all);
    let [query, key] = [0, 0];
    for (const [i, queries] of all.spec.queries.entries()) {
      const keys = all.spec.keys[i]!;
      const part = (tensor: unknown, from: number, count: number) => (tensor as Tensor).slice(0, from, from + count);
      const alone = await attention(
        part(all.query, query, queries),
        part(all.key, key, keys),
        part(all.value, key, keys),
        {
          ...all.options,
          cuSeqlensQuery: Int32Array.of(0, queries),
          cuSeqlensKey: Int32Array.of(0, keys),
          device: gpu.device,
        },
      );
      const size = 12 * 16;
      expect(bits(alone.output)).toEqual(together.slice(query * size, (query + queries) * size));
      [query, key] = [query + queries, key + keys];
    }
  });

  test("the plan has splits, a reason, and a workspace that does not grow with the keys", () => {
    const plan = (queries: number, keys: number, dtype: "float32" | "float16", options: AttentionOptions = {}) =>
      explain(
        { shape: [1, 32, queries, 128], dtype },
        { shape: [1, 8, keys, 128], dtype },
        { shape: [1, 8, keys, 128], dtype },
        { device: gpu.device, ...options },
      );
    for (const dtype of ["float32", "float16"] as const) {
      const short = plan(20, 16384, dtype),
        long = plan(20, 1 << 20, dtype);
      for (const { kernel, splits, parts } of [short, long]) {
        expect([kernel, parts.length]).toEqual(["cuda.tiled", 1]);
        expect(splits).toBeGreaterThanOrEqual(8);
        const reason = !onHopper(gpu.device) ? /^$/ : dtype === "float16" ? /does not split/ : /bfloat16/;
        expect(parts[0]!.reason).toMatch(reason);
      }
      expect(long.workspaceBytes).toBeLessThan(36e6);
      expect(long.tasks).toBeLessThan(512 + (20 * 32) / 4 + 1);
      expect(plan(20, 16384, dtype, { returnWeights: true }).splits).toBe(1); // weights need each row's whole sum
      expect(plan(16384, 16384, dtype).splits).toBe(1);
    }
  });
});
