// Writes arrays of numbers as JSON, several times as fast as JSON.stringify does.

/** What a float32 of at most 1 has: shorter than the 17 of a double. */
const digits = 7;
const unit = 10 ** digits;
const [zero, point, minus, comma, open, close] = Buffer.from("0.-,[]") as unknown as number[];
/** Sign, digit, point, digits, comma. */
const longest = digits + 4;

/** Of the longest array so far. */
let bytes = Buffer.alloc(0);

/** Numbers below 10 in size, with seven digits behind the point. */
export function jsonNumbers(values: Float32Array): string {
  const size = 2 + longest * values.length;
  if (bytes.length < size) bytes = Buffer.alloc(size);
  let at = 0;
  bytes[at++] = open!;
  for (let i = 0; i < values.length; i++) {
    if (i > 0) bytes[at++] = comma!;
    const value = values[i]!;
    const scaled = Math.round(Math.abs(value) * unit);
    if (!(scaled < 10 * unit)) throw new RangeError(`expected a number below 10, got ${value}`);
    if (scaled === 0) {
      bytes[at++] = zero!;
      continue;
    }
    if (value < 0) bytes[at++] = minus!;
    let rest = scaled | 0;
    for (let place = at + 1 + digits; place > at + 1; place--) {
      const tenth = (rest / 10) | 0;
      bytes[place] = zero! + rest - 10 * tenth;
      rest = tenth;
    }
    bytes[at] = zero! + rest;
    bytes[at + 1] = point!;
    at += 2 + digits;
  }
  bytes[at++] = close!;
  return bytes.toString("latin1", 0, at);
}
