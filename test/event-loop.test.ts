// attention() leaves the event loop and libuv's pool alone, and can be stopped.
import { pbkdf2, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { attention, FoveaError, Tensor, type AttentionOptions } from "../lib/index.js";

/** A call that takes about a second on this machine: query, key and value are one tensor of this shape. */
let input: Tensor<"float32">;

beforeAll(async () => {
  const shapeOf = (length: number) => [1, 8, length, 64] as const;
  const timed = Tensor.random(shapeOf(2048), { seed: 1 });
  await attention(timed, timed, timed);
  let seconds = Infinity; // the least of some: while others compute, one alone would make later calls too short
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    await attention(timed, timed, timed);
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  input = Tensor.random(shapeOf(Math.ceil(2048 * Math.sqrt(1 / seconds))), { seed: 1 });
});

const long = (options: AttentionOptions = {}) => attention(input, input, input, options);

const millisecondsOf = async (work: Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work;
  return performance.now() - start;
};

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "fulfilled",
    (error: unknown) => (error instanceof FoveaError ? error.code : String(error)),
  );

describe("the event loop", () => {
  it("turns while a long call runs", async () => {
    const delays = monitorEventLoopDelay({ resolution: 5 });
    const call = long();
    await sleep(0); // the call itself, checks and copies included, is not the loop's delay
    delays.enable();
    const took = await millisecondsOf(call);
    delays.disable();
    const worst = delays.max / 1e6;
    expect(took).toBeGreaterThan(300);
    expect(delays.percentile(50) / 1e6).toBeLessThan(30);
    expect(worst).toBeLessThan(took / 3);
  });

  it("returns from attention() at once", async () => {
    const start = performance.now();
    const call = long();
    const returned = performance.now() - start;
    expect(returned).toBeLessThan((await millisecondsOf(call)) / 4);
  });
});

describe("libuv's pool", () => {
  it("works on while many calls wait", async () => {
    let settled = 0;
    const abort = new AbortController();
    const calls = Array.from({ length: 8 }, () =>
      codeOf(long({ signal: abort.signal })).finally(() => {
        settled += 1;
      }),
    );
    await Promise.all([
      readFile(new URL(import.meta.url)),
      promisify(randomBytes)(1 << 16),
      promisify(pbkdf2)("password", "salt", 1000, 32, "sha256"),
    ]);
    expect(settled).toBeLessThan(3);
    abort.abort();
    await Promise.all(calls);
  });
});

describe("abort", () => {
  it("stops a running call at the next block", async () => {
    const abort = new AbortController();
    const whole = await millisecondsOf(long());
    const code = codeOf(long({ signal: abort.signal }));
    await sleep(whole / 5);
    const stopping = millisecondsOf(code);
    abort.abort(new Error("changed my mind"));
    expect(await stopping).toBeLessThan(whole / 2);
    expect(await code).toBe("ERR_FOVEA_ABORTED");
  });

  const repeated = (shape: readonly number[]) =>
    ({ data: new Float32Array(64), dtype: "float32", shape, strides: [0, 0, 0, 1] }) as const;
  /** Its tasks take as long as the call itself, so that it must stop within them: a quarter of what `long` computes. */
  const taskForEachThread = (signal: AbortSignal | undefined) => {
    const many = repeated([1, 1, Math.ceil((8 * input.shape[2]! ** 2) / 200 / 4), 64]);
    return attention(repeated([1, 1, 200, 64]), many, many, { signal });
  };
  const rowsWithoutQueries = (signal: AbortSignal | undefined) => {
    const keys = Tensor.zeros([1, 1, 20_000, 1]);
    const options = { signal, queryLengths: Int32Array.of(0), returnWeights: true };
    return attention(Tensor.zeros([1, 1, 2500, 1]), keys, keys, options);
  };
  it.each([
    ["with a task for each thread", taskForEachThread],
    ["with rows without queries", rowsWithoutQueries],
  ] as const)("stops a call %s within a task", { retry: 2 }, async (_, call) => {
    const abort = new AbortController();
    let whole = Infinity; // the least of some: what is given memory that is new takes many times as long
    for (let i = 0; i < 6; i++) whole = Math.min(whole, await millisecondsOf(call(undefined)));
    const code = codeOf(call(abort.signal));
    await sleep(5); // it runs by now
    const stopping = millisecondsOf(code);
    abort.abort();
    expect(await stopping).toBeLessThan(whole / 2);
    expect(await code).toBe("ERR_FOVEA_ABORTED");
  });

  it("drops queued calls at once and leaves the others", async () => {
    const abort = new AbortController();
    const first = codeOf(long());
    const dropped = Array.from({ length: 8 }, () => codeOf(long({ signal: abort.signal })));
    const last = codeOf(long());
    abort.abort();
    const [dropping, running] = await Promise.all([millisecondsOf(Promise.all(dropped)), millisecondsOf(first)]);
    expect(await Promise.all(dropped)).toEqual(dropped.map(() => "ERR_FOVEA_ABORTED"));
    expect(await Promise.all([first, last])).toEqual(["fulfilled", "fulfilled"]);
    expect(dropping).toBeLessThan(running / 2);
  });

  it("rejects with the signal's reason as the cause", async () => {
    const reason = new Error("changed my mind");
    const abort = new AbortController();
    const call = long({ signal: abort.signal });
    abort.abort(reason);
    await expect(call).rejects.toMatchObject({ name: "AbortError", code: "ERR_FOVEA_ABORTED", cause: reason });
    const late = long({ signal: AbortSignal.abort(reason) });
    await expect(late).rejects.toMatchObject({ name: "AbortError", code: "ERR_FOVEA_ABORTED", cause: reason });
  });

  it("changes nothing once the call is done", async () => {
    const abort = new AbortController();
    const small = Tensor.random([1, 1, 4, 4], { seed: 1 });
    const call = attention(small, small, small, { signal: abort.signal });
    await call;
    abort.abort();
    await expect(call).resolves.toMatchObject({ plan: { device: "cpu" } });
  });
});
