// Tokens are pieces of words; people read words.

import type { Token } from "./tokenizer.js";

/** Weights [texts, heads, length, length]: a tensor of fovea's or of the encoder's. */
interface Weights {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

export interface Word {
  text: string;
  /** Its tokens are those from `begin` up to, not including, `end`. */
  begin: number;
  end: number;
}

/** Joins tokens to words. A word begins at a space; punctuation and letters do not share one. */
export function toWords(tokens: readonly Token[]): Word[] {
  const words: Word[] = [];
  for (const [place, { piece }] of tokens.entries()) {
    const text = piece.replace("\u2581", "");
    const last = words.at(-1);
    // A space may be a token of its own: the word that it begins is still empty then.
    if (last && text === piece && (last.text === "" || isSpelled(text) === isSpelled(last.text))) {
      last.text += text;
      last.end = place + 1;
    } else {
      words.push({ text, begin: place, end: place + 1 });
    }
  }
  return words;
}

const isSpelled = (text: string): boolean => /[\p{L}\p{N}]/u.test(text);

/**
 * What one head's words attend to: [words][words], from the token weights [texts, heads, length, length] of the first text.
 * A word gets the sum of what its tokens get, and gives the mean of what its tokens give.
 */
export function wordWeights(weights: Weights, head: number, words: readonly Word[]): Float64Array[] {
  const length = weights.shape[2]!;
  return words.map((from) => {
    const row = new Float64Array(words.length);
    for (let query = from.begin; query < from.end; query++) {
      const offset = (head * length + query) * length;
      for (const [index, to] of words.entries()) {
        for (let key = to.begin; key < to.end; key++) row[index]! += weights.data[offset + key]!;
      }
    }
    return row.map((sum) => sum / (from.end - from.begin));
  });
}
