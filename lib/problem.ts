import type { Storage } from "../binding.js";
import { allocateFloat64 } from "./dtype.js";
import type { Placed } from "./layout.js";
import type { Call, Outputs } from "./shape.js";
import type { View } from "./view.js";

/** The numbers of a problem, in the order that native code reads them. */
export const problemFields = [
  "dtype",
  "storedDtype",
  "biasDtype",
  "heads",
  "kvHeads",
  "headDim",
  "valueDim",
  "scale",
  "softcap",
  "causal",
  "windowLeft",
  "windowRight",
  "pageSize",
  "algorithm",
  "scoreStage",
  "keyScalesStorage",
  "valueScalesStorage",
  "sequences",
] as const;

const sequenceSizes = [
  "queryLength",
  "queryRows",
  "keyLength",
  "keyColumns",
  "queryOffset",
  "pages",
  "segments",
] as const;
const sequencePages = ["pageTableStorage", "pageTableOffset", "keyPageStride", "valuePageStride"] as const;
const sequenceVectors = ["alibiSlopesStorage", "alibiSlopesOffset", "sinksStorage", "sinksOffset"] as const;
const viewNames = ["query", "key", "value", "output", "mask", "bias", "lse", "weights", "scores"] as const;
const viewFields = ["Storage", "Offset", "HeadStride", "RowStride", "ColumnStride"] as const;

/** The numbers of each sequence, which follow; after them come the segments of all sequences, two numbers each. */
export const sequenceFields: readonly string[] = [
  ...sequenceSizes,
  ...sequencePages,
  ...sequenceVectors,
  ...viewNames.flatMap((view) => viewFields.map((field) => view + field)),
];

const problemLength = problemFields.length;
const sequenceLength = sequenceFields.length;
const viewLength = viewFields.length;
const vectorsAt = sequenceSizes.length + sequencePages.length;
const viewsAt = vectorsAt + sequenceVectors.length;

export const dtypeCodes = { float32: 0, float16: 1, bfloat16: 2 } as const;
/** Of keys and values. */
export const storedCodes: { readonly float32: 0; readonly float16: 1; readonly bfloat16: 2; readonly int8: 3 } = {
  ...dtypeCodes,
  int8: 3,
};
const algorithmCodes = { auto: 0, standard: 1, tiled: 2 } as const;
const scoreStageCodes = { scaled: 1, capped: 2, biased: 3 } as const;

/** One scratch for every call, grown as needed: native code copies it before it returns. */
let scratch: Float64Array = new Float64Array(problemLength + 16 * sequenceLength);

/** Where the memory goes that a problem is about; nowhere when the problem is for planning alone. */
type Storages = Storage[] | undefined;

/**
 * Writes a call down as native code reads it, and appends to `storages` the memory it is about (nothing for bare shapes).
 * The result is valid until the next call.
 */
export function writeProblem(call: Call, outputs: Outputs, storages: Storages): Float64Array {
  return writeProblems([{ call, outputs }], storages);
}

/** The same of several calls with one `rulesKey`: one problem with all their sequences, in order. */
export function writeProblems(
  calls: readonly { readonly call: Call; readonly outputs: Outputs }[],
  storages: Storages,
): Float64Array {
  const count = calls.reduce((sum, { call }) => sum + call.sequences.length, 0);
  const segmentsAt = problemLength + count * sequenceLength;
  let length = segmentsAt;
  for (const { call } of calls) for (const { segments } of call.sequences) length += segments?.length ?? 0;
  if (length > scratch.length) scratch = allocateFloat64(2 * length);
  const numbers = scratch;
  const { call: one } = calls[0]!;
  writeRules(numbers, one);
  numbers[15] = one.keyScales === undefined ? -1 : addStorage(one.keyScales, "cache", storages);
  numbers[16] = one.valueScales === undefined ? -1 : addStorage(one.valueScales, "cache", storages);
  numbers[17] = count;
  let first = problemLength;
  for (const { call, outputs } of calls) {
    writeSequences(numbers, first, call, outputs, storages);
    first += call.sequences.length * sequenceLength;
  }
  let at = segmentsAt;
  for (const { call } of calls) {
    for (const { segments } of call.sequences) {
      if (segments === undefined) continue;
      numbers.set(segments, at);
      at += segments.length;
    }
  }
  return numbers;
}

/** Equal for calls whose sequences can be those of one problem. */
export function rulesKey(call: Call): string {
  writeRules(scratch, call);
  return scratch.subarray(0, 15).join();
}

function writeRules(numbers: Float64Array, call: Call): void {
  const { rules } = call;
  const biasDtype = call.bias?.view.dtype as keyof typeof dtypeCodes | undefined;
  numbers[0] = dtypeCodes[call.dtype];
  numbers[1] = storedCodes[call.storedDtype];
  numbers[2] = biasDtype === undefined ? 0 : dtypeCodes[biasDtype];
  numbers[3] = call.heads;
  numbers[4] = call.kvHeads;
  numbers[5] = call.headDim;
  numbers[6] = call.valueDim;
  numbers[7] = call.scale;
  numbers[8] = rules.softcap;
  numbers[9] = rules.causal ? 1 : 0;
  numbers[10] = rules.windowLeft;
  numbers[11] = rules.windowRight;
  numbers[12] = call.pageSize;
  numbers[13] = algorithmCodes[rules.algorithm];
  numbers[14] = rules.returnScores === undefined ? 0 : scoreStageCodes[rules.returnScores];
}

/** `first`: where the numbers of the call's first sequence go. */
function writeSequences(numbers: Float64Array, first: number, call: Call, outputs: Outputs, storages: Storages): void {
  writeSizes(numbers, first, call);
  writePages(numbers, first, call, storages);
  writeVector(numbers, first + vectorsAt, call, call.alibiSlopes, "alibiSlopes", storages);
  writeVector(numbers, first + vectorsAt + 2, call, call.sinks, "sinks", storages);
  const views = first + viewsAt;
  writeView(numbers, views, call, call.query, "query", 1, 0, storages);
  writeView(numbers, views + viewLength, call, call.key, "key", 0, 1, storages);
  writeView(numbers, views + 2 * viewLength, call, call.value, "value", 0, 1, storages);
  writeView(numbers, views + 3 * viewLength, call, outputs.output, "out", 1, 0, storages);
  writeView(numbers, views + 4 * viewLength, call, call.mask, "mask", 0, 0, storages);
  writeView(numbers, views + 5 * viewLength, call, call.bias, "bias", 0, 0, storages);
  writeView(numbers, views + 6 * viewLength, call, outputs.lse, "lse", 1, 0, storages);
  writeView(numbers, views + 7 * viewLength, call, outputs.weights, "weights", 0, 0, storages);
  writeView(numbers, views + 8 * viewLength, call, outputs.scores, "scores", 0, 0, storages);
}

function writeSizes(numbers: Float64Array, first: number, { sequences, pages }: Call): void {
  let at = first;
  for (const sequence of sequences) {
    numbers[at] = sequence.queryLength;
    numbers[at + 1] = sequence.queryRows;
    numbers[at + 2] = sequence.keyLength;
    numbers[at + 3] = sequence.keyColumns;
    numbers[at + 4] = sequence.queryOffset;
    numbers[at + 5] = pages;
    numbers[at + 6] = (sequence.segments?.length ?? 0) / 2;
    at += sequenceLength;
  }
}

function writePages(numbers: Float64Array, first: number, call: Call, storages: Storages): void {
  const { pageTable, sequences, key, value } = call;
  const storage = pageTable === undefined ? -1 : addStorage(pageTable, "pageTable", storages);
  let at = first + sequenceSizes.length;
  for (const { index, keyLength, pageStart = index * (pageTable?.batch ?? 0) } of sequences) {
    numbers[at] = storage;
    numbers[at + 1] = pageTable === undefined || keyLength === 0 ? 0 : pageTable.view.offset + pageStart;
    numbers[at + 2] = pageTable === undefined ? 0 : key.batch;
    numbers[at + 3] = pageTable === undefined ? 0 : value.batch;
    at += sequenceLength;
  }
}

function writeVector(
  numbers: Float64Array,
  first: number,
  call: Call,
  vector: Placed | undefined,
  name: string,
  storages: Storages,
): void {
  const storage = vector === undefined ? -1 : addStorage(vector, name, storages);
  let at = first;
  for (const { index, queryLength } of call.sequences) {
    numbers[at] = queryLength === 0 ? -1 : storage;
    numbers[at + 1] = vector === undefined ? 0 : vector.view.offset + index * vector.batch;
    at += sequenceLength;
  }
}

/** `first`: where the numbers of this view of the first sequence go. `queryStep` and `keyStep` (0 or 1): whether the rows of all sequences' queries, or keys, follow each other in the view. */
function writeView(
  numbers: Float64Array,
  first: number,
  call: Call,
  placed: Placed | undefined,
  name: string,
  queryStep: number,
  keyStep: number,
  storages: Storages,
): void {
  const { sequences } = call;
  let at = first;
  if (placed === undefined) {
    for (let i = 0; i < sequences.length; i++, at += sequenceLength) {
      numbers[at] = -1;
      numbers[at + 1] = numbers[at + 2] = numbers[at + 3] = numbers[at + 4] = 0;
    }
    return;
  }
  const storage = addStorage(placed, name, storages);
  const start = placed.view.offset + (storages === undefined ? unaligned(placed) : 0);
  // Pages are reached by the page table.
  const paged = keyStep === 1 && call.pageSize > 0;
  const batch = paged ? 0 : placed.batch;
  for (const { index, queryStart, queryRows, keyStart, keyLength } of sequences) {
    const row = queryStart * queryStep + keyStart * keyStep;
    // Where there are no rows, the place of the first may lie outside the storage.
    const rows = paged ? 1 : keyStep === 1 ? keyLength : queryRows;
    const empty = placed.view.size === 0 || rows === 0;
    numbers[at] = storage;
    numbers[at + 1] = empty ? 0 : start + index * batch + row * placed.row;
    numbers[at + 2] = placed.head;
    numbers[at + 3] = placed.row;
    numbers[at + 4] = placed.column;
    at += sequenceLength;
  }
}

/** The index of a view's storage. Bare shapes are counted as present. */
function addStorage({ view }: { readonly view: View }, name: string, storages: Storages): number {
  if (storages === undefined || view.storage === undefined) return 0;
  return storages.push(view.storage.handle(name)) - 1;
}

/** Elements from a multiple of 16 bytes to the start of a view's storage: plans look at how rows are aligned. */
function unaligned({ view: { storage } }: Placed): number {
  return storage === undefined ? 0 : (storage.byteOffset % 16) / storage.bytesPerElement;
}
