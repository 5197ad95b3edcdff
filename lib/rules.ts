import { checkDevice, type Device } from "./device.js";
import { FoveaError, show, suggest } from "./errors.js";
import { optionNames, type Algorithm, type AttentionOptions, type Layout, type ScoreStage } from "./options.js";

/** The options that are not tensors, checked, with their defaults. */
export interface Rules {
  readonly algorithm: Algorithm;
  readonly layout: Layout;
  /** Undefined: the default, which needs headDim. */
  readonly scale: number | undefined;
  readonly causal: boolean;
  /** -1: no limit. */
  readonly windowLeft: number;
  readonly windowRight: number;
  /** 0: none. */
  readonly softcap: number;
  readonly returnLse: boolean;
  readonly returnWeights: boolean;
  readonly returnScores: ScoreStage | undefined;
  /** Undefined: where the query lives. */
  readonly device: Device | undefined;
}

const layouts = ["bhsd", "bshd", "thd"] as const;
const algorithms = ["auto", "standard", "tiled"] as const;
const scoreStages = ["scaled", "capped", "biased"] as const;
const windowNames = new Set(["left", "right"]);

/** Of scale and softcap: kernels hold them as float32, times log2 e. */
const largestFactor = 2.3e38;

export function checkRules(options: AttentionOptions): Rules {
  checkNames("options", options, optionNames);
  const rules = {
    algorithm: oneOf("algorithm", options.algorithm, algorithms) ?? "auto",
    layout: checkLayout(options.layout),
    scale: factor("scale", options.scale),
    causal: flag("causal", options.causal),
    windowLeft: -1,
    windowRight: -1,
    softcap: factor("softcap", options.softcap) ?? 0,
    returnLse: flag("returnLse", options.returnLse),
    returnWeights: flag("returnWeights", options.returnWeights),
    returnScores: oneOf("returnScores", options.returnScores, scoreStages),
    device: options.device === undefined ? undefined : checkDevice("device", options.device),
  };
  if (options.window !== undefined) {
    checkNames("window", options.window, windowNames);
    rules.windowLeft = reach("window.left", options.window.left);
    rules.windowRight = reach("window.right", options.window.right);
  }
  if (rules.softcap < 0 || (rules.softcap > 0 && Math.fround(rules.softcap) === 0)) {
    throw optionError("softcap", "0 (none) or a number > 0 that is not 0 as a float32", rules.softcap);
  }
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw optionError("signal", "an AbortSignal", options.signal);
  }
  if (rules.returnScores !== undefined && rules.algorithm === "tiled") {
    const message = 'returnScores: not with algorithm "tiled", which never has them; use "standard" or "auto"';
    throw new FoveaError("ERR_FOVEA_OPTION", message);
  }
  if (rules.layout === "thd" && (rules.returnWeights || rules.returnScores !== undefined)) {
    const name = rules.returnWeights ? "returnWeights" : "returnScores";
    throw new FoveaError("ERR_FOVEA_OPTION", `${name}: not with layout "thd"`);
  }
  return rules;
}

/** "bhsd" by default. */
export function checkLayout(layout: Layout | undefined): Layout {
  return oneOf("layout", layout, layouts) ?? "bhsd";
}

export function checkNames(name: string, options: object, known: ReadonlySet<string>): void {
  // What has no fields of its own would have none that are unknown: lists, maps, dates, promises; and tensors, which come here
  // by those who pass a mask as PyTorch has it.
  if (Object.prototype.toString.call(options) !== "[object Object]" || "shape" in options) {
    throw optionError(name, "an object", options);
  }
  for (const option in options) {
    // What somebody put on every object is no option either way.
    if (known.has(option) || (option in Object.prototype && !Object.hasOwn(options, option))) continue;
    const message = `${name}: there is no option ${show(option)}${suggest(option, known)}`;
    throw new FoveaError("ERR_FOVEA_OPTION", message);
  }
}

function oneOf<T extends string>(name: string, value: T | undefined, known: readonly T[]): T | undefined {
  if (value === undefined || known.includes(value)) return value;
  const hint = typeof value === "string" ? suggest(value, known) : "";
  throw optionError(name, known.map(show).join(" or "), value, hint);
}

/** False by default. */
export function flag(name: string, value: boolean | undefined): boolean {
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw optionError(name, "true or false", value);
  return value;
}

function factor(name: string, value: number | undefined): number | undefined {
  if (value === undefined || (typeof value === "number" && Math.abs(value) <= largestFactor)) return value;
  throw optionError(name, `a number of at most ${largestFactor} in size`, value);
}

function reach(name: string, value: number | undefined): number {
  if (value === undefined) return -1;
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw optionError(name, "an integer from 0 to 2^53 - 1 (left out: no limit)", value);
}

export function optionError(name: string, expected: string, got: unknown, hint = ""): FoveaError {
  return new FoveaError("ERR_FOVEA_OPTION", `${name}: expected ${expected}, got ${show(got)}${hint}`);
}
