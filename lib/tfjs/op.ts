// The ops that fused graphs name, registered with TensorFlow.js when this module is loaded.
import { registerOp, type GraphNode } from "@tensorflow/tfjs-converter";
import { add, mul, tensor, tidy, transpose, type Tensor as TfTensor } from "@tensorflow/tfjs-core";
import { attention, attentionSync } from "../attention.js";
import { checkDevice } from "../device.js";
import type { AttentionOptions } from "../options.js";
import { makeTensor, Tensor } from "../tensor.js";
import { product } from "../view.js";
import { arrange, four, type Arrangement } from "./arrange.js";
import { composite, scoresShape } from "./composite.js";
import { placeMask } from "./mask.js";
import { asyncAttentionOp, attentionOp, shapeOp, type Program } from "./program.js";
import { recordedWeights } from "./record.js";

registerOp(attentionOp, (node) => attend(node));
registerOp(asyncAttentionOp, (node) => attendAsync(node));
registerOp(shapeOp, (node) => {
  const shape = scoresShape(programOf(node), node.inputs);
  return tensor(shape, [shape.length], "int32");
});

/** How often fused ops ran in this process. */
export interface FusedCalls {
  /** By fovea's kernels. */
  readonly kernel: number;
  /** By TensorFlow.js, as the graph said it, since the tensors were not those of attention. */
  readonly composite: number;
}

const calls = { kernel: 0, composite: 0 };

/** How often fused ops have run in this process: by fovea's kernels, and by TensorFlow.js where that could not be. */
export const fusedCalls = (): FusedCalls => ({ ...calls });

const programs = new Map<string, Program>();

/** Written as hexadecimal digits, since TensorFlow.js makes strings lower case. */
const nameOf = ({ attrs }: GraphNode): string =>
  Buffer.from((attrs["name"] as string | undefined) ?? "", "hex").toString();

function programOf({ attrs }: GraphNode): Program {
  const text = attrs["program"] as string;
  let program = programs.get(text);
  if (program === undefined) programs.set(text, (program = JSON.parse(text) as Program));
  return program;
}

function attend(node: GraphNode): TfTensor {
  const given = arranged(node);
  const read = given?.tensors.map((one) => one.dataSync<"float32">());
  given?.free();
  const call = given && callOf(node, given, read!);
  count(call);
  if (call === undefined) return asTheGraphSays(node);
  const { output, weights } = attentionSync(call.query, call.key, call.value, call.options);
  return call.finish(output, weights);
}

async function attendAsync(node: GraphNode): Promise<TfTensor> {
  const given = arranged(node);
  const read = given && (await Promise.all(given.tensors.map((one) => one.data<"float32">())));
  given?.free();
  const call = given && callOf(node, given, read!);
  count(call);
  if (call === undefined) return asTheGraphSays(node);
  const { output, weights } = await attention(call.query, call.key, call.value, call.options);
  return call.finish(output, weights);
}

function count(call: Call | undefined): void {
  if (call === undefined) calls.composite++;
  else calls.kernel++;
}

function asTheGraphSays(node: GraphNode): TfTensor {
  const recorded = recordedWeights();
  return composite(programOf(node), node.inputs, (weights) => {
    const copy = Tensor.from(weights.dataSync<"float32">().slice(), four(weights.shape));
    recorded?.push({ node: nameOf(node), weights: copy });
  });
}

interface Given {
  readonly arrangement: Arrangement;
  /** Query, key, value; and, where there are ones, all that is added to the scores, and the mask. */
  readonly tensors: TfTensor[];
  /** Gives back what is new of them. */
  free(): void;
}

function arranged(node: GraphNode): Given | undefined {
  const { inputs } = node;
  const arrangement = arrange(programOf(node), inputs);
  if (arrangement === undefined) return undefined;
  const bias = biasOf(arrangement, inputs);
  const mask = arrangement.masked && inputs[arrangement.masked.place]!;
  const tensors = [...inputs.slice(0, 3), ...(bias ? [bias.tensor] : []), ...(mask ? [mask] : [])];
  return { arrangement, tensors, free: () => bias?.free() };
}

/** One tensor of all that is added to the scores, and how to give it back where it is new. */
function biasOf({ added }: Arrangement, inputs: readonly TfTensor[]): { tensor: TfTensor; free(): void } | undefined {
  const [first, ...more] = added;
  if (first === undefined) return undefined;
  const own = inputs[first.place]!;
  if (more.length === 0 && first.factor === 1) return { tensor: own, free: () => {} };
  const sum = tidy(() =>
    added
      .map(({ place, factor }) => (factor === 1 ? inputs[place]! : mul(inputs[place]!, factor)))
      .reduce((total, one) => add(total, one)),
  );
  return { tensor: sum, free: () => sum.dispose() };
}

interface Call {
  readonly query: Tensor;
  readonly key: Tensor;
  readonly value: Tensor;
  readonly options: AttentionOptions;
  /** TensorFlow.js's tensor of what the call wrote; weights go where they were asked for. */
  finish(output: Tensor, weights: Tensor<"float32"> | undefined): TfTensor;
}

/** The call of fovea's; undefined where a mask leaves it to the graph. `read`: what the tensors hold. */
function callOf(node: GraphNode, { arrangement, tensors }: Given, read: readonly Float32Array[]): Call | undefined {
  const { scale, order, outputShape, finalShape, added, masked } = arrangement;
  const [q, k, v] = read as [Float32Array, Float32Array, Float32Array];
  const bias = added.length === 0 ? undefined : arrangement.placeBias(read[3]!, tensors[3]!.shape);
  const bits = { data: read.at(-1)! as unknown as Uint8Array, shape: tensors.at(-1)!.shape };
  const mask = masked && placeMask(arrangement, bits, q, k, bias);
  if (masked !== undefined && mask === undefined) return undefined;
  // Where a Transpose follows, the output is written in its order at once.
  const inOrder = order.every((dim, i) => dim === i);
  const data = inOrder ? undefined : new Float32Array(product(finalShape));
  const out = data && arrangement.outView(data);
  const device = node.attrs["device"] as string | undefined;
  const recorded = recordedWeights();
  return {
    query: makeTensor(arrangement.place("q", q)),
    key: makeTensor(arrangement.place("k", k)),
    value: makeTensor(arrangement.place("v", v)),
    options: {
      scale,
      bias: bias && makeTensor(bias),
      mask: mask && makeTensor(mask),
      out: out && makeTensor(out),
      device: device === undefined ? undefined : checkDevice("device", device),
      returnWeights: recorded !== undefined,
    },
    finish(output, weights) {
      if (weights !== undefined) recorded?.push({ node: nameOf(node), weights });
      if (out !== undefined) return tensor(data!, [...finalShape]);
      const result = tensor(output.data as Float32Array, [...outputShape]);
      if (inOrder) return result;
      const turned = transpose(result, [...order]);
      result.dispose();
      return turned;
    },
  };
}
