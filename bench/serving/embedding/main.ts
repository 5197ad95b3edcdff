// The embedding server against the same server with everything computed by TensorFlow.js, and with a plain attention.
//   npm ci --prefix examples/embedding-server && npx tsx bench/serving/embedding/main.ts --json results.json

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, loadavg } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Options, Result } from "autocannon";
import { defineCommand, runMain } from "citty";
import type { ServerOptions } from "../../../examples/embedding-server/server.js";
import { devices } from "../../../lib/index.js";
import { median } from "../../lib/statistics.js";
import type { Name } from "./contestant.js";

const server = new URL("../../../examples/embedding-server/package.json", import.meta.url);
const autocannon = createRequire(server)("autocannon") as (options: Options) => Promise<Result>;

interface Load {
  readonly texts: readonly string[];
  readonly clients: number;
  /** Texts of a turn that warms up. */
  readonly warmUp: number;
  readonly options: Partial<ServerOptions>;
}

/** Of a turn. */
interface Turn {
  readonly textsPerSecond: number;
  /** Milliseconds. */
  readonly latencyP50: number;
  readonly latencyP99: number;
  /** Processor time of the server. */
  readonly cpuPerText: number;
  /** By how much the event loop's timers come late, in milliseconds. */
  readonly eventLoopP99: number;
}

class Contestant {
  readonly name: Name;
  readonly turns: Turn[] = [];
  readonly #process: ChildProcess;
  readonly #url: string;

  private constructor(name: Name, process: ChildProcess, url: string) {
    this.name = name;
    this.#process = process;
    this.#url = url;
  }

  static async start(name: Name, options: Partial<ServerOptions>): Promise<Contestant> {
    const program = fileURLToPath(new URL("contestant.ts", import.meta.url));
    const args = ["--import", "tsx", program, name, JSON.stringify(options)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const url = await new Promise<string>((resolve, reject) => {
      createInterface(child.stdout).on("line", (line) => {
        const listening = /^listening on (.*)$/.exec(line);
        if (listening) resolve(listening[1]!);
      });
      child.on("exit", (code) => reject(new Error(`${name} ended with ${code}`)));
    });
    return new Contestant(name, child, url);
  }

  async embed(texts: readonly string[]): Promise<number[][]> {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ texts });
    const response = await fetch(new URL("/embed", this.#url), { method: "POST", headers, body });
    if (!response.ok) throw new Error(`${this.name}: ${await response.text()}`);
    return ((await response.json()) as { embeddings: number[][] }).embeddings;
  }

  /** `amount` requests, of one text each; each client has one at a time. */
  async turn({ texts, clients }: Load, amount: number): Promise<Turn> {
    const before = await this.#metrics();
    const begin = performance.now();
    const { errors, non2xx, timeouts, latency } = await autocannon({
      url: new URL("/embed", this.#url).href,
      method: "POST",
      headers: { "content-type": "application/json" },
      requests: texts.map((text) => ({ body: JSON.stringify({ texts: [text] }) })),
      connections: clients,
      amount,
      timeout: 120,
      sampleInt: 50, // it ends at a sample
    });
    const seconds = (performance.now() - begin) / 1000;
    const after = await this.#metrics();
    if (errors + non2xx + timeouts > 0) throw new Error(`${this.name}: ${errors + non2xx + timeouts} requests failed`);
    return {
      textsPerSecond: amount / seconds,
      latencyP50: latency.p50,
      latencyP99: latency.p99,
      cpuPerText: (1000 * (after.cpu - before.cpu)) / amount,
      eventLoopP99: 1000 * after.eventLoopP99,
    };
  }

  async stop(): Promise<void> {
    if (!this.#process.kill("SIGTERM")) return; // it has ended already
    await once(this.#process, "exit");
  }

  /** In seconds; of the event loop since it was last asked. */
  async #metrics(): Promise<{ cpu: number; eventLoopP99: number }> {
    const text = await (await fetch(new URL("/metrics", this.#url))).text();
    const read = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)![1]);
    return { cpu: read("process_cpu_seconds_total"), eventLoopP99: read("nodejs_eventloop_lag_p99_seconds") };
  }
}

function medianTurn(turns: readonly Turn[]): Turn {
  const names = Object.keys(turns[0]!) as (keyof Turn)[];
  return Object.fromEntries(names.map((name) => [name, median(turns.map((turn) => turn[name]))])) as unknown as Turn;
}

/** Of turns that count, about: begin and end weigh as much for each contestant. */
const turnSeconds = 6;

/** All give the same; then they take turns. */
async function compare(names: readonly Name[], load: Load, rounds: number) {
  const contestants: Contestant[] = [];
  try {
    for (const name of names) contestants.push(await Contestant.start(name, load.options));
    const [ours, ...others] = contestants as [Contestant, ...Contestant[]];
    const expected = await ours.embed(load.texts.slice(0, 4));
    for (const other of others) {
      for (const [i, vector] of (await other.embed(load.texts.slice(0, 4))).entries()) {
        const cosine = vector.reduce((sum, x, j) => sum + x * expected[i]![j]!, 0);
        if (!(1 - cosine < 1e-4)) throw new Error(`${other.name} does not agree: ${cosine}`);
      }
    }
    const amounts = new Map<Contestant, number>();
    for (let warmUp = 0; warmUp < 3; warmUp++)
      for (const contestant of contestants) {
        const { textsPerSecond } = await contestant.turn(load, load.warmUp);
        amounts.set(contestant, Math.max(Math.round(textsPerSecond * turnSeconds), load.clients));
      }
    for (let round = 0; round < rounds; round++) {
      for (const contestant of round % 2 === 0 ? contestants : contestants.toReversed()) {
        contestant.turns.push(await contestant.turn(load, amounts.get(contestant)!));
      }
    }
    return contestants.map(({ name, turns }) => {
      const ratios = ours.turns.map(({ textsPerSecond }, i) => textsPerSecond / turns[i]!.textsPerSecond);
      /** How many times as many texts ours does in a second. */
      return { name, ...medianTurn(turns), ratio: median(ratios), ratios };
    });
  } finally {
    for (const contestant of contestants) await contestant.stop();
  }
}

const words = [
  "river",
  "law",
  "music",
  "seven",
  "cold",
  "engine",
  "bread",
  "winter",
  "letter",
  "garden",
  "iron",
  "sea",
];
const sentence = (seed: number, length: number): string =>
  Array.from({ length }, (_, i) => words[(seed * 7 + i * (1 + (seed % 5))) % words.length]!).join(" ");

const loads: Record<string, { names: readonly Name[]; load: Load; what: string }> = {
  short: {
    what: "64 clients, texts of 3 to 18 words; everything by TensorFlow.js against fovea and onnxruntime",
    names: ["fovea", "tensorflow", "tensorflow, one instance"],
    load: {
      texts: Array.from({ length: 97 }, (_, i) => sentence(i, 3 + (i % 16))),
      clients: 64,
      warmUp: 800,
      options: {},
    },
  },
  documents: {
    what: "8 clients, documents of about 2000 tokens; plain attention against fovea's, all else the same",
    names: ["fovea", "plain attention"],
    load: {
      texts: Array.from({ length: 8 }, (_, i) => sentence(i, 1500)),
      clients: 8,
      warmUp: 16,
      options: { maxTokens: 2048, maxCharacters: 20_000, timeout: 60_000 },
    },
  },
};

const command = defineCommand({
  meta: { name: "embedding", description: "The embedding server against itself with other parts" },
  args: {
    only: { type: "string", description: `one of ${Object.keys(loads).join(", ")}` },
    rounds: { type: "string", default: "5", description: "turns of each; the median counts" },
    json: { type: "string", description: "where to keep the results" },
  },
  async run({ args }) {
    const rounds = Number(args.rounds);
    const results = [];
    for (const [name, { what, names, load }] of Object.entries(loads)) {
      if (args.only !== undefined && args.only !== name) continue;
      const contestants = await compare(names, load, rounds);
      console.log(what);
      console.table(
        contestants.map((one) => ({
          contestant: one.name,
          "texts/s": one.textsPerSecond.toFixed(1),
          "p50, ms": one.latencyP50,
          "p99, ms": one.latencyP99,
          "processor, ms per text": one.cpuPerText.toFixed(2),
          "event loop p99, ms": one.eventLoopP99.toFixed(1),
          "fovea is faster by": `${one.ratio.toFixed(2)} (${Math.min(...one.ratios).toFixed(2)} to ${Math.max(...one.ratios).toFixed(2)})`,
        })),
      );
      const { clients, options } = load;
      results.push({ name, what, clients, turnSeconds, options, contestants });
    }
    if (args.json === undefined) return;
    const machine = {
      loadAverage: loadavg()[0],
      cpu: cpus()[0]!.model,
      cores: cpus().length,
      device: devices()[0],
      node: process.version,
    };
    const run = { date: new Date().toISOString(), machine, rounds, results };
    writeFileSync(args.json, `${JSON.stringify(run, null, 1)}\n`);
  },
});

await runMain(command);
