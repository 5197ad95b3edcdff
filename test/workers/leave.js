// A process that ends with calls in flight, on its main thread and in a worker. Argument: "exit" or "throw".
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { denseProblem, run } from "../support/problem.js";

const worker = new Worker(new URL("worker.js", import.meta.url), { workerData: { leave: "terminate" } });
await once(worker, "message");
for (let i = 0; i < 8; i++) void run(denseProblem({ heads: 4, queryLength: 1500, keyLength: 1500 }));
await sleep(20);
if (process.argv[2] === "throw") throw new Error("thrown on purpose");
process.exit(7);
