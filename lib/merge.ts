// Merging attention over disjoint sets of keys.
import type { Storage } from "../binding.js";
import { whenSettled, attempt, type Device } from "./device.js";
import type { FloatDType } from "./dtype.js";
import { deviceError, FoveaError, shapeError, show } from "./errors.js";
import { assertFree, sharesMemory, takeOff } from "./flight.js";
import { dtypeError, floatDType, inputView, type FloatDTypeOf, type TensorInput } from "./input.js";
import { axes, labels, place, placeLse, type Placed } from "./layout.js";
import { discard, newView } from "./memory.js";
import { native } from "./native.js";
import type { Layout } from "./options.js";
import { dtypeCodes } from "./problem.js";
import { checkLayout, checkNames } from "./rules.js";
import { checkOut } from "./shape.js";
import { makeTensor, type Tensor } from "./tensor.js";
import { sameShape, type View } from "./view.js";

/** Attention of some queries over one set of keys, as `attention` returns it with `returnLse`. */
export interface AttentionPart<Output extends TensorInput = TensorInput> {
  /** float32, float16 or bfloat16, [batch, heads, queryLength, valueDim] in the order of the layout; with thd [tokens, heads, valueDim]. */
  readonly output: Output;
  /** float32 [batch, heads, queryLength]; with thd [heads, tokens]. */
  readonly lse: TensorInput;
}

export interface MergeOptions {
  /** The order of the outputs' dimensions. Default "bhsd". */
  layout?: Layout | undefined;
  /** Where to write the output, which is then this tensor: its shape and dtype, and no memory shared with a part. */
  out?: Tensor | undefined;
}

/** Attention over all keys. */
export interface MergeResult<D extends FloatDType = FloatDType> {
  /** In the layout and dtype of the parts. */
  readonly output: Tensor<D>;
  /** float32, shaped like the parts'. */
  readonly lse: Tensor<"float32">;
}

/**
 * Merges attention of the same queries over disjoint sets of keys into attention over all of them, exactly (but for rounding):
 *
 *     lse    = ln(sum over parts of e^lse_i)
 *     output = sum over parts of e^(lse_i - lse) * output_i
 *
 * (Rabe and Staats, arXiv:2112.05682). So texts can share the attention over a common prefix, and keys can be spread over
 * devices. All parts have one shape, one dtype and one device, where the result lives too; sums are float32, in the parts'
 * order. Results of `attention` with `returnLse` are parts as they are. A row whose lse is -Infinity saw no key and
 * contributes nothing, whatever its output; without any other it becomes 0 and -Infinity. A NaN in any other part is one in the
 * result, however small its e^(lse_i - lse). Where an lse is Infinity (by an infinite sink) parts with less contribute nothing,
 * and several such count equally. With `sinks`, give them to one part's call alone: each lse includes its sink, which must count
 * once.
 *
 * With tensors on a GPU it happens there, in call order.
 *
 * As with `attention`, work is done off the event loop (unless it is tiny), every failure rejects with a `FoveaError`, and
 * tensors must not be changed until the promise settles. ERR_FOVEA_ARGUMENT: no parts, or what is none; ERR_FOVEA_SHAPE,
 * ERR_FOVEA_DTYPE and ERR_FOVEA_DEVICE: parts that do not match; ERR_FOVEA_OPTION: a wrong layout or `out`; ERR_FOVEA_BUSY: what
 * another call writes.
 */
export async function mergeAttention<Output extends TensorInput>(
  parts: readonly AttentionPart<Output>[],
  options?: MergeOptions,
): Promise<MergeResult<FloatDTypeOf<Output>>> {
  const call = checkMerge(parts, options);
  const { output, lse } = newOutputs(call);
  const storages: Storage[] = [];
  const numbers = writeMerge(call, output, lse, storages);
  const land = takeOff(inputsOf(call), call.out?.view);
  try {
    await whenSettled((settled) => native().mergeAttention(numbers, storages, settled));
  } catch (error) {
    discardOutputs(call, output, lse);
    throw error;
  } finally {
    land();
  }
  return resultOf(call, output, lse) as MergeResult<FloatDTypeOf<Output>>;
}

/**
 * As `mergeAttention`, but merges before it returns, on the calling thread and fovea's own; on a GPU it returns once the work is
 * enqueued there. Throws a `FoveaError`.
 */
export function mergeAttentionSync<Output extends TensorInput>(
  parts: readonly AttentionPart<Output>[],
  options?: MergeOptions,
): MergeResult<FloatDTypeOf<Output>> {
  const call = checkMerge(parts, options);
  const { output, lse } = newOutputs(call);
  const storages: Storage[] = [];
  const numbers = writeMerge(call, output, lse, storages);
  try {
    attempt(() => native().mergeAttentionSync(numbers, storages));
  } catch (error) {
    discardOutputs(call, output, lse);
    throw error;
  }
  return resultOf(call, output, lse) as MergeResult<FloatDTypeOf<Output>>;
}

/** A checked merge. */
export interface MergeCall {
  readonly dtype: FloatDType;
  readonly device: Device;
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly dims: number;
  readonly layout: Layout;
  readonly parts: readonly { readonly output: Placed; readonly lse: Placed }[];
  readonly outputShape: readonly number[];
  readonly lseShape: readonly number[];
  readonly out: { readonly tensor: Tensor; readonly view: View } | undefined;
}

export function checkMerge(parts: unknown, options: MergeOptions = {}): MergeCall {
  checkNames("options", options, mergeOptionNames);
  const layout = checkLayout(options.layout);
  if (!Array.isArray(parts) || parts.length === 0) {
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `parts: expected a list of { output, lse }, got ${show(parts)}`);
  }
  const views = Array.from(parts, partViews); // holes too
  const { output } = views[0]!;
  const rank = layout === "thd" ? 3 : 4;
  const outputLabels = labels(layout, "batch", "heads", "queryLength", "valueDim");
  if (output.shape.length !== rank) {
    throw shapeError("parts[0].output", new Array<string>(rank).fill("*"), outputLabels, output.shape);
  }
  const dtype = floatDType("parts[0].output", output);
  const at = axes[layout];
  const [heads, rows] = [output.shape[at.head]!, output.shape[at.row]!];
  const batch = at.batch < 0 ? 1 : output.shape[at.batch]!;
  const lseShape = at.batch < 0 ? [heads, rows] : [batch, heads, rows];
  const lseLabels = at.batch < 0 ? "heads, tokens" : "batch, heads, queryLength";
  for (const [i, part] of views.entries()) {
    if (part.output.dtype !== dtype) {
      throw dtypeError(`parts[${i}].output`, `"${dtype}" as in parts[0]`, part.output);
    }
    if (part.lse.dtype !== "float32") throw dtypeError(`parts[${i}].lse`, '"float32"', part.lse);
    if (!sameShape(part.output.shape, output.shape)) {
      throw shapeError(`parts[${i}].output`, output.shape, outputLabels, part.output.shape);
    }
    if (!sameShape(part.lse.shape, lseShape)) throw shapeError(`parts[${i}].lse`, lseShape, lseLabels, part.lse.shape);
    checkPlace(`parts[${i}].output`, part.output, output.device);
    checkPlace(`parts[${i}].lse`, part.lse, output.device);
  }
  const out =
    options.out === undefined
      ? undefined
      : checkOut(options.out, output.shape, dtype, "parts[0].output", () => outputLabels);
  const call = {
    dtype,
    device: output.device,
    batch,
    heads,
    rows,
    dims: output.shape[at.column]!,
    layout,
    parts: views.map((part) => ({ output: place(part.output, at), lse: placeLse(part.lse) })),
    outputShape: output.shape,
    lseShape,
    out,
  };
  if (out !== undefined) checkWritten(call, out.view);
  forEachInput(call, (name, view) => assertFree(name, view, false));
  return call;
}

const mergeOptionNames = new Set(["layout", "out"] satisfies (keyof MergeOptions)[]);

function partViews(part: Partial<AttentionPart> | null | undefined, i: number): { output: View; lse: View } {
  if (typeof part !== "object" || part === null) {
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `parts[${i}]: expected { output, lse }, got ${show(part)}`);
  }
  if (part.lse === undefined) {
    const message = `parts[${i}].lse: expected a tensor, got undefined; attention returns it with returnLse: true`;
    throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
  }
  return {
    output: inputView(`parts[${i}].output`, part.output, false),
    lse: inputView(`parts[${i}].lse`, part.lse, false),
  };
}

function checkPlace(name: string, view: View, device: Device): void {
  if (view.device !== device) throw deviceError(name, `${device} as parts[0].output`, view.device);
}

/** Nothing that is written may be read, by this call or one in flight. */
function checkWritten(call: MergeCall, out: View): void {
  checkPlace("out", out, call.device);
  forEachInput(call, (name, view) => {
    if (!sharesMemory(out, view)) return;
    throw new FoveaError("ERR_FOVEA_OPTION", `out: expected memory of its own, but it shares some with ${name}`);
  });
  assertFree("out", out, true);
}

function forEachInput({ parts }: MergeCall, visit: (name: string, view: View) => void): void {
  for (const [i, { output, lse }] of parts.entries()) {
    visit(`parts[${i}].output`, output.view);
    visit(`parts[${i}].lse`, lse.view);
  }
}

function inputsOf({ parts }: MergeCall): View[] {
  return parts.flatMap(({ output, lse }) => [output.view, lse.view]);
}

/** The numbers of a merge, in the order that native code reads them. */
export const mergeFields = ["dtype", "batch", "heads", "rows", "dims", "parts"] as const;
/** The numbers of each view, which follow: output, lse, then output and lse of each part. */
export const mergeViewFields = ["Storage", "Offset", "BatchStride", "HeadStride", "RowStride", "ColumnStride"] as const;

function writeMerge(call: MergeCall, output: View, lse: View, storages: Storage[]): Float64Array {
  const { dtype, batch, heads, rows, dims, layout, parts } = call;
  const numbers: number[] = [dtypeCodes[dtype], batch, heads, rows, dims, parts.length];
  const write = ({ view, batch, head, row, column }: Placed, name: string) => {
    const storage = storages.push(view.storage!.handle(name)) - 1;
    numbers.push(storage, view.offset, batch, head, row, column);
  };
  write(place(output, axes[layout]), "out");
  write(placeLse(lse), "lse");
  for (const [i, part] of parts.entries()) {
    write(part.output, `parts[${i}].output`);
    write(part.lse, `parts[${i}].lse`);
  }
  return Float64Array.from(numbers);
}

function newOutputs(call: MergeCall): { output: View; lse: View } {
  const output = call.out?.view ?? newView("output", call.dtype, call.device, call.outputShape);
  try {
    return { output, lse: newView("lse", "float32", call.device, call.lseShape) };
  } catch (error) {
    if (call.out === undefined) discard(output);
    throw error;
  }
}

function discardOutputs(call: MergeCall, output: View, lse: View): void {
  if (call.out === undefined) discard(output);
  discard(lse);
}

function resultOf(call: MergeCall, output: View, lse: View): MergeResult {
  return {
    output: (call.out?.tensor ?? makeTensor(output)) as MergeResult["output"],
    lse: makeTensor(lse) as MergeResult["lse"],
  };
}
