import { FoveaError, show } from "./errors.js";
import { native, nativeError } from "./native.js";
import { whenIdle } from "./flight.js";

/** Where tensors live and calls run: the processor, or a GPU ("cuda" is the first one). */
export type Device = "cpu" | "cuda" | `cuda:${number}`;

/** The processor. */
export interface CpuDevice {
  readonly device: "cpu";
  readonly available: true;
  /** Processor name, as the operating system tells it. */
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

/** A kind of device that cannot be used here, and why. */
export interface UnavailableDevice {
  readonly device: Device;
  readonly available: false;
  readonly reason: string;
}

export type DeviceInfo = CpuDevice | UnavailableDevice;

const cuda: UnavailableDevice = { device: "cuda", available: false, reason: "built without CUDA" };

/**
 * What can be used here and, for what cannot, why.
 *
 * FOVEA_CPU_ISA and FOVEA_NUM_THREADS set the processor's instruction set and threads; where they cannot be honoured, it is
 * listed as not available, and calls throw.
 */
export function devices(): DeviceInfo[] {
  return [cpu(), cuda];
}

function cpu(): DeviceInfo {
  const binding = native();
  try {
    return { device: "cpu", available: true, ...binding.cpu() };
  } catch (error) {
    return { device: "cpu", available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Sets the number of threads that compute, for the whole process (1 to 1024). FOVEA_NUM_THREADS sets it at the start; the default
 * is the number of processors this process may run on. Results do not depend on it, not in a single bit.
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

/** Resolves when every call enqueued on the device so far has settled. */
export async function synchronize(device?: Device): Promise<void> {
  checkDevice("device", device);
  await whenIdle();
}

/** The device to use; "cpu" by default. Throws ERR_FOVEA_DEVICE when it cannot be used. */
export function checkDevice(name: string, device: unknown): Device {
  if (device === undefined || device === "cpu") return "cpu";
  if (typeof device === "string" && /^cuda(:\d+)?$/.test(device)) {
    throw new FoveaError("ERR_FOVEA_DEVICE", `${name}: "${device}" cannot be used: ${cuda.reason}`);
  }
  throw new FoveaError("ERR_FOVEA_DEVICE", `${name}: expected "cpu", "cuda" or "cuda:N", got ${show(device)}`);
}
