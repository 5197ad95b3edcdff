// The native module's surface: the whole contract between lib/ and native/.
//
// A call crosses the border as numbers and storages. `problem` is one Float64Array: the fields of `problemFields`, then for
// each sequence the fields of `sequenceFields`. A view field group (queryStorage, queryOffset, queryHeadStride,
// queryRowStride, queryColumnStride) names a storage by its index in `storages` (-1: absent) and counts in elements.
// Native code copies `problem` before it returns, so the caller may use one scratch array for every call.
// The arguments have been checked by lib/: native code re-checks only what would corrupt memory (ERR_FOVEA_BOUNDS).

/** Memory that tensors live in. Held (referenced) until the call is settled. */
export type Storage = ArrayBufferView;

export interface CpuInfo {
  /** Processor name, as the operating system tells it. */
  name: string;
  /** Logical processors this process may run on. */
  cores: number;
  /** Threads of the pool; set by FOVEA_NUM_THREADS or setThreads. */
  threads: number;
  /** The instruction set in use; set by FOVEA_CPU_ISA. */
  instructionSet: string;
  /** What this build holds and this processor can run. */
  instructionSets: string[];
}

/** How an asynchronous call ended: 0 done, 1 aborted, 2 out of memory. */
export type Settled = 0 | 1 | 2;

export interface Binding {
  readonly version: string;
  readonly problemFields: readonly string[];
  readonly sequenceFields: readonly string[];
  readonly planFields: readonly string[];
  readonly planPartFields: readonly string[];
  /** Kernel names by the index that plans use. */
  readonly kernels: readonly string[];

  cpu(): CpuInfo;
  /** Number of threads of the process-wide pool (>= 1). Waits for nothing: calls in flight go on with what there is. */
  setThreads(count: number): void;

  /**
   * Writes the plan: the fields of `planFields`, then `parts` times those of `planPartFields`. Storages may be absent.
   * The array must have room for planFields.length + 4 * planPartFields.length numbers.
   */
  explain(problem: Float64Array, plan: Float64Array): void;
  /** Computes before it returns. */
  attentionSync(problem: Float64Array, storages: readonly Storage[], plan: Float64Array): void;
  /**
   * Enqueues, or computes at once a problem that costs less than handing it over. Writes the plan, and calls `settled` exactly
   * once, from the event loop, never before it returns. Returns an id for `cancel`.
   */
  attention(
    problem: Float64Array,
    storages: readonly Storage[],
    plan: Float64Array,
    settled: (how: Settled) => void,
  ): number;
  /** Drops or stops a call; it still settles (aborted, or done if it had finished). Unknown ids are ignored. */
  cancel(id: number): void;
}
