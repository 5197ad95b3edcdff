// Thousands of calls of every kind leave nothing behind, and nothing that keeps a process alive.
import { describe, expect, test } from "vitest";
import { runChild } from "./support/child.js";

const kilobyte = 1024;
const megabyte = 2 ** 20;
const calls = 1500;

// What a process holds jumps now and then by what its allocator takes at once; a leak is there every time.
describe("what a process holds settles", { retry: 2 }, () => {
  const kinds = ["sync", "async", "aborted", "failing", "signal", "disposed", "using", "forgotten", "options", "cache"];
  test.each([...kinds, "workspaces"])("%s", async (kind) => {
    const held = await runChild<NodeJS.MemoryUsage[]>("leak-child.ts", [kind, "4", String(calls)]);
    const [early, late] = [held[1]!, held.at(-1)!];
    // 3000 calls lie between. A tensor each would be 48 MB; 100 bytes each, 300 KB.
    expect(late.arrayBuffers - early.arrayBuffers).toBeLessThan(256 * kilobyte);
    expect(late.external - early.external).toBeLessThan(256 * kilobyte);
    expect(late.heapUsed - early.heapUsed).toBeLessThan(512 * kilobyte);
    expect(late.rss - early.rss).toBeLessThan(40 * megabyte);
  });

  // What native code keeps of a call is small, and no part of the heap: 300 bytes of each would be 9 MB.
  test.each(["sync", "async"])("of very many calls: %s", async (kind) => {
    // The heap's young part grows by 16 MB when it sees fit: not here.
    const env = { NODE_OPTIONS: "--max-semi-space-size=2" };
    const held = await runChild<NodeJS.MemoryUsage[]>("leak-child.ts", [kind, "4", "15000"], env);
    expect(held.at(-1)!.rss - held[1]!.rss).toBeLessThan(8 * megabyte);
  });
});

describe("processes end by themselves", () => {
  test.each(["async", "aborted", "forgotten"])("after calls: %s", async (kind) => {
    await expect(runChild("leak-child.ts", [kind, "1", "50"], { FOVEA_NUM_THREADS: "4" })).resolves.toHaveLength(1);
  });
});
