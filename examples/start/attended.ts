// Prints what words attend to, from the weights that fovea returns.

import { textTable, type Align } from "../../lib/terminal/text-table.js";
import type { Encoded, Values } from "../../lib/encoder/encoder.js";
import { layerWeights } from "../../lib/encoder/map.js";
import { toWords, wordWeights, type Word } from "../../lib/encoder/words.js";

/** A row per word, a column per head: the word that gets most of its attention. */
export async function printAttended(encoded: Encoded, layer: number): Promise<void> {
  const words = toWords(encoded.tokens[0]!);
  const weights = await layerWeights(encoded, layer);
  const heads = eachHead(weights, words);

  const table = textTable([["word", "left"], ...headColumns(heads)]);
  for (const [place, word] of words.entries()) {
    table.push([word.text, ...heads.map((rows) => describe(ranked(rows[place]!)[0]!, words))]);
  }
  console.log(table.toString());
}

/** Of one word: how much each head gives to each word of the text, as bars. */
export async function printAttentionOf(encoded: Encoded, layer: number, word: string): Promise<void> {
  const words = toWords(encoded.tokens[0]!);
  const place = words.findIndex(({ text }) => text === word);
  const heads = eachHead(await layerWeights(encoded, layer), words);

  const table = textTable([[`"${word}" →`, "left"], ...headColumns(heads)]);
  for (const [to, { text }] of words.entries()) {
    table.push([text, ...heads.map((rows) => bar(rows[place]![to]!))]);
  }
  console.log(table.toString());
}

/** For texts too long for a table of words: what gets most of each head's attention, and how far away it is. */
export async function printFocus(encoded: Encoded): Promise<void> {
  const words = toWords(encoded.tokens[0]!);
  const table = textTable([
    ["layer", "right"],
    ["head", "right"],
    ["looks away", "right"],
    ["words that get the most of all attention (share, place)", "left"],
  ]);
  for (const layer of encoded.layers.keys()) {
    for (const [head, rows] of eachHead(await layerWeights(encoded, layer), words).entries()) {
      const received = new Float64Array(words.length);
      let distance = 0;
      for (const [from, row] of rows.entries()) {
        for (const [to, weight] of row.entries()) {
          received[to]! += weight / words.length;
          distance += (weight * Math.abs(from - to)) / words.length;
        }
      }
      const most = ranked(received).slice(0, 4);
      table.push([
        `${layer + 1}`,
        `${head + 1}`,
        `${distance.toFixed(0)} words`,
        most.map((to) => `${words[to.place]!.text} (${(100 * to.weight).toFixed(1)} %, ${to.place + 1})`).join("  "),
      ]);
    }
  }
  console.log(table.toString());
}

interface Share {
  place: number;
  weight: number;
}

const headColumns = (heads: readonly unknown[]): [string, Align][] =>
  heads.map((_, head) => [`head ${head + 1}`, "left"]);

const eachHead = (weights: Values, words: readonly Word[]): Float64Array[][] =>
  Array.from({ length: weights.shape[1]! }, (_, head) => wordWeights(weights, head, words));

const ranked = (row: Float64Array): Share[] =>
  Array.from(row, (weight, place) => ({ place, weight })).sort((a, b) => b.weight - a.weight);

const describe = ({ place, weight }: Share, words: readonly Word[]): string =>
  `${words[place]!.text} ${weight.toFixed(2)}`;

const barWidth = 20;
const bar = (weight: number): string => `${weight.toFixed(2)} ${"█".repeat(Math.round(weight * barWidth))}`;
