// The memory of a call's results.
import { abortError } from "./errors.js";
import { discard, newView } from "./memory.js";
import type { AttentionResult } from "./options.js";
import type { Plan } from "./plan.js";
import { placeOutputs, type Call, type Outputs } from "./shape.js";
import { makeTensor } from "./tensor.js";
import type { View } from "./view.js";

/** The last check before a call runs, and the memory for its results. */
export function begin(call: Call, signal: AbortSignal | undefined): Outputs {
  if (signal?.aborted === true) throw abortError(signal);
  const made: View[] = [];
  const make = (dtype: Call["dtype"], shape: readonly number[]): View => {
    const view = newView("output", dtype, call.home, shape);
    made.push(view);
    return view;
  };
  try {
    const output = call.out?.view ?? make(call.dtype, call.outputShape);
    return placeOutputs(call, output, (shape) => make("float32", shape));
  } catch (error) {
    made.forEach(discard);
    throw error;
  }
}

/** After a failure: gives the memory for results back at once, rather than when it is garbage collected. */
export function discardOutputs(call: Call, { output, lse, weights, scores }: Outputs): void {
  if (call.out === undefined) discard(output.view);
  for (const placed of [lse, weights, scores]) if (placed !== undefined) discard(placed.view);
}

export function resultOf(call: Call, { output, lse, weights, scores }: Outputs, plan: Plan): AttentionResult {
  const result: { -readonly [Key in keyof AttentionResult]: AttentionResult[Key] } = {
    output: (call.out?.tensor ?? makeTensor(output.view)) as AttentionResult["output"],
    plan,
  };
  if (lse !== undefined) result.lse = makeTensor(lse.view) as NonNullable<AttentionResult["lse"]>;
  if (weights !== undefined) result.weights = makeTensor(weights.view) as NonNullable<AttentionResult["weights"]>;
  if (scores !== undefined) result.scores = makeTensor(scores.view) as NonNullable<AttentionResult["scores"]>;
  return result;
}
