// The embedding server at its limits: it refuses what it cannot hold and lets go whom it waits for in vain.

import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installed, Server, until } from "./harness.js";

/** The head of a POST /embed whose body has so many bytes. */
const head = (length: number): string =>
  `POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;

/** For a process where the name localhost has two addresses. */
const twoAddresses = `
  import dns from "node:dns";
  const { lookup } = dns;
  dns.lookup = (name, options, done) =>
    name === "localhost" && options.all
      ? done(null, ["127.0.0.1", "127.0.0.2"].map((address) => ({ address, family: 4 })))
      : lookup(name, options, done);`;

test.skipIf(!installed)("the embedding server listens where its limits hold, and nowhere else", async () => {
  const preload = `--import=data:text/javascript,${encodeURIComponent(twoAddresses)}`;
  const env = { ...process.env, NODE_OPTIONS: preload };
  await using server = await Server.startWith(env, "--workers=1", "--host=localhost");
  const elsewhere = connect(server.port, "127.0.0.2");
  await expect(once(elsewhere, "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect((await server.embed("Hello, world!")).tokens).toEqual([5]);
});

describe.skipIf(!installed)("the embedding server at its limits", () => {
  let server: Server;
  beforeAll(async () => {
    const limits = { workers: 1, "max-queued-tokens": 600, timeout: 3000, "max-connections": 100 };
    server = await Server.start(...Object.entries(limits).map(([name, value]) => `--${name}=${value}`));
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  test("refuses with 429 what does not fit into its queue, and recovers", async () => {
    const text = "The quick brown fox jumps over the lazy dog. ".repeat(6); // about 60 tokens
    const answers = await Promise.all(Array.from({ length: 60 }, () => server.post("/embed", { texts: [text, text] })));
    const refused = answers.filter(({ status }) => status === 429);
    const accepted = answers.filter(({ status }) => status === 200);
    const late = answers.filter(({ status }) => status === 503); // on a machine that does much else
    expect(refused.length + accepted.length + late.length).toBe(answers.length);
    expect(accepted.length).toBeGreaterThan(0);
    expect(refused.length).toBeGreaterThan(10);
    for (const { headers, body } of refused) {
      expect(headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
      expect(body).toEqual({ error: expect.stringContaining("overloaded") });
    }
    expect((await server.post("/embed", { texts: new Array(20).fill(text) })).status).toBe(413);
    await until("nothing waits", async () => (await server.metrics()).get("embedding_queued_tokens") === 0);
    const [first, second] = [await server.embed(text, text), await server.embed("Hello, world!")];
    expect(first.embeddings).toHaveLength(2);
    expect(second.tokens).toEqual([5]);
  });

  test("is not held up by slow clients, and lets them go", async () => {
    let open = 40;
    const refused = head(10_000).replace("json", "xml"); // answered before its body is there
    const starts = ["", "POST /embed HT", `${head(100)}{"te`, refused];
    const ends = Array.from({ length: open }, (_, i) => {
      const socket = connect(server.port, "127.0.0.1");
      socket.write(starts[i % 4]!);
      const drip = setInterval(() => socket.write(i % 4 === 0 ? "" : "x"), 200);
      return new Promise<void>((resolve) => {
        socket.on("error", () => {});
        socket.on("close", () => {
          clearInterval(drip);
          open--;
          resolve();
        });
        socket.resume();
      });
    });
    expect((await server.embed("Hello, world!")).tokens).toEqual([5]);
    expect(open).toBeGreaterThan(0);
    await Promise.all(ends);
    // More connections than are allowed are closed, and leave no trace.
    const crowd = Array.from({ length: 150 }, () =>
      connect(server.port, "127.0.0.1")
        .on("error", () => {})
        .resume(),
    );
    await until("some were closed", () => crowd.some(({ closed }) => closed));
    for (const socket of crowd) socket.destroy();
    await until("it answers again", () =>
      server.embed("Hello, world!").then(
        () => true,
        () => false,
      ),
    );
  });
});
