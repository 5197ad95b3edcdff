// What the machine can do: fovea's native bench program measures fused multiply-adds and plain reads of memory.
// FOVEA_NATIVE_BENCH names it where it is not in build; without it shares of the machine's peak are left out.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface Probe {
  /** float32 fused multiply-adds from registers, GFLOP/s of all threads. */
  fma: number;
  /** Plain reads of memory far larger than the caches, GB/s of all threads. */
  read: number;
}

const built = fileURLToPath(new URL("../../build/fovea-native-bench", import.meta.url));
const program = process.env["FOVEA_NATIVE_BENCH"] ?? (existsSync(built) ? built : undefined);

/** One sample, or none when there is no program to take it or it does not sample this number of threads. */
export async function probe(threads: number): Promise<Probe[]> {
  if (!program) return [];
  const { stdout } = await promisify(execFile)(program, ["probe"]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { threads: number; fmaPeakGflops: number; readGbytes: number })
    .filter((sample) => sample.threads === threads)
    .map(({ fmaPeakGflops, readGbytes }) => ({ fma: fmaPeakGflops, read: readGbytes }));
}
