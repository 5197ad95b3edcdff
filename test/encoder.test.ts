// On real input: fovea's attention is that of a trained encoder, run by TensorFlow.js on the same query, key and value.

import { beforeAll, describe, expect, test } from "vitest";
import { attention } from "../lib/index.js";
import { Encoder, type Encoded } from "../lib/encoder/encoder.js";
import { Tokenizer } from "../lib/encoder/tokenizer.js";
import { toWords, wordWeights } from "../lib/encoder/words.js";
import { algorithms, difference, tolerance } from "../examples/start/parity.js";
import { layerWeights } from "../lib/encoder/map.js";

const sentence = "The cat sat on the mat because it was tired.";

let encoder: Encoder;
let encoded: Encoded;
beforeAll(async () => {
  encoder = await Encoder.load();
  encoded = await encoder.encode([sentence]);
}, 60_000);

describe.each([0, 1])("layer %i of the encoder", (index) => {
  test.each(algorithms)("%s gives the encoder's output and weights", async (algorithm) => {
    const { query, key, value, output, weights } = encoded.layers[index]!;
    const result = await attention(query, key, value, { scale: 1, algorithm, returnWeights: true });
    expect(result.output.shape).toEqual(output.shape);
    expect(difference(result.output.data, output.data).relative).toBeLessThan(tolerance);
    expect(difference(result.weights.data, weights.data).largest).toBeLessThan(tolerance);
  });

  test.each(algorithms)("%s gives the same for a text padded to a longer one's length", async (algorithm) => {
    const { lengths, layers } = await encoder.encode(["Hello, world!", sentence]);
    const { query, key, value, output } = layers[index]!;
    const padded = await attention(query, key, value, {
      scale: 1,
      algorithm,
      queryLengths: lengths,
      keyLengths: lengths,
      queryOffset: 0,
    });
    const [, heads, length, headDim] = output.shape as [number, number, number, number];
    for (const [text, own] of lengths.entries()) {
      for (let head = 0; head < heads; head++) {
        const begin = (text * heads + head) * length * headDim;
        const rows = (data: ArrayLike<number>): Float32Array =>
          Float32Array.from({ length: own * headDim }, (_, element) => data[begin + element]!);
        expect(difference(rows(padded.output.data), rows(output.data)).relative).toBeLessThan(tolerance);
      }
    }
  });
});

test("the fused graph weighs as the encoder does", async () => {
  const { tokens, layers } = await encoder.attend(sentence);
  expect(tokens).toEqual(encoded.tokens[0]);
  for (const [layer, weights] of layers.entries()) {
    const own = encoded.layers[layer]!.weights;
    expect(weights.shape).toEqual(own.shape);
    expect(difference(weights.data, own.data).largest).toBeLessThan(tolerance);
  }
  expect(layers).toHaveLength(2);
});

test('in the second layer one head sends "it" to "cat" and another to "tired"', async () => {
  const words = toWords(encoded.tokens[0]!);
  const place = (text: string): number => words.findIndex((word) => word.text === text);
  const weights = await layerWeights(encoded, 1);
  const most = (to: string): number =>
    Math.max(...[0, 1, 2, 3].map((head) => wordWeights(weights, head, words)[place("it")]![place(to)]!));
  expect(most("cat")).toBeCloseTo(0.59, 2);
  expect(most("tired")).toBeCloseTo(0.71, 2);
});

describe("the tokenizer", () => {
  test("splits a text into the most probable pieces of the vocabulary", () => {
    const pieces = encoded.tokens[0]!.map(({ piece }) => piece.replace("\u2581", "_"));
    expect(pieces).toEqual([
      "_The",
      "_cat",
      "_sat",
      "_on",
      "_the",
      "_ma",
      "t",
      "_because",
      "_it",
      "_was",
      "_tired",
      ".",
    ]);
  });

  test("takes the best split of all, not the longest piece first", () => {
    const markers = Array.from({ length: 6 }, () => ["", 0] as const);
    const tokenizer = new Tokenizer([...markers, ["\u2581ab", -9], ["\u2581a", -2], ["bc", -3], ["c", -1]]);
    expect(tokenizer.tokenize("abc").map(({ id }) => id)).toEqual([7, 8]);
    expect(tokenizer.tokenize(" a\n a").map(({ id }) => id)).toEqual([7, 7]);
    expect(tokenizer.tokenize("a??c")).toMatchObject([{ id: 7 }, { id: 0, piece: "??" }, { id: 9 }]);
    expect(tokenizer.tokenize("")).toEqual([]);
  });
});
