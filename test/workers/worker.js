// A worker of storm.js: loads the native module, keeps calls in flight, and leaves in the way it is told.
import { parentPort, workerData } from "node:worker_threads";
import { denseProblem, run } from "../support/problem.js";
import native from "../support/native.js";

const { leave } = workerData;

// Enough work to be in flight for long after this file has run, in several calls, so that some run and some wait.
const flood = () => {
  for (let i = 0; i < 8; i++) void run(denseProblem({ heads: 4, queryLength: 1500, keyLength: 1500 }));
};

const call = denseProblem({ heads: 2, queryLength: 33, keyLength: 65 });
const outcome = await run(call);
native.attentionSync(-1, call.problem, call.storages, call.plan);
const output = call.storages.at(-1);
const right = outcome === 0 && output.every((x) => Math.abs(x - call.expected) < 1e-3);
parentPort.postMessage(right ? "right" : "wrong");

switch (leave) {
  case "idle": // nothing is in flight any more: the worker ends by itself
    break;
  case "exit":
    flood();
    process.exit(0);
    break;
  case "throw":
    flood();
    throw new Error("thrown on purpose");
  case "cancel": {
    const ids = [];
    const calls = Array.from({ length: 4 }, () =>
      run(denseProblem({ heads: 4, queryLength: 1500, keyLength: 1500 }), (id) => ids.push(id)),
    );
    for (const id of ids) native.cancel(id);
    await Promise.all(calls);
    break;
  }
  case "terminate": // storm.js does it, some time after this message
    flood();
    parentPort.postMessage("flooded");
    break;
}
