// What the suites run over. A process has one instruction set and one kind of device, and vitest.config.ts runs the suites once
// for each: FOVEA_CPU_ISA and FOVEA_TEST_DEVICE choose.
import {
  attention,
  devices,
  Tensor,
  type Algorithm,
  type AttentionOptions,
  type AttentionResult,
  type Device,
  type FloatDType,
  type Plan,
  type TensorInput,
} from "../../lib/index.js";
import { inputView } from "../../lib/input.js";
import { makeTensor } from "../../lib/tensor.js";
import { caseNumber, gpuNumber } from "./simulator.js";

/** How exact a backend must be at scores of ordinary size, beside the rounding of the output. */
export type Bounds = Readonly<Record<FloatDType, Bound>>;

export interface Bound {
  /** Relative L2 error of all elements. */
  readonly all: number;
  /** Error of one, relative to the size of the values. */
  readonly each: number;
}

/** The processor computes with float32 whatever the dtype. */
const cpuBounds: Bounds = {
  float32: { all: 2e-6, each: 4e-5 },
  float16: { all: 2e-6, each: 8e-5 },
  bfloat16: { all: 2e-6, each: 8e-5 },
};

/** Where it multiplies bfloat16 as it is, cpu.tiled rounds probabilities to that. */
const pairsBounds: Bounds = { ...cpuBounds, bfloat16: { all: 1.4e-3, each: 2 ** -6 } };

/** Tensor cores multiply probabilities of the dtype, rounded to nearest: off by up to 2^-11 or 2^-8 each. */
const cudaBounds: Bounds = {
  float32: { all: 2e-6, each: 4e-5 },
  float16: { all: 2 ** -11, each: 2 ** -9 },
  bfloat16: { all: 2 ** -8, each: 2 ** -6 },
};

export interface Backend {
  readonly name: string;
  /** Another one in each test (`testDevice`). */
  readonly device: Device;
  boundsOf(plan: Plan): Bounds;
}

export const onCuda = process.env["FOVEA_TEST_DEVICE"] === "cuda";

const usable = devices()
  .filter((info) => info.available)
  .filter(({ device }) => (device !== "cpu") === onCuda);

/** The device to test: of several GPUs the one that the running test draws. Simulated ones have a compute capability each. */
export const testDevice = (): Device => usable[gpuNumber() % usable.length]!.device;

/** What to test, if it is here. */
export const backends: readonly Backend[] = usable.slice(0, 1).map((info) => ({
  name: info.device === "cpu" ? `cpu ${info.instructionSet}` : "cuda",
  get device() {
    return testDevice();
  },
  boundsOf({ parts }) {
    if (info.device !== "cpu") return cudaBounds;
    return info.instructionSet === "avx512bf16" && parts.some(({ kernel }) => kernel === "cpu.tiled")
      ? pairsBounds
      : cpuBounds;
  },
}));

/** A GPU's "auto" is one of the others once more, and the simulator is slow. */
export const algorithms = (["standard", "tiled", "auto"] as const).filter(
  (algorithm) => !onCuda || algorithm !== "auto",
);

/** Whether a backend has the algorithm for these sizes; a call for one that it has not is refused. */
export const has = (algorithm: Algorithm, headDim: number, valueDim: number): boolean =>
  !onCuda || algorithm !== "tiled" || Math.max(headDim, valueDim) <= 256;

type Inputs = readonly [TensorInput, TensorInput, TensorInput];

/**
 * Calls `attention` on a backend. On a GPU half of the calls (by the test's name) find their tensors there, and the results are
 * read; the others send them from the host and back.
 */
export async function run({ device }: Backend, inputs: Inputs, options: AttentionOptions): Promise<AttentionResult> {
  const [query, key, value] = inputs;
  if (device === "cpu" || options.out !== undefined || caseNumber() % 2 === 0) {
    return attention(query, key, value, { ...options, device });
  }
  return runThere(device, inputs, options);
}

async function runThere(device: Device, inputs: Inputs, options: AttentionOptions) {
  const temporary: Tensor[] = [];
  const there = async (input: TensorInput | Float32Array | undefined) => {
    if (input === undefined || input instanceof Float32Array) return input; // vectors may stay on the host
    const tensor = await makeTensor(inputView("input", input, false)).to(device);
    temporary.push(tensor);
    return tensor;
  };
  const [query, key, value] = await Promise.all(inputs.map(async (input) => (await there(input)) as Tensor));
  const result = await attention(query!, key!, value!, {
    ...options,
    mask: (await there(options.mask)) as TensorInput | undefined,
    bias: (await there(options.bias)) as TensorInput | undefined,
    alibiSlopes: await there(options.alibiSlopes),
    sinks: await there(options.sinks),
  });
  const back = async <T extends Tensor | undefined>(tensor: T): Promise<T> => {
    if (tensor === undefined) return tensor;
    temporary.push(tensor);
    return (await tensor.read()) as T;
  };
  const { output, lse, weights, scores, plan } = result;
  const read = {
    plan,
    output: await back(output),
    lse: await back(lse),
    weights: await back(weights),
    scores: await back(scores),
  };
  temporary.forEach((tensor) => tensor.dispose());
  return read as AttentionResult;
}
