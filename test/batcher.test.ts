// AttentionBatcher: many callers, few launches, and nothing that a caller could notice of the others.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  attention,
  AttentionBatcher,
  FoveaError,
  synchronize,
  Tensor,
  type AttentionResult,
  type TensorInput,
} from "../lib/index.js";
import { backends, onCuda } from "./support/backends.js";
import { build } from "./support/build.js";
import { complete, type SomeSpec } from "./support/spec.js";

const bits = (tensor: Tensor | undefined) =>
  tensor && Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength).toString("base64");

const bitsOf = ({ output, lse, weights }: AttentionResult) => [bits(output), bits(lse), bits(weights)];

const codeOf = async (promise: Promise<unknown>) =>
  promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof FoveaError ? error.code : error),
  );

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

type Inputs = [TensorInput, TensorInput, TensorInput];

const inputs = (length: number, { heads = 2, queries = length, headDim = 16, seed = 1 } = {}): Inputs => [
  Tensor.random([1, heads, queries, headDim], { seed }),
  Tensor.random([1, heads, length, headDim], { seed: seed + 1 }),
  Tensor.random([1, heads, length, headDim], { seed: seed + 2 }),
];

/** Tens of milliseconds of work, in many tasks. */
const large = () => inputs(2048, { heads: 8, headDim: 64 });

/** Nothing of its size can be allocated, though its tensors are one number. */
const endless = (queries: number, keys: number): Inputs => {
  const one = (rows: number) => ({ data: Float32Array.of(1), shape: [1, 2, rows, 16], strides: [0, 0, 0, 0] });
  return [one(queries), one(keys), one(keys)];
};

describe.each(backends)("$name", (backend) => {
  const kinds: SomeSpec[] = [
    { queries: [1], keys: [onCuda ? 70 : 1500], lse: true },
    { queries: [5, 0, 3], keys: [40, 7, 0], causal: true, lse: true },
    { queries: [5, 2], keys: [33, 20], causal: true, layout: "thd", lse: true },
    { queries: [30], keys: [50], mask: "qk", lse: true },
    { queries: [30], keys: [50], bias: "hqk", biasDtype: "float16", weights: true },
    { queries: [9], keys: [64], dtype: "float16", sinks: true, lse: true },
    { queries: [2, 3], keys: [20, 31], pageSize: 8, lse: true },
    { queries: [17], keys: [23], alibi: "h", softcap: 5 },
  ];

  test("every call has the bits that it has alone", async () => {
    const { device } = backend;
    const call = fc.record({ kind: fc.nat(kinds.length - 1), seed: fc.nat(3), pause: fc.nat(3) });
    const expected = new Map<string, (string | undefined)[]>();
    const prepare = async (kind: number, seed: number) => {
      const { query, key, value, options } = build(
        complete({ heads: 4, kvHeads: 2, headDim: 8, valueDim: 12, ...kinds[kind], seed }),
      );
      const name = `${kind} ${seed}`;
      if (!expected.has(name)) expected.set(name, bitsOf(await attention(query, key, value, { ...options, device })));
      return { query, key, value, options: { ...options, device }, expected: expected.get(name)! };
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { minLength: 1, maxLength: 24 }),
        fc.constantFrom(1, 3, 256),
        async (list, maxBatch) => {
          const prepared = await Promise.all(
            list.map(async ({ kind, seed, pause }) => ({ ...(await prepare(kind, seed)), pause })),
          );
          await using batcher = new AttentionBatcher({ maxBatch });
          const results = await Promise.all(
            prepared.map(async ({ query, key, value, options, pause }) => {
              for (let i = 0; i < pause; i++) await turn();
              return batcher.attention(query, key, value, options);
            }),
          );
          for (const [i, result] of results.entries()) expect(bitsOf(result)).toEqual(prepared[i]!.expected);
          const metrics = batcher.metrics();
          expect(metrics.batchSize.max).toBeLessThanOrEqual(maxBatch);
          expect(metrics.completed).toBe(list.length);
        },
      ),
      { numRuns: onCuda ? 4 : 30 },
    );
  });

  test("calls of one turn are launched together", async () => {
    const { device } = backend;
    const batcher = new AttentionBatcher();
    const calls = Array.from({ length: 20 }, (_, i) => batcher.attention(...inputs(10 + i), { causal: true, device }));
    const [first, second] = await Promise.all(calls);
    expect(batcher.metrics()).toMatchObject({ launches: 1, accepted: 20, completed: 20, queued: 0, running: 0 });
    expect(batcher.metrics().batchSize).toMatchObject({ count: 1, mean: 20, max: 20 });
    expect(first!.plan).toEqual(second!.plan);
    expect(first!.plan.parts.reduce((sum, { sequences }) => sum + sequences, 0)).toBe(20);
  });

  test("wrong calls, and aborted ones before and after the launch, leave their neighbours alone", async () => {
    const { device } = backend;
    const batcher = new AttentionBatcher();
    const [early, late] = [new AbortController(), new AbortController()];
    const call = (length: number, signal?: AbortSignal) =>
      codeOf(batcher.attention(...inputs(length), { device, signal }));
    const [query, key] = inputs(8);
    const wrong = codeOf(batcher.attention(query, key, Tensor.zeros([1, 2, 7, 16]), { device }));
    const calls = [call(8), wrong, call(9, early.signal), call(10, late.signal), call(11)];
    early.abort();
    await Promise.resolve().then(() => late.abort());
    expect(batcher.metrics()).toMatchObject({ launches: 1, running: 3 });
    const closed = batcher.close();
    expect(await call(8)).toBe("ERR_FOVEA_CLOSED");
    await closed;
    const aborted = "ERR_FOVEA_ABORTED";
    expect(await Promise.all(calls)).toEqual(["resolved", "ERR_FOVEA_SHAPE", aborted, aborted, "resolved"]);
    expect(batcher.metrics()).toMatchObject({ accepted: 4, completed: 2, aborted: 2, failed: 0 });
  });

  test("nothing comes between a call and its launch: its memory is in use, and disposed tensors are kept", async () => {
    const { device } = backend;
    const batcher = new AttentionBatcher({ maxWait: 60_000, maxBatch: 2 });
    const tensors = () => inputs(8).map((tensor) => (tensor as Tensor).to(device));
    const [query, key, value] = (await Promise.all(tensors())) as [Tensor, Tensor, Tensor];
    const [out, other] = [0, 1].map(() => Tensor.zeros([1, 2, 8, 16], { device })) as [Tensor, Tensor];
    const call = batcher.attention(query, key, value, { out });
    expect(await codeOf(attention(out, key, value))).toBe("ERR_FOVEA_BUSY");
    expect(await codeOf(attention(other, key, value, { out: query }))).toBe("ERR_FOVEA_BUSY");
    expect(await codeOf(out.read())).toBe("ERR_FOVEA_BUSY");
    expect(() => out.cast("float16")).toThrow(/^tensor: is being written by an unsettled call/);
    await attention(query, key, value); // reads what others read
    for (const tensor of [query, key, value]) tensor.dispose();
    await Promise.all([call, batcher.attention(other, other, other)]);
    expect(bits(await out.read())).toBe(bits((await attention(...inputs(8), { device })).output));
    expect((await attention(out, out, out, { out: other })).output).toBe(other);
  });

  test("calls with other rules are not", async () => {
    const { device } = backend;
    const batcher = new AttentionBatcher();
    const options = [{}, { causal: true }, { scale: 2 }, { window: { left: 3 } }, { softcap: 1 }, {}];
    await Promise.all(options.map((each) => batcher.attention(...inputs(12), { ...each, device })));
    expect(batcher.metrics().launches).toBe(5);
  });
});

describe.skipIf(onCuda)("one bad call never fails its neighbours", () => {
  test("a wrong one", async () => {
    const batcher = new AttentionBatcher();
    const good = [batcher.attention(...inputs(8)), batcher.attention(...inputs(9))];
    const [query, key] = inputs(8);
    const bad = batcher.attention(query, key, Tensor.zeros([1, 2, 7, 16]));
    expect(await codeOf(bad)).toBe("ERR_FOVEA_SHAPE");
    expect((await Promise.all(good)).map(({ output }) => output.shape[2])).toEqual([8, 9]);
    expect(batcher.metrics()).toMatchObject({ accepted: 2, completed: 2, failed: 0 });
  });

  test("one whose results do not fit into memory", async () => {
    const batcher = new AttentionBatcher();
    const calls = [inputs(8), endless(2 ** 45, 8), inputs(9)].map((each) => codeOf(batcher.attention(...each)));
    expect(await Promise.all(calls)).toEqual(["resolved", "ERR_FOVEA_OUT_OF_MEMORY", "resolved"]);
    expect(batcher.metrics()).toMatchObject({ launches: 1, completed: 2, failed: 1 });
  });

  test("one whose workspace does not, which the launch finds out", async () => {
    const batcher = new AttentionBatcher();
    const calls = [inputs(8), endless(3, 2 ** 50), inputs(9)].map((each) =>
      codeOf(batcher.attention(...each, { algorithm: "standard" })),
    );
    const [first, second, third] = await Promise.all(calls);
    expect([first, third]).toEqual(["resolved", "resolved"]);
    expect(second).toMatch(/^ERR_FOVEA_(OUT_OF_MEMORY|BOUNDS)$/);
    expect(batcher.metrics()).toMatchObject({ completed: 2, failed: 1 });
  });
});

describe.skipIf(onCuda)("aborts", () => {
  test("before the call, and while it waits: at once, and its neighbours go on", async () => {
    const batcher = new AttentionBatcher();
    const running = batcher.attention(...large());
    await turn();
    const controller = new AbortController();
    const waiting = batcher.attention(...large(), { signal: controller.signal });
    const neighbour = batcher.attention(...large());
    expect(batcher.queued).toBe(2);
    controller.abort(new Error("enough"));
    expect(batcher.queued).toBe(1);
    await expect(waiting).rejects.toMatchObject({
      name: "AbortError",
      code: "ERR_FOVEA_ABORTED",
      cause: new Error("enough"),
    });
    expect(batcher.metrics()).toMatchObject({ completed: 0, aborted: 1 });
    expect(await codeOf(batcher.attention(...inputs(4), { signal: controller.signal }))).toBe("ERR_FOVEA_ABORTED");
    await Promise.all([running, neighbour]);
  });

  test("in the turn of the call, before its launch", async () => {
    const batcher = new AttentionBatcher();
    const controller = new AbortController();
    const call = batcher.attention(...inputs(8), { signal: controller.signal });
    controller.abort();
    expect(await codeOf(call)).toBe("ERR_FOVEA_ABORTED");
    expect(batcher.metrics().launches).toBe(0);
  });

  test("of one call of a launch that runs: the others have their results", async () => {
    const batcher = new AttentionBatcher();
    const controller = new AbortController();
    const calls = [batcher.attention(...inputs(600), { signal: controller.signal }), batcher.attention(...inputs(500))];
    await Promise.resolve().then(() => controller.abort());
    expect(batcher.metrics()).toMatchObject({ launches: 1, queued: 0, running: 2 });
    expect(await Promise.all(calls.map(codeOf))).toEqual(["ERR_FOVEA_ABORTED", "resolved"]);
  });

  test("of all calls of a launch that runs: it is stopped", async () => {
    const batcher = new AttentionBatcher();
    const controller = new AbortController();
    const long = inputs(16384, { heads: 8, headDim: 64 }); // many seconds
    const call = batcher.attention(...long, { signal: controller.signal });
    await turn();
    controller.abort();
    expect(await codeOf(call)).toBe("ERR_FOVEA_ABORTED");
    await synchronize();
    expect(batcher.metrics().serviceTime.count).toBe(0);
  });
});

describe.skipIf(onCuda)("overload and closing", () => {
  test("a full queue refuses, and ready() waits for room", async () => {
    const batcher = new AttentionBatcher({ maxQueue: 2, maxBatch: 1 });
    const running = batcher.attention(...large());
    await turn();
    const waiting = [batcher.attention(...large()), batcher.attention(...large())];
    await expect(batcher.attention(...inputs(4))).rejects.toMatchObject({
      code: "ERR_FOVEA_OVERLOADED",
      message: "the batcher's queue is full: 2 calls wait (maxQueue); await ready() first",
    });
    expect(batcher.queued).toBe(2);
    await batcher.ready();
    expect(batcher.queued).toBe(1);
    await batcher.attention(...inputs(4));
    await Promise.all([running, ...waiting]);
    expect(batcher.metrics()).toMatchObject({ refused: 1, accepted: 4, completed: 4 });
  });

  test("ready() lets no more go on than there is room for, in turn, and none for nothing", async () => {
    const batcher = new AttentionBatcher({ maxQueue: 3, maxBatch: 2 });
    const done: number[] = [];
    const producer = async (i: number) => {
      await batcher.ready();
      if (i % 5 === 4) return; // has thought better of it
      await batcher.attention(...inputs(8));
      done.push(i);
    };
    await Promise.all(Array.from({ length: 40 }, (_, i) => producer(i)));
    expect(batcher.metrics()).toMatchObject({ refused: 0, completed: 32 });
    expect(done).toEqual([...done].sort((a, b) => a - b));
  });

  test("close() finishes what it accepted and refuses the rest", async () => {
    const batcher = new AttentionBatcher({ maxBatch: 1 });
    let settled = 0;
    const calls = Array.from({ length: 6 }, () => batcher.attention(...inputs(400)).finally(() => settled++));
    const closed = batcher.close();
    expect(await codeOf(batcher.attention(...inputs(4)))).toBe("ERR_FOVEA_CLOSED");
    await closed;
    expect(settled).toBe(6);
    await Promise.all(calls);
    await batcher.close();
  });

  test("close() lets no call wait for company", async () => {
    const batcher = new AttentionBatcher({ maxWait: 60_000 });
    // Of the launch that fails each is tried by itself.
    const calls = [inputs(8), endless(3, 2 ** 50), inputs(9)].map((each) =>
      codeOf(batcher.attention(...each, { algorithm: "standard" })),
    );
    await batcher.close();
    expect((await Promise.all(calls)).filter((code) => code === "resolved")).toHaveLength(2);
  }, 30_000);

  test("drain() waits for calls that come meanwhile too", async () => {
    const batcher = new AttentionBatcher();
    const follow = async () => {
      await batcher.attention(...inputs(300));
      await batcher.attention(...inputs(300));
    };
    const following = follow();
    await batcher.drain();
    expect(batcher.metrics().completed).toBe(2);
    await following;
  });

  test.each([
    [{ maxBatch: 0 }, "maxBatch: expected an integer >= 1, got 0"],
    [{ maxQueue: 1.5 }, "maxQueue: expected an integer >= 1, got 1.5"],
    [{ maxWait: -1 }, "maxWait: expected 0 to 60000 (milliseconds), got -1"],
    [{ maxWaiting: 1 }, 'options: there is no option "maxWaiting" (did you mean "maxWait"?)'],
  ])("options %o", (options: object, message) => {
    expect(() => new AttentionBatcher(options)).toThrow(new FoveaError("ERR_FOVEA_OPTION", message));
  });
});

describe.skipIf(onCuda)("order", () => {
  const settledOrder = async (calls: Record<string, Promise<unknown>>) => {
    const order: string[] = [];
    await Promise.all(Object.entries(calls).map(([name, call]) => call.then(() => order.push(name))));
    return order;
  };

  test("a small call overtakes a large one that runs, and those that wait", async () => {
    const batcher = new AttentionBatcher();
    // Making them takes as long as computing them does.
    const [first, second, third] = [inputs(4096, { heads: 8, headDim: 64 }), large(), inputs(64)];
    const running = batcher.attention(...first);
    await turn();
    const waiting = batcher.attention(...second);
    await turn();
    const small = batcher.attention(...third);
    expect((await settledOrder({ running, waiting, small }))[0]).toBe("small");
  });

  test("a small call is a small one though the event loop came late to hear of others' ends", async () => {
    const batcher = new AttentionBatcher();
    const [large, small] = [inputs(4096, { heads: 8, headDim: 64 }), inputs(64, { heads: 4, headDim: 32 })];
    for (let i = 0; i < 3; i++) {
      const call = batcher.attention(...small);
      await Promise.resolve(); // it is launched
      for (const start = performance.now(); performance.now() - start < 100;);
      await call;
    }
    const running = batcher.attention(...large);
    await turn();
    expect(await settledOrder({ running, small: batcher.attention(...small) })).toEqual(["small", "running"]);
  });

  test("a large call has its turn among small ones that never end", async () => {
    const batcher = new AttentionBatcher();
    const done = new AbortController();
    const stream = async () => {
      while (!done.signal.aborted) await batcher.attention(...inputs(200, { seed: 5 }));
    };
    const streams = Array.from({ length: 8 }, stream);
    await batcher.attention(...inputs(1024, { heads: 8, headDim: 64 }));
    done.abort();
    await Promise.all(streams);
    expect(batcher.metrics().failed).toBe(0);
  });

  test("maxWait: a call waits for company, though its device is idle", async () => {
    const batcher = new AttentionBatcher({ maxWait: 60_000, maxBatch: 3 });
    const calls = [batcher.attention(...inputs(8))];
    await turn();
    calls.push(batcher.attention(...inputs(9)));
    await turn();
    expect(batcher.metrics().launches).toBe(0);
    calls.push(batcher.attention(...inputs(10))); // as many as go together
    await Promise.all(calls);
    expect(batcher.metrics().launches).toBe(1);
    const hasty = new AttentionBatcher({ maxWait: 20, maxBatch: 3 });
    await hasty.attention(...inputs(8)); // alone, when the time is over
    expect(hasty.metrics().launches).toBe(1);
  });

  test("integers of a call that waits may change", async () => {
    const batcher = new AttentionBatcher({ maxWait: 60_000, maxBatch: 2 });
    const pages = Tensor.random([4, 1, 8, 16], { seed: 1 });
    const query = Tensor.random([1, 1, 1, 16], { seed: 2 });
    const call = (table: Int32Array<ArrayBuffer>, keyLengths: Int32Array) =>
      batcher.attention(query, pages, pages, { pageTable: Tensor.from(table, [1, 2]), keyLengths });
    const [table, lengths] = [Int32Array.of(2, 1), Int32Array.of(16)];
    const calls = [call(table, lengths)];
    table.fill(0);
    lengths.fill(1);
    calls.push(call(Int32Array.of(2, 1), Int32Array.of(16)));
    const [first, second] = await Promise.all(calls);
    expect(bitsOf(first!)).toEqual(bitsOf(second!));
  });

  test("memory of a call that waits is in use", async () => {
    const batcher = new AttentionBatcher({ maxWait: 60_000, maxBatch: 2 });
    const out = Tensor.zeros([1, 2, 8, 16]);
    const [query, key, value] = inputs(8);
    const call = batcher.attention(query, key, value, { out });
    expect(await codeOf(attention(out, key, value))).toBe("ERR_FOVEA_BUSY");
    await Promise.all([call, batcher.attention(query, key, value)]);
    expect((await call).output).toBe(out);
  });
});
