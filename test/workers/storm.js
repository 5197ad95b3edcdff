// Workers load the native module, use it and leave in every way, several at once; this thread never loads it, so that Node
// unloads it whenever the last worker ends. Prints what happened as JSON. Arguments: number of workers, seed.
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";

const [total, seed] = process.argv.slice(2).map(Number);
const ways = ["idle", "exit", "throw", "cancel", "terminate"];
const seen = { workers: 0, right: 0, wrong: 0, unexpected: [] };

let state = seed;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};

async function live(leave, delay) {
  const worker = new Worker(new URL("worker.js", import.meta.url), { workerData: { leave }, stderr: true });
  worker.stderr.resume();
  worker.on("message", (message) => {
    if (message === "right" || message === "wrong") seen[message] += 1;
    if (message === "flooded") void sleep(delay).then(() => worker.terminate());
  });
  worker.on("error", (error) => {
    if (error.message !== "thrown on purpose") seen.unexpected.push(String(error));
  });
  await new Promise((resolve) => worker.once("exit", resolve));
  seen.workers += 1;
}

let next = 0;
async function lane() {
  while (next < total) await live(ways[next++ % ways.length], random() * 60);
}
await Promise.all(Array.from({ length: 4 }, lane));
console.log(JSON.stringify(seen));
