// Walks through the lengths, doubling, and measures each with both algorithms as long as memory and time allow.

import { fork } from "node:child_process";
import path from "node:path";
import { availableMemory } from "node:process";
import { explain } from "../index.js";
import type { Point, PointTask } from "./point.js";
import { bytes, seconds } from "../terminal/format.js";

export interface ScalingOptions {
  heads: number;
  headDim: number;
  causal: boolean;
  /** Tokens of the shortest and of the longest measurement; lengths double from the one towards the other. */
  min: number;
  max: number;
  /** Seconds for all of it. */
  budget: number;
}

/** A measurement that was left out, and why. */
export interface Omission {
  algorithm: Point["algorithm"];
  tokens: number;
  reason: string;
}

export interface Measurements {
  points: Point[];
  omitted: Omission[];
}

const algorithms = ["standard", "tiled"] as const;
/** The share of the memory that is free now that one call may take. */
const memoryShare = 0.6;
/** Seconds to start a process that measures, and to fill its inputs. */
const startup = 1;
/** Seconds of repeated calls for one point, where one call takes less. */
const pointBudget = 1;

export const lengths = ({ min, max }: Pick<ScalingOptions, "min" | "max">): number[] => {
  const list: number[] = [];
  for (let tokens = min; tokens <= max; tokens *= 2) list.push(tokens);
  return list;
};

/** Calls `progress` after each length and algorithm with how many are done, of `2 * lengths(options).length`. */
export async function measureScaling(
  options: ScalingOptions,
  progress: (done: number, next: string) => void = () => {},
): Promise<Measurements> {
  const end = performance.now() + options.budget * 1000;
  const points: Point[] = [];
  const omitted: Omission[] = [];
  let done = 0;
  for (const tokens of lengths(options)) {
    for (const algorithm of algorithms) {
      progress(done, `${algorithm}, ${tokens} tokens`);
      const left = (end - performance.now()) / 1000;
      const reason = memoryReason(options, algorithm, tokens) ?? timeReason(points, algorithm, tokens, left);
      if (reason !== undefined) omitted.push({ algorithm, tokens, reason });
      else {
        const patience = left / 4;
        points.push(
          await measurePoint({ ...options, algorithm, tokens, budget: Math.min(pointBudget, patience), patience }),
        );
      }
      progress(++done, "");
    }
  }
  return { points, omitted };
}

function memoryReason(options: ScalingOptions, algorithm: Point["algorithm"], tokens: number): string | undefined {
  const tensor = { shape: [1, options.heads, tokens, options.headDim], dtype: "float32" as const };
  const { workspaceBytes } = explain(tensor, tensor, tensor, { algorithm, causal: options.causal });
  const allowed = availableMemory() * memoryShare;
  if (workspaceBytes <= allowed) return undefined;
  return `needs ${bytes(workspaceBytes)} beside inputs and output, ${bytes(allowed)} allowed`;
}

function timeReason(points: Point[], algorithm: Point["algorithm"], tokens: number, left: number): string | undefined {
  const last = points.findLast((point) => point.algorithm === algorithm);
  const expected = (last === undefined ? 0 : last.seconds * (tokens / last.tokens) ** 2) + startup;
  return expected <= left ? undefined : `would take about ${seconds(expected)}, ${seconds(Math.max(left, 0))} left`;
}

/** The child inherits this process's flags, and with them what lets it run TypeScript. */
function measurePoint(task: PointTask): Promise<Point> {
  return new Promise((resolve, reject) => {
    const child = fork(new URL(`./point${path.extname(import.meta.url)}`, import.meta.url), [JSON.stringify(task)]);
    child.once("message", (point) => resolve(point as Point));
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      // Too late to matter when the message has come: a promise settles once.
      reject(new Error(`the measurement of ${task.algorithm} at ${task.tokens} tokens ended with ${signal ?? code}`));
    });
  });
}
