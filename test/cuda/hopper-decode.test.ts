// The decode kernel for Hopper: which calls it takes, and what it computes. (Its rules: test/native/cuda/decode_test.cpp.)
import { describe, expect, test } from "vitest";
import { attention, devices, explain, Tensor } from "../../lib/index.js";
import { referenceAttentionFloat64 } from "../../lib/reference.js";
import { compareEach } from "../support/compare.js";
import { drawn } from "../support/spoil.js";

const gpu = devices().find((info) => "computeCapability" in info && info.computeCapability.startsWith("9."));

describe.runIf(gpu !== undefined)("cuda.decode_sm90", () => {
  const device = gpu?.device ?? "cuda";

  test("takes 17 to 64 rows against many keys, in pages of a multiple of 16 tokens too", () => {
    const plan = (heads: number, queries: number, keys: number, pageSize?: number) => {
      const query = { shape: [1, heads, queries, 64], dtype: "float16" } as const;
      const pages = Math.ceil(keys / (pageSize ?? keys));
      const key = { shape: [pages, 2, pageSize ?? keys, 64], dtype: "float16" } as const;
      const options = { causal: true, device, keyLengths: Int32Array.of(keys) } as const;
      const paged = { ...options, pageTable: { shape: [1, pages], dtype: "int32" } } as const;
      const { kernel, splits, reason } = explain(query, key, key, pageSize === undefined ? options : paged).parts[0]!;
      return [kernel, splits, reason];
    };
    expect(plan(34, 1, 1200)).toEqual(["cuda.decode_sm90", 2, ""]);
    expect(plan(32, 4, 8 * 2112)).toEqual(["cuda.decode_sm90", 8, ""]);
    expect(plan(34, 1, 1200, 48)).toEqual(["cuda.decode_sm90", 2, ""]);
    expect(plan(34, 1, 1200, 8)).toEqual([expect.any(String), expect.any(Number), expect.stringMatching(/16 tokens/)]);
    expect(plan(32, 1, 1200)[0]).toBe("cuda.decode");
    expect(plan(34, 1, 1100)[0]).not.toBe("cuda.decode_sm90");
  });

  const [heads, keys, dim, pageSize] = [17, 1168, 64, 16];
  const pages = keys / pageSize;
  const paging = {
    pageTable: Tensor.from(
      Int32Array.from({ length: pages }, (_, page) => page),
      [1, pages],
    ),
    keyLengths: Int32Array.of(keys - 3),
  };

  test.each([
    ["one after the other", [1, 1, keys, dim], {}],
    ["in pages", [pages, 1, pageSize, dim], paging],
  ] as const)("keys %s", async (_, shape, options) => {
    const query = drawn(1, [1, heads, 1, dim]).cast("float16");
    const [key, value] = [2, 3].map((seed) => drawn(seed, [1, 1, keys, dim]).cast("float16").reshape(shape));
    const expected = referenceAttentionFloat64(query, key!, value!, { ...options, returnLse: true });
    const actual = await attention(query, key!, value!, { ...options, device, returnLse: true });
    expect(actual.plan.kernel).toBe("cuda.decode_sm90");
    expect(compareEach("output", actual.output.toNumbers(), expected.output, () => 2 ** -9)).toBeUndefined();
    expect(compareEach("lse", actual.lse.toNumbers(), expected.lse, () => 1e-4)).toBeUndefined();
  });
});
