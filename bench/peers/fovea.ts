// fovea in each form that a program may call it in.
import { attention, attentionSync, Tensor } from "../../dist/index.js";
import type { Layout } from "./inputs.js";
import type { Contestant, MakeInputs } from "./measure.js";
import type { Point } from "./points.js";

export interface Form {
  name: string;
  layout: Layout;
  /** attentionSync, or attention and its promise. */
  sync: boolean;
  /** Writes into a tensor that the caller keeps, or returns a new one. */
  out: boolean;
}

export const forms: Form[] = [
  { name: "sync out", layout: "bhsd", sync: true, out: true },
  { name: "sync", layout: "bhsd", sync: true, out: false },
  { name: "async out", layout: "bhsd", sync: false, out: true },
  { name: "async", layout: "bhsd", sync: false, out: false },
  { name: "bshd sync out", layout: "bshd", sync: true, out: true },
];

export const quickForms: Form[] = forms.filter(({ name }) => name === "sync out" || name === "async");

/** A form ready to run on a point. */
export function fovea({ name, layout, sync, out }: Form, point: Point, inputs: MakeInputs): Contestant {
  const { batch, heads, kvHeads, queryLength, keyLength, headDim, causal } = point;
  const shape = (heads: number, length: number): number[] =>
    layout === "bhsd" ? [batch, heads, length, headDim] : [batch, length, heads, headDim];
  const data = inputs(layout);
  const query = Tensor.from(data.query, shape(heads, queryLength));
  const key = Tensor.from(data.key, shape(kvHeads, keyLength));
  const value = Tensor.from(data.value, shape(kvHeads, keyLength));
  // Filled, so that its pages are there before the first call.
  const kept = (): Tensor => Tensor.from(new Float32Array(data.query.length).fill(1), shape(heads, queryLength));
  const options = { layout, causal, ...(out ? { out: kept() } : {}) };
  return {
    name,
    layout,
    call: sync
      ? () => attentionSync(query, key, value, options).output.data
      : async () => (await attention(query, key, value, options)).output.data,
    release: async () => {},
  };
}
