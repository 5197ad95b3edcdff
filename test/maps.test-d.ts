import { describe, expectTypeOf, test } from "vitest";
import { attentionSync, Tensor, type TensorInput } from "../lib/index.js";
import { attentionStatistics, renderAttention, type HeadStatistics } from "../lib/maps.js";

const query = Tensor.random([1, 2, 4, 8], { seed: 1 });
const tokens = ["a", "b", "c", "d"];

describe("maps", () => {
  test("take what a call returns, what JSON holds, and any tensor", () => {
    const { weights } = attentionSync(query, query, query, { returnWeights: true });
    expectTypeOf(renderAttention({ tokens, layers: [{ name: "", weights }] })).toEqualTypeOf<string>();
    expectTypeOf(attentionStatistics(weights)).toEqualTypeOf<HeadStatistics[]>();
    attentionStatistics([[[1]]] as const, { queryOffset: null });
    attentionStatistics({} as TensorInput);
  });

  test("refuse the rest", () => {
    // @ts-expect-error weights are missing
    expectTypeOf(renderAttention).toBeCallableWith({ tokens, layers: [{ name: "" }] });
    // @ts-expect-error two dimensions
    expectTypeOf(attentionStatistics).toBeCallableWith([[1]]);
    // @ts-expect-error no such option
    expectTypeOf(attentionStatistics).toBeCallableWith([[[1]]], { offset: 1 });
  });
});
