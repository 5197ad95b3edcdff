// A worker that does as it is told.
import { serve } from "../../examples/embedding-server/worker-pool.js";

export type Order = "answer" | "fail" | "leave" | "break" | "take long" | "wait for ever" | "loop" | "sleep";

serve(async ({ order }: { order: Order }) => {
  if (order === "fail") throw new Error("as told");
  if (order === "leave") process.exit(3);
  if (order === "break") setTimeout(() => JSON.parse("{"));
  if (order === "break" || order === "take long") await new Promise((resolve) => setTimeout(resolve, 200));
  if (order === "wait for ever") await new Promise(() => {});
  if (order === "loop") for (;;);
  if (order === "sleep") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500); // as native code that is slow
  return { order };
});
