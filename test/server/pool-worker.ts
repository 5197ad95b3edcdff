// A worker that does as it is told.
import { serve } from "../../examples/embedding-server/worker-pool.js";

export type Order = "answer" | "fail" | "leave" | "break" | "take long";

serve(async ({ order }: { order: Order }) => {
  if (order === "fail") throw new Error("as told");
  if (order === "leave") process.exit(3);
  if (order === "break") setTimeout(() => JSON.parse("{"));
  if (order === "break" || order === "take long") await new Promise((resolve) => setTimeout(resolve, 200));
  return { order };
});
