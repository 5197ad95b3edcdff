// Prints what the process held after each of several rounds of calls, and ends by itself.
import { attention, attentionSync, PagedKVCache, Tensor, type AttentionOptions } from "../../lib/index.js";

const [kind, rounds, calls] = [process.argv[2]!, Number(process.argv[3]), Number(process.argv[4])];
const small = () => Tensor.random([1, 2, 32, 64], { seed: 1 }); // 16 KB: memory of its own, outside the heap
const shared = small();
const quiet = (promise: Promise<unknown>) => promise.then(undefined, () => undefined);

const kinds: Record<string, (i: number) => unknown> = {
  sync: () => attentionSync(shared, shared, shared, { returnLse: true }),
  async: () => attention(shared, shared, shared, { returnWeights: true }),
  aborted(i) {
    const abort = new AbortController();
    const call = attention(shared, shared, shared, { signal: abort.signal });
    if (i % 2 === 0) abort.abort();
    return quiet(call);
  },
  failing: (i) =>
    i % 2 === 0
      ? quiet(attention(shared, shared, shared, { scale: NaN }))
      : quiet(attention(shared, shared, shared.slice(2, 1, 3), {})),
  /** One signal for all: listeners must go when calls settle. */
  signal: () => attention(shared, shared, shared, { signal: lasting.signal }),
  disposed() {
    const tensor = small();
    const { output } = attentionSync(tensor, tensor, tensor);
    output.dispose();
    output.dispose();
    tensor.dispose();
  },
  using() {
    // What `using tensor = small()` does at the end of its block.
    const tensor = small();
    const call = attention(tensor, tensor, tensor).then(({ output }) => output[Symbol.dispose]());
    tensor[Symbol.dispose](); // the call in flight keeps its memory
    return call;
  },
  /** Nobody disposes of anything: the garbage collector must. */
  forgotten() {
    const tensor = small();
    const view = tensor.transpose(2, 3).transpose(2, 3);
    return attention(view, tensor, tensor);
  },
  options() {
    const options: AttentionOptions = {
      mask: Tensor.from(new Uint8Array(32 * 32).fill(1), [32, 32], { dtype: "bool" }),
      bias: Tensor.zeros([32, 32]),
      sinks: new Float32Array(2),
      keyLengths: new Int32Array(1).fill(32),
      out: Tensor.zeros([1, 2, 32, 64]),
    };
    return attention(shared, shared, shared, options);
  },
  /** Sequences that come and go, and caches now and then. */
  async cache(i) {
    if (i % 100 === 0) {
      caches?.dispose();
      caches = new PagedKVCache({ layers: 1, kvHeads: 2, headDim: 64, pages: 64, pageSize: 8 });
    }
    const sequence = caches!.create();
    await caches!.append([sequence], 0, tokens, tokens, { rope: { theta: 1e4 } });
    const fork = sequence.fork();
    sequence.free();
    const attending = caches!.attend(tokens, [fork], { layer: 0, rope: { theta: 1e4 } });
    fork.free();
    await quiet(attending);
  },
  /** Matrices of scores, of 8 to 32 KB, and results of splits: memory that calls share and hand on. */
  workspaces(i) {
    const rows = longer.slice(2, 0, 64 - 4 * (i % 8));
    if (i % 3 === 0) return attention(rows, rows, rows, { algorithm: "standard" });
    if (i % 3 === 1) return attentionSync(rows, rows, rows, { algorithm: "standard" });
    return attention(rows.slice(2, 0, 1), manyKeys, manyKeys);
  },
};
let caches: PagedKVCache | undefined;
const tokens = Tensor.random([9, 2, 64], { seed: 4 });
const longer = Tensor.random([1, 2, 64, 64], { seed: 2 });
const manyKeys = Tensor.random([1, 2, 1100, 64], { seed: 3 });
const lasting = new AbortController();
const call = kinds[kind]!;

async function round(): Promise<NodeJS.MemoryUsage> {
  for (let done = 0; done < calls;) {
    const together: unknown[] = [];
    for (let i = 0; i < 16 && done < calls; i++, done++) together.push(call(i));
    await Promise.all(together);
  }
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage();
}

const held: NodeJS.MemoryUsage[] = [];
for (let i = 0; i < rounds; i++) held.push(await round());
console.log(JSON.stringify(held));
// The process now ends, or the test fails: nothing may keep it alive.
