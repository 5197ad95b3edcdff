// Gives orders to a pool of two workers, and prints what came of each.
import { WorkerPool } from "../../examples/embedding-server/worker-pool.js";
import type { Order } from "./pool-worker.js";

console.error = () => {}; // it tells there of workers that fail
const program = new URL("pool-worker.ts", import.meta.url);
let pool = await WorkerPool.start(program, 2, {});
const outcomes: string[] = [];
const give = async (order: Order): Promise<void> => {
  const place = outcomes.push("nothing") - 1;
  const outcome = await pool.call({ order }).then(JSON.stringify, ({ message }: Error) => message);
  outcomes[place] = outcome;
};

await Promise.all([give("leave"), give("break")]);
await give("answer"); // by one that is about to take their place
while (pool.alive < 2) await new Promise((resolve) => setTimeout(resolve, 10));
await Promise.all([give("answer"), give("fail"), give("answer")]);
const last = [give("take long"), give("break")];
await pool.close();
await Promise.all(last);
await give("answer");
const missing = new URL("no-such-worker.ts", import.meta.url);
const start = await WorkerPool.start(missing, 2, {}).then(
  () => "started",
  () => "did not start",
);

// Those that do not answer for long.
pool = await WorkerPool.start(program, 2, {}, 1500);
await Promise.all([give("wait for ever"), give("sleep"), give("answer")]);
while (pool.alive < 2) await new Promise((resolve) => setTimeout(resolve, 10));
await give("answer");
const stuck = give("loop");
await pool.close();
await stuck;
process.stdout.write(JSON.stringify([...outcomes, start]));
