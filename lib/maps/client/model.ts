// What the page shows: the data it was written with, and the choices of whoever looks at it.

import { bisector } from "d3";
import type { PageData } from "../page-data.js";
import { Weights } from "./weights.js";

export interface State {
  view: "words" | "matrix" | "statistics";
  /** The sentence twice, side by side, or once, as running text. Cross-attention is always twice. */
  arrangement: "twice" | "once";
  /** Which layers and which heads the words view shows: each head of each layer that is on. */
  layers: boolean[];
  heads: boolean[];
  /** The chosen word: an index of `queries`. */
  query: number;
  /** The head of the large heat map, and the key under its cursor; the query there is the chosen word. */
  map: { layer: number; head: number };
  key: number;
}

/** One head of one layer. */
export interface Series {
  layer: number;
  head: number;
}

/** A head and what it gives to a key. */
export interface Share {
  key: number;
  weight: number;
}

/** More tokens than this stand as running text at first. */
const mostRows = 48;
/** So many heads are on at first: as many as there are colours. */
const mostHeads = 8;

export class Model {
  readonly data: PageData;
  readonly weights: Weights;
  readonly keys: readonly string[];
  readonly queries: readonly string[];
  readonly cross: boolean;
  state: State;
  readonly #listeners: (() => void)[] = [];

  constructor(data: PageData) {
    this.data = data;
    this.keys = data.tokens;
    this.queries = data.queryTokens ?? data.tokens;
    this.cross = data.queryTokens !== null;
    this.weights = new Weights(data.layers, this.queries.length, this.keys.length);
    const heads = Math.max(...data.layers.map((layer) => layer.heads));
    this.state = {
      view: "words",
      arrangement: this.cross || this.keys.length <= mostRows ? "twice" : "once",
      layers: data.layers.map((_, layer) => layer === data.start.layer),
      heads: Array.from({ length: heads }, (_, head) => head < mostHeads),
      query: data.start.query,
      map: { layer: data.start.layer, head: 0 },
      key: 0,
    };
    this.state.key = this.strongest(this.state.map, 1)[0]?.key ?? 0;
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  change(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.#listeners) listener();
  }

  /** The heads that the words view shows. */
  shown(): Series[] {
    const { layers, heads } = this.state;
    return this.data.layers.flatMap((layer, index) =>
      layers[index] ? range(layer.heads).flatMap((head) => (heads[head] ? [{ layer: index, head }] : [])) : [],
    );
  }

  /** "Layer 2, head 3", the layer as it is called. */
  nameOf({ layer, head }: Series): string {
    return `${this.data.layers[layer]!.name}, head ${head + 1}`;
  }

  /** The few keys that a head of the chosen word gives most to, at most `count`, none without weight. */
  strongest(series: Series, count: number): Share[] {
    const row = this.weights.row(series, this.state.query);
    const best: Share[] = [];
    for (let key = 0; key < row.length; key++) {
      const weight = row[key]!;
      if (weight === 0 || (best.length === count && weight <= best.at(-1)!.weight)) continue;
      best.splice(count - 1, 1);
      best.splice(bisector((share: Share) => -share.weight).right(best, -weight), 0, { key, weight });
    }
    return best;
  }
}

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);
