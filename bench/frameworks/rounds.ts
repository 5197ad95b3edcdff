// Contestants that take turns, and how they compare.

import { median } from "../lib/statistics.js";

export interface Contestant {
  name: string;
  /** One call, to the end: the output's numbers. */
  call(): Promise<Float32Array>;
}

export interface Comparison {
  /** Median milliseconds of a call. */
  theirs: number;
  ours: number;
  /** How many times as fast ours is: the median over the rounds of the ratio of two turns, and the lowest and highest. */
  ratio: number;
  lowest: number;
  highest: number;
  /** Relative L2 difference of the outputs. */
  difference: number;
}

/** Milliseconds of a call: the median of as many as fit into `budget` milliseconds, one at least. */
async function turn(contestant: Contestant, budget: number): Promise<number> {
  const times: number[] = [];
  const begin = performance.now();
  do {
    const start = performance.now();
    await contestant.call();
    times.push(performance.now() - start);
  } while (performance.now() - begin < budget);
  return median(times);
}

/** Both compute the same, which is checked; then they take turns, each first in every other round. */
export async function compare(theirs: Contestant, ours: Contestant, rounds: number): Promise<Comparison> {
  const difference = relativeDifference(await ours.call(), await theirs.call());
  if (!(difference < 1e-4)) throw new Error(`${ours.name} and ${theirs.name} differ by ${difference}`);
  const turns = { theirs: [] as number[], ours: [] as number[] };
  for (let round = -1; round < rounds; round++) {
    const order = round % 2 === 0 ? (["theirs", "ours"] as const) : (["ours", "theirs"] as const);
    for (const who of order) {
      const time = await turn(who === "ours" ? ours : theirs, 150);
      if (round >= 0) turns[who].push(time); // the first round is for warming up
    }
  }
  const ratios = turns.ours.map((time, round) => turns.theirs[round]! / time);
  return {
    theirs: median(turns.theirs),
    ours: median(turns.ours),
    ratio: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    difference,
  };
}

function relativeDifference(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (const [i, value] of b.entries()) {
    difference += (a[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}
