// flash-attn's flash_attn_with_kvcache: new keys and values go into the cache, then the queries attend to it.
import { explainCall } from "../attention.js";
import { renamed } from "../dropin/names.js";
import { encode, type FloatDType } from "../dtype.js";
import { abortError, FoveaError, shapeError, show } from "../errors.js";
import { assertFree, sharesMemory } from "../flight.js";
import { dtypeError, inputView, integers, type FloatDTypeOf, type TensorInput } from "../input.js";
import type { AttentionOptions, IntegerInput } from "../options.js";
import { checkNames, flag } from "../rules.js";
import { checkBatch, checkCall } from "../shape.js";
import { Tensor, wrap } from "../tensor.js";
import { sameShape, type View } from "../view.js";
import { appendOnDevice, appendOnHost } from "./append.js";
import { flashFoveaNames, flashRules, run, type FlashAttentionOptions, type FlashResult } from "./flash.js";
import { placeRotary, rotate, type Rotary } from "./rotary.js";

export interface FlashAttentionWithKvCacheOptions extends Omit<FlashAttentionOptions, "dropoutP"> {
  /** [batch, seqlenNew, kvHeads, headdim]: written into the caches after the `cacheSeqlens` keys that they hold. With `v`. */
  k?: TensorInput | undefined;
  v?: TensorInput | undefined;
  /** How many keys of the cache exist: one number, or int32 [batch]. Required with `k` and `blockTable`; default: all. */
  cacheSeqlens?: number | IntegerInput | undefined;
  /** int32 [batch]: which entry of the cache each sequence has. Default: its own index; entries past the batch are left alone. Not with `blockTable`. */
  cacheBatchIdx?: IntegerInput | undefined;
  /** int32 [batch, maxBlocks]: the caches are then [blocks, blockSize, kvHeads, headdim]. */
  blockTable?: TensorInput | undefined;
  /**
   * [seqlenRo, rotaryDim / 2] of the query's dtype: q and `k` are rotated before anything else, `k` by its place in the cache, q
   * by its own when causal or in a window and by the place of the first otherwise. Needs `k`.
   */
  rotaryCos?: TensorInput | undefined;
  rotarySin?: TensorInput | undefined;
  /** Which elements are rotated together: 0 and 1, 2 and 3 (true, the default), or i and i + rotaryDim / 2 (GPT-NeoX). */
  rotaryInterleaved?: boolean | undefined;
}

const names: ReadonlySet<string> = new Set(
  Object.keys({
    softmaxScale: true,
    causal: true,
    windowSize: true,
    softcap: true,
    alibiSlopes: true,
    returnSoftmaxLse: true,
    device: true,
    signal: true,
    k: true,
    v: true,
    cacheSeqlens: true,
    cacheBatchIdx: true,
    blockTable: true,
    rotaryCos: true,
    rotarySin: true,
    rotaryInterleaved: true,
  } satisfies Record<keyof FlashAttentionWithKvCacheOptions, true>),
);

/**
 * `flash_attn_with_kvcache`: q [batch, seqlenQ, heads, headdim] attends to kCache and vCache [cacheBatch, seqlenCache, kvHeads,
 * headdim], of which each sequence has `cacheSeqlens` keys, and the new `k` and `v`, which are written there in place. The result
 * is as `flashAttention`'s. Everything is checked before anything is written. `cacheSeqlens` itself is not changed. `k` and `v`
 * share no memory with the caches, and no row of a cache may be written twice: ERR_FOVEA_OPTION.
 *
 * Caches that are written may be on a GPU, with q, `k` and `v` there too (`blockTable` and lengths stay on the host), but not with
 * rotary tables: ERR_FOVEA_DEVICE. Caches on the host are written there, and with `device` a GPU sent there afterwards.
 */
export async function flashAttentionWithKvCache<
  Query extends TensorInput,
  const Options extends FlashAttentionWithKvCacheOptions = {},
>(
  q: Query,
  kCache: TensorInput,
  vCache: TensorInput,
  options?: Options,
): Promise<FlashResult<Options, FloatDTypeOf<Query>>> {
  const given: FlashAttentionWithKvCacheOptions = options === undefined ? {} : options;
  checkNames("options", given, names);
  const query = inputView("q", q, false);
  const keys = inputView("kCache", kCache, false);
  const values = inputView("vCache", vCache, false);
  if (query.shape.length !== 4)
    throw shapeError("q", ["*", "*", "*", "*"], "batch, seqlenQ, heads, headdim", query.shape);
  const batch = query.shape[0]!;
  checkBatch("q", query, batch); // before there are lengths for each sequence
  const pages = pagesOf(given, batch, keys);
  const held = heldOf(given, batch, pages?.capacity ?? keys.shape[1] ?? 0);
  const added = newKeys(given, batch, keys, values);
  const keyLengths = held.map((length) => Math.min(length + (added?.length ?? 0), largestLength));

  const rules: AttentionOptions = {
    ...flashRules(given),
    layout: "bshd",
    keyLengths,
    ...(pages && { pageTable: pages.table }),
  };
  const foveaNames = {
    ...flashFoveaNames,
    key: "kCache",
    value: "vCache",
    keyLengths: added === undefined ? "cacheSeqlens" : "(cacheSeqlens + seqlenNew)",
    pageTable: "blockTable",
  };
  const attend = (turned: TensorInput) =>
    run(turned, kCache, vCache, rules, foveaNames) as Promise<FlashResult<Options, FloatDTypeOf<Query>>>;
  try {
    explainCall(checkCall(q, kCache, vCache, rules)); // every check of the call, before anything is written
  } catch (error) {
    throw renamed(error, foveaNames);
  }
  const local = given.causal === true || (given.windowSize?.some((side) => side >= 0) ?? false);
  // Rows of the tables: the new keys', and the queries', which are as many or not.
  const turns = Math.max(added?.length ?? 0, local ? query.shape[1]! : 1);
  const rotary = rotaryOf(
    given,
    query,
    held.reduce((most, length) => Math.max(most, length), 0) + turns,
    added !== undefined,
  );
  if (added === undefined) return attend(q);

  if (given.signal?.aborted === true) throw abortError(given.signal);
  const row = (b: number, i: number): [entry: number, row: number] => pages?.row(b, held[b]! + i) ?? [b, held[b]! + i];
  if (given.blockTable !== undefined) checkApart(batch, added.length, keys.shape[1]!, row);
  if (keys.device !== "cpu") {
    if (rotary !== undefined) {
      const message = `rotaryCos: expected caches on the host, got ones on ${keys.device}; rotate q and k before the call there`;
      throw new FoveaError("ERR_FOVEA_DEVICE", message);
    }
    const rows = [
      { name: "k", cache: keys, view: added.k },
      { name: "v", cache: values, view: added.v },
    ];
    appendOnDevice(rows, row);
    return attend(q);
  }
  for (const [name, view] of [["kCache", keys] as const, ["vCache", values] as const]) assertFree(name, view, true);
  const turned = rotary && rotate(query, rotary, (b, i) => held[b]! + (local ? i : 0));
  const turnedKeys = rotary ? rotate(added.k, rotary, (b, i) => held[b]! + i) : undefined;
  appendOnHost({ name: "k", cache: keys, view: added.k, numbers: turnedKeys }, row);
  appendOnHost({ name: "v", cache: values, view: added.v }, row);
  const rotated = turned && wrap(encode(turned, query.dtype as FloatDType), query.dtype, query.shape);
  return attend(rotated ?? q);
}

/** That no two of the rows to be written are the same: blocks of a prefix that is shared are read, not written. */
function checkApart(batch: number, length: number, blockSize: number, row: Pages["row"]): void {
  const written = new Set<number>();
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < length; i++) {
      const [block, at] = row(b, i);
      if (written.size === written.add(block * blockSize + at).size) {
        const message = `blockTable: row ${at} of block ${block} would be written twice, the second time for sequence ${b}`;
        throw new FoveaError("ERR_FOVEA_OPTION", message);
      }
    }
  }
}

interface Pages {
  readonly table: TensorInput;
  /** Keys that there is room for in a sequence. */
  readonly capacity: number;
  /** Where key j of sequence b is. */
  row(b: number, j: number): [page: number, row: number];
}

/** `blockTable`, or entries of the cache as a table of one page per sequence; undefined where each sequence has its own. */
function pagesOf(options: FlashAttentionWithKvCacheOptions, batch: number, cache: View): Pages | undefined {
  const { blockTable, cacheBatchIdx } = options;
  const size = cache.shape[1] ?? 0;
  const byEntry = (entries: Int32Array): Pages => ({
    table: Tensor.from(entries, [batch, 1]),
    capacity: size,
    row: (b, j) => [entries[b]!, j],
  });
  if (blockTable !== undefined && cacheBatchIdx !== undefined) {
    throw new FoveaError("ERR_FOVEA_OPTION", "cacheBatchIdx: not with blockTable");
  }
  if (cacheBatchIdx !== undefined) {
    const entries = integers("cacheBatchIdx", cacheBatchIdx);
    if (entries.length !== batch) throw shapeError("cacheBatchIdx", [batch], "batch", [entries.length]);
    if (new Set(entries).size !== batch && options.k !== undefined) {
      throw new FoveaError("ERR_FOVEA_OPTION", "cacheBatchIdx: an entry of the cache that is written is there twice");
    }
    const bad = entries.findIndex((entry) => entry < 0 || entry >= cache.shape[0]!);
    if (bad >= 0) {
      const message = `cacheBatchIdx[${bad}]: expected 0 to ${cache.shape[0]! - 1}, got ${entries[bad]!}`;
      throw new FoveaError("ERR_FOVEA_BOUNDS", message);
    }
    return byEntry(entries);
  }
  if (blockTable === undefined) {
    const spare = cache.shape.length === 4 && cache.shape[0]! > batch;
    return spare ? byEntry(Int32Array.from({ length: batch }, (_, b) => b)) : undefined;
  }
  const view = inputView("blockTable", blockTable, false);
  if (view.dtype !== "int32") throw dtypeError("blockTable", '"int32"', view);
  if (view.shape.length !== 2 || view.shape[0] !== batch) {
    throw shapeError("blockTable", [batch, "*"], "batch, maxBlocks", view.shape);
  }
  const pages = view.storage!.array("blockTable");
  const [step, next] = view.strides as [number, number];
  const row = (b: number, j: number): [number, number] => [
    pages[view.offset + b * step + Math.floor(j / size) * next]!,
    j % size,
  ];
  return { table: blockTable, capacity: view.shape[1]! * size, row };
}

/** As int32 has it, and more than any cache. */
const largestLength = 2 ** 31 - 1;

/** How many keys each sequence has in the cache before the new ones. */
function heldOf(
  { cacheSeqlens, k, blockTable }: FlashAttentionWithKvCacheOptions,
  batch: number,
  all: number,
): Int32Array {
  if (cacheSeqlens === undefined) {
    if (k !== undefined || blockTable !== undefined) {
      const why = k === undefined ? "with blockTable" : "with k";
      throw new FoveaError("ERR_FOVEA_OPTION", `cacheSeqlens: required ${why}`);
    }
    return new Int32Array(batch).fill(all);
  }
  if (typeof cacheSeqlens !== "number") {
    const lengths = integers("cacheSeqlens", cacheSeqlens);
    if (lengths.length !== batch) throw shapeError("cacheSeqlens", [batch], "batch", [lengths.length]);
    const bad = lengths.findIndex((length) => length < 0);
    if (bad >= 0) throw lengthError(`cacheSeqlens[${bad}]`, lengths[bad]!);
    return lengths.slice();
  }
  if (!Number.isSafeInteger(cacheSeqlens) || cacheSeqlens < 0) throw lengthError("cacheSeqlens", cacheSeqlens);
  if (cacheSeqlens > largestLength) {
    throw new FoveaError("ERR_FOVEA_BOUNDS", `cacheSeqlens: expected 0 to ${all}, got ${cacheSeqlens}`);
  }
  return new Int32Array(batch).fill(cacheSeqlens);
}

const lengthError = (name: string, got: number): FoveaError =>
  new FoveaError("ERR_FOVEA_BOUNDS", `${name}: expected an integer >= 0, got ${show(got)}`);

interface NewKeys {
  readonly k: View;
  readonly v: View;
  readonly length: number;
}

function newKeys(
  options: FlashAttentionWithKvCacheOptions,
  batch: number,
  keys: View,
  values: View,
): NewKeys | undefined {
  if ((options.k === undefined) !== (options.v === undefined)) {
    throw new FoveaError("ERR_FOVEA_OPTION", "k, v: expected both or neither");
  }
  if (options.k === undefined) return undefined;
  const k = inputView("k", options.k, false);
  const v = inputView("v", options.v, false);
  const length = k.shape[1] ?? 0;
  for (const [name, view, cache] of [["k", k, keys] as const, ["v", v, values] as const]) {
    const expected = [batch, length, ...cache.shape.slice(2)];
    if (!sameShape(view.shape, expected)) {
      throw shapeError(name, expected, "batch, seqlenNew, kvHeads, headdim", view.shape);
    }
    if (view.dtype !== cache.dtype) throw dtypeError(name, `"${cache.dtype}" as in the cache`, view);
    assertFree(name, view, false);
    for (const [cacheName, target] of [["kCache", keys] as const, ["vCache", values] as const]) {
      if (!sharesMemory(view, target)) continue;
      const message = `${name}: expected memory of its own, but it shares some with ${cacheName}`;
      throw new FoveaError("ERR_FOVEA_OPTION", message);
    }
  }
  return { k, v, length };
}

function rotaryOf(
  { rotaryCos, rotarySin, rotaryInterleaved }: FlashAttentionWithKvCacheOptions,
  query: View,
  places: number,
  added: boolean,
): Rotary | undefined {
  const interleaved = rotaryInterleaved === undefined || flag("rotaryInterleaved", rotaryInterleaved);
  if (rotaryCos === undefined && rotarySin === undefined) return undefined;
  if (rotaryCos === undefined || rotarySin === undefined) {
    throw new FoveaError("ERR_FOVEA_OPTION", "rotaryCos, rotarySin: expected both or neither");
  }
  if (!added) throw new FoveaError("ERR_FOVEA_OPTION", "rotaryCos: only with k and v, as in flash-attn");
  return placeRotary(rotaryCos, rotarySin, interleaved, query, places);
}
