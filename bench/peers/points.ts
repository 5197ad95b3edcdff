// The measured problems: float32, all inputs present, scale 1/sqrt(headDim).
export interface Point {
  name: string;
  batch: number;
  heads: number;
  kvHeads: number;
  queryLength: number;
  keyLength: number;
  headDim: number;
  causal: boolean;
  /** Reads far more than it computes: reported in GB/s of keys and values. */
  bandwidthBound?: boolean;
}

const lengths = [512, 1024, 2048, 4096, 8192];

const square = (name: string, length: number, heads = 8, headDim = 64): Point[] =>
  [false, true].map((causal) => ({
    name: causal ? `${name}-causal` : name,
    batch: 1,
    heads,
    kvHeads: heads,
    queryLength: length,
    keyLength: length,
    headDim,
    causal,
  }));

const decode = (name: string, heads: number, kvHeads: number): Point => ({
  name,
  batch: 8,
  heads,
  kvHeads,
  queryLength: 1,
  keyLength: 4096,
  headDim: 128,
  causal: false,
  bandwidthBound: true,
});

/** Sequences of a server's batch. */
const batch = (batch: number, heads: number, headDim: number, queryLength: number, keyLength = queryLength): Point => ({
  name: `b${batch}h${heads}d${headDim}-s${queryLength}${keyLength === queryLength ? "" : `x${keyLength}`}`,
  batch,
  heads,
  kvHeads: heads,
  queryLength,
  keyLength,
  headDim,
  causal: false,
});

export const points: Point[] = [
  ...lengths.flatMap((length) => square(`s${length}`, length)),
  ...lengths.flatMap((length) => [
    ...square(`h16d64-s${length}`, length, 16, 64),
    ...square(`h8d128-s${length}`, length, 8, 128),
    ...square(`h16d128-s${length}`, length, 16, 128),
  ]),
  { name: "cross", batch: 1, heads: 8, kvHeads: 8, queryLength: 512, keyLength: 2048, headDim: 64, causal: false },
  ...[32, 64, 128, 256].map((length) => batch(32, 12, 64, length)), // texts, with the heads of BERT's base model
  batch(8, 12, 64, 197), // images: ViT-B of 16 x 16
  batch(64, 4, 32, 49), // Swin, windows of 7 x 7
  batch(2, 8, 40, 4096, 77), // Stable Diffusion, an image's places against a text
  decode("decode", 16, 16),
  decode("decode-grouped", 32, 8),
];

/** What `--quick` measures. */
export const quickPoints = ["s512", "s512-causal", "s1024", "s1024-causal", "s2048", "s2048-causal", "decode"];

/** The smallest call worth timing: what it takes is overhead. */
export const tinyPoint: Point = {
  name: "tiny",
  batch: 1,
  heads: 1,
  kvHeads: 1,
  queryLength: 16,
  keyLength: 16,
  headDim: 64,
  causal: false,
};

/** Multiplications and additions of the two matrix products, those that a causal mask hides left out. */
export function flops({ batch, heads, queryLength, keyLength, headDim, causal }: Point): number {
  return (4 * batch * heads * queryLength * keyLength * headDim) / (causal ? 2 : 1);
}

/** Bytes of keys and values. */
export function keyValueBytes({ batch, kvHeads, keyLength, headDim }: Point): number {
  return 2 * 4 * batch * kvHeads * keyLength * headDim;
}

/** Bytes of a whole score matrix. */
export function scoreBytes({ batch, heads, queryLength, keyLength }: Point): number {
  return 4 * batch * heads * queryLength * keyLength;
}
