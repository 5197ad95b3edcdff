export { renderAttention } from "./maps/render.js";
export type { AttentionMap, AttentionMapLayer } from "./maps/render.js";
export { attentionStatistics } from "./maps/statistics.js";
export type { HeadStatistics, StatisticsOptions } from "./maps/statistics.js";
export type { WeightsInput } from "./maps/weights.js";
