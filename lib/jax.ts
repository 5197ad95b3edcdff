// fovea/jax: jax.nn.dot_product_attention, on @jax-js/jax arrays and on fovea's tensors.
export { dotProductAttention } from "./jax/dot-product-attention.js";
export type {
  DotProductAttentionOptions,
  JaxArray,
  JaxInput,
  JaxIntegers,
  JaxResult,
} from "./jax/dot-product-attention.js";
