// The right answer to a problem: the float64 reference on each sequence alone, contiguous, in the plainest of layouts, so
// that nothing of layouts, lengths, pages and broadcasting is shared with what is tested.
import { Tensor, type AttentionOptions } from "../../lib/index.js";
import { referenceAttentionFloat64, type Float64Results } from "../../lib/reference.js";
import { rowIndex, type BareSequence, type Problem } from "./build.js";

export interface Expected extends Float64Results {
  /** Largest |score| that has any weight to speak of. */
  readonly scoreSize: number;
  /** Root mean square of the values. */
  readonly valueSize: number;
}

export function oracle(problem: Problem): Expected {
  const { spec, sequences, queryRows, keyColumns, queryStarts } = problem;
  const { heads, valueDim, layout } = spec;
  const ragged = layout === "thd";
  const batch = sequences.length;
  const rows = heads * (ragged ? queryRows : batch * queryRows);
  const expected = {
    output: new Float64Array(rows * valueDim),
    lse: spec.lse ? new Float64Array(rows).fill(-Infinity) : undefined,
    weights: spec.weights ? new Float64Array(rows * keyColumns) : undefined,
    scores: spec.scores && new Float64Array(rows * keyColumns).fill(spec.scores === "biased" ? -Infinity : 0),
    scoreSize: 0,
    valueSize: 0,
  };
  let squares = 0;
  let values = 0;
  sequences.forEach((sequence, b) => {
    const { queryLength, keyLength } = sequence;
    const result = answer(problem, sequence, { returnLse: true, returnWeights: true, returnScores: "biased" });
    const stage =
      spec.scores === "scaled" || spec.scores === "capped"
        ? answer(problem, sequence, { returnScores: spec.scores }).scores!
        : result.scores!;
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queryLength; i++) {
        const from = h * queryLength + i;
        const to = rowIndex(layout, heads, queryRows, b, queryStarts[b]!, h, i);
        // lse, weights and scores are [batch, heads, ...] in every layout that has a batch, and lse [heads, tokens] in thd.
        const matrixRow = rowIndex("bhsd", heads, queryRows, ragged ? 0 : b, 0, h, ragged ? queryStarts[b]! + i : i);
        expected.output.set(result.output.subarray(from * valueDim, (from + 1) * valueDim), to * valueDim);
        expected.lse?.set([result.lse![from]!], matrixRow);
        expected.weights?.set(
          result.weights!.subarray(from * keyLength, (from + 1) * keyLength),
          matrixRow * keyColumns,
        );
        expected.scores?.set(stage.subarray(from * keyLength, (from + 1) * keyLength), matrixRow * keyColumns);
      }
    }
    result.scores!.forEach((score, i) => {
      if (result.weights![i]! > 1e-12) expected.scoreSize = Math.max(expected.scoreSize, Math.abs(score));
    });
    for (const value of sequence.value) squares += value * value;
    values += sequence.value.length;
  });
  expected.valueSize = values === 0 ? 0 : Math.sqrt(squares / values);
  return expected;
}

/** The reference's answer for one sequence, everything in float32 tensors (which hold the 16-bit floats exactly). */
function answer({ spec, sinks }: Problem, sequence: BareSequence, returned: AttentionOptions): Float64Results {
  const { queryLength, keyLength, mask, bias } = sequence;
  const tensor = (values: Float64Array, heads: number, length: number, dim: number) =>
    Tensor.from(Float32Array.from(values), [1, heads, length, dim]);
  return referenceAttentionFloat64(
    tensor(sequence.query, spec.heads, queryLength, spec.headDim),
    tensor(sequence.key, spec.kvHeads, keyLength, spec.headDim),
    tensor(sequence.value, spec.kvHeads, keyLength, spec.valueDim),
    {
      causal: spec.causal,
      window: spec.window,
      queryOffset: sequence.queryOffset,
      scale: spec.scale,
      softcap: spec.softcap,
      mask: mask && Tensor.from(mask, [1, spec.heads, queryLength, keyLength], { dtype: "bool" }),
      bias: bias && tensor(bias, spec.heads, queryLength, keyLength),
      alibiSlopes: sequence.alibiSlopes,
      sinks,
      ...returned,
    },
  );
}
