import { onAbort } from "../abort.js";
import { abortError } from "../errors.js";
import type { AttentionResult } from "../options.js";
import { rulesKey } from "../problem.js";
import type { Call } from "../shape.js";

/** A call that a batcher accepted, until it is settled: exactly once. */
export class WaitingCall {
  /** Calls with one key can be launched together. */
  readonly key: string;
  /** Work, in operations: what it computes, and what it reads as the operations that take as long. */
  readonly work: number;
  readonly since: number = performance.now();
  /** Whether it is launched by itself: a launch with others failed, and it must be known whose fault it is. */
  alone = false;
  /** What to do when its signal is aborted. Set by whoever has it in hand. */
  aborted: () => void = () => {};
  readonly #unwatch: (() => void) | undefined;
  readonly #settled: (how: AttentionResult | Error) => void;

  readonly call: Call;
  readonly signal: AbortSignal | undefined;

  constructor(call: Call, signal: AbortSignal | undefined, settled: (how: AttentionResult | Error) => void) {
    this.call = call;
    this.signal = signal;
    this.key = `${call.home} ${rulesKey(call)}${isRuledOnGpu(call) ? " ruled" : ""}`;
    this.work = workOf(call);
    this.#settled = settled;
    this.#unwatch = signal && onAbort(signal, () => this.aborted());
  }

  get isAborted(): boolean {
    return this.signal?.aborted === true;
  }

  resolve(result: AttentionResult): void {
    this.#end(result);
  }

  reject(error: unknown): void {
    this.#end(error instanceof Error ? error : new Error(String(error)));
  }

  rejectAborted(): void {
    this.#end(abortError(this.signal!));
  }

  #end(how: AttentionResult | Error): void {
    this.#unwatch?.();
    this.#settled(how);
  }
}

/** A launch on a GPU where one sequence has any of these takes the kernels with rules for all of them, which are slower. */
const isRuledOnGpu = ({ device, mask, bias, alibiSlopes }: Call) =>
  device !== "cpu" && (mask ?? bias ?? alibiSlopes) !== undefined;

/** Operations that a processor does in the time in which it reads one element of keys or values. */
const operationsPerElement = 32;

/** An estimate that needs no plan: rules that hide keys are left out, but for causality. */
function workOf({ sequences, heads, kvHeads, headDim, valueDim, rules }: Call): number {
  let work = 0;
  const dims = headDim + valueDim;
  for (const { queryLength, keyLength } of sequences) {
    const hidden = rules.causal ? Math.min(queryLength, keyLength) / 2 : 0;
    work += 2 * heads * queryLength * (keyLength - hidden) * dims;
    work += operationsPerElement * kvHeads * keyLength * dims;
  }
  return work + 1;
}
