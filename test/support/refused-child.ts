// Small calls where native code can compute nothing (FOVEA_NUM_THREADS or FOVEA_CPU_ISA is wrong): prints what comes of them.
import {
  attention,
  attentionSync,
  AttentionBatcher,
  explain,
  mergeAttention,
  synchronize,
  Tensor,
} from "../../lib/index.js";

const tensor = Tensor.zeros([1, 1, 4, 8]);
const part = { output: tensor, lse: Tensor.zeros([1, 1, 4]) };
const refused: unknown[] = [];
for (const call of [
  () => attention(tensor, tensor, tensor),
  () => new AttentionBatcher().attention(tensor, tensor, tensor),
  () => mergeAttention([part, part]),
  async () => attentionSync(tensor, tensor, tensor),
  async () => explain(tensor, tensor, tensor),
]) {
  await call().catch(({ code, message }: { code: string; message: string }) => refused.push(`${code} ${message}`));
}
await synchronize();
tensor.data.fill(1);
refused.push(Tensor.from(tensor.data, tensor.shape).toNumbers()[0]); // nobody reads it any more
console.log(JSON.stringify(refused));
