import { uniformFloat32 } from "pure-rand/distribution/uniformFloat32";
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { allocateFloat64 } from "./dtype.js";

export type Distribution = "normal" | "uniform";

/** Numbers thrown away after seeding, so that neighbouring seeds have nothing in common. */
const warmUp = 64;

/**
 * Pseudo-random numbers, the same for the same seed on every machine: standard normal (Box and Muller, "A note on the
 * generation of random normal deviates", 1958) or uniform in [0, 1), multiples of 2^-24, which float32 holds exactly.
 */
export function randomNumbers(length: number, seed: number, distribution: Distribution): Float64Array {
  const numbers = allocateFloat64(length);
  const generator = xoroshiro128plus(seed);
  for (let i = 0; i < warmUp; i++) generator.next();
  if (distribution === "uniform") {
    for (let i = 0; i < length; i++) numbers[i] = uniformFloat32(generator);
    return numbers;
  }
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniformFloat64(generator)));
    const angle = 2 * Math.PI * uniformFloat64(generator);
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < length) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}
