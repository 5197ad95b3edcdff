import { describe, expect, test } from "vitest";
import { attention, Tensor } from "../../lib/index.js";
import { attentionStatistics, type WeightsInput } from "../../lib/maps.js";

describe("statistics of a head", () => {
  test("by numbers worked out by hand", () => {
    const [statistics] = attentionStatistics([
      [
        [0.5, 0.5, 0],
        [0, 1, 0],
        [0.25, 0.25, 0.5],
      ],
    ]);
    const ln2 = Math.LN2;
    expect(statistics!.entropy).toBeCloseTo((ln2 + 0 + 1.5 * ln2) / 3, 12);
    expect(statistics!.distance).toBeCloseTo((0.5 + 0 + 0.75) / 3, 12);
    expect(statistics!.confidence).toBeCloseTo(2 / 3, 12);
    expect(statistics!.shareOnFirst).toBeCloseTo(0.25, 12);
    expect(statistics!.shareOnSelf).toBeCloseTo(2 / 3, 12);
  });

  test("a row for each head, of a tensor with any strides and any float dtype", () => {
    const weights = Tensor.from(Float32Array.of(1, 0, 0, 1, 0, 1, 1, 0), [1, 2, 2, 2]);
    const expected = [
      { entropy: 0, distance: 0, confidence: 1, shareOnFirst: 0.5, shareOnSelf: 1 },
      { entropy: 0, distance: 1, confidence: 1, shareOnFirst: 0.5, shareOnSelf: 0 },
    ];
    expect(attentionStatistics(weights)).toEqual(expected);
    expect(attentionStatistics(weights.cast("bfloat16"))).toEqual(expected);
    const strided = { data: Float32Array.of(0, 1, 1, 0), shape: [1, 2, 2], strides: [4, -2, 1], offset: 2 };
    expect(attentionStatistics(strided)[0]).toMatchObject({ shareOnFirst: 0.5, shareOnSelf: 1 });
  });

  test("queries of another text have no place among the keys, unless an offset gives them one", () => {
    const weights = [[[0, 0.5, 0.5]]];
    expect(attentionStatistics(weights)[0]).toMatchObject({ distance: undefined, shareOnSelf: undefined });
    expect(attentionStatistics(weights, { queryOffset: 2 })[0]).toMatchObject({ distance: 0.5, shareOnSelf: 0.5 });
    expect(attentionStatistics([[[1]]], { queryOffset: null })[0]!.distance).toBeUndefined();
  });

  test("rows where everything is masked do not count; sinks may take a part", () => {
    const masked = [
      [
        [0, 0],
        [0.2, 0.2],
      ],
    ];
    const [statistics] = attentionStatistics(masked);
    expect(statistics!.confidence).toBeCloseTo(0.2, 12);
    expect(statistics!.entropy).toBeCloseTo(Math.LN2, 12);
    expect(attentionStatistics([[[0]]])[0]!.entropy).toBeNaN();
  });

  test("of what a call returns", async () => {
    const query = Tensor.random([1, 2, 16, 8], { seed: 1 });
    const { weights } = await attention(query, query, query, { causal: true, returnWeights: true });
    const statistics = attentionStatistics(weights);
    expect(statistics).toHaveLength(2);
    for (const { entropy, confidence, distance } of statistics) {
      expect(entropy).toBeGreaterThan(0);
      expect(entropy).toBeLessThan(Math.log(16));
      expect(confidence).toBeLessThan(1);
      expect(distance).toBeGreaterThan(0);
    }
  });
});

describe("what are not weights", () => {
  const cases: [string, WeightsInput, string, string][] = [
    [
      "NaN",
      [[[Number.NaN, 1]]],
      "ERR_FOVEA_ARGUMENT",
      "expected weights from 0 to 1, got NaN in head 0, query 0, key 0",
    ],
    ["negative", [[[1], [-0.5]]], "ERR_FOVEA_ARGUMENT", "got -0.5 in head 0, query 1, key 0"],
    ["scores", [[[3, 1]]], "ERR_FOVEA_ARGUMENT", "got 4.000 in head 0, query 0. Are they scores"],
    ["infinite", [[[Infinity]]], "ERR_FOVEA_ARGUMENT", "got Infinity in head 0, query 0"],
    ["two dimensions", { data: new Float32Array(4), shape: [2, 2] }, "ERR_FOVEA_SHAPE", "got [2, 2]"],
    ["a batch", { data: new Float32Array(8), shape: [2, 1, 2, 2] }, "ERR_FOVEA_SHAPE", "got [2, 1, 2, 2]"],
    ["nothing", [], "ERR_FOVEA_SHAPE", "got [0]"],
    ["ragged", [[[1, 0], [1]]], "ERR_FOVEA_SHAPE", "weights[0][1]: expected an array of 2, got Array(1)"],
    ["numbers of another shape", { data: [1, 0], shape: [1, 1, 3] }, "ERR_FOVEA_SHAPE", "expected 3 numbers"],
    [
      "text among numbers",
      { data: [1, undefined as unknown as number], shape: [1, 1, 2] },
      "ERR_FOVEA_ARGUMENT",
      "weights.data[1]: expected a number, got undefined",
    ],
    ["text", [[["1" as unknown as number]]], "ERR_FOVEA_ARGUMENT", 'weights[0][0][0]: expected a number, got "1"'],
    [
      "integers",
      { data: new Int32Array(1), shape: [1, 1, 1] },
      "ERR_FOVEA_DTYPE",
      'expected a float dtype, got "int32"',
    ],
    ["no tensor", "weights" as unknown as WeightsInput, "ERR_FOVEA_ARGUMENT", "expected a Tensor"],
  ];
  test.each(cases)("%s", (_, weights, code, message) => {
    expect(() => attentionStatistics(weights)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
    );
  });

  test("options that there are not", () => {
    const wrong = { queryOfset: 1 } as object;
    expect(() => attentionStatistics([[[1]]], wrong)).toThrow('did you mean "queryOffset"');
    expect(() => attentionStatistics([[[1]]], null as never)).toThrow("options: expected an object, got null");
    expect(() => attentionStatistics([[[1]]], { queryOffset: 0.5 })).toThrow(
      "queryOffset: expected an integer or null",
    );
  });
});
