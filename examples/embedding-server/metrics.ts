// What the server tells Prometheus.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { TextQueue } from "./text-queue.js";

export class Metrics {
  readonly registry = new Registry();
  readonly requestSeconds = new Histogram({
    name: "embedding_request_seconds",
    help: "From a request to its response, by route and status",
    labelNames: ["route", "status"] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.registry],
  });
  readonly abandoned = new Counter({
    name: "embedding_requests_abandoned_total",
    help: "Requests whose client left before the response",
    registers: [this.registry],
  });
  readonly texts = new Counter({
    name: "embedding_texts_total",
    help: "Texts that were encoded",
    registers: [this.registry],
  });
  readonly tokens = new Counter({
    name: "embedding_tokens_total",
    help: "Tokens of these texts",
    registers: [this.registry],
  });
  readonly passTexts = new Histogram({
    name: "embedding_pass_texts",
    help: "Texts of a forward pass",
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 1 });
  }

  pass(texts: number, tokens: number): void {
    this.texts.inc(texts);
    this.tokens.inc(tokens);
    this.passTexts.observe(texts);
  }

  watch(queue: TextQueue): void {
    this.#counter("embedding_requests_accepted_total", "Requests that were not refused", () => queue.accepted);
    const gauge: Gauge = new Gauge({
      name: "embedding_queued_tokens",
      help: "About how many tokens wait for a forward pass",
      registers: [this.registry],
      collect: () => gauge.set(queue.queuedTokens),
    });
  }

  watchAttention(milliseconds: () => number): void {
    const help = "That forward passes spent in attention";
    this.#counter("embedding_attention_seconds_total", help, () => milliseconds() / 1000);
  }

  /** What is counted elsewhere. */
  #counter(name: string, help: string, read: () => number): void {
    const collect = (): void => {
      counter.reset();
      counter.inc(read());
    };
    const counter: Counter = new Counter({ name, help, registers: [this.registry], collect });
  }
}
