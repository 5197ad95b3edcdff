// What goes wrong on a GPU: memory runs out, launches fail, devices break down, drivers are missing. The process goes on and
// says what happened. What breaks a device does so in a process of its own; the simulator plays it.
import { describe, expect, test } from "vitest";
import { attention, attentionSync, devices, synchronize, Tensor } from "../../lib/index.js";
import { runChild } from "../support/child.js";
import { simulate } from "../support/simulator.js";
import type { Report } from "./failing.js";

const simulated = devices().some((info) => info.available && info.device !== "cpu" && info.name.includes("simulator"));
const failing = new URL("failing.ts", import.meta.url).href;
const report = (scenario: string, env: Record<string, string>) => runChild<Report>(failing, [scenario], env);

const inputs = () => [1, 2, 3].map((seed) => Tensor.random([1, 2, 40, 16], { seed })) as [Tensor, Tensor, Tensor];
const held = () => devices().reduce((sum, info) => sum + ("tensorBytes" in info ? info.tensorBytes : 0), 0);
const outOfMemory = {
  name: "FoveaError",
  code: "ERR_FOVEA_OUT_OF_MEMORY",
  message: expect.stringMatching(/^cuda:0 .*memory/),
};

describe("out of memory", () => {
  test("of the device: a rejection, after which everything works", async () => {
    const [query, key, value] = await Promise.all(inputs().map((tensor) => tensor.to("cuda")));
    await synchronize("cuda");
    const [, gpu] = devices();
    const bytes = gpu?.available ? gpu.memoryBytes : 0;
    expect(() => Tensor.empty([bytes], { device: "cuda" })).toThrow(expect.objectContaining(outOfMemory));
    const long = Tensor.empty([1, 64, 2 ** 17, 16], { device: "cuda", dtype: "float16" });
    await expect(attention(long, long, long, { algorithm: "standard" })).rejects.toMatchObject(outOfMemory);
    expect(() => attentionSync(long, long, long, { algorithm: "standard" })).toThrow(
      expect.objectContaining(outOfMemory),
    );
    long.dispose();
    expect((await (await attention(query!, key!, value!)).output.read()).size).toBe(1280);
  });

  test.skipIf(!simulated)("at any allocation of a call: nothing is left behind", async () => {
    const sent = (await Promise.all(inputs().map((tensor) => tensor.to("cuda")))) as [Tensor, Tensor, Tensor];
    const options = { returnLse: true, returnWeights: true, device: "cuda" } as const;
    const kilobytes = [0, 4, 16, 24, 32, 48, 64, 96, 128, 256, 1024, 16384];
    for (const tensors of [sent, inputs()]) {
      await synchronize("cuda");
      const before = held();
      const outcomes: boolean[] = [];
      for (const room of kilobytes) {
        simulate({ MEMORY: before + room * 1024 });
        const outcome = await attention(...tensors, options).catch((error: unknown) => error);
        outcomes.push(!(outcome instanceof Error));
        if (outcome instanceof Error) expect(outcome).toMatchObject(outOfMemory);
        else for (const tensor of Object.values(outcome as object)) if (tensor instanceof Tensor) tensor.dispose();
        expect(held(), `${room} KB`).toBe(before);
      }
      expect(outcomes[0]).toBe(false);
      expect(outcomes.at(-1)).toBe(true);
      // Once there is room enough, more is enough too.
      expect(outcomes.slice(outcomes.indexOf(true)).every(Boolean)).toBe(true);
      simulate({ MEMORY: "16G" });
    }
  });

  test.skipIf(!simulated)("once: the driver's pool is emptied and asked again", async () => {
    for (const nth of [1, 2]) {
      simulate({ FAIL_ALLOCATION: nth });
      expect((await attention(...inputs(), { device: "cuda" })).output.size).toBe(1280);
    }
  });
});

describe.skipIf(!simulated)("a device that breaks down", () => {
  test.each([
    ["FOVEA_SIM_FAIL_LAUNCH", /LAUNCH_FAILED|launch failure/i],
    ["FOVEA_SIM_LOSE_DEVICE", /ECC/i],
  ])("%s: this call and later ones are refused, the processor computes on", async (setting, message) => {
    for (const nth of ["1", "2", "4"]) {
      const { errors, cpu, listed } = await report("break", { [setting]: nth });
      expect(errors.length).toBeGreaterThan(0);
      for (const error of errors) {
        expect(error).toMatchObject({ name: "FoveaError", code: "ERR_FOVEA_DEVICE_LOST" });
        expect(error.message).toMatch(message);
        expect(error.message).toMatch(/lost to this process/);
      }
      expect(cpu).toBe("computes");
      expect(listed).toMatch(/lost to this process/);
    }
  });
});

// The first launch writes what the second, the kernel itself, is about.
test.skipIf(!simulated)("a fault of what attentionSync enqueued is the error of whatever waits for it", async () => {
  const { errors } = await report("enqueued", { FOVEA_SIM_LOSE_DEVICE: "2" });
  expect(errors).toHaveLength(3);
  for (const error of errors) {
    expect(error).toMatchObject({ code: "ERR_FOVEA_DEVICE_LOST", message: expect.stringMatching(/ECC/i) as string });
  }
});

test.skipIf(!simulated)("a kernel that never ends does not keep the process from ending", async () => {
  const env = { FOVEA_SIM_HANG_LAUNCH: "1", FOVEA_SIM_SETTINGS: "" };
  const message = /the process ends without waiting any longer for cuda:0/;
  await expect(report("hang", env)).rejects.toMatchObject({ code: 7, stderr: expect.stringMatching(message) });
});

test.skipIf(!simulated)("what the processor does for longer than GPUs are waited for is no GPU's fault", async () => {
  const failure: unknown = await report("slow", {}).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 7, stderr: "" });
});

describe("no GPU that could be used", () => {
  test.each([
    [{ FOVEA_CUDA_DRIVER: "/no/such/library.so" }, /FOVEA_CUDA_DRIVER names .*library\.so/],
    [{ FOVEA_SIM_DRIVER_VERSION: "11000" }, /driver is too old: .*Update it.*CUDA 11\.0/],
    [{ FOVEA_SIM_DEVICES: "0" }, /finds no GPU\. .*CUDA_VISIBLE_DEVICES/],
    [{ FOVEA_SIM_FAIL_INIT: "999" }, /does not start: CUDA_ERROR_UNKNOWN.*nvidia-smi/],
    [{ FOVEA_SIM_COMPUTE_CAPABILITY: "7.5" }, /compute capability is 7\.5.*8\.0/],
  ] as [Record<string, string>, RegExp][])("%o says what is missing", async (env, reason) => {
    if (!simulated && !env["FOVEA_CUDA_DRIVER"]) return;
    const { errors, cpu, listed } = await report("use", env);
    expect(listed).toMatch(reason);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ name: "FoveaError", code: "ERR_FOVEA_DEVICE" });
    expect(errors[0]!.message).toMatch(reason);
    expect(cpu).toBe("computes");
  });

  test.skipIf(!simulated)("several GPUs, each by its number", async () => {
    const { errors, moved, listed } = await report("several", { FOVEA_SIM_DEVICES: "3" });
    expect(errors).toMatchObject([
      {
        code: "ERR_FOVEA_DEVICE",
        message: expect.stringMatching(/^key: expected a tensor on cuda:2, got one on cuda:1/),
      },
      { code: "ERR_FOVEA_DEVICE", message: expect.stringMatching(/"cuda:3" cannot be used: the driver shows 3 GPUs/) },
    ]);
    expect(moved).toBe("equal");
    expect(listed).toBe("cuda:0 cuda:1 cuda:2");
  });
});

test("workers that load, compute on a GPU and leave in any way", async () => {
  const { errors, moved } = await report("workers", {});
  expect(errors).toEqual([]);
  expect(moved).toBe("equal");
}, 120_000);
