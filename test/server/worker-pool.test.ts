import { expect, test } from "vitest";
import { runChild } from "../support/child.js";

test("workers that end or do not answer are replaced, and only their own calls fail", async () => {
  const outcomes = await runChild<string[]>("../server/pool-child.ts");
  expect(outcomes).toEqual([
    "a worker ended (3)",
    "a worker ended (1)",
    '{"order":"answer"}',
    '{"order":"answer"}',
    "Error: as told",
    '{"order":"answer"}',
    '{"order":"take long"}',
    "a worker ended (1)",
    "no worker is running",
    "a worker did not answer",
    "a worker did not answer",
    "a worker did not answer",
    '{"order":"answer"}',
    "a worker did not answer",
    "did not start",
  ]);
});
