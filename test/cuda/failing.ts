// Run by failures.test.ts in a process of its own: does what the scenario says, and reports.
import { Worker } from "node:worker_threads";
import {
  attention,
  attentionSync,
  devices,
  mergeAttention,
  synchronize,
  Tensor,
  type FoveaError,
} from "../../lib/index.js";

export interface Report {
  errors: { name: string; code: string; message: string }[];
  /** "computes" when the processor still does. */
  cpu: string;
  /** What `devices()` says of GPUs. */
  listed: string;
  /** "equal" when results are as the processor's. */
  moved: string;
}

const inputs = () => [1, 2, 3].map((seed) => Tensor.random([1, 2, 40, 16], { seed })) as [Tensor, Tensor, Tensor];
const report: Report = { errors: [], cpu: "", listed: "", moved: "" };
const note = (error: unknown): void => {
  const { name, code, message } = error as FoveaError;
  report.errors.push({ name, code, message });
};
const attempt = async (call: () => unknown): Promise<void> => {
  try {
    await call();
  } catch (error) {
    note(error);
  }
};
const equal = (a: Tensor, b: Tensor): boolean => {
  const wanted = b.toNumbers();
  return a.toNumbers().every((x, i) => Math.abs(x - wanted[i]!) < 1e-5);
};

const scenarios: Record<string, () => Promise<void>> = {
  async break() {
    for (let i = 0; i < 4 && report.errors.length === 0; i++)
      await attempt(() => attention(...inputs(), { device: "cuda" }));
    await attempt(() => attentionSync(...inputs(), { device: "cuda" }));
    await attempt(() => Tensor.zeros([4], { device: "cuda" }));
    await attempt(() => inputs()[0].to("cuda"));
    await attempt(() => synchronize("cuda"));
  },

  async enqueued() {
    const there = (await Promise.all(inputs().map((tensor) => tensor.to("cuda")))) as [Tensor, Tensor, Tensor];
    // Its fault is not its own error, unless the driver knows of it before the call returns.
    let output: Tensor | undefined;
    await attempt(() => ({ output } = attentionSync(...there)));
    if (output !== undefined) await attempt(() => output!.read());
    await attempt(() => synchronize("cuda"));
    await attempt(() => attention(...there));
  },

  async use() {
    await attempt(() => attention(...inputs(), { device: "cuda" }));
  },

  async hang() {
    attentionSync(...((await Promise.all(inputs().map((tensor) => tensor.to("cuda")))) as [Tensor, Tensor, Tensor]));
    process.exit(7);
  },

  async slow() {
    const [tensor] = inputs();
    await (await tensor.to("cuda")).read();
    // One row whose merge looks at no abort for longer than GPUs are waited for.
    const part = { output: Tensor.zeros([1, 1, 1, 1 << 20]), lse: Tensor.zeros([1, 1, 1]) };
    mergeAttention(Array.from({ length: 1 << 13 }, () => part)).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 500)); // by then it has begun
    process.exit(7);
  },

  async several() {
    const [query, key, value] = inputs();
    const there = await Promise.all([query.to("cuda:2"), key.to("cuda:1"), value.to("cuda:2")]);
    await attempt(() => attention(...there));
    await attempt(() => query.to("cuda:3"));
    const moved = await there[1].to("cuda:2");
    const { output } = await attention(there[0], moved, there[2]);
    report.moved = equal(await output.read(), attentionSync(query, key, value).output) ? "equal" : "different";
  },

  async workers() {
    const source = (leave: string) => `import("tsx/esm/api").then(async ({ tsImport }) => {
      const { attention, attentionSync, Tensor } = await tsImport("../../lib/index.ts", ${JSON.stringify(import.meta.url)});
      const inputs = await Promise.all([1, 2, 3].map((seed) => Tensor.random([1, 2, 40, 16], { seed }).to("cuda")));
      const { output } = await attention(...inputs);
      require("node:worker_threads").parentPort.postMessage((await output.read()).data);
      for (let i = 0; i < 5; i++) attention(...inputs).catch(() => {});
      attentionSync(...inputs);
      ${leave};
    })`;
    const wanted = attentionSync(...inputs()).output;
    const results = await Promise.all(
      ["0", "process.exit(0)", "process.exit(0)", "setInterval(() => {}, 1e6)"].map(
        (leave) =>
          new Promise<boolean>((resolve, reject) => {
            const worker = new Worker(source(leave), { eval: true });
            let right = false;
            worker.on("message", (data: Float32Array) => {
              right = equal(Tensor.from(data, [1, 2, 40, 16]), wanted);
              if (leave.startsWith("setInterval")) void worker.terminate();
            });
            worker.on("error", reject);
            worker.on("exit", () => resolve(right));
          }),
      ),
    );
    report.moved = results.every(Boolean) ? "equal" : `different: ${results.join()}`;
  },
};

await scenarios[process.argv[2]!]!();
const gpus = devices().slice(1);
report.listed = gpus.map((info) => (info.available ? info.device : info.reason)).join(" ");
report.cpu = equal(attentionSync(...inputs()).output, (await attention(...inputs())).output) ? "computes" : "is wrong";
console.log(JSON.stringify(report));
