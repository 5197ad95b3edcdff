// Both sides of the border must mean the same numbers.
import { expect, test } from "vitest";
import { native } from "../lib/native.js";
import { planFields, planNumbers, planPartFields } from "../lib/plan.js";
import { problemFields, sequenceFields } from "../lib/problem.js";

test("the native module reads and writes the fields that lib/ writes and reads, in the same order", () => {
  const binding = native();
  expect(binding.problemFields).toEqual([...problemFields]);
  expect(binding.sequenceFields).toEqual([...sequenceFields]);
  expect(binding.planFields).toEqual([...planFields]);
  expect(binding.planPartFields).toEqual([...planPartFields]);
});

test("the native module has exactly what binding.d.ts says, and room for its plans", () => {
  const binding = native();
  expect(Object.keys(binding).sort()).toEqual([
    "attention",
    "attentionSync",
    "cancel",
    "cpu",
    "explain",
    "kernels",
    "planFields",
    "planPartFields",
    "problemFields",
    "sequenceFields",
    "setThreads",
    "version",
  ]);
  expect(planNumbers.length).toBeGreaterThanOrEqual(planFields.length + binding.kernels.length * planPartFields.length);
});
