// Many sequences with a common prefix, whose queries one task computes together: the bits of each alone, and the numbers of the
// reference. (Few of them, and how prefixes are shared: cache.test.ts.)
import { describe, expect, test } from "vitest";
import type { AttendOptions } from "../../lib/index.js";
import { onCuda } from "../support/backends.js";
import { CacheModel, relativeError } from "../support/cache-model.js";

const bounds = { float32: 2e-6, float16: 1e-3, bfloat16: 8e-3, int8: 2e-2 } as const;

const ways: Record<string, Omit<AttendOptions, "layer">> = {
  plainly: {},
  "with ALiBi": { alibiSlopes: Float32Array.of(0.01, 0.005) },
  "with softcap and sinks": { softcap: 2, sinks: Float32Array.of(1, -1) },
};

describe.each(["float32", "float16", "bfloat16", "int8"] as const)("%s", (dtype) => {
  // Rows of whole vectors of every instruction set, and rows that are not.
  test.each([
    { headDim: 32, valueDim: 64 },
    { headDim: 24, valueDim: 7 },
  ])("%o", async (dims) => {
    const queryDtype = dtype === "int8" ? "float16" : dtype;
    const sizes = { layers: 1, heads: 2, kvHeads: 1, pageSize: 16, pages: 80 } as const;
    const model = new CacheModel({ ...sizes, ...dims, dtype, queryDtype, device: onCuda ? "cuda" : "cpu" });
    const root = model.create();
    await model.append([root], [300]);
    const all = [root, ...Array.from({ length: 19 }, () => model.fork(root))];
    await model.append(
      all,
      all.map((_, i) => 2 + (i % 5)),
    );
    // Two queries of two heads each: 36 rows, and 80, which are more than a task of the CPU's has.
    for (const count of [9, 20]) {
      const some = all.slice(0, count);
      const each = some.map(() => 2);
      const query = model.queries(each);
      const rowLength = (2 * query.length) / (2 * count);
      for (const [name, options] of Object.entries(ways)) {
        const together = await model.attend(some, each, query, 0, options);
        expect(together.plan.sharedSegments).toBe(1);
        const expected = model.expected(some, each, query, 0, options);
        expect(relativeError(together.output, expected.output), name).toBeLessThan(bounds[dtype]);
        for (const i of [0, 3, count - 1]) {
          const own = query.slice(i * rowLength, (i + 1) * rowLength);
          const alone = await model.attend([some[i]!], [2], own, 0, options);
          const { length } = alone.output;
          expect(alone.output, `${name}, ${i}`).toEqual(together.output.slice(i * length, (i + 1) * length));
          const lse = [0, 1].flatMap((head) => [0, 1].map((row) => together.lse[(head * count + i) * 2 + row]));
          expect([...alone.lse], `${name}, lse ${i}`).toEqual(lse);
        }
      }
    }
    model.cache.dispose();
  });
});
