// Serves the Universal Sentence Encoder Lite over HTTP until SIGTERM or SIGINT, which ends it after what it has accepted.
//   npm ci && npm ci --prefix examples/embedding-server && npx tsx examples/embedding-server/main.ts --port 8080

import { availableParallelism } from "node:os";
import { defineCommand } from "citty";
import { positive, runProgram } from "../../lib/cli/command.js";
import type { Device } from "../../lib/index.js";
import { Forward } from "./forward.js";
import { Metrics } from "./metrics.js";
import { createServer, defaults, serveUntilSignal, type ServerOptions } from "./server.js";

const descriptions: Record<keyof ServerOptions, string> = {
  maxTexts: "texts of a request at most",
  maxCharacters: "characters of a text at most",
  bodyLimit: "bytes of a request's body at most",
  timeout: "milliseconds until a request is given up",
  maxConnections: "connections at a time",
  maxTokens: "tokens of a text that are read; the encoder was trained on 128 at most",
  passTokens: "tokens of a forward pass, about",
  maxQueuedTokens: "tokens that may wait, about; then requests are refused with 429",
};
const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const names = Object.keys(descriptions) as (keyof ServerOptions)[];

const command = defineCommand({
  meta: { name: "embedding-server", description: "Embeddings of texts over HTTP" },
  args: {
    host: { type: "string", default: "127.0.0.1", description: "address to listen on" },
    port: { type: "string", default: "8080", description: "port to listen on; 0 takes a free one" },
    workers: { type: "string", default: `${availableParallelism()}`, description: "threads that compute" },
    device: { type: "string", default: "cpu", description: "where attention is computed: cpu, cuda or cuda:N" },
    ...Object.fromEntries(
      names.map((name) => [
        kebab(name),
        { type: "string" as const, default: `${defaults[name]}`, description: descriptions[name] },
      ]),
    ),
  },
  async run({ args }) {
    const number = (name: string): number => positive(name, (args as Record<string, string>)[name]!);
    const options = Object.fromEntries(names.map((name) => [name, number(kebab(name))])) as unknown as ServerOptions;
    const port = args.port === "0" ? 0 : number("port");
    const metrics = new Metrics();
    const { maxTokens } = options;
    const encoder = await Forward.start({ workers: number("workers"), maxTokens, device: args.device as Device });
    metrics.watchAttention(() => encoder.attentionMilliseconds);
    const app = createServer(encoder, options, metrics);
    try {
      await serveUntilSignal(app, { host: args.host, port, timeout: options.timeout });
    } catch (error) {
      await app.close(); // else its threads would go on
      throw error;
    }
  },
});

await runProgram("embedding-server", command);
