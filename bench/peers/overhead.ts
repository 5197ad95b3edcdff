// What a call costs when there is next to nothing to compute.
import { setTimeout as sleep } from "node:timers/promises";
import * as fovea from "./fovea.js";
import { compare, type Contestant, inputsOf } from "./measure.js";
import * as onnx from "./onnxruntime.js";
import { tinyPoint } from "./points.js";
import { median, quantile } from "../lib/statistics.js";

/** Microseconds for one call: of blocks of calls, one after the other, each block's mean. */
export interface Overhead {
  median: number;
  p10: number;
  min: number;
}

const warmUpCalls = 3000;
const callsOfBlock = 100;
const blocksOfTurn = 10;

async function block(contestant: Contestant): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < callsOfBlock; i++) {
    const result = contestant.call();
    if (result instanceof Promise) await result;
  }
  return ((performance.now() - start) / callsOfBlock) * 1000;
}

/** By form: fovea's, then onnxruntime's. */
export async function measureOverhead(threads: number, rounds: number): Promise<Record<string, Overhead>> {
  const inputs = inputsOf(tinyPoint);
  const ours = fovea.forms
    .filter(({ layout }) => layout === "bhsd")
    .map((form) => fovea.fovea(form, tinyPoint, inputs));
  const theirs = [];
  for (const form of onnx.forms.filter(({ name }) => name === "mha" || name === "att23")) {
    theirs.push(await onnx.onnxruntime(form, tinyPoint, inputs, threads));
  }
  await compare(ours[0]!, [...ours.slice(1), ...theirs], tinyPoint);
  const contestants = [...ours, ...theirs];
  const blocks = new Map<Contestant, number[]>(contestants.map((contestant) => [contestant, []]));
  for (const contestant of contestants) {
    for (let i = 0; i < warmUpCalls / callsOfBlock; i++) await block(contestant);
  }
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) {
      await sleep(5);
      await block(contestant);
      for (let i = 0; i < blocksOfTurn; i++) blocks.get(contestant)!.push(await block(contestant));
    }
  }
  for (const contestant of contestants) await contestant.release();
  const named = (contestant: Contestant): string =>
    `${ours.includes(contestant) ? "fovea" : "onnxruntime"} ${contestant.name}`;
  return Object.fromEntries(
    [...blocks].map(([contestant, times]) => [
      named(contestant),
      { median: median(times), p10: quantile(times, 0.1), min: Math.min(...times) },
    ]),
  );
}
