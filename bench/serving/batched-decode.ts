// One decode step of many sequences in one call, against a call for each sequence: through a PagedKVCache, of every length.
//   npx tsx bench/serving/batched-decode.ts --sequences 64 --json results.json

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { defineCommand, runMain } from "citty";
import { devices, PagedKVCache, Tensor, type CacheSequence, type StoredDType } from "../../lib/index.js";
import { median } from "../lib/statistics.js";

const [heads, kvHeads, headDim] = [32, 8, 64]; // of a model of a billion parameters
const lengths = [16, 64, 256, 1024];

interface Step {
  readonly name: string;
  readonly run: () => Promise<Tensor[]>;
}

/** Sequences of about that length, no two alike. */
function fill(sequences: number, length: number, dtype: StoredDType) {
  const own = Array.from({ length: sequences }, (_, i) => Math.ceil(length * (0.75 + (0.5 * i) / sequences)));
  const pageSize = 64;
  const pages = own.reduce((sum, one) => sum + Math.ceil(one / pageSize), 0);
  const cache = new PagedKVCache({ layers: 1, kvHeads, headDim, pageSize, pages, dtype });
  const float = dtype === "int8" ? "float32" : dtype;
  const tokens = Tensor.random([2 * length, kvHeads, headDim], { seed: 1, dtype: float });
  const all = own.map((one): CacheSequence => {
    const sequence = cache.create();
    const rows = tokens.slice(0, 0, one);
    cache.appendSync([sequence], 0, rows, rows);
    return sequence;
  });
  return { cache, all, query: Tensor.random([sequences, heads, headDim], { seed: 2, dtype: float }) };
}

async function measure(sequences: number, length: number, dtype: StoredDType, rounds: number) {
  const { cache, all, query } = fill(sequences, length, dtype);
  const rows = all.map((_, i) => query.slice(0, i, i + 1));
  const single = (i: number) => cache.attend(rows[i]!, [all[i]!], { layer: 0 });
  const steps: Step[] = [
    { name: "batched", run: async () => [(await cache.attend(query, all, { layer: 0 })).output] },
    {
      name: "one after the other",
      run: async () => {
        const outputs = [];
        for (let i = 0; i < sequences; i++) outputs.push((await single(i)).output);
        return outputs;
      },
    },
    {
      name: "all at once",
      run: async () => (await Promise.all(all.map((_, i) => single(i)))).map(({ output }) => output),
    },
  ];
  const numbers = (outputs: readonly Tensor[]) => outputs.flatMap((output) => [...output.toNumbers()]);
  const expected = numbers(await steps[0]!.run());
  for (const { name, run } of steps) {
    if (numbers(await run()).some((x, i) => x !== expected[i])) throw new Error(`${name}: other numbers`);
  }
  const times = steps.map((): number[] => []);
  const turn = async ({ run }: Step) => {
    const samples: number[] = [];
    const end = performance.now() + 60;
    do {
      const begin = performance.now();
      await run();
      samples.push(performance.now() - begin);
    } while (performance.now() < end);
    return median(samples);
  };
  for (let round = -1; round < rounds; round++) {
    for (const [i, step] of steps.entries()) {
      const time = await turn(step);
      if (round >= 0) times[i]!.push(time); // the first round is for warming up
    }
  }
  cache.dispose();
  const [batched, ...singles] = times as [number[], ...number[][]];
  /** How many times as long single calls take: one after the other, and all at once. */
  const ratios = singles.map((own) => median(own.map((time, round) => time / batched[round]!)));
  return {
    length,
    dtype,
    milliseconds: Object.fromEntries(steps.map(({ name }, i) => [name, median(times[i]!)])),
    ratios,
  };
}

const command = defineCommand({
  meta: { name: "batched-decode", description: "A decode step of many sequences in one call against a call each" },
  args: {
    sequences: { type: "string", default: "64", description: "sequences that decode together" },
    rounds: { type: "string", default: "9", description: "turns of each; the median counts" },
    json: { type: "string", description: "where to keep the results" },
  },
  async run({ args }) {
    const [sequences, rounds] = [Number(args.sequences), Number(args.rounds)];
    const results = [];
    for (const dtype of ["float32", "bfloat16"] as const) {
      for (const length of lengths) results.push(await measure(sequences, length, dtype, rounds));
    }
    console.log(`${sequences} sequences, a query each; ${heads} heads of ${headDim}, ${kvHeads} of keys`);
    console.table(
      results.map(({ length, dtype, milliseconds, ratios }) => ({
        keys: length,
        dtype,
        ...Object.fromEntries(Object.entries(milliseconds).map(([name, time]) => [`${name}, ms`, time.toFixed(2)])),
        ratios: ratios.map((ratio) => ratio.toFixed(2)).join(", "),
      })),
    );
    if (args.json === undefined) return;
    const machine = { cpu: cpus()[0]!.model, device: devices()[0], node: process.version };
    const shape = { sequences, heads, kvHeads, headDim };
    const run = { date: new Date().toISOString(), machine, shape, rounds, results };
    writeFileSync(args.json, `${JSON.stringify(run, null, 1)}\n`);
  },
});

await runMain(command);
