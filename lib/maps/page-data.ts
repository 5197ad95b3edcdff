// What renderAttention writes into the page and its script reads: JSON, which has no undefined and no NaN.

/** A head's statistics as in HeadStatistics; null where there are none. */
export type PageStatistics = Record<
  "entropy" | "distance" | "confidence" | "shareOnFirst" | "shareOnSelf",
  number | null
>;

export interface PageLayer {
  name: string;
  heads: number;
  /** Base64 of the weights [heads, queries, keys], little-endian float16: 3 digits, in half the space of float32. */
  weights: string;
  statistics: PageStatistics[];
}

export interface PageData {
  title: string;
  /** What is attended to. */
  tokens: string[];
  /** What attends, where that is another text. */
  queryTokens: string[] | null;
  layers: PageLayer[];
  /** What the page shows first. */
  start: { layer: number; query: number };
}
