// fovea bench: the standard algorithm, which holds all scores, against the tiled one, over the length of the text.

import { defineCommand } from "citty";
import type { ScalingOptions } from "../scaling/measure.js";
import { runScaling } from "../scaling/run.js";
import { positive, UsageError, type Command } from "./command.js";
import { chartPackages, needPackages } from "./peers.js";

export const bench: Command = defineCommand({
  meta: { name: "bench", description: "Time, speed and memory of standard and tiled attention against length" },
  args: {
    heads: { type: "string", default: "8", description: "heads" },
    "head-dim": { type: "string", default: "64", description: "elements of a head's query, key and value" },
    min: { type: "string", description: "tokens of the shortest text (512, or max); lengths double from here" },
    max: { type: "string", default: "16384", description: "tokens of the longest text" },
    causal: { type: "boolean", default: false, description: "a query sees no later key" },
    budget: { type: "string", default: "300", description: "seconds for all of it; what would not fit is left out" },
    out: { type: "string", description: "folder for scaling.json and scaling.svg (which echarts draws)" },
    json: { type: "boolean", default: false, description: "print JSON instead of a table" },
  },
  async run({ args }) {
    const max = positive("max", args.max);
    const options: ScalingOptions = {
      heads: positive("heads", args.heads),
      headDim: positive("head-dim", args["head-dim"]),
      causal: args.causal,
      min: args.min === undefined ? Math.min(512, max) : positive("min", args.min),
      max,
      budget: positive("budget", args.budget),
    };
    if (options.min > options.max) throw new UsageError(`--min ${options.min} is more than --max ${options.max}`);
    if (args.out !== undefined) needPackages("the chart of fovea bench --out", chartPackages);
    await runScaling(options, { folder: args.out, json: args.json });
  },
});
