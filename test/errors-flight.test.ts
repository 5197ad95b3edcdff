// Calls in flight: what others may touch meanwhile, and how they end. The native module is played by one that settles a call
// when the test says so.
import { MessageChannel } from "node:worker_threads";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { Binding, Settled } from "../binding.js";
import {
  attention,
  attentionSync,
  explain,
  FoveaError,
  referenceAttention,
  synchronize,
  Tensor,
} from "../lib/index.js";
import { planFields } from "../lib/plan.js";
import { viewOf } from "../lib/tensor.js";

const calls = vi.hoisted(() => ({
  settle: [] as Settled[],
  cancelled: [] as number[],
  fail: undefined as Error | undefined,
}));

vi.mock(import("../lib/native.js"), async (original) => {
  const writePlan = (plan: Float64Array) => {
    // Two parts, the second the larger.
    const parts = [2, 1, 10, 20, 0, 1, 0, 0, 300, 0, 0, 1, 4, 30, 40, 6, 5, 2, 3, 600, 2, 8];
    plan.set([2, 3, 1024, 900, 800, 700, 5, 640, 2, ...parts]);
  };
  const binding: Partial<Binding> = {
    kernels: ["first", "second", "third"],
    cpu: () => ({ cores: 1, threads: 1, instructionSet: "abacus", instructionSets: ["abacus"] }),
    cuda: () => ({ unavailable: "no driver", driver: "", version: 0, devices: [] }),
    explain: (_, __, plan) => writePlan(plan),
    attentionSync: (_, __, ___, plan) => {
      if (calls.fail) throw calls.fail;
      writePlan(plan);
    },
    attention: (_, __, ___, plan, settled) => {
      if (calls.fail) throw calls.fail;
      writePlan(plan);
      return calls.settle.push(settled) - 1;
    },
    cancel: (id) => void calls.cancelled.push(id),
  };
  return { ...(await original()), native: () => binding as Binding };
});

beforeEach(() => {
  calls.settle = [];
  calls.cancelled = [];
  calls.fail = undefined;
});

const float = (...shape: number[]) => Tensor.zeros(shape);
const inputs = () => [float(1, 2, 3, 4), float(1, 2, 5, 4), float(1, 2, 5, 4)] as const;
const busy = (message: RegExp) =>
  expect.objectContaining({ code: "ERR_FOVEA_BUSY", message: expect.stringMatching(message) });
const done = (id = 0) => calls.settle[id]!(0, "", 0);

describe("memory of an unsettled call", () => {
  test("what it writes may neither be read nor written, what it reads may not be written", async () => {
    const [query, key, value] = inputs();
    const out = float(1, 2, 3, 4);
    const call = attention(query, key, value, { out });
    expect(() => attentionSync(out, key, value)).toThrow(busy(/^query: is being written by an unsettled call/));
    expect(() => attentionSync(float(1, 2, 3, 4), key, value, { out })).toThrow(busy(/^out: is being written/));
    expect(() => attentionSync(float(1, 2, 3, 4), out, out, { out: query })).toThrow(busy(/^out: is being read/));
    expect(() => referenceAttention(out, key, value)).toThrow(busy(/^query/));
    await expect(attention(out, key, value)).rejects.toEqual(busy(/^query/));
    expect(() => out.cast("float16")).toThrow(busy(/^tensor: is being written/));
    expect(() => out.toNumbers()).toThrow(busy(/^tensor/));
    expect(() => out.transpose(2, 3).contiguous()).toThrow(busy(/^tensor/));
    await expect(out.read()).rejects.toEqual(busy(/^tensor/));
    done();
    await call;
    expect(attentionSync(out, key, value).output.shape).toEqual([1, 2, 3, 4]);
    expect(out.toNumbers()).toHaveLength(24);
  });

  test("reading what others read is fine, and explaining touches nothing", async () => {
    const [query, key, value] = inputs();
    const out = float(1, 2, 3, 4);
    const two = [attention(query, key, value, { out }), attention(query, key, value)];
    expect(query.cast("bfloat16").dtype).toBe("bfloat16");
    expect(explain(out, key, value, { out: query }).kernel).toBe("second");
    done(1);
    done(0);
    await Promise.all(two);
  });

  test("tens of thousands of calls that share tensors cost each other nothing", async () => {
    const [query, key, value] = inputs();
    const all = Array.from({ length: 30_000 }, () => attention(query, key, value));
    const synchronized = synchronize();
    calls.settle.forEach((_, id) => done(id));
    await Promise.all([...all, synchronized]);
  }, 20_000); // a few seconds; more than a minute when each looked at all others

  test("only the bytes of the view count", async () => {
    const [query, key, value] = inputs();
    const both = float(2, 2, 3, 4);
    const call = attention(query, key, value, { out: both.slice(0, 0, 1) });
    expect(attentionSync(both.slice(0, 1), key, value).output.size).toBe(24);
    expect(() => attentionSync(both, float(2, 2, 5, 4), float(2, 2, 5, 4))).toThrow(busy(/^query/));
    done();
    await call;
  });

  test("a tensor around the same buffer is the same memory", async () => {
    const [query, key, value] = inputs();
    const call = attention(query, key, value);
    const alias = Tensor.from(new Float32Array(query.data.buffer), [1, 2, 3, 4]);
    expect(() => attentionSync(float(1, 2, 3, 4), key, value, { out: alias })).toThrow(busy(/^out: is being read/));
    done();
    await call;
  });

  test("a call that is refused or fails to start leaves nothing behind", async () => {
    const [query, key, value] = inputs();
    const out = float(1, 2, 3, 4);
    calls.fail = Object.assign(new Error("no"), { code: "ERR_FOVEA_BOUNDS" });
    await expect(attention(query, key, value, { out })).rejects.toMatchObject({
      name: "FoveaError",
      code: "ERR_FOVEA_BOUNDS",
    });
    expect(() => attentionSync(query, key, value, { out })).toThrow(FoveaError);
    calls.fail = undefined;
    expect(out.toNumbers()).toHaveLength(24);
    expect(attentionSync(out, key, value).output.size).toBe(24);
  });

  test("disposed tensors keep their memory until the call is settled", async () => {
    const [query, key, value] = inputs();
    const { storage } = viewOf(query, "query");
    const call = attention(query, key, value);
    query.dispose();
    expect(storage!.released).toBe(false);
    done();
    await call;
    expect(storage!.released).toBe(true);
  });

  test("its buffers cannot be transferred away", async () => {
    const [query, key, value] = inputs();
    const call = attention(query, { data: key.data, shape: key.shape }, value);
    const { port1, port2 } = new MessageChannel();
    for (const { data } of [query, key]) {
      try {
        port1.postMessage(data, [data.buffer as ArrayBuffer]); // Node 20 copies, later versions throw
      } catch (error) {
        expect(error).toMatchObject({ name: "DataCloneError" });
      }
      expect(data.length).toBeGreaterThan(0);
    }
    port1.close();
    port2.close();
    done();
    await call;
  });

  // Runtimes without `transfer` (Node 20) have nothing to refuse.
  test.runIf("transfer" in ArrayBuffer.prototype)("its buffers cannot transfer themselves", async () => {
    const [query, key, value] = inputs();
    const call = attention(query, key, value);
    for (const method of ["transfer", "transferToFixedLength"] as const) {
      const buffer = key.data.buffer as unknown as Record<typeof method, () => ArrayBuffer>;
      expect(() => buffer[method]()).toThrow(/fovea.* copy it instead/);
    }
    expect(key.data.length).toBe(40);
    done();
    await call;
  });

  test("a frozen buffer is no error", async () => {
    const [query, key, value] = inputs();
    Object.freeze(key.data.buffer);
    const call = attention(query, key, value);
    done();
    await expect(call).resolves.toHaveProperty("output");
  });

  test("attentionSync alone leaves buffers transferable", () => {
    const [query, key, value] = inputs();
    attentionSync(query, key, value);
    structuredClone(query.data, { transfer: [query.data.buffer as ArrayBuffer] });
    expect(() => query.data).toThrow(expect.objectContaining({ code: "ERR_FOVEA_BUFFER" }));
  });
});

describe("how calls end", () => {
  test("results, and a plan whose kernel is the part with most operations", async () => {
    const [query, key, value] = inputs();
    const call = attention(query, key, value, { returnLse: true });
    done();
    const { output, lse, plan, ...rest } = await call;
    expect([output.shape, lse.shape, Object.keys(rest)]).toEqual([[1, 2, 3, 4], [1, 2, 3], []]);
    expect(plan).toEqual({
      device: "cpu",
      instructionSet: "abacus",
      algorithm: "tiled",
      kernel: "second",
      queryBlock: 30,
      keyBlock: 40,
      splits: 5,
      tasks: 3,
      workspaceBytes: 1024,
      flops: 900,
      usefulFlops: 800,
      bytes: 700,
      sharedSegments: 5,
      sharedKeys: 640,
      parts: [
        {
          kernel: "third",
          sequences: 1,
          queryBlock: 10,
          keyBlock: 20,
          stages: 0,
          splits: 1,
          plainLoads: 0,
          reason: "",
          flops: 300,
          order: "",
          sectionHeads: 0,
        },
        {
          kernel: "second",
          sequences: 4,
          queryBlock: 30,
          keyBlock: 40,
          stages: 6,
          splits: 5,
          plainLoads: 2,
          reason: expect.stringMatching(/16 bytes/),
          flops: 600,
          order: "longest first",
          sectionHeads: 8,
        },
      ],
    });
    expect(planFields).toHaveLength(9);
  });

  test("out is the output", async () => {
    const [query, key, value] = inputs();
    const out = float(1, 2, 4, 3).transpose(2, 3);
    const call = attention(query, key, value, { out });
    done();
    expect((await call).output).toBe(out);
    expect(attentionSync(query, key, value, { out }).output).toBe(out);
  });

  test("out of memory is a rejection", async () => {
    const call = attention(...inputs());
    calls.settle[0]!(2, "", 0);
    await expect(call).rejects.toMatchObject({ name: "FoveaError", code: "ERR_FOVEA_OUT_OF_MEMORY" });
  });

  test("a signal that is aborted already: nothing is enqueued", async () => {
    const reason = new Error("changed my mind");
    const signal = AbortSignal.abort(reason);
    const aborted = { name: "AbortError", code: "ERR_FOVEA_ABORTED", cause: reason };
    await expect(attention(...inputs(), { signal })).rejects.toMatchObject(aborted);
    expect(() => attentionSync(...inputs(), { signal })).toThrow(expect.objectContaining(aborted));
    expect(() => referenceAttention(...inputs(), { signal })).toThrow(expect.objectContaining(aborted));
    expect(calls.settle).toEqual([]);
  });

  test.each([
    ["stopped", 1],
    ["finished all the same", 0],
  ] as const)("aborted in flight and %s: rejects once settled, not before", async (_, how) => {
    const controller = new AbortController();
    const call = attention(...inputs(), { signal: controller.signal });
    const settled = vi.fn();
    call.catch(settled);
    controller.abort(new Error("too late"));
    expect(calls.cancelled).toEqual([0]);
    await new Promise(setImmediate);
    expect(settled).not.toHaveBeenCalled();
    calls.settle[0]!(how, "", 0);
    await expect(call).rejects.toMatchObject({
      name: "AbortError",
      code: "ERR_FOVEA_ABORTED",
      cause: { message: "too late" },
    });
    await expect(call).rejects.toBeInstanceOf(FoveaError);
  });

  test("no listener stays on a signal", async () => {
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, "addEventListener");
    const remove = vi.spyOn(signal, "removeEventListener");
    const call = attention(...inputs(), { signal });
    done();
    await call;
    expect(add).toHaveBeenCalledTimes(1);
    expect(remove.mock.calls).toEqual([add.mock.calls[0]!.slice(0, 2)]);
  });

  test("attention never throws", async () => {
    const call = attention(undefined as never, undefined as never, undefined as never);
    await expect(call).rejects.toBeInstanceOf(FoveaError);
  });

  test("synchronize waits for the calls that are in flight, and for no later ones", async () => {
    await synchronize();
    const first = [attention(...inputs()), attention(...inputs())];
    const idle = vi.fn();
    const waiting = synchronize("cpu").then(idle);
    const later = attention(...inputs());
    done(1);
    await first[1];
    expect(idle).not.toHaveBeenCalled();
    done(0);
    await waiting;
    expect(idle).toHaveBeenCalled();
    done(2);
    await later;
    await expect(synchronize("cuda")).rejects.toMatchObject({ code: "ERR_FOVEA_DEVICE" });
  });
});
