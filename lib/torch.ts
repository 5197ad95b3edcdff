// fovea/torch: attention as PyTorch and flash-attn have it, by their names, layouts and defaults, on fovea's tensors.
export { scaledDotProductAttention } from "./torch/sdpa.js";
export type { ScaledDotProductAttentionOptions } from "./torch/sdpa.js";
export { flashAttention, flashAttentionVarlen } from "./torch/flash.js";
export type { FlashAttentionOptions, FlashAttentionVarlenOptions, FlashResult } from "./torch/flash.js";
export { flashAttentionWithKvCache } from "./torch/kv-cache.js";
export type { FlashAttentionWithKvCacheOptions } from "./torch/kv-cache.js";
