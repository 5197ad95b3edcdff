/**
 * What went wrong, as a stable code:
 *
 * - `ERR_FOVEA_ARGUMENT`: an argument is not a tensor, or not of the kind asked for
 * - `ERR_FOVEA_SHAPE`: shapes that do not fit together, or sizes out of range
 * - `ERR_FOVEA_DTYPE`: a dtype that is not accepted here, or two that differ
 * - `ERR_FOVEA_OPTION`: an unknown option, a value it cannot take, options that exclude each other, or an
 *   environment variable that cannot be honoured
 * - `ERR_FOVEA_DEVICE`: a device that cannot be used, tensors on different ones, or a GPU that failed a call
 * - `ERR_FOVEA_DEVICE_LOST`: a GPU that broke down (a fault in a kernel, say) and is lost to this process
 * - `ERR_FOVEA_BOUNDS`: a length, index or stride that would reach outside a tensor's memory
 * - `ERR_FOVEA_BUFFER`: an ArrayBuffer that is resizable, detached or a WebAssembly.Memory's
 * - `ERR_FOVEA_BUSY`: memory that an unsettled call is using
 * - `ERR_FOVEA_DISPOSED`: a tensor after its `dispose()`
 * - `ERR_FOVEA_ABORTED`: the call's signal was aborted (the error's name is then "AbortError")
 * - `ERR_FOVEA_OUT_OF_MEMORY`: results or scratch memory could not be allocated, or a thread not be started
 * - `ERR_FOVEA_OVERLOADED`: a batcher's queue is full
 * - `ERR_FOVEA_CLOSED`: a batcher after its `close()`
 * - `ERR_FOVEA_OUT_OF_PAGES`: a PagedKVCache has not enough free pages for what is to be appended
 * - `ERR_FOVEA_LOAD`: the native module could not be loaded
 */
export type FoveaErrorCode =
  | "ERR_FOVEA_ARGUMENT"
  | "ERR_FOVEA_SHAPE"
  | "ERR_FOVEA_DTYPE"
  | "ERR_FOVEA_OPTION"
  | "ERR_FOVEA_DEVICE"
  | "ERR_FOVEA_DEVICE_LOST"
  | "ERR_FOVEA_BOUNDS"
  | "ERR_FOVEA_BUFFER"
  | "ERR_FOVEA_BUSY"
  | "ERR_FOVEA_DISPOSED"
  | "ERR_FOVEA_ABORTED"
  | "ERR_FOVEA_OUT_OF_MEMORY"
  | "ERR_FOVEA_OVERLOADED"
  | "ERR_FOVEA_CLOSED"
  | "ERR_FOVEA_OUT_OF_PAGES"
  | "ERR_FOVEA_LOAD";

/** The one error class of this library. `code` is stable; `message` names the argument, what was expected and what came. */
export class FoveaError extends Error {
  readonly code: FoveaErrorCode;

  constructor(code: FoveaErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  static {
    this.prototype.name = "FoveaError";
  }
}

/** The error of an aborted call: named "AbortError" as everywhere in Node, with the signal's reason as cause. */
export function abortError(signal: AbortSignal): FoveaError {
  const error = new FoveaError("ERR_FOVEA_ABORTED", "the call was aborted", { cause: signal.reason as unknown });
  error.name = "AbortError";
  return error;
}

/** `wanted`: a device, or several, and why. */
export function deviceError(name: string, wanted: string, got: string): FoveaError {
  const message = `${name}: expected a tensor on ${wanted}, got one on ${got}; move it with to() first`;
  return new FoveaError("ERR_FOVEA_DEVICE", message);
}

/** `key: expected [2, *, *, 64] (batch, kvHeads, keyLength, headDim), got [2, 8, 512, 32]` */
export function shapeError(
  name: string,
  expected: readonly (number | string)[],
  labels: string,
  got: readonly number[],
): FoveaError {
  return new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${list(expected)} (${labels}), got ${list(got)}`);
}

/** Of a list and of a string, as much as a message shows. */
const mostItems = 16;
const mostCharacters = 100;

/** `[2, *, *, 64]` */
export function list(items: readonly (number | string)[]): string {
  return `[${enumeration(items)}]`;
}

function enumeration<T>(items: readonly T[], text: (item: T) => string = String): string {
  const more = items.length > mostItems ? `, and ${items.length - mostItems} more` : "";
  return Array.from(items.slice(0, mostItems), text).join(", ") + more;
}

/** What came where a list of numbers was expected: `[2, "8", undefined]`, or, where it is no list, as `show`. */
export function showList(value: unknown): string {
  return Array.isArray(value) ? `[${enumeration(value, show)}]` : show(value);
}

/** A value as a message shows it: short, on one line, with its kind. */
export function show(value: unknown): string {
  if (typeof value === "string") {
    if (value.length <= mostCharacters) return JSON.stringify(value);
    return `${JSON.stringify(`${value.slice(0, mostCharacters)}...`)} (${value.length} characters)`;
  }
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return String(value);
  try {
    return showObject(value);
  } catch {
    return "an object"; // whose getters throw
  }
}

function showObject(value: object): string {
  const { name } = (value.constructor as { name?: unknown } | undefined) ?? {};
  const kind = typeof name === "string" ? name : "object";
  if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    return `${kind}(${(value as { length?: number }).length ?? (value as DataView).byteLength})`;
  }
  return kind === "Object" ? `{ ${enumeration(Object.keys(value))} }` : kind;
}

/** ` (did you mean "causal"?)` when a known name is near, else the empty string. */
export function suggest(name: string, known: Iterable<string>): string {
  let best = "";
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === "" ? "" : ` (did you mean "${best}"?)`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
