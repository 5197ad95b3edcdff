// The embedding server: it answers with the encoder's own numbers, tells what is wrong with a wrong request, and ends what it
// accepted. FOVEA_SERVER_REQUESTS asks for a longer sweep for leaks.

import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Encoder } from "../../lib/encoder/encoder.js";
import { autocannon, installed, Server, until } from "./harness.js";
import { cosineDistance, TensorFlowEncoder } from "./tensorflow.js";

const megabyte = 2 ** 20;

const texts = [
  "The cat sat on the mat because it was tired.",
  "",
  "Hello, world!",
  "a",
  "   \n\t ",
  "Ünïcödé, 日本語の文章, \u{1f600} and \u0000 NUL.",
  "lone \ud800 surrogate \udc00",
  "The quick brown fox jumps over the lazy dog. ".repeat(40),
  "How old are you?",
];

describe.skipIf(!installed)("the embedding server", () => {
  let server: Server;
  let tensorflow: TensorFlowEncoder;
  beforeAll(async () => {
    // Time for what is asked at once below, on a machine that does much else.
    [server, tensorflow] = await Promise.all([Server.start("--timeout=20000"), TensorFlowEncoder.load()]);
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  /** As it was before: the same texts give what they gave. */
  const expectAlive = async (): Promise<void> => {
    const { embeddings } = await server.embed("Hello, world!");
    const [expected] = await tensorflow.embed(["Hello, world!"]);
    expect(cosineDistance(embeddings[0]!, expected!)).toBeLessThan(1e-4);
  };

  test("gives TensorFlow.js's embeddings", async () => {
    const expected = await tensorflow.embed(texts);
    const { embeddings, tokens, truncated } = await server.embed(...texts);
    for (const [i, embedding] of embeddings.entries()) {
      expect(embedding).toHaveLength(512);
      expect(cosineDistance(embedding, expected[i]!), texts[i]).toBeLessThan(1e-4);
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    }
    expect(tokens.slice(0, 5)).toEqual([12, 0, 5, 1, 0]);
    expect(tokens[7]).toBe(128);
    expect(truncated).toEqual(texts.map((_, i) => i === 7));
  });

  test("gives them for texts without any token", async () => {
    const { embeddings, tokens } = await server.embed("", " ");
    const [expected] = await tensorflow.embed(["", "a"]);
    expect(tokens).toEqual([0, 0]);
    for (const embedding of embeddings) expect(cosineDistance(embedding, expected!)).toBeLessThan(1e-4);
  });

  test("gives each of many callers its own", async () => {
    const words = ["cat", "river", "law", "music", "seven", "cold", "engine", "bread"];
    const own = Array.from({ length: 100 }, (_, i) =>
      Array.from({ length: 1 + (i % 5) }, (_, j) =>
        `${words[i % 8]} ${words[(i + j + 1) % 8]} `.repeat(1 + ((i * j) % 7)),
      ),
    );
    const answers = await Promise.all(own.map((list) => server.embed(...list)));
    const expected = await tensorflow.embed(own.flat());
    const got = answers.flatMap(({ embeddings }) => embeddings);
    expect(got).toHaveLength(expected.length);
    for (const [i, embedding] of got.entries()) expect(cosineDistance(embedding, expected[i]!)).toBeLessThan(1e-4);
  });

  test("tells what tokens attend to, as TensorFlow.js computes it", async () => {
    const encoder = await Encoder.load();
    for (const text of [texts[0]!, "The weather is fine today. ".repeat(15), "a"]) {
      const { tokens, layers } = await encoder.encode([text]);
      const { status, body } = await server.post("/attention", { text });
      expect(status).toBe(200);
      const got = body as { tokens: string[]; truncated: boolean; layers: { weights: number[][][] }[] };
      expect(got.tokens).toEqual(tokens[0]!.map(({ piece }) => piece));
      expect(got.truncated).toBe(false);
      for (const [i, { weights }] of layers.entries()) {
        const flat = got.layers[i]!.weights.flat(2);
        expect(flat).toHaveLength(weights.data.length);
        const farthest = flat.reduce((most, weight, j) => Math.max(most, Math.abs(weight - weights.data[j]!)), 0);
        expect(farthest).toBeLessThan(1e-4);
      }
    }
    expect((await server.post("/attention", { text: "" })).body).toEqual({
      tokens: [],
      truncated: false,
      layers: [1, 2].map(() => ({ weights: [[], [], [], []] })),
    });
  });

  test.each<[what: string, body: unknown, status: number]>([
    ["no JSON", "texts", 400],
    ["cut off", '{"texts":["a"', 400],
    ["nothing", "", 400],
    ["null", "null", 400],
    ["an array", ["a"], 400],
    ["no texts", {}, 400],
    ["no text in texts", { texts: [] }, 400],
    ["a string for texts", { texts: "a" }, 400],
    ["numbers", { texts: [1] }, 400],
    ["null in texts", { texts: ["a", null] }, 400],
    ["nested texts", { texts: [["a"]] }, 400],
    ["an object in texts", { texts: [{ length: 1 }] }, 400],
    ["unknown properties", { texts: ["a"], model: "b" }, 400],
    ["__proto__", '{"texts":["a"],"__proto__":{"maxTexts":1}}', 400],
    ["an escaped __proto__", '{"texts":["a"],"\\u005f_proto__":{}}', 400],
    ["constructor.prototype", '{"texts":["a"],"constructor":{"prototype":{"x":1}}}', 400],
    ["too many texts", { texts: new Array(65).fill("a") }, 400],
    ["too long a text", { texts: ["a".repeat(10_001)] }, 400],
    ["depth", `{"texts":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 400],
    ["depth that does not end", '{"texts":'.repeat(20_000), 400],
    ["too large a body", { texts: new Array(64).fill("a".repeat(9000)) }, 413],
  ])("refuses %s", async (_, body, status) => {
    const answer = await server.post("/embed", body);
    expect(answer.status).toBe(status);
    expect(answer.body).toEqual({ error: expect.any(String) });
    await expectAlive();
  });

  test("refuses other types, methods and paths", async () => {
    const body = '{"texts":["a"]}';
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    expect((await server.post("/embed", body, { headers })).status).toBe(415);
    expect((await server.post("/embed", body, { headers: { "content-type": "text/plain" } })).status).toBe(415);
    expect((await server.fetch("/embed")).status).toBe(404);
    expect((await server.post("/attention", { text: 1 })).status).toBe(400);
    expect((await server.post("/attention", { text: "a", layer: 1 })).status).toBe(400);
    expect((await server.post("/../../etc/passwd", {})).status).toBe(404);
    await expectAlive();
  });

  test("bears texts made to take long", async () => {
    const hostile = [
      "\ufdfa".repeat(10_000), // 18 characters each when normalized
      `a${"\u0301\u0316".repeat(4999)}`, // marks that normalizing must put in order
      "\u{1f9d1}\u200d".repeat(3000),
      "a".repeat(10_000),
      "b ".repeat(5000),
    ];
    const answers = await Promise.all(hostile.map((text) => server.embed(text)));
    for (const { tokens } of answers) expect(tokens[0]).toBeLessThanOrEqual(128);
    await expectAlive();
  });

  test("bears clients that leave", async () => {
    const before = (await server.metrics()).get("embedding_requests_abandoned_total")!;
    const body = JSON.stringify({ texts: new Array(20).fill("word ".repeat(200)) });
    const request = `POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    const clients = Array.from({ length: 10 }, (_, i) => {
      const socket = connect(server.port, "127.0.0.1");
      socket.on("error", () => {});
      socket.write(request + body.slice(0, i < 5 ? 1000 : body.length)); // half of them within the body
      return socket;
    });
    await until("the requests wait", async () => (await server.metrics()).get("embedding_queued_tokens")! > 0);
    for (const [i, client] of clients.entries())
      if (i % 2 === 0) client.destroy();
      else client.resetAndDestroy();
    const gone = async () => (await server.metrics()).get("embedding_requests_abandoned_total")! - before >= 5;
    await until("they were given up", gone);
    await until("nothing waits", async () => (await server.metrics()).get("embedding_queued_tokens") === 0);
    await expectAlive();
  });

  test("drops all that a client asked for on one connection before it left", async () => {
    const before = await server.metrics();
    const count = async (name: string): Promise<number> => {
      const metric = `embedding_${name}_total`;
      return (await server.metrics()).get(metric)! - before.get(metric)!;
    };
    const body = JSON.stringify({ texts: new Array(20).fill("word ".repeat(200)) });
    const head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    const client = connect(server.port, "127.0.0.1").on("error", () => {});
    client.write(`${head}content-length: ${body.length}\r\n\r\n${body}`.repeat(12));
    await until("all wait", async () => (await count("requests_accepted")) === 12);
    client.destroy();
    await until("it was noticed", async () => (await count("requests_abandoned")) > 0);
    const encoded = await count("texts");
    await until("nothing waits", async () => (await server.metrics()).get("embedding_queued_tokens") === 0);
    expect((await count("texts")) - encoded).toBeLessThan(40); // of 240
    expect(await count("requests_abandoned")).toBeGreaterThan(6);
    await expectAlive();
  });

  test("tells how it is", async () => {
    expect(await server.fetch("/healthz")).toMatchObject({ status: 200, body: { status: "ok" } });
    const { headers, body } = await server.fetch("/metrics");
    expect(headers.get("content-type")).toContain("text/plain");
    expect(body).toMatch(/^# TYPE embedding_request_seconds histogram$/m);
    expect(body).toMatch(/^# TYPE embedding_requests_accepted_total counter$/m);
    const values = await server.metrics();
    expect(values.get("embedding_texts_total")).toBeGreaterThan(100);
    expect(values.get("embedding_attention_seconds_total")).toBeGreaterThan(0);
    expect(values.get("nodejs_eventloop_lag_p99_seconds")).toBeGreaterThan(0);
  });

  test("answers many clients at once, for a while", async () => {
    const result = await autocannon({
      url: new URL("/embed", server.url).href,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ texts: ["How old are you?"] }),
      connections: 64,
      duration: 2,
    });
    expect(result).toMatchObject({ errors: 0, timeouts: 0, non2xx: 0 });
    expect(result["2xx"]).toBeGreaterThan(64);
  });

  const requests = Number(process.env["FOVEA_SERVER_REQUESTS"] ?? 1500);
  test(`does not grow over ${requests} requests`, { retry: 2, timeout: 60_000 + requests * 20 }, async () => {
    const words = ["sun", "rain", "wind", "snow", "the weather of today"];
    const run = async (count: number): Promise<void> => {
      let next = 0;
      const client = async (): Promise<void> => {
        for (let i = next++; i < count; i = next++) {
          if (i % 50 === 0) await server.post("/attention", { text: words[i % 4] });
          else if (i % 50 === 1) await server.post("/embed", { texts: i });
          else await server.embed(words[i % words.length]!);
        }
      };
      await Promise.all(Array.from({ length: 32 }, client));
    };
    /** Bytes of the process, and what JavaScript holds: the least of some, as garbage comes and goes. */
    const grown = async (): Promise<{ resident: number; held: number }> => {
      let [resident, held] = [Infinity, Infinity];
      for (let i = 0; i < 6; i++) {
        await run(100);
        const values = await server.metrics();
        const own = values.get("nodejs_heap_size_used_bytes")! + values.get("nodejs_external_memory_bytes")!;
        held = Math.min(held, own);
        resident = Math.min(resident, values.get("process_resident_memory_bytes")!);
      }
      return { resident, held };
    };
    await run(Math.max(800, requests / 10));
    const before = await grown();
    await run(requests);
    const after = await grown();
    expect(after.held - before.held).toBeLessThan(16 * megabyte);
    expect(after.resident - before.resident).toBeLessThan(64 * megabyte);
  });

  // The last one, as there is no server behind it.
  test("ends what it accepted when it is told to end", async () => {
    // One client does not read yet: its answers are more than the system's buffers hold.
    const done = (await server.metrics()).get("embedding_texts_total")!;
    const slow = connect(server.port, "127.0.0.1");
    const many = JSON.stringify({ texts: new Array(64).fill("a") });
    const head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    slow.write(`${head}content-length: ${many.length}\r\n\r\n${many}`.repeat(24));
    const isDone = async () => (await server.metrics()).get("embedding_texts_total") === done + 24 * 64;
    await until("its texts are encoded", isDone);

    const texts = new Array(8).fill("The quick brown fox jumps over the lazy dog. ");
    const before = (await server.metrics()).get("embedding_requests_accepted_total")!;
    const accepted = Array.from({ length: 100 }, () => server.post("/embed", { texts }));
    await until(
      "all are in",
      async () => (await server.metrics()).get("embedding_requests_accepted_total") === before + 100,
    );
    // Others go on asking, and are told that it ends, or find nobody there.
    let [late, stopped] = [0, false];
    const others = Array.from({ length: 16 }, async () => {
      while (!stopped) {
        const answer = await server.post("/embed", { texts: ["a"] }).catch(() => undefined);
        if (answer === undefined) stopped = true;
        else if (answer.status !== 200) expect([429, 503]).toContain(answer.status);
        late++;
      }
    });
    server.signal("SIGTERM");
    await until("it has begun to end", () => server.output.some((line) => line.startsWith("SIGTERM:")));
    server.signal("SIGTERM");
    const read = text(slow);
    for (const { status, body } of await Promise.all(accepted)) {
      expect(status).toBe(200);
      expect(body).toMatchObject({ tokens: new Array(8).fill(12) });
    }
    expect((await read).match(/HTTP\/1\.1 200 OK\r\n[^]*?"truncated":\[[^\]]*\]\}/g)).toHaveLength(24);
    expect(await server.ended()).toBe(0);
    await Promise.all(others);
    expect(late).toBeGreaterThan(0);
    expect(server.output.at(-1)).toBe("done");
  });
});
