// What the words of a text attend to, as fovea computes it: from the encoder's query and key, or in its graph.

import { attention } from "../attention.js";
import type { AttentionMap } from "../maps/render.js";
import type { Encoded, Encoder, Values } from "./encoder.js";
import { toWords, wordWeights } from "./words.js";

/** The attention weights of one layer (counted from 0), computed by fovea. */
export async function layerWeights(encoded: Encoded, layer: number): Promise<Values> {
  const { query, key, value } = encoded.layers[layer]!;
  // The encoder's query comes multiplied by its scale already.
  const { weights } = await attention(query, key, value, { scale: 1, returnWeights: true });
  return { data: weights.data, shape: [...weights.shape] };
}

/**
 * A text's attention in all layers, for `renderAttention`: of its words or, with `pieces`, of the tokens that words are made of.
 */
export async function textMap(encoder: Encoder, text: string, pieces: boolean): Promise<AttentionMap> {
  const { tokens, layers } = await encoder.attend(text);
  const words = toWords(tokens);
  const named = layers.map((weights, layer) => {
    const heads = Array.from({ length: weights.shape[1]! }, (_, head) =>
      wordWeights(weights, head, words).map((row) => [...row]),
    );
    return { name: `Layer ${layer + 1}`, weights: pieces ? weights : heads };
  });
  const shown = pieces ? tokens.map(({ piece }) => piece) : words.map((word) => word.text);
  return { title: text, tokens: shown, layers: named };
}
