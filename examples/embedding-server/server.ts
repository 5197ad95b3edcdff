// The HTTP side: routes, limits, and what a client is told when something is wrong.

import { lookup } from "node:dns/promises";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { EncodedText, Encoder } from "./forward.js";
import { Metrics } from "./metrics.js";
import { OverloadedError, TextQueue, TooLargeError } from "./text-queue.js";
import { NoWorkerError } from "./worker-pool.js";

export interface ServerOptions {
  /** Texts of a request. */
  readonly maxTexts: number;
  /** Characters of a text. */
  readonly maxCharacters: number;
  /** Bytes of a request's body. */
  readonly bodyLimit: number;
  /** Milliseconds until a request is given up: for receiving it, and again for answering it. */
  readonly timeout: number;
  /** Connections at a time; further ones are closed. */
  readonly maxConnections: number;
  /** Tokens of a text that are read; of a pass; and that may wait (about). */
  readonly maxTokens: number;
  readonly passTokens: number;
  readonly maxQueuedTokens: number;
}

export const defaults: ServerOptions = {
  maxTexts: 64,
  maxCharacters: 10_000,
  bodyLimit: 256 * 1024,
  timeout: 10_000,
  maxConnections: 1024,
  maxTokens: 128,
  passTokens: 320,
  maxQueuedTokens: 32_768,
};

/** Seven digits, which is what a float32 of at most 1 has: shorter, and faster to write, than the 17 of a double. */
function rounded(values: Float32Array): number[] {
  const numbers: number[] = []; // without holes, for which JSON.stringify has no fast path
  for (const value of values) numbers.push(Math.round(value * 1e7) / 1e7);
  return numbers;
}

class StatusError extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

interface Connection {
  /** How many it still gets. */
  answers: number;
  /** What to do when it is closed: of requests that came one after the other without waiting, Node tells only one. */
  readonly waiting: Set<() => void>;
}

export function createServer(encoder: Encoder, options: ServerOptions, metrics = new Metrics()): FastifyInstance {
  const { maxTexts, maxCharacters, timeout } = options;
  const queue = new TextQueue(encoder, { ...options, onPass: (texts, tokens) => metrics.pass(texts, tokens) });
  metrics.watch(queue);

  const app = fastify({
    bodyLimit: options.bodyLimit,
    requestTimeout: timeout,
    connectionTimeout: 2 * timeout, // of a socket on which nothing moves: a client that does not read, too
    keepAliveTimeout: 5000,
    http: { connectionsCheckingInterval: 1000 },
    // A number is no text, and a property that nobody knows is a mistake.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });
  app.removeContentTypeParser("text/plain");
  app.server.maxConnections = options.maxConnections;
  const connections = new Map<Socket, Connection>();
  const countAnswers = (socket: Socket, more: 1 | -1): void => {
    const connection = connections.get(socket);
    if (connection === undefined) return;
    connection.answers += more;
    if (connection.answers === 0 && !app.server.listening) socket.end(); // it would be kept for another request
  };
  app.server.on("connection", (socket) => {
    const waiting = new Set<() => void>();
    connections.set(socket, { answers: 0, waiting });
    socket.once("close", () => {
      connections.delete(socket);
      for (const leave of waiting) leave();
    });
  });
  // Called when the server is closed. Node's own takes a connection whose answer is written but not sent for idle, and cuts it off.
  app.server.closeIdleConnections = () => {
    for (const [socket, { answers }] of connections) if (answers === 0) socket.destroy();
  };
  // Node's own limit, requestTimeout, sees no body that comes in byte by byte; it may do so behind its answer.
  app.addHook("onRequest", ({ raw }, reply, done) => {
    const { socket } = raw;
    const timer = setTimeout(() => {
      if (!raw.complete) socket.destroy();
    }, timeout).unref();
    countAnswers(socket, 1);
    reply.raw.once("close", () => {
      if (raw.complete) clearTimeout(timer);
      countAnswers(socket, -1);
    });
    done();
  });

  const object = (properties: Record<string, object>) =>
    ({ type: "object", required: Object.keys(properties), additionalProperties: false, properties }) as const;
  const text = { type: "string", maxLength: maxCharacters };
  const embedBody = object({ texts: { type: "array", minItems: 1, maxItems: maxTexts, items: text } });
  const attentionBody = object({ text });
  /** Aborted when the client has left, or has waited for too long. */
  const signalOf = ({ raw, request }: FastifyReply): AbortSignal => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new StatusError(503, "timed out")), timeout);
    const connection = connections.get(request.raw.socket);
    const end = (): void => {
      clearTimeout(timer);
      connection?.waiting.delete(end);
      if (raw.writableFinished || controller.signal.aborted) return;
      metrics.abandoned.inc();
      controller.abort(new StatusError(499, "the client left"));
    };
    raw.once("close", end);
    if (connection === undefined)
      end(); // it left before
    else connection.waiting.add(end);
    return controller.signal;
  };

  /** Before the body is read. */
  const refuseWhenFull = async (): Promise<void> => {
    if (queue.isFull) throw new OverloadedError(queue.retryAfter);
  };

  app.post<{ Body: { texts: string[] } }>(
    "/embed",
    { schema: { body: embedBody }, onRequest: refuseWhenFull },
    async ({ body }, reply) => {
      const texts = body.texts.map((text) => ({ text, withWeights: false }));
      const encoded = await queue.encode(texts, signalOf(reply));
      return {
        embeddings: encoded.map(({ embedding }) => rounded(embedding)),
        tokens: encoded.map(({ tokens }) => tokens),
        truncated: encoded.map(({ truncated }) => truncated),
      };
    },
  );

  app.post<{ Body: { text: string } }>(
    "/attention",
    { schema: { body: attentionBody }, onRequest: refuseWhenFull },
    async ({ body }, reply) => {
      const [encoded] = await queue.encode([{ text: body.text, withWeights: true }], signalOf(reply));
      return reply.type("application/json; charset=utf-8").send(Readable.from(attentionJson(encoded!)));
    },
  );

  app.get("/healthz", async (_, reply) => {
    return reply.code(encoder.healthy ? 200 : 503).send({ status: encoder.healthy ? "ok" : "no worker is running" });
  });

  app.get("/metrics", async (_, reply) => {
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "none";
    metrics.requestSeconds.observe({ route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
  app.addHook("onClose", () => encoder.close());
  app.setErrorHandler(answerError);
  return app;
}

export interface Listening {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Of the server's options. */
  readonly timeout: number;
}

/** Listens, says where, and ends at SIGTERM or SIGINT, after what was accepted. */
export async function serveUntilSignal(app: FastifyInstance, { host, port, timeout }: Listening): Promise<void> {
  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return; // npm sends on what the terminal has sent already; a second one must not end it at once
    stopping = true;
    console.log(`${signal}: finishing what was accepted`);
    // Whoever still sends a request or does not read an answer then is not waited for.
    setTimeout(() => app.server.closeAllConnections(), 2 * timeout).unref();
    await app.close();
    console.log("done");
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
  // By its name fastify would listen on all of localhost's addresses, with servers to which most limits above do not apply.
  const { address } = await lookup(host);
  console.log(`listening on ${await app.listen({ host: address, port })}`);
}

/** Weights that are written at once, about. */
const weightsAtOnce = 4096;

/** A few rows at a time, as the client reads: all weights of a long text are megabytes. */
function* attentionJson({ pieces, tokens, truncated, attention }: EncodedText): Generator<string> {
  const rowsAtOnce = Math.ceil(weightsAtOnce / tokens);
  yield `{"tokens":${JSON.stringify(pieces)},"truncated":${truncated},"layers":[`;
  for (const [layer, { heads, weights }] of attention.entries()) {
    yield layer === 0 ? '{"weights":[' : ',{"weights":[';
    for (let head = 0; head < heads; head++) {
      yield head === 0 ? "[" : ",[";
      for (let row = 0; row < tokens; row += rowsAtOnce) {
        const rows = Array.from({ length: Math.min(rowsAtOnce, tokens - row) }, (_, i) => {
          const begin = (head * tokens + row + i) * tokens;
          return rounded(weights.subarray(begin, begin + tokens));
        });
        yield `${row === 0 ? "" : ","}${JSON.stringify(rows).slice(1, -1)}`;
      }
      yield "]";
    }
    yield "]}";
  }
  yield "]}";
}

async function answerError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (error instanceof OverloadedError) {
    return reply.code(429).header("retry-after", error.retryAfter).send({ error: error.message });
  }
  if (error instanceof NoWorkerError) return reply.code(503).send({ error: error.message });
  if (error instanceof TooLargeError) return reply.code(413).send({ error: error.message });
  const status = error.statusCode ?? 500;
  if (status === 500) console.error(`${request.method} ${request.url}:`, error);
  return reply.code(status).send({ error: status === 500 ? "internal error" : error.message });
}
