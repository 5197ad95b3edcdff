// Which dimension of an Einsum is what.

/** Orders of dimensions: to [...batch, length, dim] for both operands, and from [...batch, row, column] for the result. */
export interface Axes {
  readonly left: number[];
  readonly right: number[];
  readonly out: number[];
  /** Whether the operand that makes rows ("left") is the second one. */
  readonly swapped: boolean;
}

interface Equation {
  operands: readonly [string, string];
  result: string;
}

function parse(equation: string): Equation | undefined {
  const [inputs = "", result] = equation.replaceAll(" ", "").split("->");
  const [a, b, ...more] = inputs.split(",");
  if (result === undefined || a === undefined || b === undefined || more.length > 0) return undefined;
  const plain = [a, b, result].every((part) => /^[a-z]+$/i.test(part) && new Set(part).size === part.length);
  return plain ? { operands: [a, b], result } : undefined;
}

const order = (from: string, to: readonly string[]): number[] => to.map((letter) => from.indexOf(letter));
const without = (letters: string, ...others: string[]): string[] =>
  [...letters].filter((letter) => !others.some((other) => other.includes(letter)));

/** Dot products of rows and columns: the result is [...batch, row, column], with rows of one operand, columns of the other. */
export function scoresAxes(equation: string): Axes | undefined {
  const parsed = parse(equation);
  if (parsed === undefined || parsed.result.length < 2) return undefined;
  const { operands, result } = parsed;
  const [row, column] = [result.at(-2)!, result.at(-1)!];
  const batch = [...result].slice(0, -2);
  const swapped = operands[1].includes(row);
  const [left, right] = swapped ? [operands[1], operands[0]] : operands;
  const summed = without(left, result);
  const fits =
    summed.length === 1 &&
    left.includes(row) &&
    !left.includes(column) &&
    right.includes(column) &&
    !right.includes(row) &&
    sameLetters(left, [...batch, row, summed[0]!]) &&
    sameLetters(right, [...batch, column, summed[0]!]);
  if (!fits) return undefined;
  return {
    left: order(left, [...batch, row, summed[0]!]),
    right: order(right, [...batch, column, summed[0]!]),
    out: [],
    swapped,
  };
}

/**
 * Sums of values by weights [...batch, row, column]: `weights` says which operand those are. `right` orders the values as
 * [...batch, column, dim], `out` makes the result of [...batch, row, dim].
 */
export function outputAxes(equation: string, weights: 0 | 1): Axes | undefined {
  const parsed = parse(equation);
  if (parsed === undefined) return undefined;
  const { operands, result } = parsed;
  const [left, right] = weights === 1 ? [operands[1], operands[0]] : operands;
  if (left.length < 2) return undefined;
  const [row, column] = [left.at(-2)!, left.at(-1)!];
  const batch = [...left].slice(0, -2);
  const dims = without(right, left);
  const fits =
    dims.length === 1 &&
    sameLetters(right, [...batch, column, dims[0]!]) &&
    sameLetters(result, [...batch, row, dims[0]!]);
  if (!fits) return undefined;
  const canonical = [...batch, row, dims[0]!];
  return {
    left: [],
    right: order(right, [...batch, column, dims[0]!]),
    out: [...result].map((letter) => canonical.indexOf(letter)),
    swapped: weights === 1,
  };
}

const sameLetters = (part: string, letters: readonly string[]): boolean =>
  [...part].toSorted().join() === letters.toSorted().join();
