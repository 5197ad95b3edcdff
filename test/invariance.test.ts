// The same sequence gives the same bits: alone or among others, in any layout, by any number of threads, every time, with or
// without others computing at the same time.
import { afterAll, describe, expect, test } from "vitest";
import {
  attention,
  attentionSync,
  devices,
  explain,
  setThreads,
  type AttentionOptions,
  type Tensor,
} from "../lib/index.js";
import { algorithms, backends, onCuda, run } from "./support/backends.js";
import { build, type Problem } from "./support/build.js";
import { drawSchedule } from "./support/simulator.js";
import { complete, type SomeSpec } from "./support/spec.js";

const [cpu] = devices();
const threadsAtFirst = cpu.available ? cpu.threads : 1;
afterAll(() => setThreads(threadsAtFirst));

const bits = (tensor: Tensor | undefined) => {
  if (tensor === undefined) return undefined;
  const { data } = tensor.contiguous();
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
};

/**
 * Several sequences of very different sizes: decode, split decode, one block, many. On the simulator, which computes whole
 * tiles, many are two.
 */
const mixed: SomeSpec = {
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  valueDim: 24,
  queries: [1, 130, 3, 40, 2],
  keys: onCuda ? [300, 70, 17, 130, 1] : [3000, 200, 17, 2500, 1],
  causal: true,
  sinks: true,
  alibi: "bh",
  lse: true,
};

describe.each(backends)("$name", (backend) => {
  const solve = async (problem: Problem, options: AttentionOptions) => {
    const { output, lse, weights } = await run(backend, [problem.query, problem.key, problem.value], {
      ...problem.options,
      ...options,
    });
    return { problem, output, lse, weights };
  };
  const compute = (spec: SomeSpec, options: AttentionOptions = {}) => solve(build(complete(spec)), options);

  test.skipIf(onCuda).each(["float32", "float16"] as const)(
    "decode with the heads' rows side by side, where it takes some heads together, as with one head after the other, %s",
    async (dtype) => {
      // A task takes 4 of these heads in float32, 5 in float16; the keys of the first sequence are split.
      const spec: SomeSpec = {
        dtype,
        heads: 15,
        kvHeads: 5,
        headDim: 256,
        valueDim: 40,
        queries: [2, 1],
        keys: [2501, 37],
        causal: true,
        alibi: "bh",
        sinks: true,
        lse: true,
      };
      const apart = await compute(spec);
      const inside = await compute({ ...spec, layout: "bshd" });
      expect(inside.output.shape).toEqual([2, 2, 15, 40]);
      expect(bits(inside.output.transpose(1, 2))).toBe(bits(apart.output));
      expect(bits(inside.lse)).toBe(bits(apart.lse));
      const tasks = (layout: "bhsd" | "bshd") => {
        const shape = layout === "bhsd" ? [1, 5, 3000, 256] : [1, 3000, 5, 256];
        const key = { shape, dtype };
        return explain({ shape: [1, layout === "bhsd" ? 5 : 1, layout === "bhsd" ? 1 : 5, 256], dtype }, key, key, {
          layout,
        }).tasks;
      };
      expect(tasks("bhsd")).toBe(3 * 5);
      expect(tasks("bshd")).toBe(3 * (dtype === "float32" ? 2 : 1));
    },
  );

  test.skipIf(onCuda).each([
    { dtype: "float32", layout: "bshd" },
    { dtype: "float16", weights: true },
    { dtype: "bfloat16", layout: "bshd", causal: true },
    { dtype: "float32", pageSize: 7, causal: true, alibi: "bh" },
  ] satisfies SomeSpec[])("heads of short sequences that share a task as each by itself, %o", async (varied) => {
    const lengths = Array.from({ length: 24 }, (_, i) => 17 + ((i * 7) % 44));
    const problem = build(
      complete({
        heads: 10,
        kvHeads: 5,
        headDim: 16,
        valueDim: 24,
        queries: lengths,
        keys: lengths,
        lse: true,
        ...varied,
      }),
    );
    const by = async (threads: number) => {
      setThreads(threads);
      const { output, lse, weights } = await solve(problem, { algorithm: "tiled" });
      const { tasks } = explain(problem.query, problem.key, problem.value, { ...problem.options, algorithm: "tiled" });
      return { tasks, results: [bits(output), bits(lse), bits(weights)] };
    };
    const [together, apart] = [await by(1), await by(64)];
    expect(together.tasks).toBeLessThan(24 * 2);
    expect(apart.tasks).toBe(24 * 5);
    expect(together.results).toEqual(apart.results);
  });

  describe.each(algorithms)("%s", (algorithm) => {
    test.each(["float32", "bfloat16"] as const)(
      "each sequence alone as in a batch, ragged or dense, %s",
      async (dtype) => {
        const dense = await compute({ ...mixed, dtype }, { algorithm });
        const ragged = await compute({ ...mixed, dtype, layout: "thd" }, { algorithm });
        const { queries, keys } = complete(mixed);
        let start = 0;
        for (const [b, length] of queries.entries()) {
          const { problem } = dense;
          // The sequence itself, cut out of the batch.
          const cut = (input: unknown, rows: number) => {
            const {
              data,
              shape,
              dtype: type,
            } = (input as Tensor)
              .slice(0, b, b + 1)
              .slice(2, 0, rows)
              .contiguous();
            return { data, shape, dtype: type };
          };
          const slopes = (problem.options.alibiSlopes as Tensor).slice(0, b, b + 1);
          const alone = await run(
            backend,
            [cut(problem.query, length), cut(problem.key, keys[b]!), cut(problem.value, keys[b]!)],
            { algorithm, causal: true, sinks: problem.options.sinks, alibiSlopes: slopes, returnLse: true },
          );
          const own = bits(alone.output);
          expect(bits(dense.output.slice(0, b, b + 1).slice(2, 0, length)), `dense ${b}`).toBe(own);
          const tokens = ragged.output.slice(0, start, start + length).transpose(0, 1);
          expect(bits(tokens), `ragged ${b}`).toBe(own);
          expect(bits(dense.lse!.slice(0, b, b + 1).slice(2, 0, length))).toBe(bits(alone.lse));
          expect(bits(ragged.lse!.slice(1, start, start + length))).toBe(bits(alone.lse));
          start += length;
        }
      },
    );

    test("whatever the number of threads or the schedule, and again", async () => {
      const problems: SomeSpec[] = [
        mixed,
        { ...mixed, layout: "thd", dtype: "float16" },
        { ...mixed, dtype: "bfloat16", pageSize: 16 },
        { queries: [1], keys: [onCuda ? 500 : 5000], headDim: 16, heads: 3, kvHeads: 1, lse: true },
        { queries: [300], keys: [300], headDim: 9, mask: "qk", softcap: 9, weights: true },
      ];
      // One thread takes all rows of a head at a time, several do not.
      const tall: SomeSpec = { queries: [330], keys: [2100], heads: 18, headDim: 4, dtype: "float16" };
      if (!onCuda && algorithm === "tiled") problems.push(tall, { ...tall, dtype: "bfloat16", headDim: 5 });
      for (const problem of problems.map((spec) => build(complete(spec)))) {
        const results = new Set<string>();
        for (const threads of onCuda ? [1] : [1, 2, 3, 8, 2]) {
          setThreads(threads);
          for (let time = 0; time < 3; time++) {
            drawSchedule(`${algorithm}, time ${time}`);
            const { output, lse, weights } = await solve(problem, { algorithm });
            results.add([bits(output), bits(lse), bits(weights)].join());
          }
        }
        expect(results.size).toBe(1);
      }
    });

    test("many calls in flight at once as one after the other, and as attentionSync", async () => {
      setThreads(3);
      const { device } = backend;
      const specs = Array.from({ length: onCuda ? 6 : 24 }, (_, i): SomeSpec => ({
        ...mixed,
        seed: i,
        pageSize: i % 3 === 0 ? 16 : 0,
      }));
      const problems = specs.map((spec) => build(complete(spec)));
      const together = await Promise.all(
        problems.map(({ query, key, value, options }) =>
          attention(query, key, value, { ...options, algorithm, device }),
        ),
      );
      for (const [i, { query, key, value, options }] of problems.entries()) {
        const sync = attentionSync(query, key, value, { ...options, algorithm, device });
        expect(bits(together[i]!.output)).toBe(bits(sync.output));
        expect(bits(together[i]!.lse)).toBe(bits(sync.lse));
        expect(together[i]!.plan).toEqual(sync.plan);
      }
    });

    test.each(["float32", "bfloat16"] as const)(
      "a row whatever the mask hides from its neighbours, %s",
      async (dtype) => {
        const [rows, keys] = [60, 700];
        const problem = build(complete({ queries: [rows], keys: [keys], headDim: 16, lse: true, dtype }));
        const some = Uint8Array.from({ length: rows * keys }, (_, i) => ((i * 7919) % 10007) % 5).map(Math.sign);
        for (const own of ["all", "some"]) {
          for (const row of [0, 23, 59]) {
            const results = new Set<string>();
            for (const others of ["all", "some", "none"]) {
              const data = Uint8Array.from({ length: rows * keys }, (_, i) => {
                const kind = Math.floor(i / keys) === row ? own : others;
                return kind === "all" ? 1 : kind === "some" ? some[i]! : 0;
              });
              const mask = { data, shape: [1, 1, rows, keys], dtype: "bool" as const };
              const { output, lse } = await solve(problem, { algorithm, mask });
              results.add(`${bits(output.slice(2, row, row + 1))} ${bits(lse!.slice(2, row, row + 1))}`);
            }
            expect(results.size, `${own}, row ${row}`).toBe(1);
          }
        }
      },
    );

    test("paged keys as contiguous ones, strided ones as dense ones", async () => {
      const dense = await compute(mixed, { algorithm });
      for (const pageSize of [1, 16]) {
        expect(bits((await compute({ ...mixed, pageSize }, { algorithm })).output)).toBe(bits(dense.output));
      }
      for (const strides of [1, 2, 3]) {
        expect(bits((await compute({ ...mixed, strides }, { algorithm })).output)).toBe(bits(dense.output));
      }
    });
  });
});
