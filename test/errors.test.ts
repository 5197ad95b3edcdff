// Wrong calls, each with its code and message. All are found before anything runs, so the native module is not needed.
import { describe, expect, test } from "vitest";
import { attention, attentionSync, explain, FoveaError, referenceAttention, Tensor } from "../lib/index.js";
import { anyText, resizable } from "./support/wrong.js";

const float = (...shape: number[]) => Tensor.zeros(shape);
const int32 = (...values: number[]) => Tensor.from(Int32Array.from(values), [values.length]);

// A call that is right: batch 2, heads 4, kvHeads 2, queryLength 3, keyLength 5, headDim 8, valueDim 6.
const right = { query: float(2, 4, 3, 8), key: float(2, 2, 5, 8), value: float(2, 2, 5, 6) };
// The same of a ragged one: 2 sequences in 6 query and 10 key tokens; and of a paged one: 7 pages of 4 rows.
const ragged = {
  query: float(6, 4, 8),
  key: float(10, 2, 8),
  value: float(10, 2, 6),
  layout: "thd",
  cuSeqlensQuery: Int32Array.of(0, 3, 6),
  cuSeqlensKey: Int32Array.of(0, 5, 10),
};
const paged = {
  key: float(7, 2, 4, 8),
  value: float(7, 2, 4, 6),
  pageTable: Tensor.from(Int32Array.of(0, 1, 2, 3, 4, 5), [2, 3]),
  keyLengths: Int32Array.of(12, 9),
};
const pagedRagged = {
  ...ragged,
  ...paged,
  key: float(7, 4, 2, 8),
  value: float(7, 4, 2, 6),
  cuSeqlensKey: undefined,
};

function disposed(): Tensor {
  const tensor = float(2, 4, 3, 8);
  tensor.dispose();
  return tensor;
}

function transferred(): Tensor {
  const tensor = float(2, 4, 3, 8);
  structuredClone(tensor.data, { transfer: [tensor.data.buffer as ArrayBuffer] });
  return tensor;
}

const growable = new Float32Array(Reflect.construct(SharedArrayBuffer, [768, { maxByteLength: 1024 }]) as ArrayBuffer);
/** The types of Node 20 know nothing of WebAssembly. */
interface Wasm {
  WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };
}
const ofWasm = new Float32Array(new (globalThis as unknown as Wasm).WebAssembly.Memory({ initial: 2 }).buffer, 64, 192);
const shared = new ArrayBuffer(4096);
const input = new Float32Array(shared, 0, 192);
const overlapping = new Float32Array(shared, 188 * 4, 144);

type Change = Record<string, unknown>;

const sharedOut = new Float32Array(144);
const shares = (type: "float32" | "int32" | "bool", ...shape: number[]) => {
  const array = { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[type];
  return {
    data: new array(
      sharedOut.buffer,
      0,
      shape.reduce((a, b) => a * b),
    ),
    shape,
    dtype: type,
  };
};
/** Each input in memory that `sharedOut` is in, and what is changed for that. */
const sharing: [string, Change][] = [
  ["key", { key: shares("float32", 2, 1, 5, 8), value: float(2, 1, 5, 6) }],
  ["value", { key: float(2, 1, 5, 8), value: shares("float32", 2, 1, 5, 6) }],
  ["mask", { mask: shares("bool", 3, 5) }],
  ["bias", { bias: shares("float32", 3, 5) }],
  ["alibiSlopes", { alibiSlopes: shares("float32", 4) }],
  ["sinks", { sinks: shares("float32", 4) }],
  ["pageTable", { ...paged, pageTable: shares("int32", 2, 3) }],
];

/** What is changed in the right call; the code; the message. */
const wrongCalls: [Change, string, string | RegExp][] = [
  // Not tensors.
  [{ query: undefined }, "ARGUMENT", "query: expected a Tensor or { data: typed array, shape, dtype }, got undefined"],
  [
    { key: new Float32Array(4) },
    "ARGUMENT",
    "key: expected a Tensor or { data: typed array, shape, dtype }, got Float32Array(4)",
  ],
  [{ value: [1, 2] }, "ARGUMENT", "value: expected a Tensor or { data: typed array, shape, dtype }, got Array(2)"],
  [
    { query: { data: [1, 2], shape: [2] } },
    "ARGUMENT",
    "query: expected a Tensor or { data: typed array, shape, dtype }, got { data, shape }",
  ],
  [{ query: { data: new Float32Array(192) } }, "ARGUMENT", /^query: expected a Tensor/],
  [{ query: { shape: [2, 4, 3, 8], dtype: "float32" } }, "ARGUMENT", /^query: expected a Tensor/],
  [{ mask: null }, "ARGUMENT", "mask: expected a Tensor or { data: typed array, shape, dtype }, got null"],
  [
    { out: { data: new Float32Array(144), shape: [2, 4, 3, 6] } },
    "ARGUMENT",
    "out: expected a Tensor, got { data, shape }",
  ],
  [
    { query: Object.create(Tensor.prototype) as Tensor },
    "ARGUMENT",
    "query: expected a Tensor, got an object with its prototype alone",
  ],
  [
    { out: Object.create(Tensor.prototype) as Tensor },
    "ARGUMENT",
    "out: expected a Tensor, got an object with its prototype alone",
  ],
  [{ query: disposed() }, "DISPOSED", "query: the tensor was disposed"],
  [{ mask: disposed() }, "DISPOSED", "mask: the tensor was disposed"],
  [{ query: transferred() }, "BUFFER", /^query: its ArrayBuffer is detached/],
  [{ query: { data: resizable, shape: [2, 4, 3, 8] } }, "BUFFER", /^query: its ArrayBuffer is resizable; copy/],
  [{ query: { data: growable, shape: [2, 4, 3, 8] } }, "BUFFER", /^query: its ArrayBuffer is resizable; copy/],
  [{ query: { data: ofWasm, shape: [2, 4, 3, 8] } }, "BUFFER", /^query: its ArrayBuffer is a WebAssembly.Memory's/],
  [{ mask: { data: ofWasm, shape: [3, 5] } }, "BUFFER", /^mask: its ArrayBuffer is a WebAssembly.Memory's/],

  // dtypes.
  [
    { query: { data: new Float64Array(192), shape: [2, 4, 3, 8] } },
    "DTYPE",
    /^query: expected a Float32Array.*, got Float64Array\(192\)$/,
  ],
  [{ query: { data: new DataView(new ArrayBuffer(8)), shape: [2] } }, "DTYPE", /, got DataView\(8\)$/],
  [
    { query: { data: new Uint16Array(192), shape: [2, 4, 3, 8] } },
    "DTYPE",
    'query: Uint16Array(192) needs a dtype: expected "float16" or "bfloat16"',
  ],
  [
    { query: { data: new Uint16Array(192), shape: [2, 4, 3, 8], type: "float32" } },
    "DTYPE",
    'query: expected a Float32Array for dtype "float32", got Uint16Array(192)',
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, 8], dtype: "float64" } },
    "DTYPE",
    'query: expected a dtype of [float32, float16, bfloat16, int32, bool], got "float64"',
  ],
  [
    { query: Tensor.zeros([2, 4, 3, 8], { dtype: "int32" }) },
    "DTYPE",
    'query: expected dtype "float32", "float16" or "bfloat16", got "int32"',
  ],
  [
    { key: Tensor.zeros([2, 2, 5, 8], { dtype: "float16" }) },
    "DTYPE",
    'key: expected dtype "float32" as in query, got "float16"',
  ],
  [
    { value: Tensor.zeros([2, 2, 5, 6], { dtype: "bfloat16" }) },
    "DTYPE",
    'value: expected dtype "float32" as in query, got "bfloat16"',
  ],
  [{ mask: float(3, 5) }, "DTYPE", 'mask: expected dtype "bool", got "float32"'],
  [
    { bias: Tensor.zeros([3, 5], { dtype: "bool" }) },
    "DTYPE",
    'bias: expected dtype "float32", "float16" or "bfloat16", got "bool"',
  ],
  [
    { alibiSlopes: Tensor.zeros([4], { dtype: "float16" }) },
    "DTYPE",
    'alibiSlopes: expected dtype "float32", got "float16"',
  ],
  [
    { out: Tensor.zeros([2, 4, 3, 6], { dtype: "float16" }) },
    "DTYPE",
    'out: expected dtype "float32" as in query, got "float16"',
  ],
  [{ ...paged, pageTable: float(2, 3) }, "DTYPE", 'pageTable: expected dtype "int32", got "float32"'],

  // Shapes of query, key and value.
  [
    { query: float(4, 3, 8) },
    "SHAPE",
    "query: expected [*, *, *, *] (batch, heads, queryLength, headDim), got [4, 3, 8]",
  ],
  [
    { ...ragged, query: float(1, 6, 4, 8) },
    "SHAPE",
    "query: expected [*, *, *] (tokens, heads, headDim), got [1, 6, 4, 8]",
  ],
  [{ key: float(2, 5, 8) }, "SHAPE", "key: expected [*, *, *, *] (batch, kvHeads, keyLength, headDim), got [2, 5, 8]"],
  [
    { key: float(2, 2, 5, 7) },
    "SHAPE",
    "key: expected [2, *, *, 8] (batch, kvHeads, keyLength, headDim), got [2, 2, 5, 7]",
  ],
  [
    { key: float(3, 2, 5, 8) },
    "SHAPE",
    "key: expected [2, *, *, 8] (batch, kvHeads, keyLength, headDim), got [3, 2, 5, 8]",
  ],
  [
    { value: float(2, 2, 4, 6) },
    "SHAPE",
    "value: expected [2, 2, 5, *] (batch, kvHeads, keyLength, valueDim), got [2, 2, 4, 6]",
  ],
  [
    { value: float(2, 4, 5, 6) },
    "SHAPE",
    "value: expected [2, 2, 5, *] (batch, kvHeads, keyLength, valueDim), got [2, 4, 5, 6]",
  ],
  [{ layout: "bshd" }, "SHAPE", "key: expected kvHeads that divides heads (3), got [2, 2, 5, 8]"],
  [
    { layout: "bshd", key: float(2, 2, 3, 7) },
    "SHAPE",
    "key: expected [2, *, *, 8] (batch, keyLength, kvHeads, headDim), got [2, 2, 3, 7]",
  ],
  [
    { ...ragged, value: float(9, 2, 6) },
    "SHAPE",
    "value: expected [10, 2, *] (tokens, kvHeads, valueDim), got [9, 2, 6]",
  ],
  [
    { key: float(2, 3, 5, 8), value: float(2, 3, 5, 6) },
    "SHAPE",
    "key: expected kvHeads that divides heads (4), got [2, 3, 5, 8]",
  ],
  [
    { key: float(2, 0, 5, 8), value: float(2, 0, 5, 6) },
    "SHAPE",
    "key: expected kvHeads that divides heads (4), got [2, 0, 5, 8]",
  ],
  [
    { query: float(5e9, 4, 0, 8), key: float(5e9, 2, 0, 8), value: float(5e9, 2, 0, 8) },
    "SHAPE",
    "query: expected a batch of at most 16777216, got [5000000000, 4, 0, 8]",
  ],
  [{ query: float(2, 0, 3, 8) }, "SHAPE", "query: expected heads from 1 to 1048576, got [2, 0, 3, 8]"],
  [
    { query: { data: new Float32Array(8), shape: [2, 2 ** 20 + 2, 3, 8], strides: [0, 0, 0, 1] } },
    "SHAPE",
    "query: expected heads from 1 to 1048576, got [2, 1048578, 3, 8]",
  ],
  [
    { query: float(2, 4, 3, 513), key: float(2, 2, 5, 513) },
    "SHAPE",
    "query: expected headDim from 1 to 512, got [2, 4, 3, 513]",
  ],
  [{ value: float(2, 2, 5, 0) }, "SHAPE", "value: expected valueDim from 1 to 512, got [2, 2, 5, 0]"],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, -8] } },
    "SHAPE",
    "query: expected sizes that are integers >= 0, got [2, 4, 3, -8]",
  ],
  [
    { query: { data: new Float32Array(192), shape: 192 } },
    "SHAPE",
    "query: expected a shape, an array of sizes, got 192",
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, "4", 3n, Symbol("dim")] } },
    "SHAPE",
    'query: expected sizes that are integers >= 0, got [2, "4", 3n, Symbol(dim)]',
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, 8], strides: new Array(4) } },
    "SHAPE",
    "query: expected 4 integer strides and an integer offset, got [undefined, undefined, undefined, undefined] and 0",
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, 8], strides: [8, 1] } },
    "SHAPE",
    "query: expected 4 integer strides and an integer offset, got [8, 1] and 0",
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, 8], strides: 4 } },
    "SHAPE",
    "query: expected 4 integer strides and an integer offset, got 4 and 0",
  ],
  [
    { query: { data: new Float32Array(191), shape: [2, 4, 3, 8] } },
    "BOUNDS",
    "query: shape [2, 4, 3, 8] with strides [96, 24, 8, 1] and offset 0 touches elements 0 to 191, but its data has 191",
  ],
  [
    { query: { data: new Float32Array(192), shape: [2, 4, 3, 8], strides: [96, 24, -8, 1] } },
    "BOUNDS",
    /^query: .* touches elements -16 to 175, but/,
  ],

  // Pages.
  [{ ...paged, keyLengths: undefined }, "OPTION", "keyLengths: required with pageTable"],
  [{ ...paged, pageTable: int32(1, 2) }, "SHAPE", "pageTable: expected [*, *] (batch, maxPages), got [2]"],
  [
    { ...paged, pageTable: int32(1, 2, 3).reshape([3, 1]), keyLengths: Int32Array.of(1, 1) },
    "SHAPE",
    "pageTable: expected [2, *] (batch, maxPages), got [3, 1]",
  ],
  [{ ...paged, keyLengths: Int32Array.of(12, 13) }, "BOUNDS", "keyLengths[1]: expected 0 to 12, got 13"],
  [
    { ...paged, pageTable: int32(0, 1, 2, 3, 4, 7).reshape([2, 3]) },
    "BOUNDS",
    "pageTable[1, 2]: expected a page from 0 to 6, got 7",
  ],
  [
    { ...paged, pageTable: int32(0, -1, 2, 3, 4, 5).reshape([2, 3]) },
    "BOUNDS",
    "pageTable[0, 1]: expected a page from 0 to 6, got -1",
  ],
  [
    { ...paged, key: float(7, 2, 0, 8), value: float(7, 2, 0, 6) },
    "SHAPE",
    "key: expected pageSize >= 1, got [7, 2, 0, 8]",
  ],
  [
    { ...paged, value: float(6, 2, 4, 6) },
    "SHAPE",
    "value: expected [7, 2, 4, *] (pages, kvHeads, pageSize, valueDim), got [6, 2, 4, 6]",
  ],
  [
    { ...pagedRagged, key: float(10, 2, 8) },
    "SHAPE",
    "key: expected [*, *, *, *] (pages, pageSize, kvHeads, headDim), got [10, 2, 8]",
  ],
  [
    { ...pagedRagged, cuSeqlensKey: Int32Array.of(0, 1, 2) },
    "OPTION",
    "cuSeqlensKey: not with pageTable; use keyLengths",
  ],
  [{ ...pagedRagged, keyLengths: undefined }, "OPTION", "keyLengths: required with pageTable"],

  // Lengths and offsets.
  [{ queryLengths: Int32Array.of(3) }, "SHAPE", "queryLengths: expected [2] (batch), got [1]"],
  [{ queryLengths: Int32Array.of(3, 4) }, "BOUNDS", "queryLengths[1]: expected 0 to 3, got 4"],
  [{ keyLengths: Int32Array.of(-1, 5) }, "BOUNDS", "keyLengths[0]: expected 0 to 5, got -1"],
  [{ keyLengths: [5, 5] }, "ARGUMENT", "keyLengths: expected an Int32Array or an int32 tensor [*], got Array(2)"],
  [{ keyLengths: float(2) }, "ARGUMENT", "keyLengths: expected an Int32Array or an int32 tensor [*], got float32 [2]"],
  [
    { keyLengths: int32(5, 5).reshape([1, 2]) },
    "ARGUMENT",
    "keyLengths: expected an Int32Array or an int32 tensor [*], got int32 [1, 2]",
  ],
  [{ cuSeqlensQuery: Int32Array.of(0, 3, 6) }, "OPTION", 'cuSeqlensQuery: only with layout "thd"'],
  [{ cuSeqlensKey: Int32Array.of(0, 3, 6) }, "OPTION", 'cuSeqlensKey: only with layout "thd"'],
  [{ ...ragged, cuSeqlensQuery: undefined }, "OPTION", 'cuSeqlensQuery: required with layout "thd"'],
  [{ ...ragged, cuSeqlensKey: undefined }, "OPTION", 'cuSeqlensKey: required with layout "thd"'],
  [{ ...ragged, cuSeqlensKey: Int32Array.of(0, 5) }, "SHAPE", "cuSeqlensKey: expected [3] (sequences + 1), got [2]"],
  [{ ...ragged, cuSeqlensQuery: new Int32Array() }, "SHAPE", "cuSeqlensQuery: expected [*] (sequences + 1), got [0]"],
  [
    { ...ragged, cuSeqlensQuery: new Int32Array(2 ** 24 + 2) },
    "SHAPE",
    "cuSeqlensQuery: expected at most 16777217 entries (sequences + 1), got 16777218",
  ],
  [{ ...ragged, cuSeqlensQuery: Int32Array.of(1, 3, 6) }, "BOUNDS", "cuSeqlensQuery[0]: expected 0, got 1"],
  [{ ...ragged, cuSeqlensQuery: Int32Array.of(0, 3, 2) }, "BOUNDS", "cuSeqlensQuery[2]: expected 3 to 6, got 2"],
  [{ ...ragged, cuSeqlensKey: Int32Array.of(0, 5, 11) }, "BOUNDS", "cuSeqlensKey[2]: expected 5 to 10, got 11"],
  [
    { ...ragged, queryLengths: Int32Array.of(3, 3) },
    "OPTION",
    'queryLengths: not with layout "thd"; use cuSeqlensQuery',
  ],
  [
    { ...ragged, keyLengths: Int32Array.of(5, 5) },
    "OPTION",
    'keyLengths: not with layout "thd" unless paged; use cuSeqlensKey',
  ],
  [
    { queryOffset: 0.5 },
    "OPTION",
    "queryOffset: expected an integer of at most 2^52 in size, or an array, Int32Array or int32 tensor of one per sequence, got 0.5",
  ],
  [
    { queryOffset: -(2 ** 52) - 1 },
    "OPTION",
    "queryOffset: expected an integer of at most 2^52 in size, or an array, Int32Array or int32 tensor of one per sequence, got -4503599627370497",
  ],
  [
    { queryOffset: [0, 2 ** 60] },
    "OPTION",
    "queryOffset[1]: expected an integer of at most 2^52 in size, got 1152921504606847000",
  ],
  [{ queryOffset: [0] }, "SHAPE", "queryOffset: expected [2] (batch), got [1]"],
  [{ queryOffset: [0, NaN] }, "OPTION", "queryOffset[1]: expected an integer of at most 2^52 in size, got NaN"],
  [
    { queryOffset: "0" },
    "OPTION",
    'queryOffset: expected an integer of at most 2^52 in size, or an array, Int32Array or int32 tensor of one per sequence, got "0"',
  ],

  // Masks, biases, vectors.
  [
    { mask: Tensor.zeros([5], { dtype: "bool" }) },
    "SHAPE",
    /^mask: expected \[2, 4, 3, 5\] \(batch, heads, queryLength, keyLength; .*\), got \[5\]$/,
  ],
  [{ mask: Tensor.zeros([3, 4], { dtype: "bool" }) }, "SHAPE", /got \[3, 4\]$/],
  [{ bias: float(1, 2, 4, 3, 5) }, "SHAPE", /^bias: expected \[2, 4, 3, 5\]/],
  [{ bias: float(2, 2, 3, 5) }, "SHAPE", /^bias: expected \[2, 4, 3, 5\]/],
  [{ ...ragged, bias: float(2, 4) }, "SHAPE", /^bias: expected \[2, 4, >=3, >=5\] .* got \[2, 4\]$/],
  [
    { alibiSlopes: new Float32Array(8) },
    "SHAPE",
    "alibiSlopes: expected [4] (heads) or [2, 4] (batch, heads), got [8]",
  ],
  [{ alibiSlopes: float(3, 4) }, "SHAPE", "alibiSlopes: expected [4] (heads) or [2, 4] (batch, heads), got [3, 4]"],
  [{ sinks: float(2, 4) }, "SHAPE", "sinks: expected [4] (heads), got [2, 4]"],
  [
    { sinks: [0, 0, 0, 0] },
    "ARGUMENT",
    "sinks: expected a Float32Array, a Tensor or { data: typed array, shape, dtype }, got Array(4)",
  ],
  [
    { alibiSlopes: new Float64Array(4) },
    "ARGUMENT",
    "alibiSlopes: expected a Float32Array, a Tensor or { data: typed array, shape, dtype }, got Float64Array(4)",
  ],
  [
    { alibiSlopes: { data: [1, 2] } },
    "ARGUMENT",
    /^alibiSlopes: expected a Float32Array, a Tensor or .*, got { data }$/,
  ],

  // Options.
  [{ caussal: true }, "OPTION", 'options: there is no option "caussal" (did you mean "causal"?)'],
  [{ kvLengths: Int32Array.of(1) }, "OPTION", 'options: there is no option "kvLengths" (did you mean "keyLengths"?)'],
  [{ dropoutProbability: 0 }, "OPTION", 'options: there is no option "dropoutProbability"'],
  [{ window: { lft: 1 } }, "OPTION", 'window: there is no option "lft" (did you mean "left"?)'],
  [{ window: 4 }, "OPTION", "window: expected an object, got 4"],
  [
    { window: { left: -1 } },
    "OPTION",
    "window.left: expected an integer from 0 to 2^53 - 1 (left out: no limit), got -1",
  ],
  [
    { window: { right: 1.5 } },
    "OPTION",
    "window.right: expected an integer from 0 to 2^53 - 1 (left out: no limit), got 1.5",
  ],
  [
    { window: { right: 2 ** 53 } },
    "OPTION",
    "window.right: expected an integer from 0 to 2^53 - 1 (left out: no limit), got 9007199254740992",
  ],
  [{ window: new Map([["left", 1]]) }, "OPTION", "window: expected an object, got Map"],
  [{ layout: "hbsd" }, "OPTION", 'layout: expected "bhsd" or "bshd" or "thd", got "hbsd" (did you mean "bhsd"?)'],
  [{ layout: 3 }, "OPTION", 'layout: expected "bhsd" or "bshd" or "thd", got 3'],
  [{ algorithm: "flash" }, "OPTION", 'algorithm: expected "auto" or "standard" or "tiled", got "flash"'],
  [{ scale: NaN }, "OPTION", "scale: expected a number of at most 2.3e+38 in size, got NaN"],
  [{ scale: "1" }, "OPTION", 'scale: expected a number of at most 2.3e+38 in size, got "1"'],
  [{ scale: 1n }, "OPTION", "scale: expected a number of at most 2.3e+38 in size, got 1n"],
  [{ scale: -1e39 }, "OPTION", "scale: expected a number of at most 2.3e+38 in size, got -1e+39"],
  [{ softcap: -1 }, "OPTION", "softcap: expected 0 (none) or a number > 0 that is not 0 as a float32, got -1"],
  [{ softcap: 1e-50 }, "OPTION", "softcap: expected 0 (none) or a number > 0 that is not 0 as a float32, got 1e-50"],
  [{ softcap: 1e39 }, "OPTION", "softcap: expected a number of at most 2.3e+38 in size, got 1e+39"],
  [{ softcap: Infinity }, "OPTION", "softcap: expected a number of at most 2.3e+38 in size, got Infinity"],
  [{ causal: 1 }, "OPTION", "causal: expected true or false, got 1"],
  [{ returnLse: "yes" }, "OPTION", 'returnLse: expected true or false, got "yes"'],
  [{ returnScores: true }, "OPTION", 'returnScores: expected "scaled" or "capped" or "biased", got true'],
  [
    { returnScores: "scaled", algorithm: "tiled" },
    "OPTION",
    'returnScores: not with algorithm "tiled", which never has them; use "standard" or "auto"',
  ],
  [{ ...ragged, returnWeights: true }, "OPTION", 'returnWeights: not with layout "thd"'],
  [{ ...ragged, returnScores: "scaled" }, "OPTION", 'returnScores: not with layout "thd"'],
  [{ signal: {} }, "OPTION", "signal: expected an AbortSignal, got {  }"],

  // Messages stay short, and are made of values that do not want to be shown.
  [
    { layout: "b".repeat(5000) },
    "OPTION",
    `layout: expected "bhsd" or "bshd" or "thd", got "${"b".repeat(100)}..." (5000 characters)`,
  ],
  [
    { query: { data: new Float32Array(1), shape: new Array(5000).fill("a") } },
    "SHAPE",
    `query: expected sizes that are integers >= 0, got [${'"a", '.repeat(16)}and 4984 more]`,
  ],
  [
    { signal: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])) },
    "OPTION",
    /^signal: expected an AbortSignal, got { k0, .*, k15, and 4 more }$/,
  ],
  [
    {
      signal: {
        get constructor() {
          throw new Error("not to be looked at");
        },
      },
    },
    "OPTION",
    "signal: expected an AbortSignal, got an object",
  ],
  [{ causal: { constructor: { name: 5 } } }, "OPTION", "causal: expected true or false, got object"],

  // Devices.
  [{ device: "cuda" }, "DEVICE", /^device: "cuda" cannot be used: /],
  [{ device: "cuda:1" }, "DEVICE", /^device: "cuda:1" cannot be used: /],
  [{ device: "gpu" }, "DEVICE", 'device: expected "cpu", "cuda" or "cuda:N", got "gpu"'],

  // out.
  [
    { out: float(2, 4, 3, 8) },
    "SHAPE",
    "out: expected [2, 4, 3, 6] (batch, heads, queryLength, valueDim), got [2, 4, 3, 8]",
  ],
  [
    { ...ragged, out: float(2, 4, 3, 6) },
    "SHAPE",
    "out: expected [6, 4, 6] (tokens, heads, valueDim), got [2, 4, 3, 6]",
  ],
  [
    { query: { data: input, shape: [2, 4, 3, 8] }, out: Tensor.from(overlapping, [2, 4, 3, 6]) },
    "OPTION",
    "out: expected memory of its own, but it shares some with query",
  ],
  [
    {
      value: right.query.slice(3, 0, 6).slice(1, 0, 2).slice(2, 0, 3),
      key: float(2, 2, 3, 8),
      out: right.query.slice(3, 2),
    },
    "OPTION",
    "out: expected memory of its own, but it shares some with query",
  ],
  ...sharing.map(([name, change]): [Change, string, string] => [
    { ...change, out: Tensor.from(sharedOut, [2, 4, 3, 6]) },
    "OPTION",
    `out: expected memory of its own, but it shares some with ${name}`,
  ]),
  [{ out: disposed() }, "DISPOSED", "out: the tensor was disposed"],
];

/** The positional arguments and the options of a changed call. */
function args(change: Change): [never, never, never, never] {
  const { query, key, value, ...options } = { ...right, ...change };
  return [query, key, value, options] as never;
}

/** What `explain` takes and no other. */
function isBareShape(query: unknown): boolean {
  return typeof query === "object" && query !== null && !(query instanceof Tensor) && !("data" in query);
}

describe("wrong calls", () => {
  test("the right ones are right", () => {
    for (const change of [{}, ragged, paged, pagedRagged, { ...paged, ...ragged, ...pagedRagged }]) {
      expect(() => referenceAttention(...args(change))).not.toThrow();
    }
  });

  test("what somebody put on every object is no option", () => {
    const everywhere = Object.prototype as { somebody?: number };
    everywhere.somebody = 1;
    try {
      expect(() => referenceAttention(...args({ causal: true }))).not.toThrow();
      expect(() => referenceAttention(...args({ somebody: 1 }))).toThrow('there is no option "somebody"');
    } finally {
      delete everywhere.somebody;
    }
  });

  const rows = wrongCalls.map(([change, code, message]) => ({ change, code, message }));

  test.each(rows)("$message", async ({ change, code, message }) => {
    const expected = { name: "FoveaError", code: `ERR_FOVEA_${code}`, message: anyText(message) };
    const thrown = (call: () => unknown): unknown => {
      try {
        return { nothing: call() };
      } catch (error) {
        return error;
      }
    };
    const error = thrown(() => attentionSync(...args(change)));
    expect(error).toBeInstanceOf(FoveaError);
    expect(error).toMatchObject(expected);
    expect(thrown(() => referenceAttention(...args(change)))).toMatchObject(expected);
    await expect(attention(...args(change))).rejects.toMatchObject(expected);
    if (!isBareShape(change.query)) expect(thrown(() => explain(...args(change)))).toMatchObject(expected);
  });

  test.each([
    [5, "5"],
    [null, "null"],
    [[], "Array(0)"],
    [float(3, 5), "Tensor"],
    [new Map([["causal", true]]), "Map"],
    [new Set(["causal"]), "Set"],
    [new Date(0), "Date"],
    [Promise.resolve({ causal: true }), "Promise"],
  ])("options that are no object: %j", async (options, got) => {
    const expected = { code: "ERR_FOVEA_OPTION", message: `options: expected an object, got ${got}` };
    const call = [right.query, right.key, right.value, options as never] as const;
    for (const each of [attentionSync, explain, referenceAttention])
      expect(() => each(...call)).toThrow(expect.objectContaining(expected));
    await expect(attention(...call)).rejects.toMatchObject(expected);
  });
});
