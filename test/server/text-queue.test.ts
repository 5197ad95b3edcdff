// The queue of the embedding server, with an encoder that only counts.

import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { EncodedText, Encoder, TextRequest } from "../../examples/embedding-server/forward.js";
import { OverloadedError, TextQueue, TooLargeError } from "../../examples/embedding-server/text-queue.js";

const result = (text: string): EncodedText => ({
  embedding: Float32Array.of(text.length),
  tokens: text.length,
  truncated: false,
  pieces: [text],
  attention: [],
});

/** Keeps each pass until it is let go; fails when a text is "bad". */
class Held implements Encoder {
  readonly lanes: number = 1;
  readonly healthy = true;
  readonly passes: string[][] = [];
  readonly #waiting: (() => void)[] = [];

  async run(texts: readonly TextRequest[]): Promise<EncodedText[]> {
    const own = texts.map(({ text }) => text);
    this.passes.push(own);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (own.includes("bad")) throw new Error("bad text");
    return own.map(result);
  }

  async close(): Promise<void> {}

  /** Lets passes go, one after the other, until there are no more. */
  async release(): Promise<void> {
    for (let idle = 0; idle < 3; idle++) {
      while (this.#waiting.length > 0) {
        this.#waiting.shift()!();
        idle = 0;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

const never = new AbortController().signal;
const ask = (queue: TextQueue, texts: readonly string[], signal = never): Promise<EncodedText[]> =>
  queue.encode(
    texts.map((text) => ({ text, withWeights: false })),
    signal,
  );
const setup = (options = {}) => {
  const encoder = new Held();
  return {
    encoder,
    queue: new TextQueue(encoder, { maxTokens: 8, passTokens: 4, maxQueuedTokens: 40, timeout: Infinity, ...options }),
  };
};

describe("the queue of texts", () => {
  test("gives each caller its own, in passes that take turns", async () => {
    const { encoder, queue } = setup();
    const [a, b, c] = [ask(queue, ["a0", "a1", "a2", "a3"]), ask(queue, ["b0"]), ask(queue, ["c0", "c1"])];
    await encoder.release();
    expect(encoder.passes).toEqual([["a0", "b0"], ["c0", "a1"], ["c1", "a2"], ["a3"]]);
    expect((await a).map(({ pieces }) => pieces[0])).toEqual(["a0", "a1", "a2", "a3"]);
    expect((await b).map(({ pieces }) => pieces[0])).toEqual(["b0"]);
    expect((await c).map(({ pieces }) => pieces[0])).toEqual(["c0", "c1"]);
    expect(queue.queuedTokens).toBe(0);
    expect(getEventListeners(never, "abort")).toEqual([]);
  });

  test("starts the next pass before it hands results out", async () => {
    const { encoder, queue } = setup({ passTokens: 2 });
    const passes = ask(queue, ["a0"]).then(() => encoder.passes.length);
    const second = ask(queue, ["b0"]);
    await encoder.release();
    expect(await passes).toBe(2);
    await second;
  });

  test("a text that makes a pass fail fails its own request alone", async () => {
    const { encoder, queue } = setup({ passTokens: 100 });
    const answers = Promise.allSettled([ask(queue, ["a"]), ask(queue, ["b", "bad"]), ask(queue, ["c"])]);
    await encoder.release();
    expect((await answers).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  test("drops the waiting texts of a request that failed, and does not take that for speed", async () => {
    const { encoder, queue } = setup({ passTokens: 1, maxQueuedTokens: 100_000 });
    const failed = ask(queue, ["bad", ...new Array<string>(200).fill("a")]).catch(({ message }: Error) => message);
    await encoder.release();
    expect(await failed).toBe("bad text");
    expect(encoder.passes).toEqual([["bad"]]);
    expect(queue.queuedTokens).toBe(0);
    void ask(queue, new Array<string>(100_000).fill(""));
    expect(queue.retryAfter).toBe(20); // 5 tokens a millisecond, as nothing was timed yet
  });

  test("drops the waiting texts of who has left", async () => {
    const { encoder, queue } = setup();
    const abort = new AbortController();
    const first = ask(queue, ["a0", "a1"]);
    const gone = ask(queue, ["b0", "b1", "b2"], abort.signal);
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort(new Error("left"));
    await expect(gone).rejects.toThrow("left");
    expect(queue.queuedTokens).toBe(2); // a1
    await encoder.release();
    expect(await first).toHaveLength(2);
    expect(encoder.passes).toEqual([["a0", "b0"], ["a1"]]);
    await expect(ask(queue, ["c"], abort.signal)).rejects.toThrow("left");
    expect(queue.queuedTokens).toBe(0);
  });

  test("refuses what does not fit, and takes it when there is room", async () => {
    const { encoder, queue } = setup();
    await expect(ask(queue, new Array(41).fill(""))).rejects.toThrow(TooLargeError);
    const first = ask(queue, new Array(40).fill(""));
    expect(queue.isFull).toBe(true);
    const refused = await ask(queue, [""]).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OverloadedError);
    expect((refused as OverloadedError).retryAfter).toBeGreaterThanOrEqual(1);
    await encoder.release();
    expect(await first).toHaveLength(40);
    const again = ask(queue, [""]);
    await encoder.release();
    expect(await again).toHaveLength(1);
  });

  test("refuses what it cannot answer in time: all would be computed, and none answered", async () => {
    const { encoder, queue } = setup({ passTokens: 20, maxQueuedTokens: 100_000, timeout: 1000 });
    // 5 tokens a millisecond, as nothing was timed yet, for half of 0.8 seconds.
    const first = [ask(queue, new Array(1999).fill("")), ask(queue, new Array(500).fill(""))];
    expect(queue.isFull).toBe(true);
    await expect(ask(queue, [""])).rejects.toThrow(OverloadedError);
    await encoder.release();
    expect((await Promise.all(first)).map(({ length }) => length)).toEqual([1999, 500]);
    await Promise.all([ask(queue, [""]), encoder.release()]);
  });

  test("knows its speed by full passes, not by small ones", async () => {
    const { encoder, queue } = setup({ passTokens: 20, maxQueuedTokens: 100_000 });
    for (let i = 0; i < 3; i++) {
      const small = ask(queue, [""]);
      await new Promise((resolve) => setTimeout(resolve, 30));
      await encoder.release();
      await small;
    }
    void ask(queue, new Array<string>(100_000).fill(""));
    expect(queue.retryAfter).toBe(20);
  });
});
