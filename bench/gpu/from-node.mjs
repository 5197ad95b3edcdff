// What calls of fovea take from Node on a GPU: the shapes of measure.py's prefill and decode, with tensors on the GPU and on
// the host. Plain JavaScript on what `npm run build` made, so it runs where Node and those files are, without node_modules'
// tools.
//
//   node bench/gpu/from-node.mjs [--tokens n] [--samples n] [--seconds n] [--results folder]
//
// Times are the clock's, from the call to its end: `device` of one awaited call, synchronize included; `queued` of one of
// sixteen that are sent one after the other and awaited together; `host` with tensors on the host, sent and brought back.
// Medians. Figures are written to results/DATE-GPU-node.json as they come.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { attention, devices, synchronize, Tensor } from "fovea";

const { values } = parseArgs({
  options: {
    tokens: { type: "string", default: "16384" },
    samples: { type: "string", default: "15" },
    seconds: { type: "string", default: "500" },
    results: { type: "string", default: "bench/results" },
  },
});
const [tokens, samples, seconds] = [values.tokens, values.samples, values.seconds].map(Number);
const until = performance.now() + seconds * 1000;

const gpu = devices().find(({ device }) => device === "cuda:0");
if (!gpu?.available) {
  console.log(`no GPU here: ${gpu?.reason ?? devices()[1]?.reason ?? "fovea was built without CUDA"}`);
  process.exit(0);
}

const width = 2048;
/** In the order of what they say, since time may run out. */
const lengths = [
  [tokens, tokens / 4, tokens / 32],
  [tokens / 2, tokens / 8, tokens / 16],
];
const [prefill, otherLengths] = lengths.map((group) =>
  [128, 64, 256].flatMap((headDim) =>
    [false, true].flatMap((causal) =>
      group.map((length) => ({
        kind: "prefill",
        causal,
        shape: [tokens / length, width / headDim, length, headDim],
        keyShape: [tokens / length, width / headDim, length, headDim],
        flops: (4 * tokens * length * width) / (causal ? 2 : 1),
      })),
    ),
  ),
);
const decode = [1, 16].flatMap((batch) =>
  [tokens / 16, tokens / 2].map((length) => ({
    kind: "decode",
    causal: false,
    shape: [batch, 32, 1, 128],
    keyShape: [batch, 8, length, 128],
    flops: 4 * batch * 32 * length * 128,
  })),
);

const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];

/** Milliseconds of `call`, after three to warm up. */
async function time(call, count = samples) {
  const times = [];
  for (let i = -Math.min(3, count); i < count; i++) {
    const begin = performance.now();
    await call();
    if (i >= 0) times.push(performance.now() - begin);
  }
  return median(times);
}

const numbers = new Map();

/** Random numbers, made once for all shapes of one size. */
function random(shape, seed) {
  const size = shape.reduce((a, b) => a * b);
  const known = `${size} ${seed}`;
  if (!numbers.has(known)) numbers.set(known, Tensor.random([size], { seed, dtype: "float16" }));
  return numbers.get(known).reshape(shape);
}

async function measure({ causal, shape, keyShape }) {
  const host = [random(shape, 1), random(keyShape, 2), random(keyShape, 3)];
  const there = await Promise.all(host.map((tensor) => tensor.to("cuda")));
  const out = Tensor.empty(shape, { dtype: "float16", device: "cuda" });
  const hostOut = Tensor.empty(shape, { dtype: "float16" });
  const figures = {};
  figures.device = await time(async () => {
    await attention(...there, { causal, out });
    await synchronize("cuda");
  });
  figures.queued =
    (await time(
      async () => {
        await Promise.all(Array.from({ length: 16 }, () => attention(...there, { causal, out })));
        await synchronize("cuda");
      },
      Math.ceil(samples / 3),
    )) / 16;
  const { plan } = await attention(...there, { causal, out });
  figures.kernel = plan.kernel;
  figures.host = await time(() => attention(...host, { causal, out: hostOut, device: "cuda" }), Math.ceil(samples / 3));
  for (const tensor of [...there, out]) tensor.dispose();
  return figures;
}

mkdirSync(values.results, { recursive: true });
const name = gpu.name
  .toLowerCase()
  .replace(/[^a-z0-9]+/g, "-")
  .replace(/^-|-$/g, "");
const file = path.join(values.results, `${new Date().toISOString().slice(0, 10)}-${name}-node.json`);
const rows = [];
console.log(`${gpu.name}, Node ${process.version}`);
console.log(
  "shape            query               keys                device ms  queued ms    TFLOP/s    host ms  kernel",
);
for (const point of [...prefill, ...decode, ...otherLengths]) {
  if (performance.now() > until) {
    console.log(`stopped after ${seconds} s`);
    break;
  }
  const figures = await measure(point).catch((error) => ({ error: `${error.code ?? error.name}: ${error.message}` }));
  rows.push({ ...point, ...figures });
  writeFileSync(`${file}.partial`, `${JSON.stringify({ gpu: gpu.name, node: process.version, rows }, null, 1)}\n`);
  renameSync(`${file}.partial`, file);
  const { device, queued, host, kernel, error } = figures;
  const cells =
    error ?? [device, queued, point.flops / queued / 1e9, host].map((x) => x.toFixed(3).padStart(11)).join("");
  const of = [point.kind + (point.causal ? " causal" : ""), point.shape.join("x"), point.keyShape.join("x")];
  console.log(`${of[0].padEnd(17)}${of[1].padEnd(20)}${of[2].padEnd(18)}${cells}${error ? "" : `  ${kernel}`}`);
  if (error?.startsWith("ERR_FOVEA_DEVICE_LOST")) break;
}
console.log(file);
