// Texts of many requests, gathered into passes: bounded, in turns, and with each request's failure its own.

import type { EncodedText, Encoder, TextRequest } from "./forward.js";

export interface QueueOptions {
  /** Tokens of a text that the encoder reads at most. */
  readonly maxTokens: number;
  /** A pass takes no further text once it has about this many tokens. */
  readonly passTokens: number;
  /** About how many tokens may wait. */
  readonly maxQueuedTokens: number;
  /** Milliseconds in which whoever is accepted should have an answer. */
  readonly timeout: number;
  /** Told of each pass: its texts and their tokens. */
  readonly onPass?: (texts: number, tokens: number) => void;
}

/** There is no room in the queue. `retryAfter`: seconds until there should be. */
export class OverloadedError extends Error {
  readonly retryAfter: number;

  constructor(retryAfter: number) {
    super(`overloaded; try again in ${retryAfter} s`);
    this.retryAfter = retryAfter;
  }
}

/** More than the queue holds when it is empty. */
export class TooLargeError extends Error {}

/** Texts that are wanted together. */
class Job {
  readonly texts: readonly TextRequest[];
  readonly results: EncodedText[] = [];
  /** Texts that are in no pass yet are those from here on. */
  next = 0;
  unfinished: number;
  settled = false;
  readonly #resolve: (results: EncodedText[]) => void;
  readonly #reject: (error: unknown) => void;

  constructor(
    texts: readonly TextRequest[],
    resolve: (results: EncodedText[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.texts = texts;
    this.unfinished = texts.length;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  finish(index: number, result: EncodedText): void {
    this.results[index] = result;
    if (--this.unfinished > 0 || this.settled) return;
    this.settled = true;
    this.#resolve(this.results);
  }

  fail(error: unknown): void {
    this.settled = true;
    this.#reject(error);
  }
}

interface Item {
  readonly job: Job;
  readonly index: number;
}

const textOf = ({ job, index }: Item): TextRequest => job.texts[index]!;

/** Of throughput, until the first pass is timed: tokens per millisecond. */
const firstRate = 5;
/** Of the time for an answer, for computing it as expected. */
const shareOfTime = 0.8;

export class TextQueue {
  readonly #encoder: Encoder;
  readonly #options: QueueOptions;
  /** In turns: the first gives its next text and goes to the end. */
  readonly #jobs: Job[] = [];
  #queuedTokens = 0;
  #accepted = 0;
  #running = 0;
  #rate = firstRate;
  #scheduled = false;

  constructor(encoder: Encoder, options: QueueOptions) {
    this.#encoder = encoder;
    this.#options = options;
  }

  /** About how many tokens wait. */
  get queuedTokens(): number {
    return this.#queuedTokens;
  }

  /** Calls of `encode` that were not refused. */
  get accepted(): number {
    return this.#accepted;
  }

  /**
   * Whether there is no room, or no time: of many that take turns each has its last text done when about twice as much is as waited
   * with it, and where that takes too long, all are computed and none is answered.
   */
  get isFull(): boolean {
    const { maxQueuedTokens, timeout } = this.#options;
    return this.#queuedTokens >= Math.min(maxQueuedTokens, (shareOfTime * timeout * this.#rate) / 2);
  }

  /** Seconds until what waits now should be done. */
  get retryAfter(): number {
    return Math.ceil(this.#queuedTokens / this.#rate / 1000) || 1;
  }

  /**
   * Rejects with an OverloadedError or a TooLargeError at once, with the signal's reason when it is aborted (texts that wait are
   * then dropped), and with what made the encoder fail.
   */
  encode(texts: readonly TextRequest[], signal: AbortSignal): Promise<EncodedText[]> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const tokens = texts.reduce((sum, text) => sum + this.#estimate(text), 0);
      const { maxQueuedTokens } = this.#options;
      if (tokens > maxQueuedTokens)
        throw new TooLargeError(`about ${tokens} tokens: expected at most ${maxQueuedTokens}`);
      if (this.isFull || this.#queuedTokens + tokens > maxQueuedTokens) throw new OverloadedError(this.retryAfter);
      const abort = () => this.#fail(job, signal.reason);
      const settle = <Value>(settled: (value: Value) => void) => {
        return (value: Value) => {
          signal.removeEventListener("abort", abort);
          settled(value);
        };
      };
      const job = new Job(texts, settle(resolve), settle(reject));
      this.#accepted++;
      this.#queuedTokens += tokens;
      this.#jobs.push(job);
      signal.addEventListener("abort", abort);
      this.#schedule();
    });
  }

  /** Its texts that wait are dropped. */
  #fail(job: Job, error: unknown): void {
    if (job.settled) return;
    job.fail(error);
    const place = this.#jobs.indexOf(job);
    if (place < 0) return;
    this.#jobs.splice(place, 1);
    this.#queuedTokens -= job.texts.slice(job.next).reduce((sum, text) => sum + this.#estimate(text), 0);
  }

  /** English has about four characters per token. What is longer than estimated makes a larger pass, up to a text's limit. */
  #estimate({ text }: TextRequest): number {
    return Math.min(Math.ceil(text.length / 4) + 1, this.#options.maxTokens);
  }

  /** What arrives in this turn of the event loop goes together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#start();
    });
  }

  #start(): void {
    while (this.#running < this.#encoder.lanes && this.#jobs.length > 0) void this.#pass(this.#take());
  }

  #take(): Item[] {
    const items: Item[] = [];
    let tokens = 0;
    while (this.#jobs.length > 0) {
      const job = this.#jobs[0]!;
      const estimate = this.#estimate(job.texts[job.next]!);
      if (items.length > 0 && tokens + estimate > this.#options.passTokens) break;
      items.push({ job, index: job.next++ });
      tokens += estimate;
      this.#jobs.shift();
      if (job.next < job.texts.length) this.#jobs.push(job);
    }
    this.#queuedTokens -= tokens;
    return items;
  }

  async #pass(items: readonly Item[]): Promise<void> {
    this.#running++;
    const settle = await this.#encode(items);
    this.#running--;
    this.#start(); // first, so that the next pass computes while this one's answers are written
    settle();
  }

  #timed(items: readonly Item[], milliseconds: number): void {
    const tokens = items.reduce((sum, item) => sum + this.#estimate(textOf(item)), 0);
    if (2 * tokens < this.#options.passTokens) return; // of a small pass most time goes into other things
    this.#rate += 0.1 * ((this.#encoder.lanes * tokens) / milliseconds - this.#rate);
  }

  /** Returns what hands results out. */
  async #encode(items: readonly Item[]): Promise<() => void> {
    const wanted = items.filter(({ job }) => !job.settled);
    if (wanted.length === 0) return () => {};
    const start = performance.now();
    try {
      const results = await this.#encoder.run(wanted.map(textOf));
      this.#timed(wanted, performance.now() - start);
      this.#options.onPass?.(
        wanted.length,
        results.reduce((sum, { tokens }) => sum + tokens, 0),
      );
      return () => {
        for (const [i, { job, index }] of wanted.entries()) job.finish(index, results[i]!);
      };
    } catch (error) {
      if (wanted.length === 1) {
        this.#fail(wanted[0]!.job, error);
        return () => {};
      }
      // It can be one text's fault: each by itself.
      const settles: (() => void)[] = [];
      for (const item of wanted) settles.push(await this.#encode([item]));
      return () => settles.forEach((settle) => settle());
    }
  }
}
