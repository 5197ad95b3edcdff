// Rotary position embedding: pairs of elements are turned by an angle that grows with the place (Su et al. 2021, section 3.2).
import { decode } from "../dtype.js";
import { FoveaError, list, shapeError } from "../errors.js";
import { assertFree } from "../flight.js";
import { dtypeError, inputView, type TensorInput } from "../input.js";
import { sameShape, type View } from "../view.js";

export interface Rotary {
  readonly cos: View;
  readonly sin: View;
  readonly interleaved: boolean;
}

/** Checks the tables, of which `places` rows are needed, for queries [batch, length, heads, dim]. */
export function placeRotary(
  cosInput: TensorInput,
  sinInput: TensorInput,
  interleaved: boolean,
  query: View,
  places: number,
): Rotary {
  const cos = inputView("rotaryCos", cosInput, false);
  const sin = inputView("rotarySin", sinInput, false);
  for (const [name, view] of [["rotaryCos", cos] as const, ["rotarySin", sin] as const]) {
    if (view.dtype !== query.dtype) throw dtypeError(name, `"${query.dtype}" as in q`, view);
    const [rows, half] = view.shape;
    if (view.shape.length !== 2 || rows! < places || 2 * half! > query.shape[3]!) {
      const wanted = [`>=${places}`, `<=${Math.floor(query.shape[3]! / 2)}`];
      throw shapeError(name, wanted, "seqlenRo, rotaryDim / 2", view.shape);
    }
    assertFree(name, view, false);
  }
  if (!sameShape(cos.shape, sin.shape)) {
    const message = `rotarySin: expected ${list(cos.shape)} as rotaryCos, got ${list(sin.shape)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  return { cos, sin, interleaved };
}

/** The numbers of [batch, length, heads, dim], turned by the angles of their places. */
export function rotate(
  view: View,
  { cos, sin, interleaved }: Rotary,
  place: (b: number, i: number) => number,
): Float64Array {
  const [batch, length, heads, dim] = view.shape as [number, number, number, number];
  const half = cos.shape[1]!;
  const result = new Float64Array(batch * length * heads * dim);
  const row = new Float64Array(dim);
  let to = 0;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < length; i++) {
      const angle = place(b, i);
      for (let h = 0; h < heads; h++, to += dim) {
        for (let d = 0; d < dim; d++) row[d] = element(view, b, i, h, d);
        result.set(row, to);
        for (let pair = 0; pair < half; pair++) {
          const first = interleaved ? 2 * pair : pair;
          const second = interleaved ? first + 1 : pair + half;
          const [c, s] = [element(cos, angle, pair), element(sin, angle, pair)];
          result[to + first] = row[first]! * c - row[second]! * s;
          result[to + second] = row[first]! * s + row[second]! * c;
        }
      }
    }
  }
  return result;
}

function element({ storage, dtype, offset, strides }: View, ...index: number[]): number {
  const at = index.reduce((sum, i, dim) => sum + i * strides[dim]!, offset);
  return decode(dtype, storage!.array("tensor"), at);
}
