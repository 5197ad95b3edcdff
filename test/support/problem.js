// Builds the numbers of a call on the native module by hand, for tests below lib/. Plain JavaScript: workers and child
// processes run it as it is.
import native from "./native.js";

const viewNames = ["query", "key", "value", "output", "mask", "bias", "lse", "weights", "scores"];

export const planLength = native.planFields.length + native.kernels.length * native.planPartFields.length;

/** One dense float32 sequence [heads, length, headDim], the value of key j being j everywhere; `changes` override fields. */
export function denseProblem({ heads = 1, queryLength = 16, keyLength = 16, headDim = 64, changes = {} } = {}) {
  const fields = {
    dtype: 0,
    storedDtype: changes.dtype ?? 0,
    biasDtype: 0,
    heads,
    kvHeads: heads,
    headDim,
    valueDim: headDim,
    scale: 1 / Math.sqrt(headDim),
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
    queryLength,
    queryRows: queryLength,
    keyLength,
    keyColumns: keyLength,
    queryOffset: keyLength - queryLength,
    pages: 0,
    segments: 0,
    pageTableStorage: -1,
    pageTableOffset: 0,
    keyPageStride: 0,
    valuePageStride: 0,
    alibiSlopesStorage: -1,
    alibiSlopesOffset: 0,
    sinksStorage: -1,
    sinksOffset: 0,
  };
  for (const [index, view] of viewNames.entries()) {
    const rows = view === "key" || view === "value" ? keyLength : queryLength;
    fields[`${view}Storage`] = index < 4 ? index : -1;
    fields[`${view}Offset`] = 0;
    fields[`${view}HeadStride`] = rows * headDim;
    fields[`${view}RowStride`] = headDim;
    fields[`${view}ColumnStride`] = 1;
  }
  Object.assign(fields, changes);

  const queries = heads * queryLength * headDim;
  const keys = heads * keyLength * headDim;
  return {
    problem: Float64Array.from([...native.problemFields, ...native.sequenceFields], (name) => fields[name]),
    storages: [
      new Float32Array(queries),
      new Float32Array(keys),
      Float32Array.from({ length: keys }, (_, i) => Math.floor(i / headDim) % keyLength),
      new Float32Array(queries),
    ],
    plan: new Float64Array(planLength),
    // Queries are zero, so every key weighs the same and the output is the mean of the values.
    expected: (keyLength - 1) / 2,
  };
}

/** Runs a problem off the event loop. Resolves with how it ended; `started` receives the call's id. */
export function run({ problem, storages, plan }, started = () => {}) {
  return new Promise((resolve) => started(native.attention(-1, problem, storages, plan, resolve)));
}
