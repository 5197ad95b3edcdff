import { FoveaError, show } from "../errors.js";
import type { PagePool } from "./page-pool.js";
import type { LayerPages } from "./pages.js";

/**
 * A run of tokens that sequences came to share when one was forked, from the end of the segment before it to `end`. Attention
 * computes it by itself, once for all that have the same object.
 */
export interface Segment {
  readonly end: number;
}

/** Segments are whole pages, and at least so many tokens: below, merging costs more than computing twice. */
const shortestSegment = 128;

/** What a cache and its sequences share. */
export interface Owner {
  readonly pool: PagePool;
  /** The memory of the pages. */
  readonly layers: readonly LayerPages[];
  readonly pageSize: number;
  readonly sequences: Set<SequenceState>;
  disposed: boolean;
}

/** The bookkeeping of one sequence. */
export class SequenceState {
  readonly owner: Owner;
  /** Its pages in order; the first `pageCount` entries count. */
  table: Int32Array;
  pageCount = 0;
  segments: Segment[] = [];
  /** Tokens that all layers have. */
  length = 0;
  /** Tokens that layers 0 to `nextLayer` - 1 have beyond that. */
  pending = 0;
  nextLayer = 0;
  /** Unsettled calls that read its pages, and whether one writes them. */
  readers = 0;
  writing = false;
  freed = false;

  constructor(owner: Owner, table: Int32Array) {
    this.owner = owner;
    this.table = table;
    owner.sequences.add(this);
  }

  /** Tokens in a layer: those of an unfinished step count in the layers that have them. */
  lengthIn(layer: number): number {
    return this.length + (layer < this.nextLayer ? this.pending : 0);
  }

  push(page: number): void {
    if (this.pageCount === this.table.length) {
      const larger = new Int32Array(2 * this.table.length + 8);
      larger.set(this.table);
      this.table = larger;
    }
    this.table[this.pageCount++] = page;
  }

  /** Makes what there is a segment, as far as it is none yet. */
  shareSegment(): void {
    const unit = this.owner.pageSize * Math.ceil(shortestSegment / this.owner.pageSize);
    const end = this.length - (this.length % unit);
    if (end > (this.segments.at(-1)?.end ?? 0)) this.segments.push({ end });
  }

  /** Ends an unfinished step, if there is one, and lets go of the pages past `length`. */
  cut(length: number): void {
    const { pool, pageSize } = this.owner;
    const kept = Math.ceil(length / pageSize);
    while (this.pageCount > kept) pool.release(this.table[--this.pageCount]!);
    while ((this.segments.at(-1)?.end ?? 0) > length) this.segments.pop();
    this.length = length;
    this.pending = this.nextLayer = 0;
  }

  /** After the end of a call, and when freed: the pages go back once nothing uses them. */
  settle(): void {
    if (!this.freed || this.readers > 0 || this.writing) return;
    if (this.owner.sequences.delete(this)) this.cut(0);
  }
}

/** A new sequence. For the library itself. */
export let makeSequence: (state: SequenceState) => CacheSequence;

/** The state of a sequence that was not freed; `name` is the argument that an error names. */
export let stateOf: (sequence: unknown, name: string) => SequenceState;

/**
 * One sequence of tokens in a `PagedKVCache`: made by `cache.create()` or by `fork()`. Its keys and values are added by
 * `cache.append` and read by `cache.attend`.
 */
export class CacheSequence {
  readonly #state: SequenceState;

  private constructor(state: SequenceState) {
    this.#state = state;
  }

  static {
    makeSequence = (state) => new CacheSequence(state);
    stateOf = (sequence, name) => {
      if (!(sequence instanceof CacheSequence)) {
        throw new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected a CacheSequence, got ${show(sequence)}`);
      }
      return sequence.#live(name);
    };
  }

  /** Tokens that all layers have. */
  get length(): number {
    return this.#state.length;
  }

  /** Whether `free()` was called. */
  get freed(): boolean {
    return this.#state.freed;
  }

  /**
   * A sequence with the same tokens. It shares all pages: a page is copied when one that shares it appends to it, so that a
   * common prefix is held once. Throws ERR_FOVEA_BUSY while an append is unsettled, and ERR_FOVEA_OPTION while some layers
   * have tokens that others still lack.
   */
  fork(): CacheSequence {
    const state = this.#live("sequence");
    requireStill(state, "fork", false);
    if (state.nextLayer > 0) {
      const message = `fork: layers from ${state.nextLayer} on lack the last tokens; append them, or truncate first`;
      throw new FoveaError("ERR_FOVEA_OPTION", message);
    }
    const copy = new SequenceState(state.owner, state.table.slice(0, state.pageCount));
    copy.pageCount = state.pageCount;
    copy.length = state.length;
    state.shareSegment();
    copy.segments = [...state.segments];
    for (let i = 0; i < copy.pageCount; i++) state.owner.pool.hold(copy.table[i]!);
    return makeSequence(copy);
  }

  /**
   * Drops all tokens from index `length` on, and those of a step that has not reached all layers; pages that nobody needs any
   * more are free at once. Throws ERR_FOVEA_BUSY while a call that uses the sequence is unsettled, and ERR_FOVEA_BOUNDS unless
   * `length` is an integer from 0 to the sequence's length.
   */
  truncate(length: number): void {
    const state = this.#live("sequence");
    if (!Number.isInteger(length) || length < 0 || length > state.length) {
      const message = `length: expected an integer from 0 to ${state.length} (tokens there are), got ${show(length)}`;
      throw new FoveaError("ERR_FOVEA_BOUNDS", message);
    }
    requireStill(state, "truncate", true);
    state.cut(length);
  }

  /**
   * Ends the sequence. Pages that no other sequence shares are free at once; those that an unsettled call uses, once it has
   * settled. Idempotent.
   */
  free(): void {
    this.#state.freed = true;
    this.#state.settle();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  #live(name: string): SequenceState {
    if (this.#state.owner.disposed) throw new FoveaError("ERR_FOVEA_DISPOSED", `${name}: its cache was disposed`);
    if (this.#state.freed) throw new FoveaError("ERR_FOVEA_DISPOSED", `${name}: the sequence was freed`);
    return this.#state;
  }
}

/** Throws ERR_FOVEA_BUSY while a call writes the sequence or, for `alone`, reads it. */
export function requireStill(state: SequenceState, name: string, alone: boolean): void {
  if (!state.writing && !(alone && state.readers > 0)) return;
  const use = state.writing ? "appended to" : "attended to";
  throw new FoveaError(
    "ERR_FOVEA_BUSY",
    `${name}: the sequence is being ${use} by an unsettled call; await that call first`,
  );
}
