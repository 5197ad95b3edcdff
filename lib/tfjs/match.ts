// Finds softmax(q·kᵀ · scale + bias)·v in a graph. From each Softmax it walks up to the product that makes the scores and down to
// the one that takes the weights; everything between must be for nothing else.
import { outputAxes, scoresAxes } from "./einsum.js";
import { controlInputs, dataInputs, flag, text, textAttr, type Graph, type NodeDef } from "./graph.js";
import type { Program, Transform } from "./program.js";

export interface Match {
  readonly softmax: NodeDef;
  /** The node whose value the op has: its name stays. */
  readonly last: NodeDef;
  /** Every node that the op replaces, `last` too. */
  readonly replaced: NodeDef[];
  /** Names of the op's inputs: query, key, value, and what the program speaks of. */
  readonly inputs: string[];
  readonly program: Program;
  /** Shape nodes of what is replaced, and what each must know: the steps (and reshapes of the softmax) before it. */
  readonly shapes: { readonly node: NodeDef; readonly steps: number; readonly after: number }[];
}

/** A node on the way, with the place of the input by which the way comes. */
interface Hop {
  readonly node: NodeDef;
  readonly at: number;
}

class Unmatched extends Error {}
const stop = (reason: string): never => {
  throw new Unmatched(reason);
};

/** The match around a Softmax, or why there is none. */
export function matchAttention(graph: Graph, softmax: NodeDef): Match | string {
  try {
    return new Matcher(graph, softmax).match();
  } catch (error) {
    if (error instanceof Unmatched) return error.message;
    throw error;
  }
}

const products = new Set(["BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "MatMul", "_FusedMatMul", "Einsum"]);
const passing = new Set(["Identity", "StopGradient", "PreventGradient", "Snapshot"]);
const additions = new Set(["Add", "AddV2", "BiasAdd"]);
const selections = new Set(["Select", "SelectV2"]);

class Matcher {
  readonly #graph: Graph;
  readonly #softmax: NodeDef;
  readonly #inputs: string[] = ["", "", ""];
  readonly #program: Program = { q: [], k: [], v: [], steps: [], after: [], out: [] };
  readonly #replaced: NodeDef[] = [];
  readonly #shapes: { node: NodeDef; steps: number; after: number }[] = [];

  constructor(graph: Graph, softmax: NodeDef) {
    this.#graph = graph;
    this.#softmax = softmax;
  }

  match(): Match {
    const hops = this.#wayUp(dataInputs(this.#softmax)[0]);
    if (hops === undefined) return stop("its scores come from no matrix product");
    const scores = hops.pop()!.node;
    this.#takeScores(scores);
    this.#replace(scores, hops.at(-1)?.node ?? this.#softmax);
    for (let i = hops.length - 1; i >= 0; i--) {
      const hop = hops[i]!;
      this.#takeStep(hop);
      this.#replace(hop.node, hops[i - 1]?.node ?? this.#softmax);
    }
    const last = this.#takeDown();
    return {
      softmax: this.#softmax,
      last,
      replaced: this.#replaced,
      inputs: this.#inputs,
      program: this.#program,
      shapes: this.#shapes,
    };
  }

  /** From the softmax's input to a product: the hops, nearest first. */
  #wayUp(input: string | undefined): Hop[] | undefined {
    const node = this.#graph.producer(input);
    if (node === undefined) return undefined;
    if (products.has(node.op)) return [{ node, at: 0 }];
    const candidates =
      passing.has(node.op) ||
      node.op === "Reshape" ||
      node.op === "RealDiv" ||
      node.op === "Sub" ||
      node.op === "BiasAdd"
        ? [0]
        : node.op === "Mul" || additions.has(node.op)
          ? [0, 1]
          : selections.has(node.op)
            ? [1, 2]
            : [];
    for (const at of candidates) {
      const rest = this.#wayUp(dataInputs(node)[at]);
      if (rest !== undefined) return [{ node, at }, ...rest];
    }
    return undefined;
  }

  #takeScores(node: NodeDef): void {
    const [a, b, bias] = dataInputs(node) as [string, string, string | undefined];
    if (node.op === "Einsum") {
      const axes = scoresAxes(textAttr(node, "equation"));
      if (axes === undefined) return stop(`its Einsum "${textAttr(node, "equation")}" is none of queries and keys`);
      this.#operand("q", axes.swapped ? b : a, node, [["axes", ...axes.left]]);
      this.#operand("k", axes.swapped ? a : b, node, [["axes", ...axes.right]]);
      return;
    }
    const [left, right] = transposed(node);
    this.#operand("q", a, node, left ? [["swap"]] : []);
    this.#operand("k", b, node, right ? [] : [["swap"]]);
    const fused = fusedOps(node);
    if (fused.length === 0) return;
    if (fused.join() !== "BiasAdd" || bias === undefined) return stop(`${node.op} with ${fused.join(", ")}`);
    this.#program.steps.push(["add", this.#add(bias)]);
  }

  /** An operand, from behind transposes and factors that are for this product alone. */
  #operand(name: "q" | "k" | "v", input: string, consumer: NodeDef, last: Transform[]): void {
    const place = { q: 0, k: 1, v: 2 }[name];
    const transforms = last;
    let from = input;
    for (let user = consumer; ;) {
      const node = this.#graph.producer(from);
      if (node === undefined || !this.#isOnlyFor(node, user)) break;
      const inputs = dataInputs(node);
      if (node.op === "Transpose") transforms.unshift(["perm", this.#add(inputs[1]!)]);
      else if (node.op === "Mul" || node.op === "RealDiv") {
        const at = node.op === "RealDiv" || this.#isNumber(inputs[1]) ? 1 : 0;
        if (!this.#isNumber(inputs[at])) break;
        transforms.unshift([node.op === "Mul" ? "mul" : "div", this.#add(inputs[at]!)]);
        this.#replaced.push(node);
        from = inputs[1 - at]!;
        user = node;
        continue;
      } else if (!passing.has(node.op)) break;
      this.#replaced.push(node);
      from = inputs[0]!;
      user = node;
    }
    this.#program[name] = transforms;
    this.#inputs[place] = from;
  }

  #takeStep({ node, at }: Hop): void {
    if (passing.has(node.op)) return;
    if (selections.has(node.op)) return this.#takeSelection(node, at);
    const names: Record<string, "mul" | "div" | "add" | "sub" | "reshape"> = {
      Reshape: "reshape",
      Mul: "mul",
      RealDiv: "div",
      Sub: "sub",
    };
    const other = dataInputs(node)[1 - at];
    const name = names[node.op] ?? "add";
    if ((name === "mul" || name === "div") && this.#isOtherThanNumber(other)) {
      return stop(`${node.name}: the factor on its scores is more than one number`);
    }
    this.#program.steps.push([name, this.#add(other!)]);
  }

  /** Scores where a condition holds (or does not), one number elsewhere. */
  #takeSelection(node: NodeDef, at: number): void {
    const [condition, ...branches] = dataInputs(node) as [string, string, string];
    const other = branches[2 - at]!;
    if (this.#isOtherThanNumber(other)) return stop(`${node.name}: what masks its scores is more than one number`);
    if (this.#program.steps.some(([name]) => name === "where" || name === "unless")) {
      return stop(`${node.name} is a second mask on its scores`);
    }
    this.#program.steps.push([at === 1 ? "where" : "unless", this.#add(condition), this.#add(other)]);
  }

  /** From the softmax to the product with the values, and a Transpose behind it. */
  #takeDown(): NodeDef {
    let node = this.#softmax;
    for (;;) {
      const next = this.#next(node);
      this.#replace(node, next);
      if (products.has(next.op)) return this.#takeOutput(next, node);
      if (next.op === "Reshape" && this.#graph.producer(dataInputs(next)[0]) === node) {
        this.#program.after.push(this.#add(dataInputs(next)[1]!));
      } else if (!passing.has(next.op)) return stop(`its weights go into ${next.op} (${next.name})`);
      node = next;
    }
  }

  #takeOutput(node: NodeDef, weights: NodeDef): NodeDef {
    const inputs = dataInputs(node);
    const at = this.#graph.producer(inputs[0]) === weights ? 0 : 1;
    const values = inputs[1 - at]!;
    if (this.#graph.producer(values) === weights) return stop("its weights are multiplied by themselves");
    if (node.op === "Einsum") {
      const axes = outputAxes(textAttr(node, "equation"), at);
      if (axes === undefined) return stop(`its Einsum "${textAttr(node, "equation")}" is none of weights and values`);
      this.#operand("v", values, node, [["axes", ...axes.right]]);
      this.#program.out.push(["axes", ...axes.out]);
    } else {
      const [left, right] = transposed(node);
      if (at === 1 || left) return stop(`${node.name}: its weights are not rows of the first operand`);
      if (fusedOps(node).length > 0) return stop(`${node.op} with ${fusedOps(node).join(", ")}`);
      this.#operand("v", values, node, right ? [["swap"]] : []);
    }
    if (controlInputs(node).length > 0) return stop(`${node.name} waits for others (control inputs)`);
    this.#replaced.push(node);
    const [next, ...more] = this.#graph.consumers(node);
    if (next?.op !== "Transpose" || more.length > 0 || this.#graph.isKept(node)) return node;
    if (this.#graph.producer(dataInputs(next)[0]) !== node || controlInputs(next).length > 0) return node;
    this.#program.out.push(["perm", this.#add(dataInputs(next)[1]!)]);
    this.#replaced.push(next);
    return next;
  }

  /** The one node, beside Shapes, that uses this one. */
  #next(node: NodeDef): NodeDef {
    const users = this.#graph.consumers(node).filter(({ op }) => op !== "Shape");
    if (users.length === 1) return users[0]!;
    if (users.length === 0) return stop(`nothing uses ${node.name} further on: it may be asked for`);
    return stop(`${node.name} is used elsewhere too: ${users.map(({ name }) => name).join(", ")}`);
  }

  /** Takes a node out, whose value only `next` may use, and Shapes. */
  #replace(node: NodeDef, next: NodeDef): void {
    if (this.#graph.isKept(node)) stop(`${node.name} is an output`);
    for (const user of this.#graph.consumers(node)) {
      if (user === next) continue;
      if (user.op !== "Shape" || controlInputs(user).length > 0) {
        stop(`${node.name} is used elsewhere too: ${user.name}`);
      }
      const { steps, after } = this.#program;
      this.#shapes.push({ node: user, steps: steps.length, after: after.length });
    }
    if (controlInputs(node).length > 0) stop(`${node.name} waits for others (control inputs)`);
    this.#replaced.push(node);
  }

  #isOnlyFor(node: NodeDef, user: NodeDef): boolean {
    const users = this.#graph.consumers(node);
    const once = dataInputs(user).filter((input) => this.#graph.producer(input) === node).length === 1;
    const free = !this.#graph.isKept(node) && controlInputs(node).length === 0;
    return users.length === 1 && users[0] === user && once && free;
  }

  #add(input: string): number {
    return this.#inputs.push(input) - 1;
  }

  /** A constant of one element. */
  #isNumber(input: string | undefined): boolean {
    return this.#constantSize(input) === 1;
  }

  #isOtherThanNumber(input: string | undefined): boolean {
    const size = this.#constantSize(input);
    return size !== undefined && size !== 1;
  }

  #constantSize(input: string | undefined): number | undefined {
    const node = this.#graph.producer(input);
    if (node?.op !== "Const") return undefined;
    const value = node.attr?.["value"]?.["tensor"] as
      { tensorShape?: { dim?: { size?: string | number }[] } } | undefined;
    return (value?.tensorShape?.dim ?? []).reduce((size, dim) => size * Number(dim.size ?? 1), 1);
  }
}

/** Whether each operand of a product is transposed. */
function transposed(node: NodeDef): [boolean, boolean] {
  if (node.op.startsWith("Batch")) return [flag(node, "adj_x"), flag(node, "adj_y")];
  return [flag(node, "transpose_a"), flag(node, "transpose_b")];
}

const fusedOps = (node: NodeDef): string[] => (node.attr?.["fused_ops"]?.list?.s ?? []).map(text);
