import { computeCapability, type Device } from "./device.js";
import { native, nativeError } from "./native.js";

/** All sequences of a call that run by one kernel. */
export interface PlanPart {
  /** "cpu.tiled", "cuda.decode" and the like. */
  readonly kernel: string;
  /** How many sequences; 0 for a kernel that has shared segments alone. */
  readonly sequences: number;
  /** Largest number of rows (queries, times the heads that share their keys) that are computed together. */
  readonly queryBlock: number;
  /** Largest number of keys that are computed together. */
  readonly keyBlock: number;
  /**
   * On a GPU, how many tiles of keys or values (`keyBlock` keys each; in decode, of a warp's part of them) a thread block
   * holds in shared memory: all but one are on their way there while that one is multiplied. 0 without such a pipeline.
   */
  readonly stages: number;
  /** Largest number of pieces that a sequence's keys are split into. */
  readonly splits: number;
  /** On a GPU, how many sequences have rows that do not start at multiples of 16 bytes, which take slower loads. Else 0. */
  readonly plainLoads: number;
  /** Why "cuda.tiled_sm90" (or "cuda.decode_sm90"), for Hopper GPUs, did not take all of these sequences there. Else "". */
  readonly reason: string;
  /** Floating-point operations of the matrix products, whole blocks. */
  readonly flops: number;
  /**
   * How the thread blocks of a GPU's tiled kernels come by their tiles of queries: "longest first", those that see most keys, one
   * after the other by whoever is free; or "dealt", where each takes as long as the others ("cuda.tiled_sm90" alone). Else "".
   */
  readonly order: "" | "dealt" | "longest first";
  /**
   * In these kernels, largest number of kv heads that are worked on together, because half of the GPU's L2 cache holds their keys
   * and values. Else 0.
   */
  readonly sectionHeads: number;
}

/**
 * How a call is computed. What decides its bits depends on each sequence's sizes alone; `queryBlock` and `tasks` on the CPU also on
 * the number of threads and on what else is in the batch.
 */
export interface Plan {
  /** Where it runs. */
  readonly device: Device;
  /** What its kernels are compiled for: "avx512bf16", "avx512", "avx2", "neon" or "baseline", on a GPU its compute capability ("sm_80"). */
  readonly instructionSet: string;
  /** What "auto" became. */
  readonly algorithm: "standard" | "tiled";
  /** The part with the most operations; `queryBlock`, `keyBlock` and `splits` are its. "none" when there is nothing to do. */
  readonly kernel: string;
  readonly queryBlock: number;
  readonly keyBlock: number;
  readonly splits: number;
  /** Independent pieces of work. */
  readonly tasks: number;
  /** Memory that the call takes beside inputs, outputs and each thread's scratch. */
  readonly workspaceBytes: number;
  /** Floating-point operations of the matrix products, whole blocks. */
  readonly flops: number;
  /** Those that allowed pairs of query and key need (mask and bias aside): 2 * (headDim + valueDim) per pair and head. */
  readonly usefulFlops: number;
  /** Bytes of inputs that are visited, read once, and of outputs. */
  readonly bytes: number;
  /** Runs of keys (of a `PagedKVCache`) that are attended once for several sequences, and how many keys those are. */
  readonly sharedSegments: number;
  readonly sharedKeys: number;
  /** One for each kernel in use. */
  readonly parts: readonly PlanPart[];
}

/** The numbers of a plan, in the order that native code writes them. */
export const planFields = [
  "algorithm",
  "tasks",
  "workspaceBytes",
  "flops",
  "usefulFlops",
  "bytes",
  "sharedSegments",
  "sharedKeys",
  "parts",
] as const;
/** The numbers of each part, which follow. */
export const planPartFields = [
  "kernel",
  "sequences",
  "queryBlock",
  "keyBlock",
  "stages",
  "splits",
  "plainLoads",
  "refusal",
  "flops",
  "order",
  "sectionHeads",
] as const;

/** As many parts as there can be kernels in one call. */
const maxParts = 8;

/** Where native code writes the plan of the call at hand. */
export const planNumbers: Float64Array = new Float64Array(planFields.length + maxParts * planPartFields.length);

/** By the numbers of native code's Sm90Refusal. */
const reasons = [
  "",
  "it takes float16 and bfloat16",
  "it takes no pages",
  "it takes rows at multiples of 16 bytes, one after the other, with their columns side by side",
  "it does not split keys, so few rows would leave most of the GPU idle",
  "it takes no pages, and cuda.decode_sm90, for up to 64 rows, only those of a multiple of 16 tokens",
] as const;

/** By the numbers of native code's Order. */
const orders = ["", "dealt", "longest first"] as const;

const algorithms = [undefined, "standard", "tiled"] as const;
let instructionSet: string | undefined;

/** The processor's instruction set in use; it does not change while the process lives. */
function instructionSetInUse(): string {
  try {
    return (instructionSet ??= native().cpu().instructionSet);
  } catch (error) {
    throw nativeError(error);
  }
}

/** The plan in `planNumbers`. */
export function readPlan(device: Device): Plan {
  const binding = native();
  const numbers = planNumbers;
  const parts: PlanPart[] = [];
  let main = -1;
  for (let i = 0, at: number = planFields.length; i < numbers[8]!; i++, at += planPartFields.length) {
    parts.push({
      kernel: binding.kernels[numbers[at]!]!,
      sequences: numbers[at + 1]!,
      queryBlock: numbers[at + 2]!,
      keyBlock: numbers[at + 3]!,
      stages: numbers[at + 4]!,
      splits: numbers[at + 5]!,
      plainLoads: numbers[at + 6]!,
      reason: reasons[numbers[at + 7]!]!,
      flops: numbers[at + 8]!,
      order: orders[numbers[at + 9]!]!,
      sectionHeads: numbers[at + 10]!,
    });
    if (main < 0 || parts[i]!.flops > parts[main]!.flops) main = i;
  }
  const part = numbers[1] === 0 ? undefined : parts[main]; // without tasks there is nothing to do
  return {
    device,
    instructionSet: device === "cpu" ? instructionSetInUse() : `sm_${computeCapability(device).replace(".", "")}`,
    algorithm: algorithms[numbers[0]!]!,
    kernel: part?.kernel ?? "none",
    queryBlock: part?.queryBlock ?? 0,
    keyBlock: part?.keyBlock ?? 0,
    splits: part?.splits ?? 0,
    tasks: numbers[1]!,
    workspaceBytes: numbers[2]!,
    flops: numbers[3]!,
    usefulFlops: numbers[4]!,
    bytes: numbers[5]!,
    sharedSegments: numbers[6]!,
    sharedKeys: numbers[7]!,
    parts,
  };
}
