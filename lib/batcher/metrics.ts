import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import type { AttentionResult } from "../options.js";

/** A distribution; times in milliseconds. All 0 while nothing was counted. */
export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** What a batcher did since it was made. */
export interface BatcherMetrics {
  /** Calls that wait for their launch now. */
  readonly queued: number;
  /** Calls that are being computed now. */
  readonly running: number;
  /** Calls that were accepted; those that ended with a result, with an abort, with another error; and those refused. */
  readonly accepted: number;
  readonly completed: number;
  readonly aborted: number;
  readonly failed: number;
  readonly refused: number;
  readonly launches: number;
  /** Calls of a launch. */
  readonly batchSize: Summary;
  /** From the call to its launch, and from its launch to its result, in milliseconds. */
  readonly waitingTime: Summary;
  readonly serviceTime: Summary;
}

/** Histograms count integers: times in microseconds. */
const microseconds = 1000;

export class Meter {
  readonly #batchSize = createHistogram();
  readonly #waitingTime = createHistogram();
  readonly #serviceTime = createHistogram();
  #accepted = 0;
  #completed = 0;
  #aborted = 0;
  #failed = 0;
  #refused = 0;

  get unsettled(): number {
    return this.#accepted - this.#completed - this.#aborted - this.#failed;
  }

  accepted(): void {
    this.#accepted++;
  }

  refused(): void {
    this.#refused++;
  }

  batch(size: number): void {
    this.#batchSize.record(size);
  }

  launched(waited: number): void {
    record(this.#waitingTime, waited);
  }

  served(time: number): void {
    record(this.#serviceTime, time);
  }

  settled(how: AttentionResult | Error): void {
    if (!(how instanceof Error)) this.#completed++;
    else if (how.name === "AbortError") this.#aborted++;
    else this.#failed++;
  }

  read(queued: number): BatcherMetrics {
    return {
      queued,
      running: this.unsettled - queued,
      accepted: this.#accepted,
      completed: this.#completed,
      aborted: this.#aborted,
      failed: this.#failed,
      refused: this.#refused,
      launches: this.#batchSize.count,
      batchSize: summary(this.#batchSize, 1),
      waitingTime: summary(this.#waitingTime, microseconds),
      serviceTime: summary(this.#serviceTime, microseconds),
    };
  }
}

function record(histogram: RecordableHistogram, time: number): void {
  histogram.record(Math.max(1, Math.round(time * microseconds)));
}

function summary(histogram: RecordableHistogram, unit: number): Summary {
  const { count } = histogram;
  if (count === 0) return { count, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 };
  const at = (percentile: number) => histogram.percentile(percentile) / unit;
  return { count, mean: histogram.mean / unit, p50: at(50), p90: at(90), p99: at(99), max: histogram.max / unit };
}
