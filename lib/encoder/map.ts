// What the words of a text attend to, as fovea computes it from the encoder's query and key.

import { attention } from "../attention.js";
import type { AttentionMap } from "../maps/render.js";
import type { Encoded, Values } from "./encoder.js";
import { toWords, wordWeights } from "./words.js";

/** The attention weights of one layer (counted from 0), computed by fovea. */
export async function layerWeights(encoded: Encoded, layer: number): Promise<Values> {
  const { query, key, value } = encoded.layers[layer]!;
  // The encoder's query comes multiplied by its scale already.
  const { weights } = await attention(query, key, value, { scale: 1, returnWeights: true });
  return { data: weights.data, shape: [...weights.shape] };
}

/**
 * All layers of the first text that was encoded, for `renderAttention`: of its words or, with `pieces`, of the tokens that
 * words are made of.
 */
export async function textMap(encoded: Encoded, title: string, pieces: boolean): Promise<AttentionMap> {
  const tokens = encoded.tokens[0]!;
  const words = toWords(tokens);
  const layers = await Promise.all(
    encoded.layers.map(async (_, layer) => {
      const weights = await layerWeights(encoded, layer);
      const heads = Array.from({ length: weights.shape[1]! }, (_, head) =>
        wordWeights(weights, head, words).map((row) => [...row]),
      );
      return { name: `Layer ${layer + 1}`, weights: pieces ? weights : heads };
    }),
  );
  return { title, tokens: pieces ? tokens.map(({ piece }) => piece) : words.map((word) => word.text), layers };
}
