import { inputsOf } from "../shape.js";
import { explainCall, runCall, startCall } from "../attention.js";
import type { Device } from "../device.js";
import type { StoredDType } from "../dtype.js";
import { FoveaError } from "../errors.js";
import { takeOff } from "../flight.js";
import type { FloatDTypeOf, ShapeInput, TensorInput } from "../input.js";
import type { AttentionResult, KnownOptions } from "../options.js";
import type { Plan } from "../plan.js";
import type { View } from "../view.js";
import { prepareAppend } from "./append.js";
import { prepareAttend, type Attend } from "./attend.js";
import { checkCacheOptions, type AppendOptions, type AttendOptions, type PagedKVCacheOptions } from "./options.js";
import { PagePool } from "./page-pool.js";
import { allocatePages, pageBytes, releasePages, type LayerPages, type PageShape } from "./pages.js";
import { makeSequence, SequenceState, type CacheSequence, type Owner } from "./sequence.js";
import { storeLater, storeNow } from "./store.js";

/** What a cache holds. */
export interface CacheStatistics {
  /** Sequences that were made and not freed. */
  readonly sequences: number;
  /** Pages: all, those that hold tokens, those of them that several sequences share, and free ones. */
  readonly pages: number;
  readonly usedPages: number;
  readonly sharedPages: number;
  readonly freePages: number;
  /** Bytes of all pages, and of those in use, in all layers. */
  readonly bytes: number;
  readonly usedBytes: number;
}

/**
 * Keys and values of many sequences, in pages: each sequence takes a page when it needs one and gives it back when it does not,
 * so memory holds as many tokens as there are and not as there might be. All layers of a model share one page table per sequence.
 *
 *     const cache = new PagedKVCache({ layers, kvHeads, headDim, pages: 4096 });
 *     const sequence = cache.create();
 *     for (const [layer, { query, key, value }] of model(tokens)) {
 *       await cache.append([sequence], layer, key, value);
 *       const { output } = await cache.attend(query, [sequence], { layer });
 *     }
 *
 * Layers are appended in order, from 0 to the last one; a sequence's `length` advances after the last. Results do not depend on
 * which other sequences are in a call or in the cache, not in a single bit; but where a sequence was forked, its keys are cut
 * from then on, which may round otherwise than before.
 */
export class PagedKVCache {
  readonly #shape: PageShape;
  readonly #layers: LayerPages[];
  readonly #owner: Owner;

  /** Throws a FoveaError where sizes do not fit or memory is out. */
  constructor(options: PagedKVCacheOptions) {
    this.#shape = checkCacheOptions(options);
    this.#layers = allocatePages(this.#shape);
    const { pages, pageSize } = this.#shape;
    this.#owner = {
      pool: new PagePool(pages),
      layers: this.#layers,
      pageSize,
      sequences: new Set(),
      disposed: false,
    };
  }

  get layers(): number {
    return this.#shape.layers;
  }

  get kvHeads(): number {
    return this.#shape.kvHeads;
  }

  get headDim(): number {
    return this.#shape.headDim;
  }

  get valueDim(): number {
    return this.#shape.valueDim;
  }

  /** Tokens of a page. */
  get pageSize(): number {
    return this.#shape.pageSize;
  }

  /** Number of pages. */
  get pages(): number {
    return this.#shape.pages;
  }

  get dtype(): StoredDType {
    return this.#shape.dtype;
  }

  get device(): Device {
    return this.#shape.device;
  }

  /** What the cache holds now. */
  get statistics(): CacheStatistics {
    const { pool, sequences } = this.#owner;
    const { pages } = this.#shape;
    const bytes = pageBytes(this.#shape);
    const usedPages = pages - pool.free;
    return {
      sequences: sequences.size,
      pages,
      usedPages,
      sharedPages: pool.shared,
      freePages: pool.free,
      bytes: pages * bytes,
      usedBytes: usedPages * bytes,
    };
  }

  /** A sequence without tokens; it holds no page yet. */
  create(): CacheSequence {
    this.#live();
    return makeSequence(new SequenceState(this.#owner, new Int32Array(8)));
  }

  /**
   * Appends tokens to one layer of any number of sequences: key [tokens, kvHeads, headDim] and value [tokens, kvHeads, valueDim]
   * hold the tokens of all sequences one after the other, one of each or whole prompts (see `cuSeqlens`). Any float dtype and
   * strides. Layers come in order; layer 0 claims the pages for all of them.
   *
   * Rejects with a FoveaError, and then no sequence has changed: ERR_FOVEA_OUT_OF_PAGES when there are too few free pages. (Where
   * storing itself failed, for want of memory say, one that shared its last page may have a copy of it already.) The sequences
   * must not be used otherwise until it settles, nor key and value be changed.
   */
  async append(
    sequences: readonly CacheSequence[],
    layer: number,
    key: TensorInput,
    value: TensorInput,
    options: AppendOptions = {},
  ): Promise<void> {
    this.#live();
    const append = prepareAppend(this.#shape, this.#layers, sequences, layer, key, value, options);
    const land = takeOff(append.inputs, undefined);
    retain(append.pages);
    try {
      await storeLater(append.stores);
    } catch (error) {
      append.undo();
      throw error;
    } finally {
      release(append.pages);
      land();
    }
    append.commit();
  }

  /** As `append`, but writes before it returns, and throws. On a GPU it returns once that is enqueued. */
  appendSync(
    sequences: readonly CacheSequence[],
    layer: number,
    key: TensorInput,
    value: TensorInput,
    options: AppendOptions = {},
  ): void {
    this.#live();
    const append = prepareAppend(this.#shape, this.#layers, sequences, layer, key, value, options);
    try {
      storeNow(append.stores);
    } catch (error) {
      append.undo();
      throw error;
    }
    append.commit();
  }

  /**
   * Attention of each sequence's last tokens to all its tokens in one layer: query [tokens, heads, headDim] holds the queries of
   * all sequences one after the other (see `cuSeqlens`), of one or a few tokens each (decoding) or of many (a chunk of a prompt),
   * whose keys have been appended. Query i of the n of a sequence with `length` tokens is at place length - n + i. Causal unless
   * told otherwise. Query head h reads kv head floor(h / (heads / kvHeads)).
   *
   * Results: output [tokens, heads, valueDim] in the query's dtype and, on demand, lse [heads, tokens]. The query's
   * dtype may be another than the cache's on the CPU, and with int8 pages. Rejects and aborts as `attention` does.
   */
  async attend<Query extends TensorInput, const Options extends AttendOptions>(
    query: Query,
    sequences: readonly CacheSequence[],
    options: Options & KnownOptions<Options, AttendOptions>,
  ): Promise<AttentionResult<Options, FloatDTypeOf<Query>>> {
    this.#live();
    const attend = prepareAttend(this.#shape, this.#layers, query, sequences, options, false);
    hold(attend);
    let land: (() => void) | undefined;
    try {
      const rotating = rotate(attend);
      if (rotating !== undefined) {
        const { call, rotate: store } = attend;
        land = takeOff([store!.from.view, ...inputsOf(call)], call.out?.view);
        await rotating;
      } // else the call starts before this returns
      return (await new Promise<AttentionResult>((resolve, reject) => {
        startCall(attend.call, attend.signal, resolve, reject);
      })) as AttentionResult<Options, FloatDTypeOf<Query>>;
    } finally {
      land?.();
      letGo(attend);
    }
  }

  /** As `attend`, but computes before it returns, and throws, as `attentionSync` does. */
  attendSync<Query extends TensorInput, const Options extends AttendOptions>(
    query: Query,
    sequences: readonly CacheSequence[],
    options: Options & KnownOptions<Options, AttendOptions>,
  ): AttentionResult<Options, FloatDTypeOf<Query>> {
    this.#live();
    const attend = prepareAttend(this.#shape, this.#layers, query, sequences, options, false);
    hold(attend);
    try {
      rotateNow(attend);
      return runCall(attend.call, attend.signal) as AttentionResult<Options, FloatDTypeOf<Query>>;
    } finally {
      letGo(attend);
    }
  }

  /** The plan by which `attend` would compute this call. Runs nothing; `{ shape, dtype }` will do for the query. */
  explain(query: ShapeInput, sequences: readonly CacheSequence[], options: AttendOptions): Plan {
    this.#live();
    return explainCall(prepareAttend(this.#shape, this.#layers, query, sequences, options, true).call);
  }

  /** Ends the cache and its sequences. Idempotent. Calls in flight keep the memory until they are done. */
  dispose(): void {
    if (this.#owner.disposed) return;
    this.#owner.disposed = true;
    releasePages(this.#layers);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): void {
    if (this.#owner.disposed) throw new FoveaError("ERR_FOVEA_DISPOSED", "cache: was disposed");
  }
}

function hold({ states, call }: Attend): void {
  for (const state of states) state.readers++;
  retain(inputsOf(call));
}

function letGo({ states, call }: Attend): void {
  release(inputsOf(call));
  for (const state of states) {
    state.readers--;
    state.settle();
  }
}

function retain(views: readonly View[]): void {
  for (const { storage } of views) storage!.retain();
}

function release(views: readonly View[]): void {
  for (const { storage } of views) storage!.release();
}

/** Below this many elements handing a rotation over costs more than doing it. */
const rotatedAtOnce = 32768;

/** Rotates the query, at once unless it is large. */
function rotate({ rotate: store }: Attend): Promise<void> | undefined {
  if (store === undefined) return undefined;
  if (store.from.view.size > rotatedAtOnce && store.to.device === "cpu") return storeLater([store]);
  storeNow([store]);
  return undefined;
}

function rotateNow({ rotate: store }: Attend): void {
  if (store !== undefined) storeNow([store]);
}
