import type { Device } from "../device.js";
import { abortError, FoveaError, show } from "../errors.js";
import { takeOff } from "../flight.js";
import type { FloatDTypeOf, TensorInput } from "../input.js";
import { packed } from "../memory.js";
import type { AttentionOptions, AttentionResult, KnownOptions } from "../options.js";
import { checkNames } from "../rules.js";
import { checkCall, inputsOf, type Call } from "../shape.js";
import { Lane } from "./lane.js";
import { Meter, type BatcherMetrics } from "./metrics.js";
import { WaitingCall } from "./waiting.js";

export interface BatcherOptions {
  /** Calls of one launch at most, 1 or more. Default 256. */
  maxBatch?: number | undefined;
  /** Calls that may wait for their launch, 1 or more. Default 1024. One more is refused with ERR_FOVEA_OVERLOADED. */
  maxQueue?: number | undefined;
  /**
   * How long, in milliseconds (0 to 60000), a call may wait for company while its device is idle. Default 0: it is launched at the end of
   * the current turn of JavaScript, with the calls that were made in it.
   */
  maxWait?: number | undefined;
}

const optionNames: ReadonlySet<string> = new Set<keyof BatcherOptions>(["maxBatch", "maxQueue", "maxWait"]);

/**
 * Many concurrent callers, few launches. While a device computes, calls gather; those that differ in nothing but their
 * tensors, lengths, masks and biases are then launched together, over all their sequences where they lie: nothing is copied
 * together. (On a GPU those with a mask, a bias or ALiBi go apart from those without.) Each caller gets its own result, with
 * the same bits as from `attention` alone.
 *
 * - A call that is wrong, aborted or does not fit into memory fails by itself; its neighbours do not notice.
 * - Launches hold some 10 milliseconds of work, or one call. Which calls come next is decided by their waiting time relative to
 *   their own work, so that small ones overtake large ones and large ones still have their turn; on the processor, small
 *   calls even go ahead of a large one that is being computed.
 * - A call can be aborted while it waits, at once. Of a launch that runs it is let go when the launch has ended, or stopped
 *   when all calls of that launch are aborted.
 * - Until a call settles, its tensors are in use, on a GPU too: what is called later is not computed before it.
 * - The `plan` of a result is that of the launch.
 */
export class AttentionBatcher {
  readonly #maxBatch: number;
  readonly #maxQueue: number;
  readonly #maxWait: number;
  readonly #lanes = new Map<Device, Lane>();
  readonly #meter = new Meter();
  #closed = false;

  /** Throws ERR_FOVEA_OPTION. */
  constructor(options: BatcherOptions = {}) {
    checkNames("options", options, optionNames);
    this.#maxBatch = count("maxBatch", options.maxBatch, 256);
    this.#maxQueue = count("maxQueue", options.maxQueue, 1024);
    this.#maxWait = milliseconds("maxWait", options.maxWait);
  }

  /**
   * As `attention`, launched together with others. Never throws; rejects, beside what `attention` rejects with, with
   * ERR_FOVEA_OVERLOADED when `maxQueue` calls wait already and ERR_FOVEA_CLOSED after `close`.
   */
  attention<Query extends TensorInput, const Options extends AttentionOptions = {}>(
    query: Query,
    key: TensorInput,
    value: TensorInput,
    options?: Options & KnownOptions<Options>,
  ): Promise<AttentionResult<Options, FloatDTypeOf<Query>>> {
    return new Promise((resolve, reject) => {
      this.#accept(query, key, value, options, resolve as (result: AttentionResult) => void, reject);
    });
  }

  /** Calls that wait for their launch. */
  get queued(): number {
    let sum = 0;
    for (const lane of this.#lanes.values()) sum += lane.queued;
    return sum;
  }

  /**
   * Resolves when a call that is made at once, before anything else is awaited, will not be refused for want of room. Those that
   * wait for that are let go on in turn, no more than there is room for.
   */
  ready(): Promise<void> {
    return new Promise((resolve) => {
      this.#waitingForRoom.push(resolve);
      this.#admit();
    });
  }

  /** Resolves when every call that was accepted has settled, those accepted meanwhile too. */
  async drain(): Promise<void> {
    while (this.#meter.unsettled > 0) await new Promise<void>((resolve) => this.#draining.push(resolve));
  }

  /** Accepts no more calls, and resolves when those that were accepted have settled. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const lane of this.#lanes.values()) lane.launchAll(); // no company will come
    await this.drain();
  }

  /** `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What happened since the batcher was made, as plain numbers. */
  metrics(): BatcherMetrics {
    return this.#meter.read(this.queued);
  }

  #accept(
    query: TensorInput,
    key: TensorInput,
    value: TensorInput,
    options: AttentionOptions | undefined,
    resolve: (result: AttentionResult) => void,
    reject: (error: unknown) => void,
  ): void {
    if (this.#admitted > 0) this.#admitted--;
    if (this.#closed) throw new FoveaError("ERR_FOVEA_CLOSED", "the batcher is closed");
    if (this.queued >= this.#maxQueue) {
      this.#meter.refused();
      const message = `the batcher's queue is full: ${this.#maxQueue} calls wait (maxQueue); await ready() first`;
      throw new FoveaError("ERR_FOVEA_OVERLOADED", message);
    }
    const call = keepPageTable(checkCall(query, key, value, options));
    const signal = options?.signal;
    if (signal?.aborted === true) throw abortError(signal);
    const land = takeOff(inputsOf(call), call.out?.view, true);
    const waiting = new WaitingCall(call, signal, (how) => {
      land();
      this.#meter.settled(how);
      if (how instanceof Error) reject(how);
      else resolve(how);
      this.#notify();
    });
    this.#meter.accepted();
    this.#lane(call.device).add(waiting);
  }

  #lane(device: Device): Lane {
    let lane = this.#lanes.get(device);
    if (lane === undefined) {
      lane = new Lane(device, this.#maxBatch, this.#maxWait, this.#meter, () => this.#notify());
      this.#lanes.set(device, lane);
    }
    return lane;
  }

  readonly #draining: (() => void)[] = [];
  readonly #waitingForRoom: (() => void)[] = [];
  /** Those that were let go on in this turn of the event loop and have not made their call yet. */
  #admitted = 0;

  #admit(): void {
    while (this.#waitingForRoom.length > 0 && this.queued + this.#admitted < this.#maxQueue) {
      if (this.#admitted++ === 0) {
        setImmediate(() => {
          this.#admitted = 0; // who has not called by now has thought better of it
          this.#admit();
        });
      }
      this.#waitingForRoom.shift()!();
    }
  }

  #notify(): void {
    for (const resolve of this.#draining.splice(0)) resolve();
    this.#admit();
  }
}

/** Integers are read when a call is made: the page table may change before its launch. */
function keepPageTable(call: Call): Call {
  const { pageTable } = call;
  if (pageTable === undefined) return call;
  const view = packed("pageTable", pageTable.view);
  return { ...call, pageTable: { ...pageTable, view, batch: view.strides[0]! } };
}

function count(name: string, value: number | undefined, standard: number): number {
  if (value === undefined) return standard;
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new FoveaError("ERR_FOVEA_OPTION", `${name}: expected an integer >= 1, got ${show(value)}`);
}

function milliseconds(name: string, value: number | undefined): number {
  if (value === undefined) return 0;
  if (typeof value === "number" && value >= 0 && value <= 60_000) return value;
  throw new FoveaError("ERR_FOVEA_OPTION", `${name}: expected 0 to 60000 (milliseconds), got ${show(value)}`);
}
