// Tensors on a GPU: getting there and back, views, conversions, lifetime, and what is refused.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import {
  attention,
  attentionSync,
  devices,
  explain,
  referenceAttention,
  streamHandle,
  synchronize,
  Tensor,
  type AttentionOptions,
  type CudaDevice,
  type DType,
} from "../../lib/index.js";

const gpu = (): CudaDevice => {
  const [, info] = devices();
  if (!info?.available) throw new Error(info?.reason);
  return info;
};
const normal = (...shape: number[]) => Tensor.random(shape, { seed: 7 });
const coded = (code: string, message: RegExp) =>
  expect.objectContaining({ code: `ERR_FOVEA_${code}`, message: expect.stringMatching(message) });

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
/** Lets go of what earlier tests left undisposed. */
async function collectAll(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await synchronize("cuda");
}

test("devices() tells about the GPU and counts what tensors take of it", async () => {
  await collectAll();
  const before = gpu();
  expect(before).toMatchObject({ device: "cuda:0", computeCapability: expect.stringMatching(/^\d+\.\d$/) });
  expect(before.name).not.toBe("");
  expect(before.cudaVersion).toMatch(/^\d+\.\d$/);
  const tensor = Tensor.zeros([1024, 256], { device: "cuda" });
  expect(gpu().tensorBytes).toBe(before.tensorBytes + 2 ** 20);
  const view = tensor.slice(0, 0, 1);
  tensor.dispose();
  expect(gpu().tensorBytes).toBe(before.tensorBytes + 2 ** 20);
  view.dispose();
  view.dispose();
  expect(gpu().tensorBytes).toBe(before.tensorBytes);
});

describe("to and from a GPU", () => {
  test.each([
    ["contiguous", (t: Tensor) => t],
    ["transposed", (t: Tensor) => t.transpose(0, 2)],
    ["a slice of rows", (t: Tensor) => t.slice(0, 1, 3)],
    ["a slice of columns, which is packed", (t: Tensor) => t.slice(2, 1, 4)],
    ["empty", (t: Tensor) => t.slice(1, 2, 2)],
  ])("%s", async (_, view) => {
    const host = view(normal(4, 5, 6));
    const there = await host.to("cuda");
    expect(there).toMatchObject({ device: "cuda:0", shape: host.shape, dtype: "float32" });
    expect((await there.read()).toNumbers()).toEqual(host.toNumbers());
    // The same view, taken there.
    const same = view(await normal(4, 5, 6).to("cuda:0"));
    expect((await same.read()).toNumbers()).toEqual(host.toNumbers());
    expect((await same.contiguous().read()).toNumbers()).toEqual(host.toNumbers());
  });

  test.each(["float32", "float16", "bfloat16", "int32", "bool"] as const)("%s", async (dtype: DType) => {
    const zeros = Tensor.zeros([3, 7], { dtype });
    zeros.data.forEach((_, i) => (zeros.data[i] = i % 5));
    const there = await zeros.to("cuda");
    expect((await there.transpose(0, 1).contiguous().read()).data).toEqual(zeros.transpose(0, 1).contiguous().data);
    expect((await Tensor.zeros([3, 7], { dtype, device: "cuda" }).read()).data).toEqual(
      Tensor.zeros([3, 7], { dtype }).data,
    );
  });

  test("larger than the staging memory", async () => {
    const host = Tensor.random([3, 1 << 20], { seed: 3, distribution: "uniform" });
    const back = await (await host.to("cuda")).read();
    expect(Buffer.compare(Buffer.from(back.data.buffer), Buffer.from(host.data.buffer))).toBe(0);
  });

  test("from copies: the array may change at once", async () => {
    const data = Float32Array.from({ length: 1000 }, (_, i) => i);
    const tensor = Tensor.from(data, [1000], { device: "cuda" });
    data.fill(-1);
    expect((await tensor.read()).data[999]).toBe(999);
    const random = Tensor.random([50], { seed: 9, dtype: "float16", device: "cuda" });
    expect((await random.read()).data).toEqual(Tensor.random([50], { seed: 9, dtype: "float16" }).data);
  });

  test("a tensor that is there already is a view", async () => {
    const tensor = Tensor.zeros([4], { device: "cuda" });
    expect((await tensor.to("cuda")).devicePointer).toBe(tensor.devicePointer);
  });

  test("casts as the host does", async () => {
    const host = Tensor.from(Float32Array.of(0, -0, 1, 1 / 3, 65519, 65520, 1e-8, 3.4e38, Infinity, NaN), [2, 5]);
    const there = await host.to("cuda");
    for (const dtype of ["float16", "bfloat16"] as const) {
      const cast = await there.cast(dtype).read();
      expect(cast.toNumbers()).toEqual(host.cast(dtype).toNumbers());
      expect((await there.cast(dtype).cast("float32").read()).toNumbers()).toEqual(cast.toNumbers());
      const transposed = there.transpose(0, 1).cast(dtype);
      expect((await transposed.read()).toNumbers()).toEqual(host.transpose(0, 1).cast(dtype).toNumbers());
    }
  });
});

describe("calls", () => {
  const inputs = () => [normal(1, 4, 20, 16), normal(1, 2, 30, 16), normal(1, 2, 30, 16)] as const;
  const sent = async () => {
    const [query, key, value] = await Promise.all(inputs().map((tensor) => tensor.to("cuda")));
    return [query!, key!, value!] as const;
  };
  const near = (actual: Tensor, expected: Tensor) => {
    const wanted = expected.toNumbers();
    actual.toNumbers().forEach((x, i) => expect(Math.abs(x - wanted[i]!)).toBeLessThan(1e-5));
  };

  test("results live where the query lives, and chain without waiting", async () => {
    const [query, key, value] = await sent();
    const first = attentionSync(query, key, value, { causal: true, returnLse: true });
    expect([first.output.device, first.lse.device]).toEqual(["cuda:0", "cuda:0"]);
    const second = attentionSync(first.output, key, value);
    first.output.dispose(); // its memory goes when the second call is done with it
    const expected = referenceAttention(
      referenceAttention(...inputs(), { causal: true }).output,
      inputs()[1],
      inputs()[2],
    );
    near(await second.output.read(), expected.output);
    near(await first.lse.read(), referenceAttention(...inputs(), { causal: true, returnLse: true }).lse);
  });

  test("asynchronous ones, out, and slopes and sinks from either side", async () => {
    const [query, key, value] = await sent();
    const alibiSlopes = Float32Array.of(0.1, 0.2, 0.3, 0.4);
    const sinks = Float32Array.of(1, 2, -1, 0);
    const expected = referenceAttention(...inputs(), { alibiSlopes, sinks }).output;
    const out = Tensor.empty([1, 20, 4, 16], { device: "cuda" }).transpose(1, 2);
    const result = await attention(query, key, value, {
      alibiSlopes: await Tensor.from(alibiSlopes, [4]).to("cuda"),
      sinks,
      out,
    });
    expect(result.output).toBe(out);
    near(await out.read(), expected);
    const fromHost = await attention(...inputs(), {
      device: "cuda",
      alibiSlopes,
      sinks: await Tensor.from(sinks, [4]).to("cuda"),
    });
    expect(fromHost.output.device).toBe("cpu");
    near(fromHost.output, expected);
    near(attentionSync(...inputs(), { device: "cuda", alibiSlopes, sinks }).output, expected);
  });

  test("pages: the table stays on the host", async () => {
    const [query] = await sent();
    const [key, value] = await Promise.all(
      [normal(4, 2, 8, 16), normal(4, 2, 8, 16)].map((tensor) => tensor.to("cuda")),
    );
    const paged = { pageTable: Tensor.from(Int32Array.of(3, 1, 0, 2), [1, 4]), keyLengths: Int32Array.of(27) };
    const { output } = await attention(query, key!, value!, paged);
    near(await output.read(), referenceAttention(inputs()[0], normal(4, 2, 8, 16), normal(4, 2, 8, 16), paged).output);
    const pageTable = await paged.pageTable.to("cuda");
    await expect(attention(query, key!, value!, { ...paged, pageTable })).rejects.toEqual(
      coded("DEVICE", /^pageTable: is on cuda:0/),
    );
  });

  test("inputs may be disposed while a call is in flight", async () => {
    await collectAll();
    const before = gpu().tensorBytes;
    const [query, key, value] = await sent();
    const call = attention(query, key, value);
    for (const tensor of [query, key, value]) tensor.dispose();
    expect(gpu().tensorBytes).toBeGreaterThan(before);
    const { output } = await call;
    near(await output.read(), referenceAttention(...inputs()).output);
    output.dispose();
    await synchronize("cuda");
    expect(gpu().tensorBytes).toBe(before);
  });

  test("the plan says where and how, with and without data", async () => {
    const { plan } = await attention(...inputs(), { device: "cuda" });
    expect(plan).toMatchObject({ device: "cuda:0", instructionSet: `sm_${gpu().computeCapability.replace(".", "")}` });
    expect(explain(...inputs(), { device: "cuda" })).toEqual(plan);
    expect(plan.parts[0]!.plainLoads).toBe(0);
    expect(plan.parts[0]!.stages).toBeGreaterThan(1);
    const odd = explain(normal(1, 1, 2, 7), normal(1, 1, 2, 7), normal(1, 1, 2, 7), { device: "cuda" });
    expect(odd.parts[0]!.plainLoads).toBe(1);
  });

  test("a ring has two tiles where only so two thread blocks share a multiprocessor", () => {
    const small = ["8.6", "8.9", "12.0"].includes(gpu().computeCapability);
    const stagesOf = (dtype: DType, headDim: number) => {
      const query = { shape: [1, 1, 70, headDim], dtype };
      return explain(query, query, query, { device: "cuda", algorithm: "tiled" }).parts[0]!;
    };
    expect(stagesOf("float32", 64)).toMatchObject({ kernel: "cuda.tiled", stages: small ? 2 : 4 });
    expect(stagesOf("float32", 128)).toMatchObject({ kernel: "cuda.tiled", stages: 3 });
    for (const [headDim, stages] of [
      [64, 4],
      [128, small ? 2 : 6],
      [256, 3],
    ] as const) {
      const half = stagesOf("float16", headDim);
      if (half.kernel === "cuda.tiled") expect(half.stages).toBe(stages);
    }
  });

  test.each(["float32", "float16"] as const)(
    "more than 256 dims are for standard: auto takes it, %s",
    async (dtype) => {
      for (const [headDim, valueDim] of [
        [264, 16],
        [16, 512],
      ] as const) {
        const [query, key, value] = [
          normal(1, 2, 9, headDim),
          normal(1, 1, 12, headDim),
          normal(1, 1, 12, valueDim),
        ].map((tensor) => tensor.cast(dtype));
        const refused = coded("OPTION", /^algorithm: "tiled" takes headDim and valueDim up to 256 on CUDA, got /);
        const tiled = { algorithm: "tiled", device: "cuda" } as const;
        expect(() => explain(query!, key!, value!, tiled)).toThrow(refused);
        expect(() => attentionSync(query!, key!, value!, tiled)).toThrow(refused);
        await expect(attention(query!, key!, value!, tiled)).rejects.toEqual(refused);
        expect(explain(query!, key!, value!, { device: "cuda" })).toMatchObject({
          algorithm: "standard",
          kernel: "cuda.standard",
        });
      }
    },
  );

  test("tiled takes no memory that grows with the length; with weights, some for each row", () => {
    for (const { device, available } of devices().slice(1)) {
      if (!available) continue;
      for (const dtype of ["float32", "float16"] as const) {
        const bytes = (length: number, options: AttentionOptions = {}) => {
          const tensor = { shape: [1, 32, length, 64], dtype };
          const plan = explain(tensor, tensor, tensor, { ...options, algorithm: "tiled", device });
          expect(plan.algorithm).toBe("tiled");
          return plan.workspaceBytes;
        };
        for (const causal of [false, true]) {
          expect(new Set([2048, 16384, 2 ** 20].map((length) => bytes(length, { causal }))).size).toBe(1);
          const [short, long] = [2048, 16384].map((length) => bytes(length, { causal, returnWeights: true }));
          expect(long! - short!).toBe((16384 - 2048) * 32 * 8);
        }
      }
    }
  });

  test("memory of other native modules", async () => {
    const [query, key, value] = await sent();
    const foreign = Tensor.fromDevicePointer(query.devicePointer, query.shape);
    near(await attentionSync(foreign, key, value).output.read(), referenceAttention(...inputs()).output);
    foreign.dispose();
    expect((await query.read()).toNumbers()).toEqual(inputs()[0].toNumbers());
    expect(query.slice(2, 3).devicePointer).toBe(query.devicePointer + 3n * 16n * 4n);
    expect(streamHandle("cuda")).toBeGreaterThan(0n);
    expect(streamHandle("cuda")).toBe(streamHandle("cuda:0"));
  });

  test("an aborted call settles, and what comes after it computes", async () => {
    const [query, key, value] = await sent();
    const controller = new AbortController();
    const calls = Array.from({ length: 8 }, () => attention(query, key, value, { signal: controller.signal }));
    controller.abort();
    for (const { status } of await Promise.allSettled(calls)) expect(status).toBe("rejected");
    near(await (await attention(query, key, value)).output.read(), referenceAttention(...inputs()).output);
  });

  test("what is refused", async () => {
    const [query, key, value] = await sent();
    const [hostQuery, hostKey] = inputs();
    const refused = (error: unknown, ...args: Parameters<typeof attentionSync>) =>
      expect(() => attentionSync(...args)).toThrow(error);
    refused(
      coded("DEVICE", /^key: expected a tensor on cuda:0, got one on cpu; move it with to/),
      query,
      hostKey,
      value,
    );
    refused(coded("DEVICE", /^value: expected a tensor on cpu, got one on cuda:0/), hostQuery, hostKey, value);
    refused(coded("DEVICE", /^value: expected a tensor on cpu/), hostQuery, hostKey, value, { device: "cuda" });
    refused(coded("DEVICE", /^device: expected "cuda:0", where query lives, got "cpu"/), query, key, value, {
      device: "cpu",
    });
    refused(coded("DEVICE", /^out: expected a tensor on cuda:0/), query, key, value, {
      out: Tensor.empty([1, 4, 20, 16]),
    });
    refused(coded("OPTION", /^out: expected memory of its own, .* with query/), query, key, value, { out: query });
    refused(coded("DEVICE", /^mask/), query, key, value, { mask: Tensor.zeros([20, 30], { dtype: "bool" }) });
    refused(coded("DEVICE", /^bias/), query, key, value, { bias: Tensor.zeros([20, 30]) });
    const there = await Tensor.zeros([4]).to("cuda");
    refused(coded("DEVICE", /^alibiSlopes: expected a tensor on cpu, got/), ...inputs(), { alibiSlopes: there });
    refused(coded("DEVICE", /^sinks: expected a tensor on cpu, got/), ...inputs(), { sinks: there });
    refused(coded("DEVICE", /"cuda:9" cannot be used: the driver shows/), query, key, value, { device: "cuda:9" });
    expect(() => referenceAttention(query, key, value)).toThrow(coded("DEVICE", /^query: is on cuda:0/));
    expect(() => query.data).toThrow(coded("DEVICE", /await its read\(\) first/));
    expect(() => query.toNumbers()).toThrow(coded("DEVICE", /read\(\)/));
    expect(() => hostQuery.devicePointer).toThrow(coded("DEVICE", /on a GPU, got one on cpu/));
    expect(() => Tensor.fromDevicePointer(query.devicePointer + 1n, [4])).toThrow(coded("ARGUMENT", /a multiple of 4/));
    expect(() => Tensor.fromDevicePointer(64n, [4])).toThrow(coded("DEVICE", /./));
    query.dispose();
    refused(coded("DISPOSED", /^query/), query, key, value);
    await expect(query.read()).rejects.toEqual(coded("DISPOSED", /./));
    expect(() => query.devicePointer).toThrow(coded("DISPOSED", /./));
  });
});

test("what is never disposed goes with its handle", async () => {
  await collectAll();
  const before = gpu().tensorBytes;
  for (let i = 0; i < 64; i++) Tensor.empty([1 << 18], { device: "cuda" });
  for (let i = 0; i < 50 && gpu().tensorBytes > before; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(gpu().tensorBytes).toBeLessThanOrEqual(before);
});

test("a call gives back the copies that it makes of strided slopes, and explain makes none", async () => {
  await collectAll();
  const slopes = await normal(2, 2).transpose(0, 1).to("cuda");
  expect(slopes.strides).toEqual([1, 2]);
  const tensors = await Promise.all([normal(2, 2, 3, 8), normal(2, 2, 5, 8)].map((tensor) => tensor.to("cuda")));
  const [query, key] = tensors as [Tensor, Tensor];
  const options = { alibiSlopes: slopes };
  const before = gpu().tensorBytes;
  for (let i = 0; i < 5; i++) {
    explain(query, key, key, options);
    attentionSync(query, key, key, options).output.dispose();
    (await attention(query, key, key, options)).output.dispose();
  }
  await synchronize("cuda");
  expect(gpu().tensorBytes).toBe(before);
});

test("what attentionSync was given on the host can be transferred after it", async () => {
  const [query, key] = [normal(1, 2, 3, 8), normal(1, 2, 5, 8)];
  attentionSync(query, key, key, { device: "cuda", alibiSlopes: Float32Array.of(1, 2) });
  await synchronize("cuda");
  const { buffer } = query.data;
  structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
  expect(buffer.byteLength).toBe(0);
});
