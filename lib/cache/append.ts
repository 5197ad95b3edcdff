// Adding tokens: what is checked, which pages they get, where each token goes.
import { deviceError, FoveaError, shapeError } from "../errors.js";
import { assertFree } from "../flight.js";
import { floatDType, inputView } from "../input.js";
import { axes, place } from "../layout.js";
import { checkNames } from "../rules.js";
import { maxBatch } from "../sequences.js";
import type { View } from "../view.js";
import { appendNames, checkLayer, checkStarts, type AppendOptions } from "./options.js";
import { copyPage, viewsOf, type LayerPages, type PageShape } from "./pages.js";
import { checkRope } from "./rope.js";
import { requireStill, stateOf, type SequenceState } from "./sequence.js";
import type { RowStore } from "./store.js";

/** An append that was checked and has its pages. */
export interface Append {
  readonly stores: readonly RowStore[];
  /** What it reads, and the pages that it writes. */
  readonly inputs: readonly View[];
  readonly pages: readonly View[];
  /** The tokens are there: the sequences have them. */
  commit(): void;
  /** They are not: the sequences are as they were. */
  undo(): void;
}

/** Checks everything, and only then changes anything. */
export function prepareAppend(
  shape: PageShape,
  layers: readonly LayerPages[],
  sequences: unknown,
  layerInput: number,
  keyInput: unknown,
  valueInput: unknown,
  options: AppendOptions,
): Append {
  checkNames("options", options, appendNames);
  const layer = checkLayer(layerInput, shape.layers);
  const states = statesOf(sequences, layers);
  const key = checkRows("key", keyInput, shape, "headDim", undefined);
  const tokens = key.shape[0]!;
  const value = checkRows("value", valueInput, shape, "valueDim", tokens);
  const starts = checkStarts(options.cuSeqlens, states.length, tokens);
  const counts = states.map((_, i) => starts[i + 1]! - starts[i]!);
  checkTurn(states, layer, counts);
  const position = (i: number) => states[i]!.length;
  const rotation = checkRope(options.rope, shape.headDim, tokens, () => fill(tokens, starts, position));
  if (layer === 0) claim(states, counts, layers);

  const slots = slotsOf(states, counts, starts, shape.pageSize);
  const target = layers[layer]!;
  const { key: keyPages, value: valuePages, keyScales, valueScales } = target;
  const { kvHeads: heads, pages, pageSize, headDim, valueDim, dtype: toDtype } = shape;
  const common = { tokens, heads, pages, pageSize, toDtype, slots };
  for (const state of states) state.writing = true;
  const settle = () => {
    for (const state of states) {
      state.writing = false;
      state.settle();
    }
  };
  return {
    stores: [
      { ...common, from: place(key, axes.thd), dims: headDim, to: keyPages, scales: keyScales, rotation },
      {
        ...common,
        from: place(value, axes.thd),
        dims: valueDim,
        to: valuePages,
        scales: valueScales,
        rotation: undefined,
      },
    ],
    inputs: [key, value],
    pages: viewsOf(target),
    commit: () => {
      states.forEach((state, i) => advance(state, counts[i]!, shape.layers));
      settle();
    },
    undo: () => {
      if (layer === 0) for (const state of states) state.cut(state.length);
      settle();
    },
  };
}

/** The states of a list of sequences of the cache that has these layers, all different. */
export function statesOf(sequences: unknown, layers: readonly LayerPages[], distinct = true): SequenceState[] {
  if (!Array.isArray(sequences)) {
    throw new FoveaError("ERR_FOVEA_ARGUMENT", "sequences: expected an array of CacheSequences");
  }
  if (sequences.length > maxBatch) {
    throw new FoveaError("ERR_FOVEA_SHAPE", `sequences: expected at most ${maxBatch}, got ${sequences.length}`);
  }
  const states = Array.from(sequences, (sequence: unknown, i) => stateOf(sequence, `sequences[${i}]`));
  states.forEach((state, i) => {
    if (state.owner.layers === layers) return;
    throw new FoveaError(
      "ERR_FOVEA_ARGUMENT",
      `sequences[${i}]: expected a sequence of this cache, got one of another`,
    );
  });
  if (distinct && new Set(states).size !== states.length) {
    const again = states.findIndex((state, i) => states.indexOf(state) !== i);
    const message = `sequences[${again}]: expected each sequence once, got sequences[${states.indexOf(states[again]!)}] again`;
    throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
  }
  return states;
}

/** [tokens, kvHeads, dim] */
function checkRows(
  name: string,
  input: unknown,
  shape: PageShape,
  dim: "headDim" | "valueDim",
  tokens: number | undefined,
): View {
  const view = inputView(name, input, false);
  floatDType(name, view);
  const expected = [tokens ?? "*", shape.kvHeads, shape[dim]];
  if (view.shape.length !== 3 || expected.some((size, i) => size !== "*" && size !== view.shape[i])) {
    throw shapeError(name, expected, `tokens, kvHeads, ${dim}`, view.shape);
  }
  if (view.device !== shape.device) throw deviceError(name, `${shape.device}, where the cache is`, view.device);
  assertFree(name, view, false);
  return view;
}

/** Layers come in order, and all get the same tokens. Without tokens no step begins. */
function checkTurn(states: readonly SequenceState[], layer: number, counts: readonly number[]): void {
  states.forEach((state, i) => {
    requireStill(state, `sequences[${i}]`, true);
    if (counts[i] === 0 && state.nextLayer === 0) return;
    if (state.nextLayer !== layer) {
      const message = `layer: expected ${state.nextLayer}, the next one of sequences[${i}], got ${layer}`;
      const help = state.nextLayer === 0 ? "" : "; truncate drops an unfinished step";
      throw new FoveaError("ERR_FOVEA_OPTION", message + help);
    }
    if (layer > 0 && state.pending !== counts[i]) {
      const message = `cuSeqlens: expected ${state.pending} tokens for sequences[${i}], as in layer 0, got ${counts[i]}`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
  });
}

/** Gives each sequence the pages that its new tokens need, and a page of its own where it shares the one they begin in. */
function claim(states: readonly SequenceState[], counts: readonly number[], layers: readonly LayerPages[]): void {
  if (states.length === 0) return;
  const { pool, pageSize } = states[0]!.owner;
  const left = new Map<number, number>();
  const copies: boolean[] = [];
  let needed = 0;
  states.forEach((state, i) => {
    const last = state.table[state.pageCount - 1]!;
    const begins = counts[i]! > 0 && state.length % pageSize !== 0; // in a page that is there
    const before = left.get(last) ?? 0;
    copies[i] = begins && pool.holders(last) - before > 1;
    if (copies[i]) left.set(last, before + 1);
    needed += Math.ceil((state.length + counts[i]!) / pageSize) - state.pageCount + (copies[i] ? 1 : 0);
  });
  if (needed > pool.free) {
    const message = `append: expected at least ${needed} free pages for these tokens, got ${pool.free}`;
    throw new FoveaError("ERR_FOVEA_OUT_OF_PAGES", `${message}; free or truncate sequences first`);
  }
  const copied = copyLast(
    states.filter((_, i) => copies[i]),
    layers,
  );
  states.forEach((state, i) => {
    const own = copied.get(state);
    if (own !== undefined) {
      pool.release(state.table[state.pageCount - 1]!);
      state.table[state.pageCount - 1] = own;
    }
    const pages = Math.ceil((state.length + counts[i]!) / pageSize);
    while (state.pageCount < pages) state.push(pool.take());
  });
}

/** Copies of the last pages, one for each of the states; when one cannot be made, none. */
function copyLast(states: readonly SequenceState[], layers: readonly LayerPages[]): Map<SequenceState, number> {
  const copies = new Map<SequenceState, number>();
  try {
    for (const state of states) {
      const own = state.owner.pool.take();
      copies.set(state, own);
      copyPage(layers, state.table[state.pageCount - 1]!, own);
    }
  } catch (error) {
    for (const [{ owner }, own] of copies) owner.pool.release(own);
    throw error;
  }
  return copies;
}

function slotsOf(
  states: readonly SequenceState[],
  counts: readonly number[],
  starts: Int32Array,
  pageSize: number,
): Int32Array {
  const slots = new Int32Array(starts[states.length] ?? 0);
  states.forEach(({ table, length }, i) => {
    for (let j = 0; j < counts[i]!; j++) {
      const token = length + j;
      slots[starts[i]! + j] = table[Math.floor(token / pageSize)]! * pageSize + (token % pageSize);
    }
  });
  return slots;
}

/** For each token its place in its sequence, where sequence i's first is at `first(i)`. */
export function fill(tokens: number, starts: Int32Array, first: (i: number) => number): Int32Array {
  const positions = new Int32Array(tokens);
  for (let i = 0; i + 1 < starts.length; i++) {
    const shift = first(i) - starts[i]!;
    for (let token = starts[i]!; token < starts[i + 1]!; token++) positions[token] = token + shift;
  }
  return positions;
}

function advance(state: SequenceState, count: number, layers: number): void {
  if (count === 0) return;
  if (state.nextLayer === 0) state.pending = count;
  if (++state.nextLayer < layers) return;
  state.length += state.pending;
  state.pending = state.nextLayer = 0;
}
