// Many sequences with a common prefix, whose queries one task computes together: the bits of each alone, and the numbers of the
// reference. (Few of them, and how prefixes are shared: cache.test.ts.)
import { describe, expect, test } from "vitest";
import type { AttendOptions } from "../../lib/index.js";
import { onCuda } from "../support/backends.js";
import { CacheModel, relativeError, type ModelOptions } from "../support/cache-model.js";

const bounds = { float32: 2e-6, float16: 1e-3, bfloat16: 8e-3, int8: 2e-2 } as const;

/** Two query heads to each kv head; slopes and sinks are of four. */
const ways: Record<string, Omit<AttendOptions, "layer">> = {
  plainly: {},
  "with ALiBi": { alibiSlopes: Float32Array.of(0.01, 0.005, 0.02, 0) },
  "with softcap and sinks": { softcap: 2, sinks: Float32Array.of(1, -1, 0, 3) },
  "in a window that all of it is in": { window: { left: 310 } },
};

async function family(options: ModelOptions) {
  const model = new CacheModel(options);
  const root = model.create();
  await model.append([root], [300]);
  const all = [root, ...Array.from({ length: 19 }, () => model.fork(root))];
  await model.append(
    all,
    all.map((_, i) => 2 + (i % 5)),
  );
  return { model, all };
}

/** What sequence `i` of `count`, with two queries each, has of the results of all: its output, and its lse head by head. */
function partOf({ output, lse }: { output: Float64Array; lse: Float64Array }, i: number, count: number, heads: number) {
  const { length } = output;
  return {
    output: output.slice((i * length) / count, ((i + 1) * length) / count),
    lse: Array.from({ length: 2 * heads }, (_, at) => lse[(Math.floor(at / 2) * count + i) * 2 + (at % 2)]),
  };
}

describe.each(["float32", "float16", "bfloat16", "int8"] as const)("%s", (dtype) => {
  const queryDtype = dtype === "int8" ? "float16" : dtype;
  const device = onCuda ? "cuda" : "cpu";

  // Rows of whole vectors of every instruction set, and rows that are not; pages of many tokens, few, and one.
  test.each([
    { headDim: 32, valueDim: 64, kvHeads: 1, pageSize: 16 },
    { headDim: 24, valueDim: 7, kvHeads: 1, pageSize: 3 },
    { headDim: 40, valueDim: 32, kvHeads: 2, pageSize: 1 },
  ])("%o", async (sizes) => {
    const heads = 2 * sizes.kvHeads;
    const { model, all } = await family({ layers: 1, heads, pages: 450, ...sizes, dtype, queryDtype, device });
    // Two queries of two heads each: 36 rows, and 80, which are more than a task of the CPU's has.
    for (const count of [9, 20]) {
      const some = all.slice(0, count);
      const each = some.map(() => 2);
      const query = model.queries(each);
      for (const [name, way] of Object.entries(ways)) {
        const options = { ...way };
        for (const list of ["alibiSlopes", "sinks"] as const)
          if (way[list]) options[list] = (way[list] as Float32Array).slice(0, heads);
        const together = await model.attend(some, each, query, 0, options);
        expect(together.plan.sharedSegments).toBe(1);
        if (name === "plainly") {
          const expected = model.expected(some, each, query, 0, options);
          expect(relativeError(together.output, expected.output)).toBeLessThan(bounds[dtype]);
        }
        for (const i of [0, 3, count - 1]) {
          const own = query.slice((i * query.length) / count, ((i + 1) * query.length) / count);
          const alone = await model.attend([some[i]!], [2], own, 0, options);
          const expected = model.expected([some[i]!], [2], own, 0, options);
          expect(relativeError(alone.output, expected.output), `${name}, ${i}`).toBeLessThan(bounds[dtype]);
          const part = partOf(together, i, count, heads);
          expect(alone.output, `${name}, ${i}`).toEqual(part.output);
          expect([...alone.lse], `${name}, lse ${i}`).toEqual(part.lse);
        }
      }
    }
    model.cache.dispose();
  });

  test("what is no number in one sequence's query does not reach the others", async () => {
    const sizes = { layers: 1, heads: 2, kvHeads: 1, headDim: 32, valueDim: 16, pageSize: 16, pages: 80 };
    const { model, all } = await family({ ...sizes, dtype, queryDtype, device });
    const each = all.map(() => 2);
    const query = model.queries(each);
    const clean = await model.attend(all, each, query, 0);
    const perSequence = query.length / all.length;
    query[perSequence + 5] = NaN;
    query[3 * perSequence] = Infinity;
    query[7 * perSequence + 40] = -Infinity;
    const together = await model.attend(all, each, query, 0);
    for (let i = 0; i < all.length; i++) {
      const part = partOf(together, i, all.length, 2);
      if ([1, 3, 7].includes(i)) expect(part.output.some(Number.isNaN), `sequence ${i}`).toBe(true);
      else expect(part, `sequence ${i}`).toEqual(partOf(clean, i, all.length, 2));
    }
    model.cache.dispose();
  });
});
