// A TensorFlow graph as model.json has it, and who uses what.

export interface NodeDef {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, Attr>;
}

/** Strings are base64, or the codes of their characters. */
export interface Attr {
  s?: string | number[];
  b?: boolean;
  list?: { s?: (string | number[])[] };
  [other: string]: unknown;
}

/** A branch of an If, the body of a While. There "name:output:0" is what a node named "name" gives. */
export interface FunctionDef {
  signature?: { name?: string };
  nodeDef?: NodeDef[];
  /** The outputs, by their names. */
  ret?: Record<string, string>;
  [other: string]: unknown;
}

export interface GraphDef {
  node: NodeDef[];
  library?: { function?: FunctionDef[]; [other: string]: unknown };
  [other: string]: unknown;
}

/** "name:0" is "name", and "^name" (a node that must have run before) is "name". */
export const nodeName = (input: string): string => input.replace(/^\^/, "").split(":")[0]!;

export class Graph {
  readonly nodes: ReadonlyMap<string, NodeDef>;
  readonly #consumers = new Map<string, NodeDef[]>();
  readonly #kept: ReadonlySet<string>;

  /** `kept`: names of nodes that are outputs, or asked for. */
  constructor(nodes: readonly NodeDef[], kept: ReadonlySet<string>) {
    this.nodes = new Map(nodes.map((node) => [node.name, node]));
    this.#kept = kept;
    for (const node of nodes) {
      for (const name of new Set(node.input?.map(nodeName))) {
        const list = this.#consumers.get(name);
        if (list === undefined) this.#consumers.set(name, [node]);
        else list.push(node);
      }
    }
  }

  /** What a node's input comes from; undefined where it is not a node's first output. */
  producer(input: string | undefined): NodeDef | undefined {
    if (input === undefined || input.startsWith("^") || /:[1-9]/.test(input)) return undefined;
    return this.nodes.get(nodeName(input));
  }

  consumers({ name }: NodeDef): readonly NodeDef[] {
    return this.#consumers.get(name) ?? [];
  }

  isKept({ name }: NodeDef): boolean {
    return this.#kept.has(name);
  }
}

/** A node's inputs that are tensors. */
export const dataInputs = ({ input = [] }: NodeDef): string[] => input.filter((name) => !name.startsWith("^"));

export const controlInputs = ({ input = [] }: NodeDef): string[] => input.filter((name) => name.startsWith("^"));

export const flag = ({ attr }: NodeDef, name: string): boolean => attr?.[name]?.b === true;

export const text = (value: string | number[] | undefined): string =>
  typeof value === "string" ? Buffer.from(value, "base64").toString() : String.fromCharCode(...(value ?? []));

export const textAttr = ({ attr }: NodeDef, name: string): string => text(attr?.[name]?.s);
