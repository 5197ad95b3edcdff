// Worker threads that answer calls. One that dies or answers no more fails the calls it had, and another takes its place.

import { constants, setPriority } from "node:os";
import { parentPort, Worker } from "node:worker_threads";

interface Call {
  readonly id: number;
  readonly request: object;
}

/** "end": after the calls it has; "quit": without them. */
type Message = Call | "end" | "quit";

type Answer =
  { readonly id: number; readonly reply: object } | { readonly id: number; readonly error: string } | "ready";

interface Pending {
  resolve(reply: object): void;
  reject(error: Error): void;
}

interface Member {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
  ready: boolean;
  /** Runs while it has calls and none is answered. */
  timer: NodeJS.Timeout | undefined;
  /** Resolves by `left`, once it is no member any more. */
  readonly gone: Promise<void>;
  readonly left: () => void;
}

/** None is left, and none will come. */
export class NoWorkerError extends Error {
  constructor() {
    super("no worker is running");
  }
}

export class WorkerPool {
  readonly #program: URL;
  readonly #workerData: object;
  readonly #patience: number;
  readonly #members = new Set<Member>();
  #calls = 0;
  #closing = false;

  private constructor(program: URL, workerData: object, patience: number) {
    this.#program = program;
    this.#workerData = workerData;
    this.#patience = patience;
  }

  /**
   * Resolves when all `count` workers serve; rejects when one fails to start. A worker that answers none of its calls for
   * `patience` milliseconds is given up; an answer takes a fraction of a second.
   */
  static async start(program: URL, count: number, workerData: object, patience = 30_000): Promise<WorkerPool> {
    const pool = new WorkerPool(program, workerData, patience);
    try {
      await Promise.all(Array.from({ length: count }, () => pool.#hire()));
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }

  /** Workers that serve. */
  get alive(): number {
    return [...this.#members].filter(({ ready }) => ready).length;
  }

  /**
   * The reply of the worker with the fewest calls; where none serves, of one that is about to. The memory of typed arrays in request
   * and reply, also in arrays, changes hands.
   */
  call(request: object): Promise<object> {
    const [member] = [...this.#members].sort(
      (a, b) => Number(b.ready) - Number(a.ready) || a.pending.size - b.pending.size,
    );
    if (member === undefined) return Promise.reject(new NoWorkerError());
    const id = this.#calls++;
    return new Promise((resolve, reject) => {
      member.worker.postMessage({ id, request } satisfies Call, buffersOf(request));
      member.pending.set(id, { resolve, reject });
      if (member.pending.size === 1) this.#watch(member);
    });
  }

  /** Lets workers end what they do: native code that a worker is in does not bear its end. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(
      [...this.#members].map(({ worker, gone }) => {
        worker.postMessage("end" satisfies Message);
        return gone;
      }),
    );
  }

  /** Resolves when a new worker serves. */
  #hire(): Promise<void> {
    const worker = new Worker(loader(this.#program), { eval: true, workerData: this.#workerData });
    let left!: () => void;
    const gone = new Promise<void>((resolve) => (left = resolve));
    const member: Member = { worker, pending: new Map(), ready: false, timer: undefined, gone, left };
    this.#members.add(member);
    return new Promise((resolve, reject) => {
      worker.on("message", (answer: Answer) => {
        if (answer === "ready") {
          member.ready = true;
          this.#watch(member);
          resolve();
          return;
        }
        const pending = member.pending.get(answer.id);
        if (pending === undefined) return; // it was given up
        member.pending.delete(answer.id);
        this.#watch(member);
        if ("error" in answer) pending.reject(new Error(answer.error));
        else pending.resolve(answer.reply);
      });
      worker.on("error", (error) => {
        if (!member.ready) reject(error);
        else console.error("a worker failed:", error);
      });
      worker.on("exit", (code) => {
        const error = new Error(`a worker ended (${code})`);
        this.#remove(member, error);
        reject(error); // of no effect once it had started
      });
    });
  }

  #watch(member: Member): void {
    clearTimeout(member.timer);
    if (member.ready && member.pending.size > 0) member.timer = setTimeout(() => this.#giveUp(member), this.#patience);
  }

  /**
   * What waits for ever can still quit. What is in a loop has to be ended from here, but not at once: native code that was only slow
   * would take the process with it.
   */
  #giveUp(member: Member): void {
    console.error("a worker does not answer; another one takes its place");
    this.#remove(member, new Error("a worker did not answer"));
    const { worker } = member;
    worker.unref();
    worker.postMessage("quit" satisfies Message);
    setTimeout(() => void worker.terminate(), this.#patience).unref();
  }

  /** Its calls fail, and another worker takes its place. */
  #remove(member: Member, error: Error): void {
    if (!this.#members.delete(member)) return;
    clearTimeout(member.timer);
    for (const pending of member.pending.values()) pending.reject(error);
    member.pending.clear();
    member.left();
    // What cannot even start is not tried again and again.
    if (member.ready && !this.#closing) this.#hire().catch((cause: unknown) => console.error("no new worker:", cause));
  }
}

/** JavaScript that runs a program in TypeScript, which Node by itself cannot in a worker. */
const loader = ({ href }: URL): string =>
  `import(${JSON.stringify(import.meta.resolve("tsx/esm/api"))}).then(({ tsImport }) => tsImport("${href}", "${href}"))`;

/**
 * In a worker: answers calls, one at a time, from now on. The event loop goes first where there are fewer processors than threads:
 * it has little to do, and everybody waits for it.
 */
export function serve(answer: (request: never) => object | Promise<object>): void {
  const port = parentPort!;
  if (process.platform === "linux") setPriority(constants.priority.PRIORITY_BELOW_NORMAL); // there, of this thread alone
  const respond = async ({ id, request }: Call, before: Promise<void>): Promise<void> => {
    await before;
    try {
      const reply = await answer(request as never);
      port.postMessage({ id, reply } satisfies Answer, buffersOf(reply));
    } catch (error) {
      port.postMessage({ id, error: String(error) } satisfies Answer);
    }
  };
  let last = Promise.resolve();
  port.on("message", (call: Message) => {
    if (call === "quit") process.exit();
    else if (call === "end") void last.then(() => port.close());
    else last = respond(call, last);
  });
  port.postMessage("ready" satisfies Answer);
}

const buffersOf = (message: object): ArrayBuffer[] =>
  Object.values(message)
    .flat()
    .flatMap((value) => (ArrayBuffer.isView(value) ? [value.buffer as ArrayBuffer] : []));
