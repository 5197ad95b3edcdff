// A PagedKVCache beside a model of it that keeps everything apart: each sequence its own tokens, pages as objects. What the cache
// answers is compared with what the reference makes of the model's tokens.
import assert from "node:assert/strict";
import {
  PagedKVCache,
  referenceAttention,
  Tensor,
  type AttendOptions,
  type CacheSequence,
  type FloatDType,
  type PagedKVCacheOptions,
  type Rope,
} from "../../lib/index.js";
import { randomNumbers } from "../../lib/random.js";

/** A token's key and value in each layer: [layers][kvHeads * dim]. */
interface Token {
  readonly key: readonly Float32Array[];
  readonly value: readonly Float32Array[];
}

interface ModelSequence {
  readonly sequence: CacheSequence;
  readonly tokens: Token[];
  /** By identity: two sequences share a page when both lists have the same object. */
  readonly pages: object[];
}

export interface ModelOptions extends PagedKVCacheOptions {
  /** Query heads. */
  readonly heads: number;
  /** Of the tensors that are appended. Default float32. */
  readonly input?: FloatDType | undefined;
  readonly queryDtype?: FloatDType | undefined;
  /** Applied by the cache; the model rotates in float64. */
  readonly rope?: Rope | undefined;
}

type Attending = Omit<AttendOptions, "layer" | "rope" | "cuSeqlens" | "signal" | "out">;

export class CacheModel {
  readonly cache: PagedKVCache;
  readonly sequences: ModelSequence[] = [];
  readonly options: ModelOptions;
  #seed: number;

  constructor(options: ModelOptions, seed = 1) {
    const { heads: _, input: __, queryDtype: ___, rope: ____, ...sizes } = options;
    this.options = options;
    this.cache = new PagedKVCache(sizes);
    this.#seed = seed;
  }

  create(): ModelSequence {
    const made = { sequence: this.cache.create(), tokens: [], pages: [] };
    this.sequences.push(made);
    return made;
  }

  fork(from: ModelSequence): ModelSequence {
    const made = { sequence: from.sequence.fork(), tokens: [...from.tokens], pages: [...from.pages] };
    this.sequences.push(made);
    return made;
  }

  truncate(model: ModelSequence, length: number): void {
    model.sequence.truncate(length);
    model.tokens.length = length;
    model.pages.length = Math.ceil(length / this.cache.pageSize);
  }

  free(model: ModelSequence): void {
    model.sequence.free();
    this.sequences.splice(this.sequences.indexOf(model), 1);
  }

  /** The pages that each sequence would have with `counts` more tokens, or undefined when there are not as many. */
  #claim(models: readonly ModelSequence[], counts: readonly number[]): object[][] | undefined {
    const after = new Map(this.sequences.map((model) => [model, [...model.pages]]));
    models.forEach((model, i) => {
      const pages = after.get(model)!;
      const last = pages.at(-1);
      const partial = model.tokens.length % this.cache.pageSize !== 0 && counts[i]! > 0;
      const shared = [...after.values()].some((other) => other !== pages && other.includes(last!));
      if (partial && shared) pages[pages.length - 1] = {};
      while (pages.length * this.cache.pageSize < model.tokens.length + counts[i]!) pages.push({});
    });
    const distinct = new Set([...after.values()].flat());
    return distinct.size <= this.cache.pages ? models.map((model) => after.get(model)!) : undefined;
  }

  /** Appends new tokens to all layers; false when there are too few pages, and then nothing may have changed. */
  async append(models: readonly ModelSequence[], counts: readonly number[], sync = false): Promise<boolean> {
    const { layers, kvHeads, headDim, valueDim } = this.cache;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const numbers = (dim: number) =>
      Array.from({ length: layers }, () =>
        this.#rounded(randomNumbers(total * kvHeads * dim, this.#seed++, "normal"), this.options.input),
      );
    const [keys, values] = [numbers(headDim), numbers(valueDim)];
    const lists = models.map(({ sequence }) => sequence);
    const cuSeqlens = startsOf(counts);
    const { rope, input = "float32" } = this.options;
    const claimed = this.#claim(models, counts);
    for (let layer = 0; layer < layers; layer++) {
      const key = await this.#tensor(keys[layer]!, [total, kvHeads, headDim], input);
      const value = await this.#tensor(values[layer]!, [total, kvHeads, valueDim], input);
      const options = { cuSeqlens, ...(rope && { rope }) };
      const run = async () =>
        sync
          ? this.cache.appendSync(lists, layer, key, value, options)
          : this.cache.append(lists, layer, key, value, options);
      if (claimed === undefined) {
        const before = [this.cache.statistics, lists.map(({ length }) => length)];
        await assert.rejects(run, { code: "ERR_FOVEA_OUT_OF_PAGES" });
        assert.deepEqual([this.cache.statistics, lists.map(({ length }) => length)], before);
        return false;
      }
      await run();
    }
    models.forEach((model, i) => {
      model.pages.splice(0, model.pages.length, ...claimed![i]!);
      for (let token = cuSeqlens[i]!; token < cuSeqlens[i + 1]!; token++) {
        const row = (dim: number) => (layer: Float32Array) =>
          layer.slice(token * kvHeads * dim, (token + 1) * kvHeads * dim);
        model.tokens.push({ key: keys.map(row(headDim)), value: values.map(row(valueDim)) });
      }
    });
    return true;
  }

  /** Bookkeeping: what the cache says against what the model counts. */
  check(): void {
    const holders = new Map<object, number>();
    for (const { pages } of this.sequences)
      for (const page of new Set(pages)) holders.set(page, (holders.get(page) ?? 0) + 1);
    const { sequences, usedPages, sharedPages, freePages } = this.cache.statistics;
    assert.deepEqual(
      { sequences, usedPages, sharedPages, freePages },
      {
        sequences: this.sequences.length,
        usedPages: holders.size,
        sharedPages: [...holders.values()].filter((count) => count > 1).length,
        freePages: this.cache.pages - holders.size,
      },
    );
    for (const { sequence, tokens } of this.sequences) assert.equal(sequence.length, tokens.length);
  }

  /** Random queries for the last `counts` tokens of the sequences, rounded. */
  queries(counts: readonly number[]): Float32Array {
    const { heads, queryDtype = "float32" } = this.options;
    const total = counts.reduce((sum, count) => sum + count, 0);
    return this.#rounded(randomNumbers(total * heads * this.cache.headDim, this.#seed++, "normal"), queryDtype);
  }

  async attend(
    models: readonly ModelSequence[],
    counts: readonly number[],
    queries: Float32Array,
    layer: number,
    options: Attending = {},
    sync = false,
  ) {
    const { heads, queryDtype = "float32", rope } = this.options;
    const query = await this.#tensor(
      queries,
      [queries.length / heads / this.cache.headDim, heads, this.cache.headDim],
      queryDtype,
    );
    const lists = models.map(({ sequence }) => sequence);
    const all = { ...options, layer, cuSeqlens: startsOf(counts), returnLse: true, ...(rope && { rope }) };
    const result = sync ? this.cache.attendSync(query, lists, all) : await this.cache.attend(query, lists, all);
    const output = await result.output.read();
    const lse = await result.lse!.read();
    return { output: output.toNumbers(), lse: lse.toNumbers(), plan: result.plan };
  }

  /** What `attend` should answer, by the reference, sequence by sequence, from the model's tokens. */
  expected(
    models: readonly ModelSequence[],
    counts: readonly number[],
    queries: Float32Array,
    layer: number,
    options: Attending = {},
  ) {
    const { heads, rope } = this.options;
    const { kvHeads, headDim, valueDim, dtype } = this.cache;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const output = new Float64Array(total * heads * valueDim);
    const lse = new Float64Array(heads * total);
    const starts = startsOf(counts);
    models.forEach(({ tokens }, i) => {
      const count = counts[i]!;
      if (count === 0) return;
      const stored = (row: Float32Array) => this.#rounded(row, dtype);
      const keys = tokens.map(({ key }, position) => stored(rotated(key[layer]!, headDim, position, rope)));
      const values = tokens.map(({ value }) => stored(value[layer]!));
      const rows = Array.from({ length: count }, (_, j) =>
        rotated(
          queries.slice((starts[i]! + j) * heads * headDim, (starts[i]! + j + 1) * heads * headDim),
          headDim,
          tokens.length - count + j,
          rope,
        ),
      );
      const slopes = options.alibiSlopes as Float32Array | undefined;
      const result = referenceAttention(
        Tensor.from(join(rows), [count, heads, headDim]),
        Tensor.from(join(keys), [tokens.length, kvHeads, headDim]),
        Tensor.from(join(values), [tokens.length, kvHeads, valueDim]),
        {
          causal: true,
          ...options,
          alibiSlopes: slopes,
          layout: "thd",
          cuSeqlensQuery: Int32Array.of(0, count),
          cuSeqlensKey: Int32Array.of(0, tokens.length),
          returnLse: true,
        },
      );
      output.set(result.output.toNumbers(), starts[i]! * heads * valueDim);
      const part = result.lse.toNumbers();
      for (let head = 0; head < heads; head++)
        lse.set(part.subarray(head * count, (head + 1) * count), head * total + starts[i]!);
    });
    return { output, lse };
  }

  #rounded(numbers: Float32Array | Float64Array, dtype: FloatDType | "int8" = "float32"): Float32Array {
    if (dtype === "float32" || dtype === "int8") return Float32Array.from(numbers);
    return Float32Array.from(Tensor.from(Float32Array.from(numbers), [numbers.length]).cast(dtype).toNumbers());
  }

  async #tensor(numbers: Float32Array, shape: readonly number[], dtype: FloatDType): Promise<Tensor> {
    const tensor = Tensor.from(numbers, shape).cast(dtype);
    return tensor.to(this.cache.device);
  }
}

export function startsOf(counts: readonly number[]): Int32Array {
  const starts = new Int32Array(counts.length + 1);
  counts.forEach((count, i) => (starts[i + 1] = starts[i]! + count));
  return starts;
}

/** Heads of `dim` elements at a position, in float64. */
export function rotated(row: Float32Array, headDim: number, position: number, rope: Rope | undefined): Float32Array {
  if (rope === undefined) return row;
  const { dim = rope.frequencies ? 2 * rope.frequencies.length : headDim, interleaved = false } = rope;
  const result = Float64Array.from(row);
  for (let head = 0; head < row.length; head += headDim) {
    for (let i = 0; i < dim / 2; i++) {
      const angle = position * (rope.frequencies ? rope.frequencies[i]! : rope.theta ** ((-2 * i) / dim));
      const [a, b] = interleaved ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + dim / 2];
      result[a] = row[a]! * Math.cos(angle) - row[b]! * Math.sin(angle);
      result[b] = row[b]! * Math.cos(angle) + row[a]! * Math.sin(angle);
    }
  }
  return Float32Array.from(result);
}

function join(rows: readonly Float32Array[]): Float32Array {
  const size = rows[0]?.length ?? 0;
  const all = new Float32Array(rows.length * size);
  rows.forEach((row, i) => all.set(row, i * size));
  return all;
}

/** Relative L2 error. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    error += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(error / (size || 1));
}
