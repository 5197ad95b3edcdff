// Runs fovea on the encoder's own query, key and value and compares the outputs with the encoder's own.

import { attention, type Algorithm } from "../../lib/index.js";
import * as format from "../../lib/terminal/format.js";
import { textTable } from "../../lib/terminal/text-table.js";
import type { Encoded, Values } from "../../lib/encoder/encoder.js";

export const algorithms = ["standard", "tiled"] as const satisfies readonly Algorithm[];

export interface Difference {
  /** max |fovea − encoder| */
  largest: number;
  /** ‖fovea − encoder‖ / ‖encoder‖ */
  relative: number;
}

export function difference(actual: ArrayLike<number>, expected: Float32Array): Difference {
  let largest = 0;
  let error = 0;
  let norm = 0;
  for (const [index, value] of expected.entries()) {
    const delta = Math.abs(actual[index]! - value);
    if (!(delta <= largest)) largest = delta; // NaN counts as the largest of all
    error += delta ** 2;
    norm += value ** 2;
  }
  return { largest, relative: Math.sqrt(error / norm) };
}

/** Two float32 computations of one attention differ by rounding: some 1e-7 per operation, 1e-6 after a sum of thousands. */
export const tolerance = 5e-6;

/** Prints a row per layer and algorithm; throws when fovea and the encoder differ by more than rounding. */
export async function compareWithEncoder(encoded: Encoded): Promise<void> {
  const table = textTable([
    ["layer", "right"],
    ["heads × tokens × dim", "right"],
    ["algorithm", "left"],
    ["kernel", "left"],
    ["time", "right"],
    ["largest difference", "right"],
    ["largest output", "right"],
    ["relative", "right"],
  ]);
  let worst = 0;
  for (const [index, layer] of encoded.layers.entries()) {
    for (const algorithm of algorithms) {
      const begin = performance.now();
      // The encoder's query comes multiplied by its scale already.
      const { output, plan } = await attention(layer.query, layer.key, layer.value, { scale: 1, algorithm });
      const time = performance.now() - begin;
      const { largest, relative } = difference(output.data, layer.output.data);
      worst = Math.max(worst, relative);
      table.push([
        `${index + 1}`,
        layer.query.shape.slice(1).join(" × "),
        algorithm,
        plan.kernel,
        format.seconds(time / 1000),
        largest.toExponential(1),
        largestOf(layer.output).toFixed(2),
        relative.toExponential(1),
      ]);
    }
  }
  console.log(table.toString());
  if (!(worst <= tolerance)) throw new Error(`fovea and the encoder differ by ${worst}, more than rounding explains`);
}

const largestOf = ({ data }: Values): number => data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
