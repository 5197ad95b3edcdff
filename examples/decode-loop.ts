// A text generator's inner loop: many texts of different lengths get a token each per step, through all layers of a model,
// with their keys and values in one PagedKVCache. A text that is done gives its pages back, and a new one with its prompt takes
// its place. The shapes are those of a model with a billion parameters; the tokens' keys, values and first queries are random.
//   npx tsx examples/decode-loop.ts --texts 8 --steps 2000 [--device cuda]

import { createHistogram } from "node:perf_hooks";
import { SingleBar } from "cli-progress";
import { defineCommand } from "citty";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { positive, runProgram } from "../lib/cli/command.js";
import { PagedKVCache, Tensor, type CacheSequence, type Device, type StoredDType } from "../lib/index.js";
import { bytes } from "../lib/terminal/format.js";

const [heads, kvHeads, headDim] = [32, 8, 64];
const rope = { theta: 500_000 };

interface Text {
  readonly sequence: CacheSequence;
  /** Tokens at its end. */
  readonly target: number;
}

const command = defineCommand({
  meta: { name: "decode-loop", description: "Many texts decode together through a paged key/value cache" },
  args: {
    texts: { type: "string", default: "8", description: "texts at a time" },
    steps: { type: "string", default: "2000", description: "tokens of each" },
    layers: { type: "string", default: "16", description: "layers of the model" },
    longest: { type: "string", default: "2048", description: "tokens of a text at most" },
    dtype: { type: "string", default: "bfloat16", description: "of the pages: float32, float16, bfloat16 or int8" },
    device: { type: "string", default: "cpu", description: "where it decodes: cpu, cuda or cuda:N" },
  },
  async run({ args }) {
    const [texts, steps] = [positive("texts", args.texts), positive("steps", args.steps)];
    const [layers, longest] = [positive("layers", args.layers), positive("longest", args.longest)];
    const [dtype, device] = [args.dtype as StoredDType, args.device as Device];
    const random = xoroshiro128plus(1);
    const pageSize = 64;
    const pages = texts * Math.ceil(longest / pageSize);
    using cache = new PagedKVCache({ layers, kvHeads, headDim, pageSize, pages, dtype, device });

    // What a model's projections would give: the rows of a few long random tensors, anew for each token by where they begin.
    const float = dtype === "int8" ? "float32" : dtype;
    const most = Math.max(longest, texts);
    const [key, value, queries] = [kvHeads, kvHeads, heads].map((count, seed) =>
      Tensor.random([2 * most, count, headDim], { seed, dtype: float, device }),
    ) as [Tensor, Tensor, Tensor];
    const rows = (tensor: Tensor, count: number) => {
      const first = uniformInt(random, 0, most - 1);
      return tensor.slice(0, first, first + count);
    };

    const begin = async (): Promise<Text> => {
      const sequence = cache.create();
      const target = uniformInt(random, Math.ceil(longest / 4), longest);
      const prompt = uniformInt(random, 1, Math.ceil(target / 2));
      for (let layer = 0; layer < layers; layer++) {
        await cache.append([sequence], layer, rows(key, prompt), rows(value, prompt), { rope });
      }
      return { sequence, target };
    };

    const running: Text[] = [];
    while (running.length < texts) running.push(await begin());
    const times = createHistogram();
    const bar = new SingleBar({
      format: "{bar} {value}/{total} steps  {rate} tokens/s  {pages} pages",
      hideCursor: true,
      clearOnComplete: true,
      noTTYOutput: true,
      notTTYSchedule: 5000,
    });
    let [done, tokens, mostPages, decoding] = [0, 0, 0, 0];
    const interrupted = new AbortController(); // what was measured until then is told all the same
    process.once("SIGINT", () => interrupted.abort());
    bar.start(steps, 0, { rate: 0, pages: 0 });
    let step = 0;
    try {
      for (; step < steps && !interrupted.signal.aborted; step++) {
        for (const [i, { sequence, target }] of running.entries()) {
          if (sequence.length < target) continue;
          sequence.free();
          running[i] = await begin();
          done++;
        }
        const sequences = running.map(({ sequence }) => sequence);
        const start = performance.now();
        let query = rows(queries, texts);
        for (let layer = 0; layer < layers; layer++) {
          await cache.append(sequences, layer, rows(key, texts), rows(value, texts), { rope });
          const { output } = await cache.attend(query, sequences, { layer, rope });
          query.dispose();
          query = output; // of the next layer
        }
        query.dispose();
        const time = performance.now() - start;
        times.record(Math.ceil(time * 1000));
        decoding += time / 1000;
        tokens += texts;
        mostPages = Math.max(mostPages, cache.statistics.usedPages);
        bar.update(step + 1, { rate: Math.round(tokens / decoding), pages: cache.statistics.usedPages });
      }
    } finally {
      bar.stop(); // its timer keeps the process alive
    }

    const { statistics } = cache;
    const milliseconds = (percentile: number) => (times.percentile(percentile) / 1000).toFixed(1);
    console.log(
      `${texts} texts at a time, ${layers} layers, ${heads} heads (${kvHeads} of keys), headDim ${headDim}, ${dtype} on ${cache.device}`,
    );
    console.log(`${tokens} tokens in ${step} steps: ${Math.round(tokens / decoding)} tokens/s; ${done} texts done`);
    console.log(`step: p50 ${milliseconds(50)} ms, p99 ${milliseconds(99)} ms`);
    console.log(`pages: at most ${mostPages} of ${pages} (${bytes(statistics.bytes)} in all)`);
  },
});

await runProgram("decode-loop", command);
