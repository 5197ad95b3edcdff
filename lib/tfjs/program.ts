// What a fused op computes, as its node says it: lower case, since TensorFlow.js makes strings so. Numbers after a name are
// places among the op's inputs, of which the first three are query, key and value.

/**
 * On the way from an input to [..., length, dim], or from the output to what comes after: a Transpose by the permutation in an
 * input, one that is known, an exchange of the last two dimensions, a factor or divisor in an input.
 */
export type Transform = ["perm", number] | ["axes", ...number[]] | ["swap"] | ["mul", number] | ["div", number];

/**
 * From the dot products to the softmax. "where" leaves scores where the first input is true, "unless" where it is false; the others
 * become the second.
 */
export type Step = ["mul" | "div" | "add" | "sub" | "reshape", number] | ["where" | "unless", number, number];

export interface Program {
  q: Transform[];
  k: Transform[];
  v: Transform[];
  steps: Step[];
  /** Reshapes of the softmax. */
  after: number[];
  out: Transform[];
}

export const attentionOp = "FoveaAttention";
/** The same, as a promise. */
export const asyncAttentionOp = "FoveaAttentionAsync";
/** The shape of scores that no longer exist. */
export const shapeOp = "FoveaScoresShape";

export const encodeText = (value: string): string => Buffer.from(value).toString("base64");
export const encodeProgram = (program: Program): string => encodeText(JSON.stringify(program));

/** The places of inputs, beside the first three, that a program speaks of. */
export function places({ q, k, v, steps, after, out }: Program): number[] {
  const ofTransforms = [...q, ...k, ...v, ...out].flatMap((one) =>
    one[0] === "axes" || one[0] === "swap" ? [] : [one[1]],
  );
  return [...new Set([...ofTransforms, ...steps.flatMap(([, ...own]) => own), ...after])];
}

/** The program for inputs in other places. */
export function renumbered(program: Program, place: (old: number) => number): Program {
  const transforms = (list: Transform[]): Transform[] =>
    list.map((one) => (one[0] === "axes" || one[0] === "swap" ? one : [one[0], place(one[1])]));
  return {
    q: transforms(program.q),
    k: transforms(program.k),
    v: transforms(program.v),
    steps: program.steps.map(([name, ...own]) => [name, ...own.map(place)] as Step),
    after: program.after.map(place),
    out: transforms(program.out),
  };
}
