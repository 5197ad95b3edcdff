// What the drop-in backends save: a framework's own attention and fovea's, on the same tensors of that framework, in turns.
//   npx tsx bench/frameworks.ts --framework jax --rounds 7

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { defineCommand, runMain } from "citty";
import { devices } from "../lib/index.js";
import { jaxPairs } from "./frameworks/jax.js";
import { onnxPairs } from "./frameworks/onnx.js";
import { tfjsPairs } from "./frameworks/tfjs.js";
import { points, type Pair, type Point } from "./frameworks/points.js";
import { compare, type Comparison } from "./frameworks/rounds.js";
import { textTable } from "../lib/terminal/text-table.js";

const frameworks: Record<string, (point: Point) => Promise<Pair[]> | Pair[]> = {
  jax: jaxPairs,
  onnx: onnxPairs,
  tfjs: tfjsPairs,
};

const command = defineCommand({
  meta: { name: "frameworks", description: "A framework's own attention and fovea's drop-in, in turns" },
  args: {
    framework: { type: "string", description: `one of ${Object.keys(frameworks).join(", ")}; all when left out` },
    rounds: { type: "string", default: "5", description: "rounds of turns at each point" },
    json: { type: "string", description: "file for the results" },
  },
  async run({ args }) {
    const rounds = Number(args.rounds);
    if (!Number.isInteger(rounds) || rounds < 1)
      throw new Error(`--rounds: expected a whole number, got ${args.rounds}`);
    const chosen = args.framework === undefined ? Object.keys(frameworks) : [args.framework];
    const table = textTable([
      ["theirs", "left"],
      ["fovea's", "left"],
      ["heads × length × dim", "left"],
      ["theirs, ms", "right"],
      ["fovea, ms", "right"],
      ["times as fast", "right"],
      ["lowest", "right"],
    ]);
    const results: (Comparison & { point: Point; framework: string; theirName: string; ourName: string })[] = [];
    for (const framework of chosen) {
      const pairs = frameworks[framework];
      if (pairs === undefined) throw new Error(`--framework: there is no "${framework}"`);
      for (const point of points) {
        for (const { theirs, ours } of await pairs(point)) {
          const result = await compare(theirs, ours, rounds);
          results.push({ framework, point, theirName: theirs.name, ourName: ours.name, ...result });
          const { heads, length, headDim, causal } = point;
          table.push([
            theirs.name,
            ours.name,
            `${heads} × ${length} × ${headDim}${causal ? " causal" : ""}`,
            result.theirs.toFixed(2),
            result.ours.toFixed(2),
            result.ratio.toFixed(2),
            result.lowest.toFixed(2),
          ]);
        }
      }
    }
    console.log(table.toString());
    if (args.json === undefined) return;
    await mkdir(path.dirname(args.json), { recursive: true });
    const { name, threads, instructionSet } = devices()[0] as { name: string; threads: number; instructionSet: string };
    const machine = { name, threads, instructionSet, node: process.version };
    await writeFile(args.json, `${JSON.stringify({ machine, rounds, results }, null, 2)}\n`);
  },
});

await runMain(command);
