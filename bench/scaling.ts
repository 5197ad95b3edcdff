// How attention scales with the length of the text: the standard algorithm, which holds all scores, against the tiled one.
//   npx tsx bench/scaling.ts --heads 8 --head-dim 64 --max 32768 --causal

import { defineCommand, runMain } from "citty";
import { runScaling } from "../lib/scaling/run.js";

const number = (name: string, value: string): number => {
  const parsed = Number(value);
  if (!Number.isInteger(parsed) || parsed < 1)
    throw new Error(`--${name}: expected a positive whole number, got "${value}"`);
  return parsed;
};

const command = defineCommand({
  meta: { name: "scaling", description: "Time, speed and memory of standard and tiled attention against length" },
  args: {
    heads: { type: "string", default: "8", description: "heads" },
    "head-dim": { type: "string", default: "64", description: "elements of a head's query, key and value" },
    min: { type: "string", default: "512", description: "tokens of the shortest text; lengths double from here" },
    max: { type: "string", default: "16384", description: "tokens of the longest text" },
    causal: { type: "boolean", default: false, description: "a query sees no later key" },
    budget: { type: "string", default: "300", description: "seconds for all of it; what would not fit is left out" },
    out: { type: "string", default: "out", description: "folder for scaling.json and scaling.svg" },
  },
  async run({ args }) {
    const options = {
      heads: number("heads", args.heads),
      headDim: number("head-dim", args["head-dim"]),
      causal: args.causal,
      min: number("min", args.min),
      max: number("max", args.max),
      budget: number("budget", args.budget),
    };
    if (options.min > options.max) throw new Error(`--min ${options.min} is more than --max ${options.max}`);
    await runScaling(options, args.out);
  },
});

await runMain(command);
