// Both sides of the border must mean the same numbers.
import { expect, test } from "vitest";
import { storeFields } from "../lib/cache/store.js";
import { native } from "../lib/native.js";
import { mergeFields, mergeViewFields } from "../lib/merge.js";
import { planFields, planNumbers, planPartFields } from "../lib/plan.js";
import { problemFields, sequenceFields } from "../lib/problem.js";

test("the native module reads and writes the fields that lib/ writes and reads, in the same order", () => {
  const binding = native();
  expect(binding.problemFields).toEqual([...problemFields]);
  expect(binding.sequenceFields).toEqual([...sequenceFields]);
  expect(binding.planFields).toEqual([...planFields]);
  expect(binding.planPartFields).toEqual([...planPartFields]);
  expect(binding.storeFields).toEqual([...storeFields]);
  expect(binding.mergeFields).toEqual([...mergeFields]);
  expect(binding.mergeViewFields).toEqual([...mergeViewFields]);
});

test("there is room for every plan", () => {
  const binding = native();
  expect(planNumbers.length).toBeGreaterThanOrEqual(planFields.length + binding.kernels.length * planPartFields.length);
});
