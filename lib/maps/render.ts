import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { endianness } from "node:os";
import { encode } from "../dtype.js";
import { FoveaError, list, show, suggest } from "../errors.js";
import type { PageData, PageStatistics } from "./page-data.js";
import { layerStatistics, type HeadStatistics } from "./statistics.js";
import { readWeights, type LayerWeights, type WeightsInput } from "./weights.js";

export interface AttentionMapLayer {
  /** As the page calls it. */
  readonly name: string;
  /** [heads, queries, keys] or [1, heads, queries, keys]; layers may have different numbers of heads. */
  readonly weights: WeightsInput;
}

export interface AttentionMap {
  /** The words (or pieces of words) that are attended to: one per key. */
  readonly tokens: readonly string[];
  /** The words that attend, one per query, where they are others: cross-attention. Default: `tokens`. */
  readonly queryTokens?: readonly string[] | undefined;
  readonly layers: readonly AttentionMapLayer[];
  /** Default "Attention". */
  readonly title?: string | undefined;
}

const names: ReadonlySet<string> = new Set(["tokens", "queryTokens", "layers", "title"]);
/** Over this a browser would labour: 32 million weights are a file of 90 MB. */
const mostWeights = 2 ** 25;

/**
 * A page that shows what attends to what: one HTML file that needs nothing else, neither a network nor a server.
 *
 * It shows the words with lines from a chosen one, the weights of each head as a heat map, and statistics of each head. Weights
 * are kept in it as float16: 3 significant digits (those under 0.00006: to 3e-8). At most 33554432 weights in all.
 *
 * Throws a FoveaError: ERR_FOVEA_ARGUMENT for what are not tokens or weights (NaN, rows that sum to more than 1),
 * ERR_FOVEA_SHAPE for weights of other sizes than the tokens, ERR_FOVEA_OPTION for a name that there is not.
 */
export function renderAttention(map: AttentionMap): string {
  return page(pageData(map));
}

function pageData(map: AttentionMap): PageData {
  if (typeof map !== "object" || map === null) throw argumentError("map", "{ tokens, layers }", map);
  for (const name of Object.keys(map)) {
    if (names.has(name)) continue;
    throw new FoveaError("ERR_FOVEA_OPTION", `map: there is no "${name}"${suggest(name, names)}`);
  }
  const { title = "Attention", layers } = map;
  if (typeof title !== "string") throw argumentError("title", "a string", title);
  const tokens = checkTokens("tokens", map.tokens);
  const queryTokens = map.queryTokens === undefined ? tokens : checkTokens("queryTokens", map.queryTokens);
  const cross = queryTokens.length !== tokens.length || queryTokens.some((token, place) => token !== tokens[place]);
  if (!Array.isArray(layers) || layers.length === 0) throw argumentError("layers", "at least one layer", layers);

  let total = 0;
  const start = { layer: 0, query: 0, weight: -1 };
  const pages = (layers as readonly AttentionMapLayer[]).map((layer, index) => {
    const name = `layers[${index}]`;
    if (typeof layer?.name !== "string") throw argumentError(name, "{ name, weights }, name a string", layer);
    const weights = readWeights(`${name}.weights`, layer.weights);
    const { heads, queries, keys } = weights;
    if (queries !== queryTokens.length || keys !== tokens.length) {
      const expected = `[*, ${queryTokens.length}, ${tokens.length}] (heads, queryTokens, tokens)`;
      const got = list([heads, queries, keys]);
      throw new FoveaError("ERR_FOVEA_SHAPE", `${name}.weights: expected ${expected}, got ${got}`);
    }
    total += weights.data.length;
    if (total > mostWeights) {
      const message = `layers: expected at most ${mostWeights} weights in all, got more`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
    const sharpest = sharpestRow(weights, cross);
    if (sharpest.weight > start.weight) Object.assign(start, sharpest, { layer: index });
    return {
      name: layer.name,
      heads,
      weights: base64(weights.data),
      statistics: layerStatistics(weights, cross ? undefined : 0).map(pageStatistics),
    };
  });
  return {
    title,
    tokens,
    queryTokens: cross ? queryTokens : null,
    layers: pages,
    start: { layer: start.layer, query: start.query },
  };
}

function checkTokens(name: string, tokens: unknown): string[] {
  if (!Array.isArray(tokens) || tokens.length === 0)
    throw argumentError(name, "an array of strings, not empty", tokens);
  const wrong = tokens.findIndex((token) => typeof token !== "string");
  if (wrong >= 0) throw argumentError(`${name}[${wrong}]`, "a string", tokens[wrong]);
  return [...(tokens as string[])];
}

/** The query with the largest weight on a key other than itself and the first: what is worth a look first. */
function sharpestRow({ queries, keys, data }: LayerWeights, cross: boolean): { query: number; weight: number } {
  const best = { query: 0, weight: 0 };
  for (let index = 0; index < data.length; index++) {
    const weight = data[index]!;
    if (weight <= best.weight) continue;
    const [key, query] = [index % keys, Math.floor(index / keys) % queries];
    if (cross || (key !== query && key !== 0)) Object.assign(best, { query, weight });
  }
  return best;
}

function base64(weights: Float64Array): string {
  const bits = encode(weights, "float16");
  const bytes = Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength);
  return (endianness() === "LE" ? bytes : bytes.swap16()).toString("base64");
}

function pageStatistics(statistics: HeadStatistics): PageStatistics {
  const { entropy, distance, confidence, shareOnFirst, shareOnSelf } = statistics;
  const some = (value: number | undefined): number | null => (Number.isFinite(value) ? value! : null);
  return {
    entropy: some(entropy),
    distance: some(distance),
    confidence: some(confidence),
    shareOnFirst: some(shareOnFirst),
    shareOnSelf: some(shareOnSelf),
  };
}

/** The page's own script and style, which `npm run build:page` makes of client/. */
function bundled(name: string): string {
  return readFileSync(new URL(`../../dist/maps/client/${name}`, import.meta.url), "utf8");
}

function page(data: PageData): string {
  const [script, style] = [bundled("main.js"), bundled("page.css")];
  // Nothing but this script runs and nothing is fetched, whatever a token says.
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(data.title)}</title>
<style>${style}</style>
</head>
<body>
<noscript>This page draws with JavaScript, which is switched off here.</noscript>
<script type="application/json" id="attention">${JSON.stringify(data).replaceAll("<", "\\u003c")}</script>
<script>${script}</script>
</body>
</html>
`;
}

const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function argumentError(name: string, expected: string, got: unknown): FoveaError {
  return new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected ${expected}, got ${show(got)}`);
}
