import { describe, expect, test } from "vitest";
import { Tensor } from "../../lib/index.js";
import { renderAttention, type AttentionMap } from "../../lib/maps.js";
import type { PageData } from "../../lib/maps/page-data.js";

const weights = [
  [
    [0.25, 0.75],
    [1, 0],
  ],
];
const map: AttentionMap = { tokens: ["a", "b"], layers: [{ name: "Layer 1", weights }] };

const dataOf = (html: string): PageData =>
  JSON.parse(/<script type="application\/json" id="attention">(.*?)<\/script>/s.exec(html)![1]!) as PageData;

test("one file, which asks for nothing else", () => {
  const html = renderAttention(map);
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).toContain("default-src 'none'");
  expect(html).not.toMatch(/<link|<img|\ssrc=|@import|url\(|https?:\/\/(?!d3js\.org|www\.w3\.org)/);
});

test("holds the weights as float16, the statistics in full", () => {
  const [layer] = dataOf(renderAttention(map)).layers;
  const bytes = Buffer.from(layer!.weights, "base64");
  expect([0, 2, 4, 6].map((at) => bytes.readUInt16LE(at))).toEqual([0x3400, 0x3a00, 0x3c00, 0]);
  expect(layer!.statistics[0]!.confidence).toBe(0.875);
  expect(layer!.statistics[0]!.shareOnSelf).toBe(0.125);
});

test("opens at the word that attends most to another one, not counting the first", () => {
  expect(dataOf(renderAttention(map)).start).toEqual({ layer: 0, query: 0 });
  const later = { name: "Layer 2", weights: Tensor.from(Float32Array.of(0, 1, 0, 1), [1, 1, 2, 2]) };
  expect(dataOf(renderAttention({ ...map, layers: [...map.layers, later] })).start).toEqual({ layer: 1, query: 0 });
});

test("query tokens that are the tokens are no other text", () => {
  expect(dataOf(renderAttention({ ...map, queryTokens: ["a", "b"] })).queryTokens).toBeNull();
  const cross = dataOf(renderAttention({ ...map, queryTokens: ["x", "y"] }));
  expect(cross.queryTokens).toEqual(["x", "y"]);
  expect(cross.layers[0]!.statistics[0]).toMatchObject({ distance: null, shareOnSelf: null });
});

test("hostile tokens, names and titles stay text", () => {
  const hostile = "</script><script>alert(1)</script><!--\u2028&amp;";
  const html = renderAttention({ tokens: [hostile, "b"], title: hostile, layers: [{ name: hostile, weights }] });
  expect(dataOf(html)).toMatchObject({ title: hostile, tokens: [hostile, "b"], layers: [{ name: hostile }] });
  expect(html.match(/<script/g)).toHaveLength(2);
  expect(html.match(/<\/script/g)).toHaveLength(2);
  expect(html).toContain("<title>&lt;/script>&lt;script>");
});

describe("what cannot be shown", () => {
  const cases: [string, object, string, string][] = [
    ["no tokens", { tokens: [] }, "ERR_FOVEA_ARGUMENT", "tokens: expected an array of strings, not empty"],
    ["a token", { tokens: ["a", 1] }, "ERR_FOVEA_ARGUMENT", "tokens[1]: expected a string, got 1"],
    ["no layers", { layers: [] }, "ERR_FOVEA_ARGUMENT", "layers: expected at least one layer"],
    [
      "a layer without a name",
      { layers: [{ weights }] },
      "ERR_FOVEA_ARGUMENT",
      "layers[0]: expected { name, weights }",
    ],
    ["a title", { title: 1 }, "ERR_FOVEA_ARGUMENT", "title: expected a string, got 1"],
    ["another name", { token: [] }, "ERR_FOVEA_OPTION", 'there is no "token" (did you mean "tokens"?)'],
    [
      "tokens and weights that do not fit",
      { tokens: ["a", "b", "c"] },
      "ERR_FOVEA_SHAPE",
      "layers[0].weights: expected [*, 3, 3] (heads, queryTokens, tokens), got [1, 2, 2]",
    ],
    ["query tokens", { queryTokens: ["x"] }, "ERR_FOVEA_SHAPE", "expected [*, 1, 2]"],
    ["NaN", { layers: [{ name: "", weights: [[[Number.NaN]]] }] }, "ERR_FOVEA_ARGUMENT", "layers[0].weights: expected"],
  ];
  test.each(cases)("%s", (_, change, code, message) => {
    expect(() => renderAttention({ ...map, ...change })).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
    );
  });
});
