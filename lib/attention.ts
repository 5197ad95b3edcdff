import type { How, Storage } from "../binding.js";
import { onAbort } from "./abort.js";
import { attempt, deviceNumber } from "./device.js";
import { abortError } from "./errors.js";
import { takeOff } from "./flight.js";
import { shapeOnly, type FloatDTypeOf, type ShapeInput, type TensorInput } from "./input.js";
import { native, nativeError, outcomeError } from "./native.js";
import type { AttentionOptions, AttentionResult, ExplainOptions, KnownOptions } from "./options.js";
import { planNumbers, readPlan, type Plan } from "./plan.js";
import { writeProblem } from "./problem.js";
import { begin, discardOutputs, resultOf } from "./results.js";
import { checkCall, inputsOf, placeOutputs, type Call } from "./shape.js";
import { DeviceStorage } from "./storage.js";

/**
 * Attention: for each query, the average of the values, weighted by the softmax of its scores against the keys.
 *
 * Shapes with the default layout "bhsd": query [batch, heads, queryLength, headDim], key [batch, kvHeads, keyLength,
 * headDim], value [batch, kvHeads, keyLength, valueDim], output [batch, heads, queryLength, valueDim]. Query head h reads
 * kv head floor(h / (heads / kvHeads)). headDim and valueDim are 1 to 512. One dtype for query, key, value and output:
 * float32, float16 or bfloat16; sums are float32. Any strides. See `AttentionOptions` for everything else.
 *
 * Computes where the query lives, or on the `device` that is named: on the processor by fovea's own threads, neither on the event
 * loop nor on libuv's pool; but problems below 0.25 MFLOP (at least 64 for each score) and 0.25 MB there at once, on the calling
 * thread, since handing them over costs more (so they overtake calls that are queued; their promises still settle later). Never throws: every failure rejects,
 * with a `FoveaError`. The arguments are checked and integers read when the call is made; until the promise settles, tensors must
 * not be changed, and ArrayBuffers of inputs and `out` that were given to `attention` once cannot be transferred any more, to
 * another thread or by their own `transfer` (copy them instead).
 *
 * An aborted `signal` rejects with an error named "AbortError" as soon as nothing touches the call's memory any more; `out`
 * then holds nothing to rely on.
 */
export function attention<Query extends TensorInput, const Options extends AttentionOptions = {}>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options?: Options & KnownOptions<Options>,
): Promise<AttentionResult<Options, FloatDTypeOf<Query>>> {
  return new Promise((resolve, reject) => {
    const call = checkCall(query, key, value, options);
    startCall(call, options?.signal, resolve as (result: AttentionResult) => void, reject);
  });
}

/**
 * As `attention`, but computes before it returns, on the calling thread and fovea's own. Throws a `FoveaError`. A signal is
 * looked at once, before the start.
 *
 * With tensors on a GPU it returns as soon as the work is enqueued there; what uses the results on that GPU, `read()` too,
 * comes after it. A fault in it is the error of the next `read()`, `synchronize()` or `attention()` there.
 */
export function attentionSync<Query extends TensorInput, const Options extends AttentionOptions = {}>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options?: Options & KnownOptions<Options>,
): AttentionResult<Options, FloatDTypeOf<Query>> {
  const call = checkCall(query, key, value, options);
  return runCall(call, options?.signal) as AttentionResult<Options, FloatDTypeOf<Query>>;
}

/**
 * The plan by which `attention` would compute this call. Runs nothing, and needs no data: `{ shape, dtype }` will do for
 * tensors. (Lengths and offsets, `cuSeqlens` and the like, it does need.) Throws the `FoveaError` that the call would reject with.
 */
export function explain(query: ShapeInput, key: ShapeInput, value: ShapeInput, options?: ExplainOptions): Plan {
  const call = checkCall(query, key, value, options as AttentionOptions | undefined, true);
  return explainCall(call);
}

/** The plan of a checked call. */
export function explainCall(call: Call): Plan {
  const { home, device } = call;
  const output = shapeOnly("output", call.dtype, home, call.outputShape);
  const outputs = placeOutputs(call, output, (shape) => shapeOnly("output", "float32", home, shape));
  const problem = writeProblem(call, outputs, undefined);
  attempt(() => native().explain(deviceNumber(device), problem, planNumbers));
  return readPlan(device);
}

/** Computes a checked call before it returns (on a GPU: enqueues it). */
export function runCall(call: Call, signal: AbortSignal | undefined): AttentionResult {
  const outputs = begin(call, signal);
  const storages: Storage[] = [];
  const problem = writeProblem(call, outputs, storages);
  // Some inputs may be copies that only this call has, whose memory on a GPU nothing else would give back.
  const there = inputsOf(call).flatMap(({ storage }) => (storage instanceof DeviceStorage ? [storage] : []));
  for (const storage of there) storage.retain();
  try {
    native().attentionSync(deviceNumber(call.device), problem, storages, planNumbers);
  } catch (error) {
    discardOutputs(call, outputs);
    throw nativeError(error);
  } finally {
    for (const storage of there) storage.release();
  }
  return resultOf(call, outputs, readPlan(call.device));
}

/** Starts a checked call. */
export function startCall(
  call: Call,
  signal: AbortSignal | undefined,
  resolve: (result: AttentionResult) => void,
  reject: (error: unknown) => void,
): void {
  const outputs = begin(call, signal);
  const binding = native();
  const storages: Storage[] = [];
  const problem = writeProblem(call, outputs, storages);
  const land = takeOff(inputsOf(call), call.out?.view);
  let plan: Plan;
  let unwatch: (() => void) | undefined;
  const settled = (how: How, message: string): void => {
    unwatch?.();
    land();
    if (how === 0 && signal?.aborted !== true) {
      resolve(resultOf(call, outputs, plan));
      return;
    }
    discardOutputs(call, outputs);
    reject(how > 1 ? outcomeError(how, message) : abortError(signal!));
  };
  let id: number;
  try {
    id = binding.attention(deviceNumber(call.device), problem, storages, planNumbers, settled);
  } catch (error) {
    land();
    discardOutputs(call, outputs);
    throw nativeError(error);
  }
  plan = readPlan(call.device);
  unwatch = signal && onAbort(signal, () => binding.cancel(id));
}
