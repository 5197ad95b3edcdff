// The embedding server as a process of its own, as somebody would run it.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Options, Result } from "autocannon";

const example = new URL("../../examples/embedding-server/", import.meta.url);
const require = createRequire(new URL("package.json", example));

function isInstalled(): boolean {
  try {
    require.resolve("fastify");
    require.resolve("onnxruntime-node");
    return true;
  } catch {
    console.warn(
      "The embedding server is not tested: its packages are not installed. Install them by: npm ci --prefix examples/embedding-server",
    );
    return false;
  }
}

export const installed = isInstalled();

export const autocannon = (options: Options): Promise<Result> =>
  (require("autocannon") as (options: Options) => Promise<Result>)(options);

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** The body, from JSON where it is that. */
  readonly body: unknown;
}

export interface Embedded {
  readonly embeddings: number[][];
  readonly tokens: number[];
  readonly truncated: boolean[];
}

export class Server implements AsyncDisposable {
  readonly url: string;
  /** Everything that it printed. */
  readonly output: readonly string[];
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown[]>;

  private constructor(url: string, output: readonly string[], process: ChildProcess, exit: Promise<unknown[]>) {
    this.url = url;
    this.output = output;
    this.#process = process;
    this.#exit = exit;
  }

  /** Resolves when it listens. */
  static start(...args: string[]): Promise<Server> {
    return Server.startWith(process.env, ...args);
  }

  static async startWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Server> {
    const main = fileURLToPath(new URL("main.ts", example));
    const program = ["--import", "tsx", main, "--port", "0", ...args];
    const child = spawn(process.execPath, program, { env, stdio: ["ignore", "pipe", "pipe"] });
    const exit = once(child, "exit");
    const output: string[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface(stream).on("line", (line) => {
          output.push(line);
          const listening = /^listening on (.*)$/.exec(line);
          if (listening) resolve(listening[1]!);
        });
      }
      child.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${output.join("\n")}`)));
    });
    return new Server(url, output, child, exit);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** `body` as JSON, or as it is when it is a string. */
  async post(path: string, body: unknown, init: RequestInit = {}): Promise<Answer> {
    return this.fetch(path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": "application/json" },
      ...init,
    });
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Answer> {
    const response = await fetch(new URL(path, this.url), init);
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** Fails when the answer is not 200. */
  async embed(...texts: string[]): Promise<Embedded> {
    const { status, body } = await this.post("/embed", { texts });
    if (status !== 200) throw new Error(`${status}: ${JSON.stringify(body)}`);
    return body as Embedded;
  }

  /** What Prometheus would read: the sum over all labels of each metric. */
  async metrics(): Promise<Map<string, number>> {
    const { body } = await this.fetch("/metrics");
    const values = new Map<string, number>();
    for (const [, name, value] of (body as string).matchAll(/^(\w+)(?:\{.*\})? (\S+)$/gm)) {
      values.set(name!, (values.get(name!) ?? 0) + Number(value));
    }
    return values;
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** The exit code, once it ended by itself. */
  async ended(): Promise<number | null> {
    const [code] = await this.#exit;
    return code as number | null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    const code = await this.ended();
    if (code !== null && code !== 0) console.error(`the server ended with ${code}: ${this.output.join("\n")}`);
  }
}

/** Waits until it is so, for a minute at most. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
