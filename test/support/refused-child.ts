// Small calls where native code can start no threads (FOVEA_NUM_THREADS is wrong): prints what comes of them.
import { attention, AttentionBatcher, mergeAttention, synchronize, Tensor } from "../../lib/index.js";

const tensor = Tensor.zeros([1, 1, 4, 8]);
const part = { output: tensor, lse: Tensor.zeros([1, 1, 4]) };
const codes: unknown[] = [];
for (const call of [
  () => attention(tensor, tensor, tensor),
  () => new AttentionBatcher().attention(tensor, tensor, tensor),
  () => mergeAttention([part, part]),
]) {
  await call().catch((error: { code: string }) => codes.push(error.code));
}
await synchronize();
tensor.data.fill(1);
codes.push(Tensor.from(tensor.data, tensor.shape).toNumbers()[0]); // nobody reads it any more
console.log(JSON.stringify(codes));
