import { FoveaError, show } from "../errors.js";
import { checkNames } from "../rules.js";
import { readWeights, type LayerWeights, type WeightsInput } from "./weights.js";

/**
 * What one head does on average: means over its rows, without those where everything is masked (NaN when there is no other).
 * They describe the weights. They do not explain what a model answers.
 */
export interface HeadStatistics {
  /** Of the weights of a row, divided by their sum, in nats: 0 looks at one key, ln(keyLength) at all alike. */
  readonly entropy: number;
  /** Mean of |place of the query − key| by weight, in tokens. Undefined where queries have no place among the keys. */
  readonly distance: number | undefined;
  /** The largest weight of a row. */
  readonly confidence: number;
  /** The weight of the first key, where many heads send what they have no use for. */
  readonly shareOnFirst: number;
  /** The weight of the query's own place. Undefined where queries have no place among the keys. */
  readonly shareOnSelf: number | undefined;
}

export interface StatisticsOptions {
  /**
   * The place of query 0 among the keys, an integer. By default 0 where there are as many queries as keys; where there are
   * not, queries have no place (cross-attention). `null` says that they have none in any case.
   */
  queryOffset?: number | null | undefined;
}

const optionNames = new Set(["queryOffset"]);

/** Statistics of each head, from weights [heads, queryLength, keyLength] or [1, heads, queryLength, keyLength]. */
export function attentionStatistics(weights: WeightsInput, options: StatisticsOptions = {}): HeadStatistics[] {
  checkNames("options", options, optionNames);
  const { queryOffset } = options;
  if (queryOffset !== undefined && queryOffset !== null && !Number.isSafeInteger(queryOffset)) {
    throw new FoveaError("ERR_FOVEA_OPTION", `queryOffset: expected an integer or null, got ${show(queryOffset)}`);
  }
  const layer = readWeights("weights", weights);
  return layerStatistics(layer, queryOffset === undefined ? defaultOffset(layer) : (queryOffset ?? undefined));
}

const defaultOffset = ({ queries, keys }: LayerWeights): number | undefined => (queries === keys ? 0 : undefined);

/** `offset`: the place of query 0 among the keys, undefined where queries have none. */
export function layerStatistics(layer: LayerWeights, offset: number | undefined): HeadStatistics[] {
  return Array.from({ length: layer.heads }, (_, head) => headStatistics(layer, head, offset));
}

function headStatistics(layer: LayerWeights, head: number, offset: number | undefined): HeadStatistics {
  const { queries, keys, data } = layer;
  const sums = { rows: 0, entropy: 0, distance: 0, confidence: 0, first: 0, self: 0 };
  for (let query = 0; query < queries; query++) {
    const begin = (head * queries + query) * keys;
    const place = query + (offset ?? 0);
    let [sum, logs, largest, distance] = [0, 0, 0, 0];
    for (let key = 0; key < keys; key++) {
      const weight = data[begin + key]!;
      if (weight === 0) continue;
      sum += weight;
      logs += weight * Math.log(weight);
      largest = Math.max(largest, weight);
      distance += weight * Math.abs(place - key);
    }
    if (sum === 0) continue;
    sums.rows++;
    // The entropy of weights / sum; rounding must not make it negative.
    sums.entropy += Math.max(0, Math.log(sum) - logs / sum);
    sums.distance += distance / sum;
    sums.confidence += largest;
    sums.first += data[begin]!;
    if (place >= 0 && place < keys) sums.self += data[begin + place]!;
  }
  const mean = (total: number): number => total / sums.rows;
  return {
    entropy: mean(sums.entropy),
    distance: offset === undefined ? undefined : mean(sums.distance),
    confidence: mean(sums.confidence),
    shareOnFirst: mean(sums.first),
    shareOnSelf: offset === undefined ? undefined : mean(sums.self),
  };
}
