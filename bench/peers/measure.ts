// Runs in a process of its own per thread count: every contestant in turns, so that all meet the same moods of the machine.
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import * as fovea from "./fovea.js";
import { type Inputs, type Layout, makeInputs, relativeError, swapMiddle, toBshd } from "./inputs.js";
import * as onnx from "./onnxruntime.js";
import type { Point } from "./points.js";
import { type Probe, probe } from "./probe.js";
import { median, quantile } from "../lib/statistics.js";

export interface Contestant {
  name: string;
  /** Of the output. */
  layout: Layout;
  call(): Float32Array | Promise<Float32Array>;
  release(): Promise<void>;
}

export type MakeInputs = (layout: Layout) => Inputs;

/** Milliseconds. */
export interface Times {
  median: number;
  p10: number;
  min: number;
  /** The median of each turn, in order of rounds. */
  turns: number[];
}

/** onnxruntime's time over fovea's, turn by turn: above 1 fovea is faster. */
export interface Ratio {
  median: number;
  p10: number;
  min: number;
}

export interface PointResult {
  point: Point;
  /** onnxruntime's fastest form here, by the medians. */
  best: string;
  onnxruntime: Record<string, Times>;
  /** Forms that were clearly slower in a first look: their best time there. */
  onnxruntimeSlower: Record<string, number>;
  fovea: Record<string, Times>;
  /** By form of fovea, against `best`. */
  ratios: Record<string, Ratio>;
  /** Largest relative L2 difference between any form of onnxruntime and fovea. */
  difference: number;
  /** What the machine itself could do meanwhile, one for each time it was asked. */
  probes: Probe[];
  /** Processors that other processes kept busy during the turns, on average: what it takes from both. */
  othersBusy: number;
}

const pauseMs = 20; // onnxruntime's pool spins for a while after a call; let it die down
const wakeMs = 60; // untimed calls at the start of a turn: both pools are slower when they have just been asleep
const turnMs = 60; // timed calls of a turn, at least
const longMs = 250; // a call from here on needs no untimed one before it
const screenedOut = 1.15; // forms this much slower than the fastest leave after the first look
const sameNumbers = 1e-5;

export async function timed(contestant: Contestant): Promise<number> {
  const start = performance.now();
  const result = contestant.call();
  if (result instanceof Promise) await result;
  return performance.now() - start;
}

/** The calls of one contestant's turn. */
async function turn(contestant: Contestant, expectedMs: number): Promise<number[]> {
  await sleep(pauseMs);
  if (expectedMs < longMs) {
    for (const start = performance.now(); performance.now() - start < wakeMs;) await timed(contestant);
  }
  const calls = Math.min(50, Math.max(1, Math.ceil(turnMs / expectedMs)));
  const times: number[] = [];
  for (let i = 0; i < calls; i++) times.push(await timed(contestant));
  return times;
}

function summary(turns: number[][]): Times {
  const medians = turns.map(median);
  const calls = turns.flat();
  return { median: median(medians), p10: quantile(calls, 0.1), min: Math.min(...calls), turns: medians };
}

function ratio(peer: Times, ours: Times): Ratio {
  const ratios = peer.turns.map((time, round) => time / ours.turns[round]!);
  return { median: median(ratios), p10: quantile(ratios, 0.1), min: Math.min(...ratios) };
}

/** Inputs in either memory order, each made when first asked for. */
export function inputsOf(point: Point): MakeInputs {
  const made: Partial<Record<Layout, Inputs>> = {};
  const bhsd = (): Inputs => (made.bhsd ??= makeInputs(point));
  return (layout) => (layout === "bhsd" ? bhsd() : (made.bshd ??= toBshd(bhsd(), point)));
}

/** Milliseconds of processor time that processes other than this one have used. */
function othersCpuMs(): number {
  const own = process.cpuUsage();
  const busy = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
  return busy - (own.user + own.system) / 1000;
}

async function outputOf(contestant: Contestant, point: Point): Promise<Float32Array> {
  const { batch, heads, queryLength, headDim } = point;
  const output = await contestant.call();
  return contestant.layout === "bhsd" ? output : swapMiddle(output, [batch, queryLength, heads, headDim]);
}

/** Throws unless all contestants give the same numbers; returns the largest relative difference. */
export async function compare(reference: Contestant, others: Contestant[], point: Point): Promise<number> {
  const expected = (await outputOf(reference, point)).slice();
  let largest = 0;
  for (const other of others) {
    const error = relativeError(await outputOf(other, point), expected);
    if (!(error <= sameNumbers)) throw new Error(`${point.name}: ${other.name} and fovea differ: relative L2 ${error}`);
    largest = Math.max(largest, error);
  }
  return largest;
}

export interface MeasureOptions {
  threads: number;
  rounds: number;
  foveaForms: fovea.Form[];
}

export async function measurePoint(point: Point, options: MeasureOptions): Promise<PointResult> {
  const { threads, rounds } = options;
  const inputs = inputsOf(point);
  const ours = options.foveaForms.map((form) => fovea.fovea(form, point, inputs));
  const theirs: Contestant[] = [];
  for (const form of onnx.forms.filter((form) => form.offered(point))) {
    theirs.push(await onnx.onnxruntime(form, point, inputs, threads));
  }
  const difference = await compare(ours[0]!, [...ours.slice(1), ...theirs], point);

  // A first look, with another warm-up: it sizes the turns and leaves the slower forms of onnxruntime out.
  const expected = new Map<Contestant, number>();
  for (const contestant of [...ours, ...theirs]) {
    await timed(contestant);
    const looks = [await timed(contestant)];
    while (looks.length < 5 && looks[0]! < longMs) looks.push(await timed(contestant));
    expected.set(contestant, Math.min(...looks));
  }
  const fastest = Math.min(...theirs.map((contestant) => expected.get(contestant)!));
  const isSlower = (contestant: Contestant): boolean => expected.get(contestant)! > fastest * screenedOut;
  const slower = theirs.filter(isSlower);
  const kept = theirs.filter((contestant) => !isSlower(contestant));
  for (const contestant of slower) await contestant.release();

  const order = [...kept, ...ours];
  const turns = new Map<Contestant, number[][]>(order.map((contestant) => [contestant, []]));
  const probes: Probe[] = [];
  const [begin, othersBegin] = [performance.now(), othersCpuMs()];
  for (let round = 0; round < rounds; round++) {
    if (round === 0 || point.bandwidthBound) probes.push(...(await probe(threads)));
    for (const contestant of round % 2 ? order.toReversed() : order) {
      turns.get(contestant)!.push(await turn(contestant, expected.get(contestant)!));
    }
  }
  const othersBusy = Math.max(0, othersCpuMs() - othersBegin) / (performance.now() - begin);
  for (const contestant of order) await contestant.release();

  const times = (contestants: Contestant[]): Record<string, Times> =>
    Object.fromEntries(contestants.map((contestant) => [contestant.name, summary(turns.get(contestant)!)]));
  const onnxruntime = times(kept);
  const best = Object.keys(onnxruntime).reduce((a, b) => (onnxruntime[b]!.median < onnxruntime[a]!.median ? b : a));
  const foveaTimes = times(ours);
  return {
    point,
    best,
    onnxruntime,
    onnxruntimeSlower: Object.fromEntries(slower.map((contestant) => [contestant.name, expected.get(contestant)!])),
    fovea: foveaTimes,
    ratios: Object.fromEntries(
      Object.entries(foveaTimes).map(([name, ours]) => [name, ratio(onnxruntime[best]!, ours)]),
    ),
    difference,
    probes,
    othersBusy,
  };
}
