import type { Settled, Storage } from "../binding.js";
import { allocate } from "./dtype.js";
import { onAbort } from "./abort.js";
import { abortError, FoveaError } from "./errors.js";
import { takeOff } from "./flight.js";
import { shapeOnly, type FloatDTypeOf, type ShapeInput, type TensorInput } from "./input.js";
import { native, nativeError } from "./native.js";
import type { AttentionOptions, AttentionResult, ExplainOptions, Known } from "./options.js";
import { planNumbers, readPlan, type Plan } from "./plan.js";
import { writeProblem } from "./problem.js";
import { checkCall, inputsOf, placeOutputs, type Call, type Outputs } from "./shape.js";
import { Storage as Memory } from "./storage.js";
import { makeTensor } from "./tensor.js";
import { contiguousStrides, makeView, type View } from "./view.js";

/**
 * Attention: for each query, the average of the values, weighted by the softmax of its scores against the keys.
 *
 * Shapes with the default layout "bhsd": query [batch, heads, queryLength, headDim], key [batch, kvHeads, keyLength,
 * headDim], value [batch, kvHeads, keyLength, valueDim], output [batch, heads, queryLength, valueDim]. Query head h reads
 * kv head floor(h / (heads / kvHeads)). headDim and valueDim are 1 to 512. One dtype for query, key, value and output:
 * float32, float16 or bfloat16; sums are float32. Any strides. See `AttentionOptions` for everything else.
 *
 * Computes on fovea's own threads, neither on the event loop nor on libuv's pool; but problems below 0.25 MFLOP and 0.25 MB
 * at once, on the calling thread, since handing them over costs more (so they overtake calls that are queued; their promises
 * still settle later). Never throws: every failure rejects, with a `FoveaError`. The arguments are checked and integers read
 * when the call is made; until the promise settles, tensors must not be changed, and ArrayBuffers of inputs and `out` that
 * were given to `attention` once cannot be transferred any more, to another thread or by their own `transfer` (copy them
 * instead).
 *
 * An aborted `signal` rejects with an error named "AbortError" as soon as nothing touches the call's memory any more; `out`
 * then holds nothing to rely on.
 */
export function attention<Query extends TensorInput, const Options extends AttentionOptions = {}>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options?: Options & Known<Options>,
): Promise<AttentionResult<Options, FloatDTypeOf<Query>>> {
  return new Promise((resolve, reject) => {
    enqueue(query, key, value, options ?? {}, resolve as (result: AttentionResult) => void, reject);
  });
}

/**
 * As `attention`, but computes before it returns, on the calling thread and fovea's own. Throws a `FoveaError`. A signal is
 * looked at once, before the start.
 */
export function attentionSync<Query extends TensorInput, const Options extends AttentionOptions = {}>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options?: Options & Known<Options>,
): AttentionResult<Options, FloatDTypeOf<Query>> {
  const call = checkCall(query, key, value, options ?? {}, false);
  const outputs = begin(call, options?.signal);
  const storages: Storage[] = [];
  const problem = writeProblem(call, outputs, storages);
  try {
    native().attentionSync(problem, storages, planNumbers);
  } catch (error) {
    throw nativeError(error);
  }
  return resultOf(call, outputs, readPlan()) as AttentionResult<Options, FloatDTypeOf<Query>>;
}

/**
 * The plan by which `attention` would compute this call. Runs nothing, and needs no data: `{ shape, dtype }` will do for
 * tensors. (Lengths and offsets, `cuSeqlens` and the like, it does need.)
 */
export function explain(query: ShapeInput, key: ShapeInput, value: ShapeInput, options?: ExplainOptions): Plan {
  const call = checkCall(query, key, value, (options ?? {}) as AttentionOptions, true);
  const { device } = call.rules;
  const output = shapeOnly("output", call.dtype, device, call.outputShape);
  const outputs = placeOutputs(call, output, (shape) => shapeOnly("output", "float32", device, shape));
  const problem = writeProblem(call, outputs, []);
  try {
    native().explain(problem, planNumbers);
  } catch (error) {
    throw nativeError(error);
  }
  return readPlan();
}

function enqueue(
  query: TensorInput,
  key: TensorInput,
  value: TensorInput,
  options: AttentionOptions,
  resolve: (result: AttentionResult) => void,
  reject: (error: unknown) => void,
): void {
  const call = checkCall(query, key, value, options, false);
  const { signal } = options;
  const outputs = begin(call, signal);
  const binding = native();
  const storages: Storage[] = [];
  const problem = writeProblem(call, outputs, storages);
  const land = takeOff(inputsOf(call), call.out?.view);
  let plan: Plan;
  const settled = (how: Settled): void => {
    unwatch?.();
    land();
    if (how === 2) reject(new FoveaError("ERR_FOVEA_OUT_OF_MEMORY", "attention: not enough memory for the workspace"));
    else if (how === 1 || signal?.aborted === true) reject(abortError(signal!));
    else resolve(resultOf(call, outputs, plan));
  };
  let id: number;
  try {
    id = binding.attention(problem, storages, planNumbers, settled);
  } catch (error) {
    land();
    throw nativeError(error);
  }
  plan = readPlan();
  const unwatch = signal && onAbort(signal, () => binding.cancel(id));
}

/** The last check before a call runs, and the memory for its results. */
function begin(call: Call, signal: AbortSignal | undefined): Outputs {
  if (signal?.aborted === true) throw abortError(signal);
  const output = call.out?.view ?? newView(call.dtype, call.outputShape);
  return placeOutputs(call, output, (shape) => newView("float32", shape));
}

function newView(dtype: Call["dtype"], shape: readonly number[]): View {
  let size = 1;
  for (const length of shape) size *= length;
  return makeView("output", new Memory(allocate(dtype, size)), dtype, "cpu", shape, contiguousStrides(shape), 0);
}

function resultOf(call: Call, { output, lse, weights, scores }: Outputs, plan: Plan): AttentionResult {
  const result: { -readonly [Key in keyof AttentionResult]: AttentionResult[Key] } = {
    output: (call.out?.tensor ?? makeTensor(output.view)) as AttentionResult["output"],
    plan,
  };
  if (lse !== undefined) result.lse = makeTensor(lse.view) as NonNullable<AttentionResult["lse"]>;
  if (weights !== undefined) result.weights = makeTensor(weights.view) as NonNullable<AttentionResult["weights"]>;
  if (scores !== undefined) result.scores = makeTensor(scores.view) as NonNullable<AttentionResult["scores"]>;
  return result;
}
