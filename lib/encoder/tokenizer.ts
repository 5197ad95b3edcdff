// SentencePiece's unigram model: a text becomes the sequence of vocabulary pieces with the highest total log-probability,
// found by dynamic programming over the text's characters (Kudo 2018, "Subword Regularization", section 3.2).

/** A piece and its log-probability. Its index in the vocabulary is its token id. */
export type Vocabulary = readonly (readonly [piece: string, score: number])[];

export interface Token {
  id: number;
  /** As the vocabulary spells it: a leading "▁" stands for the space before a word. */
  piece: string;
}

const space = "\u2581";
const unknown = 0;
/** The first entries are markers (unknown, begin, end, extras), which no text spells. */
const markers = 6;

/** What pieces begin with, character by character. */
interface Prefix {
  /** The piece that ends here, or -1. */
  id: number;
  readonly next: Map<string, Prefix>;
}

export class Tokenizer {
  readonly #pieces: Prefix = { id: -1, next: new Map() };
  readonly #scores: Float64Array;
  /** Worse than any piece, so that an unknown character is the last resort. */
  readonly #unknownScore: number;

  constructor(vocabulary: Vocabulary) {
    this.#scores = Float64Array.from(vocabulary, ([, score]) => score);
    this.#unknownScore = Math.min(...this.#scores) - 10;
    for (let id = markers; id < vocabulary.length; id++) {
      let prefix = this.#pieces;
      for (const character of vocabulary[id]![0]) {
        let next = prefix.next.get(character);
        if (next === undefined) prefix.next.set(character, (next = { id: -1, next: new Map() }));
        prefix = next;
      }
      prefix.id = id;
    }
  }

  /**
   * White space between words counts as one space, as for SentencePiece, by which the vocabulary was made. (TensorFlow.js's
   * tokenizer keeps each space of several, and knows no line ends.)
   */
  tokenize(text: string): Token[] {
    const normalized = text.normalize("NFKC").trim().replace(/\s+/gu, space);
    if (normalized === "") return [];
    const characters = Array.from(space + normalized);

    // best[end]: the score of the best split of the first `end` characters; from[end] and ids[end]: its last piece.
    const best = new Float64Array(characters.length + 1).fill(-Infinity);
    const from = new Int32Array(characters.length + 1);
    const ids = new Int32Array(characters.length + 1).fill(unknown);
    best[0] = 0;
    for (let begin = 0; begin < characters.length; begin++) {
      const unknownScore = best[begin]! + this.#unknownScore;
      if (unknownScore > best[begin + 1]!) {
        best[begin + 1] = unknownScore;
        from[begin + 1] = begin;
        ids[begin + 1] = unknown;
      }
      let prefix = this.#pieces.next.get(characters[begin]!);
      for (let end = begin + 1; prefix !== undefined; end++) {
        const score = prefix.id < 0 ? -Infinity : best[begin]! + this.#scores[prefix.id]!;
        if (score > best[end]!) {
          best[end] = score;
          from[end] = begin;
          ids[end] = prefix.id;
        }
        prefix = end < characters.length ? prefix.next.get(characters[end]!) : undefined;
      }
    }

    const tokens: Token[] = [];
    for (let end = characters.length; end > 0; end = from[end]!) {
      const token = { id: ids[end]!, piece: characters.slice(from[end], end).join("") };
      const next = tokens.at(-1);
      // Neighbouring unknown characters are one unknown token, as the model was trained.
      if (token.id === unknown && next?.id === unknown) next.piece = token.piece + next.piece;
      else tokens.push(token);
    }
    return tokens.reverse();
  }
}
