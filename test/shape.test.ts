// What crosses the border: a checked call as the numbers that native code reads. Every number of a view is checked by what it
// is for: the element it leads to must be the element of the tensor that it should.
import { describe, expect, test } from "vitest";
import type { AttentionOptions } from "../lib/index.js";
import { attention, Tensor } from "../lib/index.js";
import { shapeOnly } from "../lib/input.js";
import { problemFields, sequenceFields, writeProblem } from "../lib/problem.js";
import { checkCall, placeOutputs } from "../lib/shape.js";

type Numbers = Record<string, number>;

// Two numbers are called queryOffset: the place of query 0 among the keys, and where the view of the queries starts.
const fieldNames = sequenceFields.map((name, i) =>
  i === sequenceFields.lastIndexOf("queryOffset") ? "queryStart" : name,
);

/** The problem by name, and the memory it is about. */
function problemOf(query: unknown, key: unknown, value: unknown, options: AttentionOptions = {}) {
  const call = checkCall(query, key, value, options);
  const output = call.out?.view ?? shapeOnly("output", call.dtype, "cpu", call.outputShape);
  const outputs = placeOutputs(call, output, (shape) => shapeOnly("output", "float32", "cpu", shape));
  const storages: ArrayBufferView[] = [];
  const numbers = writeProblem(call, outputs, storages);
  const take = (names: readonly string[], from: number): Numbers =>
    Object.fromEntries(names.map((name, i) => [name, numbers[from + i]!]));
  const problem = take(problemFields, 0);
  const sequences = Array.from({ length: problem.sequences! }, (_, i) =>
    take(fieldNames, problemFields.length + i * sequenceFields.length),
  );
  return { problem, sequences, storages: storages as Float32Array[], call };
}

/** Element (head, row, column) of a view of a sequence. */
function at(storages: Float32Array[], sequence: Numbers, view: string, head: number, row: number, column: number) {
  const index =
    sequence[view === "query" ? "queryStart" : `${view}Offset`]! +
    head * sequence[`${view}HeadStride`]! +
    row * sequence[`${view}RowStride`]! +
    column * sequence[`${view}ColumnStride`]!;
  return storages[sequence[`${view}Storage`]!]![index];
}

/** Numbers that tell where they are. */
function counted(shape: number[], dtype?: "int32"): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (dtype === "int32")
    return Tensor.from(
      Int32Array.from({ length: size }, (_, i) => i),
      shape,
    );
  return Tensor.from(
    Float32Array.from({ length: size }, (_, i) => i),
    shape,
  );
}

/** The element that indices name, the plain way. */
function elementOf(tensor: Tensor, ...indices: number[]): number {
  return tensor.data[indices.reduce((sum, index, dim) => sum + index * tensor.strides[dim]!, 0)]!;
}

describe("the rules", () => {
  const [q, kv] = [counted([1, 4, 2, 16]), counted([1, 2, 3, 16])];

  test("defaults", () => {
    expect(problemOf(q, kv, kv).problem).toEqual({
      dtype: 0,
      storedDtype: 0,
      biasDtype: 0,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      valueDim: 16,
      scale: 0.25,
      softcap: 0,
      causal: 0,
      windowLeft: -1,
      windowRight: -1,
      pageSize: 0,
      keyScalesStorage: -1,
      valueScalesStorage: -1,
      algorithm: 0,
      scoreStage: 0,
      sequences: 1,
    });
  });

  test("each option has its number", () => {
    const bias = Tensor.zeros([2, 3], { dtype: "bfloat16" });
    const options = {
      algorithm: "standard",
      scale: 2,
      softcap: 30,
      causal: true,
      window: { left: 0, right: 5 },
      bias,
    } as const;
    expect(problemOf(q, kv, kv, { ...options, returnScores: "biased" }).problem).toMatchObject({
      algorithm: 1,
      scale: 2,
      softcap: 30,
      causal: 1,
      windowLeft: 0,
      windowRight: 5,
      biasDtype: 2,
      scoreStage: 3,
    });
    expect(problemOf(q, kv, kv, { algorithm: "tiled", window: { right: 1 } }).problem).toMatchObject({
      algorithm: 2,
      windowLeft: -1,
      windowRight: 1,
    });
    expect(problemOf(q, kv, kv, { returnScores: "scaled" }).problem.scoreStage).toBe(1);
    expect(problemOf(q, kv, kv, { returnScores: "capped" }).problem.scoreStage).toBe(2);
  });

  test.each([
    ["float16", 1],
    ["bfloat16", 2],
  ] as const)("%s is %i", (dtype, code) => {
    const tensor = Tensor.zeros([1, 1, 1, 1], { dtype });
    expect(problemOf(tensor, tensor, tensor).problem.dtype).toBe(code);
  });

  test("absent views are storage -1, and present ones in order", () => {
    const { sequences, storages } = problemOf(q, kv, kv, { sinks: new Float32Array(4) });
    const [sequence] = sequences;
    for (const view of ["mask", "bias", "lse", "weights", "scores"]) expect(sequence![`${view}Storage`]).toBe(-1);
    expect(sequence).toMatchObject({ pageTableStorage: -1, alibiSlopesStorage: -1, sinksStorage: 0, queryStorage: 1 });
    expect(storages).toHaveLength(4);
    expect(storages[2]).toBe(kv.data);
  });
});

describe("views", () => {
  test.each(["bhsd", "bshd"] as const)("%s, with heads that share keys, from any strides", (layout) => {
    const [batch, heads, kvHeads, queryLength, keyLength, dim, valueDim] = [2, 4, 2, 3, 5, 6, 7];
    // In memory the other way round than the layout says, and a slice of something larger.
    const inLayout = (tensor: Tensor) => (layout === "bhsd" ? tensor.transpose(1, 2) : tensor);
    const query = inLayout(counted([batch, queryLength, heads, dim + 3]).slice(3, 2, 2 + dim));
    const key = inLayout(counted([batch, keyLength + 1, kvHeads, dim]).slice(1, 1));
    const value = inLayout(counted([batch, keyLength, kvHeads, valueDim]));
    const { problem, sequences, storages } = problemOf(query, key, value, { layout });
    expect(problem).toMatchObject({ heads, kvHeads, headDim: dim, valueDim, sequences: batch });
    const place = (b: number, h: number, i: number, d: number) => (layout === "bhsd" ? [b, h, i, d] : [b, i, h, d]);
    for (let b = 0; b < batch; b++) {
      expect(sequences[b]).toMatchObject({ queryLength, queryRows: queryLength, keyLength, keyColumns: keyLength });
      expect(sequences[b]!.queryOffset).toBe(keyLength - queryLength);
      for (const [h, i, d] of [
        [0, 0, 0],
        [3, 2, 5],
        [1, 1, 4],
      ] as const) {
        expect(at(storages, sequences[b]!, "query", h, i, d)).toBe(elementOf(query, ...place(b, h, i, d)));
        expect(at(storages, sequences[b]!, "key", h >> 1, i, d)).toBe(elementOf(key, ...place(b, h >> 1, i, d)));
        expect(at(storages, sequences[b]!, "value", h >> 1, i, d)).toBe(elementOf(value, ...place(b, h >> 1, i, d)));
      }
    }
  });

  test("outputs in the query's layout; lse, weights and scores per head", () => {
    const options = { layout: "bshd", returnLse: true, returnWeights: true, returnScores: "capped" } as const;
    const { sequences, call } = problemOf(counted([2, 3, 4, 5]), counted([2, 7, 4, 5]), counted([2, 7, 4, 6]), options);
    expect(call).toMatchObject({ outputShape: [2, 3, 4, 6], lseShape: [2, 4, 3], weightsShape: [2, 4, 3, 7] });
    expect(sequences[1]).toMatchObject({
      outputOffset: 72,
      outputHeadStride: 6,
      outputRowStride: 24,
      outputColumnStride: 1,
      lseOffset: 12,
      lseHeadStride: 3,
      lseRowStride: 1,
      weightsOffset: 84,
      weightsHeadStride: 21,
      weightsRowStride: 7,
      weightsColumnStride: 1,
      scoresOffset: 84,
    });
  });

  test("thd: each sequence where its tokens are, and a last one for rows past them", () => {
    const [query, key] = [counted([9, 2, 4]), counted([12, 1, 4])];
    const options = {
      layout: "thd",
      cuSeqlensQuery: Int32Array.of(0, 3, 3, 7),
      cuSeqlensKey: Int32Array.of(0, 5, 6, 10),
      returnLse: true,
    } as const;
    const { sequences, storages, call } = problemOf(query, key, key, options);
    expect(call).toMatchObject({ outputShape: [9, 2, 4], lseShape: [2, 9] });
    expect(sequences.map((s) => [s.queryLength, s.queryRows, s.keyLength, s.keyColumns, s.queryOffset])).toEqual([
      [3, 3, 5, 5, 2],
      [0, 0, 1, 1, 1],
      [4, 4, 4, 4, 0],
      [0, 2, 0, 0, 0],
    ]);
    expect(at(storages, sequences[2]!, "query", 1, 1, 3)).toBe(elementOf(query, 4, 1, 3));
    expect(at(storages, sequences[2]!, "value", 0, 2, 1)).toBe(elementOf(key, 8, 0, 1));
    expect(sequences[2]).toMatchObject({ lseOffset: 3, lseHeadStride: 9, lseRowStride: 1, outputOffset: 24 });
    expect(sequences[3]).toMatchObject({ lseOffset: 7, outputOffset: 56, outputHeadStride: 4, outputRowStride: 8 });
  });

  test.each([
    ["bhsd", [5, 2, 4, 6], [2, 2, 3, 6]],
    ["bshd", [5, 4, 2, 6], [2, 3, 2, 6]],
    ["thd", [5, 4, 2, 6], [6, 2, 6]],
  ] as const)("pages of %s", (layout, pageShape, queryShape) => {
    const pool = counted([...pageShape]);
    const keyLengths = Int32Array.of(7, 4);
    const cuSeqlensQuery = Int32Array.of(0, 3, 6);
    const pageTable = Tensor.from(Int32Array.of(3, 1, -9, 4, -9, -9), [2, 3]);
    const options = { layout, pageTable, keyLengths, ...(layout === "thd" && { cuSeqlensQuery }) };
    const { problem, sequences, storages } = problemOf(counted([...queryShape]), pool, pool, options);
    expect(problem.pageSize).toBe(4);
    const [first, second] = sequences;
    expect(first).toMatchObject({ queryLength: 3, keyLength: 7, keyColumns: 12, queryOffset: 4, pages: 5 });
    expect(second).toMatchObject({ queryLength: 3, keyLength: 4, queryOffset: 1, pageTableOffset: 3 });
    // Key 6 of sequence 0 is row 2 of page 1.
    const page = storages[first!.pageTableStorage!]![first!.pageTableOffset! + 1]!;
    expect(page).toBe(1);
    const shifted = { ...first, keyOffset: first!.keyOffset! + page * first!.keyPageStride! };
    const expected = layout === "bhsd" ? elementOf(pool, 1, 1, 2, 3) : elementOf(pool, 1, 2, 1, 3);
    expect(at(storages, shifted, "key", 1, 2, 3)).toBe(expected);
    expect(second!.valueOffset).toBe(first!.valueOffset);
    expect(second!.valuePageStride).toBe(48);
  });
});

describe("masks and vectors", () => {
  const query = counted([2, 4, 3, 8]);
  const key = counted([2, 2, 5, 8]);

  test.each([
    [
      [3, 5],
      [0, 0, 5, 1],
    ],
    [
      [1, 5],
      [0, 0, 0, 1],
    ],
    [
      [3, 1],
      [0, 0, 1, 0],
    ],
    [
      [4, 3, 5],
      [0, 15, 5, 1],
    ],
    [
      [1, 3, 5],
      [0, 0, 5, 1],
    ],
    [
      [2, 1, 3, 5],
      [15, 0, 5, 1],
    ],
    [
      [2, 4, 3, 5],
      [60, 15, 5, 1],
    ],
    [
      [2, 1, 1, 5],
      [5, 0, 0, 1],
    ],
    [
      [1, 1, 1, 1],
      [0, 0, 0, 0],
    ],
  ])("a mask of %j steps %j", (shape, [batch, head, row, column]) => {
    const { sequences } = problemOf(query, key, key, { mask: Tensor.zeros(shape, { dtype: "bool" }) });
    expect(sequences[1]).toMatchObject({
      maskOffset: batch,
      maskHeadStride: head,
      maskRowStride: row,
      maskColumnStride: column,
    });
  });

  test("thd: a bias at least as large as the longest", () => {
    const options = {
      layout: "thd",
      cuSeqlensQuery: Int32Array.of(0, 3, 4),
      cuSeqlensKey: Int32Array.of(0, 2, 7),
    } as const;
    const [q, k] = [counted([4, 2, 8]), counted([7, 2, 8])];
    const { sequences } = problemOf(q, k, k, { ...options, bias: Tensor.zeros([2, 1, 4, 6]) });
    expect(sequences[1]).toMatchObject({ biasOffset: 24, biasHeadStride: 0, biasRowStride: 6, biasColumnStride: 1 });
    expect(() => problemOf(q, k, k, { ...options, bias: Tensor.zeros([2, 1, 4, 4]) })).toThrow(/>=3, >=5/);
  });

  test("slopes per head, or per sequence and head; sparse ones are packed", () => {
    const alibiSlopes = counted([2, 8]).slice(1, 0, 4);
    const { sequences, storages } = problemOf(query, key, key, {
      alibiSlopes,
      sinks: counted([4, 2]).slice(1, 0, 1).reshape([4]),
    });
    expect(sequences.map((s) => s.alibiSlopesOffset)).toEqual([0, 8]);
    expect(sequences.map((s) => s.sinksOffset)).toEqual([0, 0]);
    expect([...storages[sequences[0]!.sinksStorage!]!]).toEqual([0, 2, 4, 6]);
  });
});

test("query, key and value side by side may have no row at all", async () => {
  const [heads, headDim] = [2, 4];
  const data = new Float32Array(0);
  const part = (which: number) => ({
    data,
    shape: [0, heads, headDim],
    strides: [3 * heads * headDim, headDim, 1],
    offset: which * heads * headDim,
  });
  const none = Int32Array.of(0, 0);
  const options = { layout: "thd", cuSeqlensQuery: none, cuSeqlensKey: none } as const;
  const { output } = await attention(part(0), part(1), part(2), options);
  expect(output.shape).toEqual([0, heads, headDim]);
});

describe("lengths and offsets", () => {
  const [query, key] = [counted([3, 1, 4, 2]), counted([3, 1, 6, 2])];
  const offsets = (options: AttentionOptions) =>
    problemOf(query, key, key, options).sequences.map((s) => s.queryOffset);

  test("lengths shorten sequences and move the default offset", () => {
    const options = { queryLengths: Int32Array.of(4, 0, 1), keyLengths: counted([3], "int32") };
    const { sequences } = problemOf(query, key, key, options);
    expect(sequences.map((s) => [s.queryLength, s.queryRows, s.keyLength, s.keyColumns, s.queryOffset])).toEqual([
      [4, 4, 0, 6, -4],
      [0, 4, 1, 6, 1],
      [1, 4, 2, 6, 1],
    ]);
  });

  test("one offset for all, or one each, from anything that holds integers", () => {
    expect(offsets({})).toEqual([2, 2, 2]);
    expect(offsets({ queryOffset: -7 })).toEqual([-7, -7, -7]);
    expect(offsets({ queryOffset: [0, 1, 2] })).toEqual([0, 1, 2]);
    expect(offsets({ queryOffset: Int32Array.of(3, 4, 5) })).toEqual([3, 4, 5]);
    expect(offsets({ queryOffset: counted([5], "int32").slice(0, 1, 4) })).toEqual([1, 2, 3]);
    const everyOther = { data: Int32Array.of(9, 0, 8, 0, 7), shape: [3], strides: [2] };
    expect(offsets({ queryOffset: everyOther })).toEqual([9, 8, 7]);
  });
});

describe("inputs that are not tensors of this library", () => {
  const data = Float32Array.from({ length: 24 }, (_, i) => i);

  test("dims and type, shape and dtype, strides and offset, whichever names they go by", () => {
    const plain = problemOf(
      { data, shape: [1, 2, 3, 4] },
      { data, dims: [1, 2, 3, 4], type: "float32" },
      { data, shape: [1, 2, 3, 4], dtype: "float32" },
    );
    expect(plain.storages.slice(0, 3)).toEqual([data, data, data]);
    const upsideDown = { data, shape: [1, 1, 3, 4], stride: [0, 0, -4, 1], offset: 8 };
    const { sequences, storages } = problemOf(upsideDown, upsideDown, upsideDown);
    expect(at(storages, sequences[0]!, "query", 0, 2, 1)).toBe(1);
  });

  test("memory shared with other threads", () => {
    const shared = new Float32Array(new SharedArrayBuffer(96));
    expect(
      problemOf(Tensor.from(shared, [1, 2, 3, 4]), { data, shape: [1, 2, 3, 4] }, { data, shape: [1, 2, 3, 4] })
        .storages[0],
    ).toBe(shared);
  });

  test("memory shared by a clone of its SharedArrayBuffer is seen as the same", () => {
    const shared = new SharedArrayBuffer(192);
    const input = { data: new Float32Array(shared, 0, 24), shape: [1, 2, 3, 4] };
    const clone = structuredClone(shared);
    const out = (offset: number) => Tensor.from(new Float32Array(clone, offset, 24), [1, 2, 3, 4]);
    expect(() => problemOf(input, input, input, { out: out(96) })).not.toThrow();
    expect(() => problemOf(input, input, input, { out: out(92) })).toThrow(
      expect.objectContaining({ code: "ERR_FOVEA_OPTION", message: expect.stringContaining("shares some with query") }),
    );
  });
});

describe("sizes of zero, and many sequences", () => {
  test.each([
    [[0, 2, 3, 4], [0, 2, 5, 4], 0],
    [[2, 2, 0, 4], [2, 2, 5, 4], 2],
    [[2, 2, 3, 4], [2, 2, 0, 4], 2],
  ])("%j with %j", (queryShape, keyShape, sequences) => {
    expect(problemOf(counted(queryShape), counted(keyShape), counted(keyShape)).problem.sequences).toBe(sequences);
  });

  test("what has no rows starts at 0: the place of its first row may lie outside the memory", () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i);
    const reversed = { data, shape: [3, 1, 4], strides: [-4, 4, 1], offset: 8 };
    const cuSeqlens = Int32Array.of(0, 3, 3);
    const options = { layout: "thd", cuSeqlensQuery: cuSeqlens, cuSeqlensKey: cuSeqlens } as const;
    const { sequences, storages } = problemOf(reversed, reversed, reversed, options);
    expect(at(storages, sequences[0]!, "key", 0, 2, 3)).toBe(3);
    const starts = { queryStart: 0, keyOffset: 0, valueOffset: 0, outputOffset: 0 };
    expect(sequences[1]).toMatchObject({ queryRows: 0, keyLength: 0, ...starts });
    // The same of a batch that runs backwards, in keys and mask without columns.
    const none = { data: new Float32Array(0), shape: [2, 1, 0, 4], strides: [-4, 4, 4, 1] };
    const mask = { data: new Uint8Array(0), dtype: "bool", shape: [2, 1, 3, 0], strides: [-1, 1, 1, 1] };
    const batch = problemOf(counted([2, 1, 3, 4]), none, none, { mask }).sequences;
    expect(batch[1]).toMatchObject({ keyOffset: 0, valueOffset: 0, maskOffset: 0 });
  });

  test("no ragged sequences at all: every row is past the last", () => {
    const none = Int32Array.of(0);
    const tensor = counted([3, 1, 2]);
    const options = {
      layout: "thd",
      cuSeqlensQuery: none,
      cuSeqlensKey: none,
      alibiSlopes: Tensor.zeros([0, 1]),
    } as const;
    const { sequences } = problemOf(tensor, tensor, tensor, options);
    expect(sequences).toHaveLength(1);
    expect(sequences[0]).toMatchObject({ queryLength: 0, queryRows: 3, keyLength: 0, alibiSlopesStorage: -1 });
  });

  test("the scratch grows", () => {
    const query = counted([1000, 1, 1, 1]);
    const { sequences } = problemOf(query, query, query);
    expect(sequences).toHaveLength(1000);
    expect(sequences[999]).toMatchObject({ queryLength: 1, queryOffset: 0, queryStorage: 0, valueOffset: 999 });
    expect(problemOf(counted([1, 1, 2, 1]), query.slice(0, 0, 1), query.slice(0, 0, 1)).sequences).toHaveLength(1);
  });
});
