// torch.nn.functional.scaled_dot_product_attention.
import { attention } from "../attention.js";
import type { Device } from "../device.js";
import { broadcastShape, foldLead, inShape, spread, takeShape, withTensors } from "../dropin/views.js";
import { withNames } from "../dropin/names.js";
import { FoveaError, list } from "../errors.js";
import { inputView, type FloatDTypeOf, type TensorInput } from "../input.js";
import { checkNames, flag } from "../rules.js";
import type { Tensor } from "../tensor.js";
import type { View } from "../view.js";
import { refuseDropout } from "./dropout.js";

/** The keyword arguments of PyTorch's function, with its defaults, and where to compute. */
export interface ScaledDotProductAttentionOptions {
  /**
   * Broadcasts to [..., heads, L, S]. bool: true takes part. A float mask is added to the scores. Not with `isCausal`.
   * Default: none.
   */
  attnMask?: TensorInput | undefined;
  /** 0 (the default): this is inference, and anything else is an error. */
  dropoutP?: number | undefined;
  /** Whether query i sees keys 0 to i: the mask's diagonal begins at the top left, whatever L and S are. Default false. */
  isCausal?: boolean | undefined;
  /** Default 1 / sqrt(E). */
  scale?: number | undefined;
  /** Whether query head h reads kv head floor(h / (heads / kvHeads)), where there are fewer of those. Default false. */
  enableGqa?: boolean | undefined;
  /** Default: where the query lives. */
  device?: Device | undefined;
  signal?: AbortSignal | undefined;
}

const names = new Set(
  Object.keys({
    attnMask: true,
    dropoutP: true,
    isCausal: true,
    scale: true,
    enableGqa: true,
    device: true,
    signal: true,
  } satisfies Record<keyof ScaledDotProductAttentionOptions, true>),
);

/** What `attention` calls our arguments. */
const foveaNames = { causal: "isCausal", mask: "attnMask", bias: "attnMask" };

/**
 * `torch.nn.functional.scaled_dot_product_attention`: query [..., heads, L, E], key [..., kvHeads, S, E], value
 * [..., kvHeads, S, Ev] to [..., heads, L, Ev], in any number of dimensions from two on; the leading ones broadcast. float32,
 * float16 or bfloat16, one for all three. A query that may see no key gets zeros.
 *
 * Rejects with a FoveaError: shapes that do not fit, `dropoutP` above 0, `isCausal` beside `attnMask`, heads that differ without
 * `enableGqa`.
 */
export async function scaledDotProductAttention<Query extends TensorInput>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options: ScaledDotProductAttentionOptions = {},
): Promise<Tensor<FloatDTypeOf<Query>>> {
  checkNames("options", options, names);
  refuseDropout(options.dropoutP);
  const { isCausal = false, scale, device, signal } = options;
  if (isCausal && options.attnMask !== undefined) {
    throw new FoveaError("ERR_FOVEA_OPTION", "attnMask: not with isCausal, as in PyTorch; put the causal mask into it");
  }
  const views = [named("query", query), named("key", key), named("value", value)] as const;
  const [q, k, v] = views;
  const lead = leadOf(views);
  const [heads, kvHeads] = headsOf(q, k, v, flag("enableGqa", options.enableGqa));
  const rank = Math.max(...views.map(({ shape }) => shape.length));
  const [L, S] = [q.shape.at(-2)!, k.shape.at(-2)!];

  return withTensors(async (tensor) => {
    const place = (name: string, view: View, heads: number) =>
      tensor(
        foldLead(name, spread(name, view, [...lead, heads, ...view.shape.slice(-2)], "leading, heads, length, dim")),
      );
    const mask =
      options.attnMask === undefined
        ? undefined
        : placeMask(inputView("attnMask", options.attnMask, false), lead, heads, L, S);
    const inputs = [place("query", q, heads), place("key", k, kvHeads), place("value", v, kvHeads)] as const;
    const { output } = await withNames(foveaNames, () =>
      attention(...inputs, {
        scale,
        causal: isCausal,
        queryOffset: isCausal ? 0 : undefined,
        ...(mask && { [mask.dtype === "bool" ? "mask" : "bias"]: tensor(mask) }),
        device,
        signal,
      }),
    );
    const shape = [...lead, heads, L, v.shape.at(-1)!].slice(-rank);
    return takeShape(output, shape) as unknown as Tensor<FloatDTypeOf<Query>>;
  });
}

function named(name: string, input: TensorInput): View {
  const view = inputView(name, input, false);
  if (view.shape.length >= 2) return view;
  const message = `${name}: expected two dimensions at least, [..., heads, length, dim], got ${list(view.shape)}`;
  throw new FoveaError("ERR_FOVEA_SHAPE", message);
}

/** All dimensions before the heads. */
function leadOf(views: readonly View[]): number[] {
  const shapes = views.map(({ shape }) => shape.slice(0, -3));
  const lead = broadcastShape(...shapes);
  if (lead !== undefined) return lead;
  const got = shapes.map(list).join(", ");
  throw new FoveaError("ERR_FOVEA_SHAPE", `query, key, value: leading dimensions do not broadcast: got ${got}`);
}

/** Heads of the query and of the keys. */
function headsOf(query: View, key: View, value: View, grouped: boolean): [number, number] {
  const [heads, keyHeads, valueHeads] = [query, key, value].map(({ shape }) => shape.at(-3) ?? 1) as [
    number,
    number,
    number,
  ];
  const kvHeads = broadcastShape([keyHeads], [valueHeads])?.[0];
  if (kvHeads === undefined) {
    throw new FoveaError("ERR_FOVEA_SHAPE", `value: expected ${keyHeads} heads as in key, got ${valueHeads}`);
  }
  if (heads === kvHeads || kvHeads === 1) return [heads, kvHeads];
  if (heads === 1) return [kvHeads, kvHeads];
  if (grouped && kvHeads > 0 && heads % kvHeads === 0) return [heads, kvHeads];
  const wanted = grouped ? `a number of heads that divides ${heads}` : `${heads} heads as in query, or enableGqa: true`;
  throw new FoveaError("ERR_FOVEA_SHAPE", `key: expected ${wanted}, got ${kvHeads}`);
}

/** The mask as [batch or 1, heads or 1, L or 1, S or 1]. */
function placeMask(view: View, lead: readonly number[], heads: number, L: number, S: number): View {
  const full = [...lead, heads, L, S];
  spread("attnMask", view, full, "leading, heads, L, S"); // for its check alone
  const shape = [...new Array<number>(Math.max(0, full.length - view.shape.length)).fill(1), ...view.shape];
  const inner = shape.slice(-3);
  if (shape.slice(0, -3).every((size) => size === 1)) return inShape("attnMask", view, [1, ...padded(inner)]);
  return foldLead("attnMask", spread("attnMask", view, [...lead, ...inner], "leading, heads, L, S"));
}

const padded = (shape: readonly number[]): number[] => [1, 1, 1, ...shape].slice(-3);
