import os from "node:os";
import { isMainThread } from "node:worker_threads";
import type { CudaInfo, DeviceNumber, Settled } from "../binding.js";
import { FoveaError, show } from "./errors.js";
import { whenIdle } from "./flight.js";
import { native, nativeError, outcomeError } from "./native.js";

/** Where tensors live and calls run: the processor, or a GPU ("cuda" is "cuda:0"). */
export type Device = "cpu" | "cuda" | `cuda:${number}`;

/** The processor. */
export interface CpuDevice {
  readonly device: "cpu";
  readonly available: true;
  /** Processor name, as the operating system tells it, or "CPU". */
  readonly name: string;
  /** Logical processors this process may run on. */
  readonly cores: number;
  /** Threads that compute; see `setThreads`. */
  readonly threads: number;
  /** The instruction set in use; FOVEA_CPU_ISA forces one of `instructionSets`. */
  readonly instructionSet: string;
  /** What this build holds and this processor can run. */
  readonly instructionSets: readonly string[];
}

/** A GPU. */
export interface CudaDevice {
  readonly device: `cuda:${number}`;
  readonly available: true;
  /** The GPU's name, as the driver tells it. */
  readonly name: string;
  /** "8.0" and the like. */
  readonly computeCapability: string;
  /** How many streaming multiprocessors it has. */
  readonly multiprocessors: number;
  /** Bytes of its memory. */
  readonly memoryBytes: number;
  /** Bytes of it that nobody uses. Undefined until this process first uses the GPU; finding out would take memory. */
  readonly freeBytes: number | undefined;
  /** Bytes of it that this process's tensors and calls hold. */
  readonly tensorBytes: number;
  /** Bytes of host memory that this process holds for copies to and from it. */
  readonly pinnedBytes: number;
  /** The driver's library, and the newest version of CUDA that it supports ("13.0"). */
  readonly driver: string;
  readonly cudaVersion: string;
}

/** A device that cannot be used here, and why. */
export interface UnavailableDevice {
  readonly device: Device;
  readonly available: false;
  /** What is missing, and how to mend it. */
  readonly reason: string;
}

export type DeviceInfo = CpuDevice | CudaDevice | UnavailableDevice;

/**
 * What can be used here and, for what cannot, why: the processor, then each GPU (or one entry "cuda" that says why there is
 * none).
 *
 * FOVEA_CPU_ISA and FOVEA_NUM_THREADS set the processor's instruction set and threads; where they cannot be honoured, it is
 * listed as not available, and calls throw; so where the native module does not load. FOVEA_CUDA_DRIVER names the CUDA
 * driver's library (default: libcuda.so.1).
 */
export function devices(): [CpuDevice | UnavailableDevice, ...(CudaDevice | UnavailableDevice)[]] {
  const none = (reason: string) => [cpu(), { device: "cuda", available: false, reason } as const] as const;
  let info: CudaInfo;
  try {
    info = cudaInfo();
  } catch (error) {
    return [...none(reasonOf(error))]; // the native module does not load
  }
  const { unavailable, devices } = info;
  if (unavailable !== "") return [...none(unavailable)];
  return [cpu(), ...devices.map((_, index) => gpu(index))];
}

function cpu(): CpuDevice | UnavailableDevice {
  try {
    const model = os.cpus()[0]?.model.trim();
    const name = model && model !== "unknown" ? model : "CPU";
    return { device: "cpu", available: true, name, ...native().cpu() };
  } catch (error) {
    return { device: "cpu", available: false, reason: reasonOf(error) };
  }
}

function gpu(index: number): CudaDevice | UnavailableDevice {
  const { driver, version, devices } = cudaInfo();
  const { name, multiprocessors, memoryBytes, unusable } = devices[index]!;
  const device = `cuda:${index}` as const;
  if (unusable !== "") return { device, available: false, reason: `${name}: ${unusable}` };
  try {
    const memory = native().cudaMemory(index);
    return {
      device,
      available: true,
      name,
      computeCapability: computeCapability(device),
      multiprocessors,
      memoryBytes,
      freeBytes: memory?.freeBytes,
      tensorBytes: memory?.tensorBytes ?? 0,
      pinnedBytes: memory?.pinnedBytes ?? 0,
      driver,
      cudaVersion: `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`,
    };
  } catch (error) {
    return { device, available: false, reason: reasonOf(error) }; // lost meanwhile
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let knownCuda: CudaInfo | undefined;

/** How long a process that ends waits for its GPUs. A kernel that takes longer never ends, most likely. */
const patienceSeconds = 2;

/** The driver and its GPUs; they do not change while the process lives. */
function cudaInfo(): CudaInfo {
  if (knownCuda === undefined) {
    knownCuda = native().cuda();
    // A worker that ends cannot but wait: its process goes on, and the GPU might still write to its memory.
    if (isMainThread && knownCuda.devices.length > 0) {
      process.once("exit", (code) => native().leave(code, patienceSeconds));
    }
  }
  return knownCuda;
}

/** "8.0" */
export function computeCapability(device: Device): string {
  const { computeMajor, computeMinor } = cudaInfo().devices[deviceNumber(device)]!;
  return `${computeMajor}.${computeMinor}`;
}

/** How native code knows a device that was checked. */
export function deviceNumber(device: Device): DeviceNumber {
  return device === "cpu" ? -1 : Number(device.slice("cuda:".length));
}

/**
 * Sets the number of threads that compute on the processor, for the whole process (1 to 1024). FOVEA_NUM_THREADS sets it at the
 * start; the default is the number of processors this process may run on. Results do not depend on it, not in a single bit.
 * Throws ERR_FOVEA_OPTION for any other count.
 */
export function setThreads(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > 1024) {
    throw new FoveaError("ERR_FOVEA_OPTION", `count: expected an integer from 1 to 1024, got ${show(count)}`);
  }
  const binding = native();
  try {
    binding.setThreads(count);
  } catch (error) {
    throw nativeError(error);
  }
}

/**
 * Resolves when everything enqueued on the device so far is done: on "cpu" (the default) every call of this environment that
 * has not settled yet, on a GPU its stream. Rejects with the fault that work enqueued by `attentionSync` met on the GPU.
 */
export async function synchronize(device?: Device): Promise<void> {
  const checked = checkDevice("device", device);
  if (checked === "cpu") return whenIdle();
  await whenSettled((settled) => native().synchronize(deviceNumber(checked), settled));
}

/** Begins something that native code settles, and resolves or rejects with how it ended. */
export function whenSettled(begin: (settled: Settled) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    attempt(() =>
      begin((how, message) => {
        if (how === 0) resolve();
        else reject(outcomeError(how, message));
      }),
    );
  });
}

/**
 * The CUstream on which fovea computes on a GPU in this environment, for native modules that share memory with it. When this
 * returns, all calls made so far are enqueued there (but those that wait in an AttentionBatcher, and copies to another GPU,
 * which are first read): what a module enqueues next happens after them, and before later ones.
 * `attention` and others that return promises enqueue on a thread of their own, so behind them ask for the handle again; it
 * stays the same. Waits while calls still send host tensors. Throws ERR_FOVEA_DEVICE for what is no GPU that can be used,
 * ERR_FOVEA_DEVICE_LOST for one that is lost.
 */
export function streamHandle(device: Device): bigint {
  const checked = checkGpu("device", device);
  return attempt(() => native().streamHandle(deviceNumber(checked)));
}

/** Calls native code, whose errors become FoveaErrors. */
export function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw nativeError(error);
  }
}

/** The device to use, "cuda" as "cuda:0"; "cpu" by default. Throws ERR_FOVEA_DEVICE when there is no such device. */
export function checkDevice(name: string, device: unknown): Device {
  if (device === undefined || device === "cpu") return "cpu";
  return checkGpu(name, device, '"cpu", "cuda" or "cuda:N"');
}

/** `wanted`: what an error says would do. */
export function checkGpu(name: string, device: unknown, wanted = '"cuda" or "cuda:N"'): Device {
  const match = typeof device === "string" ? /^cuda(?::(0|[1-9]\d*))?$/.exec(device) : null;
  if (match === null) {
    throw new FoveaError("ERR_FOVEA_DEVICE", `${name}: expected ${wanted}, got ${show(device)}`);
  }
  const index = Number(match[1] ?? 0);
  const { unavailable, devices } = cudaInfo();
  const there = `the driver shows ${devices.length} GPU${devices.length === 1 ? "" : "s"}`;
  const reason = unavailable || (devices[index] === undefined ? there : devices[index].unusable);
  if (reason === "") return `cuda:${index}`;
  throw new FoveaError("ERR_FOVEA_DEVICE", `${name}: ${show(device)} cannot be used: ${reason}`);
}
