// Numbers and tokens as the page writes them.

/** 3 significant digits: 0.594, 0.0321, 2.10e-5. */
export function digits(weight: number): string {
  if (weight === 0) return "0";
  return weight < 1e-3 ? weight.toExponential(2) : weight.toPrecision(3);
}

/** A token so that it can be seen: spaces and line breaks as signs. */
export function visible(token: string): string {
  const signs = token.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll("\r", "␍");
  return signs.trim() === "" ? signs.replaceAll(" ", "␣") || "∅" : signs;
}

/** A token in a sentence of the page. */
export const quoted = (token: string): string => `“${visible(token)}”`;
