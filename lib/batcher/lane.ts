import type { How, Storage } from "../../binding.js";
import { deviceNumber, type Device } from "../device.js";
import { outcomeError, native, nativeError } from "../native.js";
import { planNumbers, readPlan, type Plan } from "../plan.js";
import { writeProblems } from "../problem.js";
import { begin, discardOutputs, resultOf } from "../results.js";
import type { Outputs } from "../shape.js";
import type { Meter } from "./metrics.js";
import type { WaitingCall } from "./waiting.js";

/** A launch takes no further call once it is expected to take this long, in milliseconds: others wait for its end. */
const longLaunch = 10;
/** Milliseconds per operation, until the first launch has been timed. */
const firstPace = 5e-8;

interface Member {
  readonly waiting: WaitingCall;
  readonly call: WaitingCall["call"];
  readonly outputs: Outputs;
}

interface Launch {
  readonly members: readonly Member[];
  readonly work: number;
  readonly start: number;
  /** Whether it goes ahead of another. */
  readonly ahead: boolean;
  plan: Plan | undefined;
}

/** The calls for one device: those that wait, and the launches that run. */
export class Lane {
  #queue: WaitingCall[] = [];
  readonly #running = new Set<Launch>();
  /** Milliseconds per operation, and when the last launch ended. */
  #pace = firstPace;
  #lastEnd = 0;
  #scheduled = false;
  #timer: NodeJS.Timeout | undefined;

  readonly #device: Device;
  readonly #maxBatch: number;
  readonly #maxWait: number;
  readonly #meter: Meter;
  readonly #room: () => void;

  /** `room` is called when there is room in the queue. */
  constructor(device: Device, maxBatch: number, maxWait: number, meter: Meter, room: () => void) {
    this.#device = device;
    this.#maxBatch = maxBatch;
    this.#maxWait = maxWait;
    this.#meter = meter;
    this.#room = room;
  }

  get queued(): number {
    return this.#queue.length;
  }

  add(waiting: WaitingCall): void {
    waiting.aborted = () => {
      this.#queue.splice(this.#queue.indexOf(waiting), 1);
      if (this.#queue.length === 0) this.#stopTimer(); // it would keep the process alive
      waiting.rejectAborted();
    };
    this.#queue.push(waiting);
    const together = this.#maxWait > 0 && this.#running.size === 0 && !waiting.alone;
    if (!together || this.#queue.length >= this.#maxBatch) this.#schedule();
    else this.#timer ??= setTimeout(() => this.launchAll(), this.#maxWait);
  }

  /** At the end of this turn: calls that are made in it go together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.launchAll());
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Launches what waits, as far as the device has room. */
  launchAll(): void {
    this.#scheduled = false;
    this.#stopTimer();
    for (let next = this.#next(); next.length > 0; next = this.#next()) {
      this.#launch(next);
      this.#room();
    }
  }

  /** A GPU gets the next launch while it computes one, so that it never waits. */
  get #mayLaunch(): boolean {
    return this.#running.size < (this.#device === "cpu" ? 1 : 2);
  }

  /** On the processor, calls that take little go ahead of one launch that takes long. */
  get #mayOvertake(): boolean {
    return this.#device === "cpu" && this.#running.size === 1 && this.#isLong([...this.#running][0]!.work);
  }

  #isLong(work: number): boolean {
    return work * this.#pace > longLaunch;
  }

  /**
   * What to launch now, taken from the queue; nothing when the device is busy. First comes the call with the highest response
   * ratio, (waiting time + own time) / own time (Hansen, 1971): the smaller a call, the faster it gains. Then others of its
   * kind in that order, until there is enough to do.
   */
  #next(): WaitingCall[] {
    const overtaking = !this.#mayLaunch;
    if (this.#queue.length === 0 || (overtaking && !this.#mayOvertake)) return [];
    const now = performance.now();
    const ratio = ({ since, work }: WaitingCall) => (now - since) / (work * this.#pace);
    const candidates = overtaking ? this.#queue.filter(({ work }) => !this.#isLong(work)) : [...this.#queue];
    candidates.sort((a, b) => ratio(b) - ratio(a));
    const taken: WaitingCall[] = [];
    let work = 0;
    for (const waiting of candidates) {
      const [first] = taken;
      if (first !== undefined) {
        if (first.alone || taken.length === this.#maxBatch || this.#isLong(work)) break;
        if (waiting.alone || waiting.key !== first.key || this.#isLong(work + waiting.work)) continue;
      }
      taken.push(waiting);
      work += waiting.work;
    }
    if (taken.length > 0) {
      const gone = new Set(taken);
      this.#queue = this.#queue.filter((waiting) => !gone.has(waiting));
    }
    return taken;
  }

  #launch(calls: readonly WaitingCall[]): void {
    const members: Member[] = [];
    for (const waiting of calls) {
      try {
        members.push({ waiting, call: waiting.call, outputs: begin(waiting.call, waiting.signal) });
      } catch (error) {
        waiting.reject(error);
      }
    }
    if (members.length === 0) return;
    const work = members.reduce((sum, { waiting }) => sum + waiting.work, 0);
    const ahead = this.#running.size > 0 && this.#device === "cpu";
    const launch: Launch = { members, work, start: performance.now(), ahead, plan: undefined };
    const storages: Storage[] = [];
    let id: number;
    try {
      const problem = writeProblems(members, storages);
      const settled = (how: How, message: string, sinceEnd: number) =>
        this.#settled(launch, how, message, performance.now() - sinceEnd);
      id = native().attention(deviceNumber(this.#device), problem, storages, planNumbers, settled, ahead);
    } catch (error) {
      this.#failed(launch, nativeError(error));
      return;
    }
    launch.plan = readPlan(this.#device);
    this.#running.add(launch);
    for (const { waiting } of members) {
      this.#meter.launched(launch.start - waiting.since);
      waiting.aborted = () => {
        if (members.every((member) => member.waiting.isAborted)) native().cancel(id);
      };
    }
    this.#meter.batch(members.length);
  }

  #settled(launch: Launch, how: How, message: string, end: number): void {
    this.#running.delete(launch);
    const served = performance.now() - launch.start;
    // A GPU begins a launch when the one before has ended. (On the processor, a small one may go ahead of it.)
    const begun = this.#device === "cpu" ? launch.start : Math.max(launch.start, this.#lastEnd);
    if (how === 0) {
      this.#lastEnd = Math.max(end, this.#lastEnd);
      if (!launch.ahead) this.#timed(launch.work, Math.max(end - begun, 0));
      for (const { waiting, call, outputs } of launch.members) {
        if (waiting.isAborted) {
          discardOutputs(call, outputs);
          waiting.rejectAborted();
        } else {
          this.#meter.served(served);
          waiting.resolve(resultOf(call, outputs, launch.plan!));
        }
      }
    } else {
      this.#failed(launch, how === 1 ? undefined : outcomeError(how, message), how !== 3);
    }
    if (this.#queue.length > 0) this.#schedule();
  }

  /**
   * Of a short launch most time goes into other things, but the device is at least as fast as it shows. One that had to wait, for
   * a processor say, tells little: none makes the pace slower by more than a fifth, and one that goes ahead of another, with which
   * it shares the processors, is not asked. Else small calls would soon be held for long ones.
   */
  #timed(work: number, time: number): void {
    const pace = time / work;
    if (time > longLaunch / 10 || pace < this.#pace) this.#pace += 0.2 * (Math.min(pace, 2 * this.#pace) - this.#pace);
  }

  /** A launch did not come about, or failed. Where it can be one call's fault, each is tried by itself. */
  #failed({ members }: Launch, error: unknown, retry = true): void {
    const again: WaitingCall[] = [];
    for (const { waiting, call, outputs } of members) {
      discardOutputs(call, outputs);
      if (waiting.isAborted) waiting.rejectAborted();
      else if (!retry || members.length === 1) waiting.reject(error);
      else again.push(waiting);
    }
    for (const waiting of again) {
      waiting.alone = true;
      this.add(waiting);
    }
  }
}
