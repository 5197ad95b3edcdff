// Graph models as converters write them, node by node.
import type { io } from "@tensorflow/tfjs-core";

type Attr = Record<string, unknown>;

export class GraphMaker {
  readonly #nodes: { name: string; op: string; input: string[]; attr: Attr }[] = [];
  readonly #functions: object[] = [];
  readonly #specs: io.WeightsManifestEntry[] = [];
  readonly #weights: (Float32Array | Int32Array)[] = [];

  /** Each returns the node's name. */
  input(name: string, shape: readonly number[], type = "DT_FLOAT"): string {
    const dim = shape.map((size) => ({ size: String(size) }));
    return this.node("Placeholder", name, [], { dtype: { type }, shape: { shape: { dim } } });
  }

  floats(name: string, values: readonly number[] | Float32Array, shape: readonly number[] = []): string {
    return this.#constant(name, "DT_FLOAT", Float32Array.from(values), shape);
  }

  ints(name: string, values: readonly number[]): string {
    return this.#constant(name, "DT_INT32", Int32Array.from(values), [values.length]);
  }

  node(op: string, name: string, input: readonly string[], attr: Attr = {}): string {
    this.#nodes.push({ name, op, input: [...input], attr: { T: { type: "DT_FLOAT" }, ...attr } });
    return name;
  }

  /** The nodes so far become the body of a function; the next ones are another's, or the graph's. */
  functionOf(name: string, inputs: Record<string, string>, output: string, type = "DT_FLOAT"): void {
    const args = new Set(Object.keys(inputs));
    const nodeDef = this.#nodes
      .splice(0)
      .map((node) => ({ ...node, input: node.input.map((from) => (args.has(from) ? from : `${from}:output:0`)) }));
    this.#functions.push({
      signature: {
        name,
        inputArg: Object.entries(inputs).map(([arg, type]) => ({ name: arg, type })),
        outputArg: [{ name: "result", type }],
      },
      nodeDef,
      ret: { result: `${output}:output:0` },
    });
  }

  artifacts(signature?: object): io.ModelArtifacts {
    const bytes = this.#weights.map(({ buffer }) => new Uint8Array(buffer as ArrayBuffer));
    return {
      modelTopology: { node: this.#nodes, library: { function: this.#functions }, versions: { producer: 1 } },
      weightSpecs: this.#specs,
      weightData: new Uint8Array(Buffer.concat(bytes)).buffer,
      ...(signature && { signature }),
    };
  }

  #constant(name: string, type: string, values: Float32Array | Int32Array, shape: readonly number[]): string {
    const dim = shape.map((size) => ({ size: String(size) }));
    this.#specs.push({ name, shape: [...shape], dtype: type === "DT_FLOAT" ? "float32" : "int32" });
    this.#weights.push(values);
    const tensor = { dtype: type, tensorShape: { dim } };
    return this.node("Const", name, [], { dtype: { type }, value: { tensor } });
  }
}

export const yes = { b: true };
export const string = (value: string): { s: string } => ({ s: Buffer.from(value).toString("base64") });
export const strings = (...values: string[]): object => ({ list: { s: values.map((value) => string(value).s) } });
