// The native module's surface: the whole contract between lib/ and native/.
//
// A call crosses the border as numbers and storages. `problem` is one Float64Array: the fields of `problemFields`, then for
// each sequence the fields of `sequenceFields`, then for each segment of each sequence its end and its id. A view field group
// (queryStorage, queryOffset, queryHeadStride, queryRowStride, queryColumnStride) names a storage by its index in `storages`
// (-1: absent) and counts in elements. Native code copies `problem` before it returns, so the caller may use one scratch array
// for every call.
// The arguments have been checked by lib/: native code re-checks only what would corrupt memory (ERR_FOVEA_BOUNDS).

declare const deviceMemory: unique symbol;

/** A handle on a GPU's memory. What is not released goes with the handle. */
export interface DeviceMemory {
  readonly [deviceMemory]: true;
}

/** Memory that tensors live in. Held (referenced) until the call is settled. */
export type Storage = ArrayBufferView | DeviceMemory;

/** Where a call is computed: a GPU's number, or -1, the processor. */
export type DeviceNumber = number;

export interface CpuInfo {
  /** Logical processors this process may run on. */
  cores: number;
  /** Threads of the pool; set by FOVEA_NUM_THREADS or setThreads. */
  threads: number;
  /** The instruction set in use; set by FOVEA_CPU_ISA. */
  instructionSet: string;
  /** What this build holds and this processor can run. */
  instructionSets: string[];
}

export interface GpuInfo {
  name: string;
  computeMajor: number;
  computeMinor: number;
  memoryBytes: number;
  multiprocessors: number;
  /** Why it cannot be used; empty if it can. */
  unusable: string;
}

export interface CudaInfo {
  /** Why no GPU can be used, and what to do about it; empty if the driver works. */
  unavailable: string;
  /** The driver's library. */
  driver: string;
  /** Of CUDA, that the driver supports: 1000 * major + 10 * minor. */
  version: number;
  devices: GpuInfo[];
}

export interface GpuMemory {
  /** Device bytes that this process's tensors and calls hold. */
  tensorBytes: number;
  /** Host bytes for copies to and from the device. */
  pinnedBytes: number;
  /** Of the whole device, for any process. */
  freeBytes: number;
}

/** How an asynchronous call ended: 0 done, 1 aborted, 2 out of memory, 3 its device was lost, 4 it failed otherwise. */
export type How = 0 | 1 | 2 | 3 | 4;
/**
 * Called once, from the event loop. The message says what went wrong, where a GPU did; `sinceEnd`, how many milliseconds ago the
 * call ended: the event loop may come to hear of it late.
 */
export type Settled = (how: How, message: string, sinceEnd: number) => void;

export interface Binding {
  readonly version: string;
  readonly problemFields: readonly string[];
  readonly sequenceFields: readonly string[];
  readonly storeFields: readonly string[];
  readonly planFields: readonly string[];
  readonly planPartFields: readonly string[];
  readonly mergeFields: readonly string[];
  readonly mergeViewFields: readonly string[];
  /** Kernel names by the index that plans use. */
  readonly kernels: readonly string[];

  cpu(): CpuInfo;
  /** Number of threads of the process-wide pool (>= 1). Waits for nothing: calls in flight go on with what there is. */
  setThreads(count: number): void;

  /**
   * Writes the plan: the fields of `planFields`, then `parts` times those of `planPartFields`. Storages may be absent.
   * The array must have room for planFields.length + kernels.length * planPartFields.length numbers.
   */
  explain(device: DeviceNumber, problem: Float64Array, plan: Float64Array): void;
  /**
   * Computes before it returns; but when the tensors are on the GPU that computes, returns once that is enqueued. Tensors are
   * all on that GPU, or all on the host; page tables on the host; slopes and sinks each on either.
   */
  attentionSync(device: DeviceNumber, problem: Float64Array, storages: readonly Storage[], plan: Float64Array): void;
  /**
   * Enqueues, or computes at once a problem that costs the processor less than handing it over. Writes the plan, and calls
   * `settled` exactly once, never before it returns. Returns an id for `cancel`. `ahead`: on the processor, its tasks start
   * before those of calls that are in flight already.
   */
  attention(
    device: DeviceNumber,
    problem: Float64Array,
    storages: readonly Storage[],
    plan: Float64Array,
    settled: Settled,
    ahead?: boolean,
  ): number;
  /**
   * Merges attention over disjoint sets of keys, before it returns. `merge` is one Float64Array: the fields of `mergeFields`,
   * then for each view those of `mergeViewFields`: output, lse, then output and lse of each part. All are on the host, or all
   * on one GPU: then it returns once that is enqueued there.
   */
  mergeAttentionSync(merge: Float64Array, storages: readonly Storage[]): void;
  /** Enqueues, or merges at once what costs the processor less than handing it over. Settles and returns as `attention` does. */
  mergeAttention(merge: Float64Array, storages: readonly Storage[], settled: Settled): number;
  /** Drops or stops a call; it still settles (aborted, or done if it had finished). Unknown ids are ignored. */
  cancel(id: number): void;

  /** The address of the first byte of a view, by which two SharedArrayBuffers can be told to be the same memory. */
  address(storage: ArrayBufferView): number;

  /** Asks the system for huge pages where the view's memory has not been touched yet. */
  preferHugePages(storage: ArrayBufferView): void;

  /**
   * Moves rows of tensors into pages, or into a copy, converted, rotated and quantised on the way: `stores` is for each group
   * of rows the fields of `storeFields`. Token t's row of a head goes to row slots[t] % pageSize of page slots[t] / pageSize,
   * [pages, heads, pageSize, dims]. Types are as in `copyElements`, toDtype 3 is int8 with one float32 scale per row. Slots and
   * positions are int32 [tokens], frequencies float64 [rotaryDim / 2], on the host, and read before the call returns;
   * rotaryDim 0: no rotation. Everything else is on `device`.
   */
  storeSync(device: DeviceNumber, stores: Float64Array, storages: readonly Storage[]): void;
  /** The same; calls `settled` as `attention` does. Returns an id for `cancel`. */
  store(device: DeviceNumber, stores: Float64Array, storages: readonly Storage[], settled: Settled): number;

  // GPUs. Each environment has one stream for each, on which everything below and its calls happen in call order.

  cuda(): CudaInfo;
  /** Null while this process has not used the GPU. */
  cudaMemory(device: number): GpuMemory | null;
  /** The CUstream, once what was started before is enqueued there. */
  streamHandle(device: number): bigint;
  /** Settles once all that was enqueued before is done, with the fault that any of it met. */
  synchronize(device: number, settled: Settled): number;
  /**
   * The process is ending with this code: stops what can be stopped and waits for the GPUs. What one of them has not done after
   * so many seconds never ends, and would keep the process from ending too: then this ends it.
   */
  leave(code: number, seconds: number): void;

  /** Memory with unspecified contents. */
  allocate(device: number, bytes: number): DeviceMemory;
  /** Memory that others own and keep. */
  adopt(device: number, pointer: bigint, bytes: number): DeviceMemory;
  /** Gives memory back, once what is enqueued is done with it. Idempotent. */
  release(memory: DeviceMemory): void;
  pointer(memory: DeviceMemory): bigint;
  /** Fills with zero bytes. */
  clear(memory: DeviceMemory): void;
  /** Copies to the beginning of `to`. Returns once `from` may change. */
  writeNow(to: DeviceMemory, from: ArrayBufferView): void;
  /** The same, but `from` must not change until it has settled. */
  write(to: DeviceMemory, from: ArrayBufferView, settled: Settled): number;
  /** Copies from byte `begin` of `from` on. */
  read(from: DeviceMemory, begin: number, to: ArrayBufferView, settled: Settled): number;
  /**
   * Copies a strided array of one type into a contiguous one of another, or the same: `numbers` are the types (0 float32,
   * 1 float16, 2 bfloat16, 3 int32, 4 bool), the offset of the source's first element, its shape, its strides.
   */
  copyElements(from: DeviceMemory, to: DeviceMemory, numbers: Float64Array): void;
}
