// One decode step of many sequences with a common prefix: forked from one sequence, so that the prefix is held and attended once,
// against the same sequences, each with its own copy of it.
//   npx tsx bench/serving/prefix-sharing.ts --sequences 32 --prefix 4096 --json results.json

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { defineCommand, runMain } from "citty";
import { devices, PagedKVCache, Tensor, type CacheSequence, type StoredDType } from "../../lib/index.js";
import { median } from "../lib/statistics.js";

interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly dtype: StoredDType;
}

const shapes: readonly Shape[] = [
  { heads: 8, kvHeads: 8, headDim: 64, dtype: "float32" },
  { heads: 8, kvHeads: 8, headDim: 64, dtype: "float16" },
  { heads: 8, kvHeads: 8, headDim: 64, dtype: "int8" },
  { heads: 16, kvHeads: 8, headDim: 64, dtype: "float32" },
  { heads: 32, kvHeads: 8, headDim: 64, dtype: "float32" },
];

/** A cache of sequences that have the prefix and a few tokens of their own. */
function fill(shape: Shape, sequences: number, prefix: number, own: number, shared: boolean) {
  const { heads, ...sizes } = shape;
  const pageSize = 64;
  const tails = sequences * Math.ceil((own + pageSize) / pageSize);
  const pages = (shared ? 1 : sequences) * Math.ceil(prefix / pageSize) + tails;
  const cache = new PagedKVCache({ layers: 1, pageSize, pages, ...sizes });
  const tokens = Tensor.random([prefix, sizes.kvHeads, sizes.headDim], { seed: 1 });
  const make = () => {
    const sequence = cache.create();
    cache.appendSync([sequence], 0, tokens, tokens);
    return sequence;
  };
  const all: CacheSequence[] = [make()];
  while (all.length < sequences) all.push(shared ? all[0]!.fork() : make());
  const tail = Tensor.random([sequences * own, sizes.kvHeads, sizes.headDim], { seed: 2 });
  cache.appendSync(all, 0, tail, tail);
  return { cache, all, query: Tensor.random([sequences, heads, sizes.headDim], { seed: 3 }) };
}

async function measure(shape: Shape, sequences: number, prefix: number, rounds: number) {
  const own = 16;
  const contestants = [true, false].map((shared) => ({ shared, ...fill(shape, sequences, prefix, own, shared) }));
  const step = ({ cache, all, query }: (typeof contestants)[number]) => cache.attend(query, all, { layer: 0 });
  const [one, other] = await Promise.all(contestants.map(step));
  const expected = other!.output.toNumbers();
  one!.output.toNumbers().forEach((x, i) => {
    if (Math.abs(x - expected[i]!) > 1e-5) throw new Error("the two do not agree");
  });
  const times = contestants.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, contestant] of contestants.entries()) {
      const begin = performance.now();
      await step(contestant);
      times[i]!.push(performance.now() - begin);
    }
  }
  const [shared, apart] = contestants.map(({ cache }) => cache.statistics);
  const { sharedSegments, sharedKeys } = one!.plan;
  const [milliseconds, millisecondsApart] = times.map(median);
  contestants.forEach(({ cache }) => cache.dispose());
  return {
    ...shape,
    milliseconds: milliseconds!,
    millisecondsApart: millisecondsApart!,
    ratio: median(times[1]!.map((time, i) => time / times[0]![i]!)),
    sharedSegments,
    sharedKeys,
    usedBytes: shared!.usedBytes,
    usedBytesApart: apart!.usedBytes,
  };
}

const command = defineCommand({
  meta: { name: "prefix-sharing", description: "A decode step with a shared prefix against one with copies of it" },
  args: {
    sequences: { type: "string", default: "32", description: "sequences that decode together" },
    prefix: { type: "string", default: "4096", description: "tokens of the prefix" },
    rounds: { type: "string", default: "15", description: "steps of each, in turns; the median counts" },
    json: { type: "string", description: "where to keep the results" },
  },
  async run({ args }) {
    const [sequences, prefix, rounds] = [Number(args.sequences), Number(args.prefix), Number(args.rounds)];
    const results = [];
    for (const shape of shapes) results.push(await measure(shape, sequences, prefix, rounds));
    console.log(`${sequences} sequences, one query each, a common prefix of ${prefix} tokens`);
    console.table(
      results.map(({ heads, kvHeads, headDim, dtype, milliseconds, millisecondsApart, ratio, ...bytes }) => ({
        heads: `${heads}/${kvHeads} of ${headDim}`,
        dtype,
        "shared, ms": milliseconds.toFixed(2),
        "copies, ms": millisecondsApart.toFixed(2),
        ratio: ratio.toFixed(2),
        "shared, MB": (bytes.usedBytes / 1e6).toFixed(1),
        "copies, MB": (bytes.usedBytesApart / 1e6).toFixed(1),
      })),
    );
    if (args.json === undefined) return;
    const [processor] = devices();
    const machine = { cpu: cpus()[0]!.model, device: processor, node: process.version };
    const run = { date: new Date().toISOString(), machine, sequences, prefix, rounds, results };
    writeFileSync(args.json, `${JSON.stringify(run, null, 1)}\n`);
  },
});

await runMain(command);
