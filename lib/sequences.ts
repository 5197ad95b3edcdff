import { FoveaError, list } from "./errors.js";
import { integers } from "./input.js";
import type { AttentionOptions } from "./options.js";
import { optionError } from "./rules.js";

/** Of a call. */
export const maxBatch: number = 2 ** 24;

/** One sequence: its queries among its keys. */
export interface Sequence {
  /** Its place in the batch. */
  readonly index: number;
  /** Its first query and key, as rows of the tensors that hold all sequences (thd); else 0. */
  readonly queryStart: number;
  readonly keyStart: number;
  /** Queries that attend, and rows of the output; the rest is zeros. */
  readonly queryLength: number;
  readonly queryRows: number;
  /** Keys that exist, and columns of weights and scores. */
  readonly keyLength: number;
  readonly keyColumns: number;
  readonly queryOffset: number;
  /** Where its row of the page table starts, if not at its index. */
  readonly pageStart?: number;
  /** Where its keys are cut, and what others share: end and id of each segment. */
  readonly segments?: readonly number[];
}

/** The sequences of a dense (or paged) batch. `keyColumns`: what there is room for. */
export function denseSequences(
  options: AttentionOptions,
  batch: number,
  queryRows: number,
  keyColumns: number,
): Sequence[] {
  forbid("cuSeqlensQuery", options.cuSeqlensQuery, 'only with layout "thd"');
  forbid("cuSeqlensKey", options.cuSeqlensKey, 'only with layout "thd"');
  if (options.pageTable !== undefined) require("keyLengths", options.keyLengths, "with pageTable");
  const queryLengths = lengths("queryLengths", options.queryLengths, batch, queryRows);
  const keyLengths = lengths("keyLengths", options.keyLengths, batch, keyColumns);
  const offsetOf = queryOffsets(options.queryOffset, batch);
  const sequences = new Array<Sequence>(batch);
  for (let index = 0; index < batch; index++) {
    const queryLength = queryLengths?.[index] ?? queryRows;
    const keyLength = keyLengths?.[index] ?? keyColumns;
    const queryOffset = offsetOf?.[index] ?? keyLength - queryLength;
    sequences[index] = {
      index,
      queryStart: 0,
      keyStart: 0,
      queryLength,
      queryRows,
      keyLength,
      keyColumns,
      queryOffset,
    };
  }
  return sequences;
}

/** The sequences of ragged tensors. `keyColumns`: when paged, what there is room for in each sequence. */
export function raggedSequences(
  options: AttentionOptions,
  queryTokens: number,
  keyTokens: number,
  keyColumns: number,
): Sequence[] {
  const paged = options.pageTable !== undefined;
  forbid("queryLengths", options.queryLengths, 'not with layout "thd"; use cuSeqlensQuery');
  require("cuSeqlensQuery", options.cuSeqlensQuery, 'with layout "thd"');
  if (paged) {
    require("keyLengths", options.keyLengths, "with pageTable");
    forbid("cuSeqlensKey", options.cuSeqlensKey, "not with pageTable; use keyLengths");
  } else {
    require("cuSeqlensKey", options.cuSeqlensKey, 'with layout "thd"');
    forbid("keyLengths", options.keyLengths, 'not with layout "thd" unless paged; use cuSeqlensKey');
  }
  const queryStarts = starts("cuSeqlensQuery", options.cuSeqlensQuery, queryTokens);
  const batch = queryStarts.length - 1;
  const keyStarts = paged ? undefined : starts("cuSeqlensKey", options.cuSeqlensKey, keyTokens, batch);
  const keyLengths = lengths("keyLengths", options.keyLengths, batch, keyColumns);
  const offsetOf = queryOffsets(options.queryOffset, batch);
  const sequences = new Array<Sequence>(batch);
  for (let index = 0; index < batch; index++) {
    const queryStart = queryStarts[index]!;
    const queryLength = queryStarts[index + 1]! - queryStart;
    const keyStart = keyStarts?.[index] ?? 0;
    const keyLength = keyLengths?.[index] ?? keyStarts![index + 1]! - keyStart;
    const queryOffset = offsetOf?.[index] ?? keyLength - queryLength;
    sequences[index] = {
      index,
      queryStart,
      keyStart,
      queryLength,
      queryRows: queryLength,
      keyLength,
      keyColumns: paged ? keyColumns : keyLength,
      queryOffset,
    };
  }
  return sequences;
}

/** With one more for rows past the last, in which nothing attends and which becomes zeros. */
export function withRest(sequences: readonly Sequence[], queryTokens: number): readonly Sequence[] {
  const last = sequences.at(-1);
  const queryStart = last === undefined ? 0 : last.queryStart + last.queryRows;
  const queryRows = queryTokens - queryStart;
  if (queryRows === 0) return sequences;
  const nothing = { index: 0, keyStart: 0, queryLength: 0, keyLength: 0, keyColumns: 0, queryOffset: 0 };
  return [...sequences, { ...nothing, queryStart, queryRows }];
}

/** One length per sequence, from 0 to `limit`. */
function lengths(name: string, input: unknown, batch: number, limit: number): Int32Array | undefined {
  if (input === undefined) return undefined;
  const values = integers(name, input);
  checkCount(name, values, batch, "batch");
  for (let i = 0; i < batch; i++) {
    if (values[i]! < 0 || values[i]! > limit) {
      throw new FoveaError("ERR_FOVEA_BOUNDS", `${name}[${i}]: expected 0 to ${limit}, got ${values[i]}`);
    }
  }
  return values;
}

/** Where sequences start, and where the last one ends: from 0 on, never decreasing, within `tokens`. */
export function starts(name: string, input: unknown, tokens: number, batch?: number): Int32Array {
  const values = integers(name, input);
  if (values.length > maxBatch + 1) {
    const message = `${name}: expected at most ${maxBatch + 1} entries (sequences + 1), got ${values.length}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  if (batch !== undefined) checkCount(name, values, batch + 1, "sequences + 1");
  if (values.length === 0) throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected [*] (sequences + 1), got [0]`);
  if (values[0] !== 0) throw new FoveaError("ERR_FOVEA_BOUNDS", `${name}[0]: expected 0, got ${values[0]}`);
  for (let i = 1; i < values.length; i++) {
    if (values[i]! < values[i - 1]! || values[i]! > tokens) {
      const range = `${values[i - 1]} to ${tokens}`;
      throw new FoveaError("ERR_FOVEA_BOUNDS", `${name}[${i}]: expected ${range}, got ${values[i]}`);
    }
  }
  return values;
}

/** So that every query's place, and its distance from every key, is an integer that a float64 holds. */
const largestOffset = 2 ** 52;
const offsets = "an integer of at most 2^52 in size";
const isOffset = (value: unknown): value is number =>
  Number.isInteger(value) && Math.abs(value as number) <= largestOffset;

/** One query offset per sequence, or undefined for the default. */
function queryOffsets(input: AttentionOptions["queryOffset"], batch: number): ArrayLike<number> | undefined {
  if (input === undefined) return undefined;
  let values: ArrayLike<number>;
  if (isOffset(input)) values = new Array<number>(batch).fill(input);
  else if (Array.isArray(input)) values = input as number[];
  else if (typeof input === "object" && input !== null) values = integers("queryOffset", input);
  else
    throw optionError("queryOffset", `${offsets}, or an array, Int32Array or int32 tensor of one per sequence`, input);
  checkCount("queryOffset", values, batch, "batch");
  for (let i = 0; i < values.length; i++) {
    if (!isOffset(values[i])) throw optionError(`queryOffset[${i}]`, offsets, values[i]);
  }
  return values;
}

function checkCount(name: string, values: ArrayLike<number>, count: number, label: string): void {
  if (values.length === count) return;
  throw new FoveaError(
    "ERR_FOVEA_SHAPE",
    `${name}: expected ${list([count])} (${label}), got ${list([values.length])}`,
  );
}

function require(name: string, value: unknown, when: string): void {
  if (value === undefined) throw new FoveaError("ERR_FOVEA_OPTION", `${name}: required ${when}`);
}

function forbid(name: string, value: unknown, why: string): void {
  if (value !== undefined) throw new FoveaError("ERR_FOVEA_OPTION", `${name}: ${why}`);
}
