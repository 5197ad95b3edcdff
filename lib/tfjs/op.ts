// The ops that fused graphs name, registered with TensorFlow.js when this module is loaded.
import { registerOp, type GraphNode } from "@tensorflow/tfjs-converter";
import { add, mul, tensor, tidy, transpose, type Tensor as TfTensor } from "@tensorflow/tfjs-core";
import { attention, attentionSync } from "../attention.js";
import { checkDevice } from "../device.js";
import type { AttentionOptions } from "../options.js";
import { makeTensor, type Tensor } from "../tensor.js";
import { product } from "../view.js";
import { arrange, type Arrangement } from "./arrange.js";
import { composite, scoresShape } from "./composite.js";
import { asyncAttentionOp, attentionOp, shapeOp, type Program } from "./program.js";

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

function programOf({ attrs }: GraphNode): Program {
  const text = attrs["program"] as string;
  let program = programs.get(text);
  if (program === undefined) programs.set(text, (program = JSON.parse(text) as Program));
  return program;
}

function attend(node: GraphNode): TfTensor {
  const { inputs } = node;
  const program = programOf(node);
  const arranged = arrange(program, inputs);
  count(arranged);
  if (arranged === undefined) return composite(program, inputs);
  const [q, k, v] = inputs.slice(0, 3).map((one) => one.dataSync<"float32">()) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const bias = biasOf(arranged, inputs);
  const call = callOf(
    node,
    arranged,
    q,
    k,
    v,
    bias && { data: bias.tensor.dataSync<"float32">(), shape: bias.tensor.shape },
  );
  bias?.free();
  const { output } = attentionSync(call.query, call.key, call.value, call.options);
  return call.finish(output);
}

async function attendAsync(node: GraphNode): Promise<TfTensor> {
  const { inputs } = node;
  const program = programOf(node);
  const arranged = arrange(program, inputs);
  count(arranged);
  if (arranged === undefined) return composite(program, inputs);
  const bias = biasOf(arranged, inputs);
  const [q, k, v, b] = await Promise.all(
    [...inputs.slice(0, 3), ...(bias ? [bias.tensor] : [])].map((one) => one.data<"float32">()),
  );
  const call = callOf(node, arranged, q!, k!, v!, bias && { data: b!, shape: bias.tensor.shape });
  bias?.free();
  const { output } = await attention(call.query, call.key, call.value, call.options);
  return call.finish(output);
}

function count(arranged: Arrangement | undefined): void {
  if (arranged === undefined) calls.composite++;
  else calls.kernel++;
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
  /** TensorFlow.js's tensor of what the call wrote. */
  finish(output: Tensor): TfTensor;
}

function callOf(
  { attrs }: GraphNode,
  arranged: Arrangement,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  bias: { data: Float32Array; shape: readonly number[] } | undefined,
): Call {
  const { scale, order, outputShape, finalShape } = arranged;
  // Where a Transpose follows, the output is written in its order at once.
  const inOrder = order.every((dim, i) => dim === i);
  const data = inOrder ? undefined : new Float32Array(product(finalShape));
  const out = data && arranged.outView(data);
  const device = attrs["device"] as string | undefined;
  return {
    query: makeTensor(arranged.place("q", q)),
    key: makeTensor(arranged.place("k", k)),
    value: makeTensor(arranged.place("v", v)),
    options: {
      scale,
      bias: bias && makeTensor(arranged.placeBias(bias.data, bias.shape)),
      out: out && makeTensor(out),
      device: device === undefined ? undefined : checkDevice("device", device),
    },
    finish(output) {
      if (out !== undefined) return tensor(data!, [...finalShape]);
      const result = tensor(output.data as Float32Array, [...outputShape]);
      if (inOrder) return result;
      const turned = transpose(result, [...order]);
      result.dispose();
      return turned;
    },
  };
}
