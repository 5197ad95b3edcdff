import { FoveaError } from "./errors.js";
import { HostStorage } from "./storage.js";
import type { View } from "./view.js";

/** Bytes [begin, end) of a buffer. */
interface Claim {
  readonly begin: number;
  readonly end: number;
}

/** What unsettled calls read and write of a buffer. Most only read, and readers need not look at each other. */
interface Claims {
  readonly reads: Set<Claim>;
  readonly writes: Set<Claim>;
}

/**
 * What calls in flight use of memory, by buffer (on a GPU: by device). Empty most of the time, which makes the checks free. On a
 * GPU only calls that may have to wait make claims: what is enqueued happens in call order.
 */
const claims = new Map<unknown, Claims>();

export function nothingInFlight(): boolean {
  return claims.size === 0;
}

/** Whether two views share bytes. Interleaved views of one buffer count as sharing. */
export function sharesMemory(a: View, b: View): boolean {
  if (a.storage === undefined || a.storage.space !== b.storage?.space) return false;
  return firstByte(a) < lastByte(b) && firstByte(b) < lastByte(a);
}

/** Throws ERR_FOVEA_BUSY when a call in flight writes what `view` covers or, if `writes`, reads it. */
export function assertFree(name: string, view: View, writes: boolean): void {
  if (claims.size === 0 || view.storage === undefined) return;
  const there = claims.get(view.storage.space);
  if (there === undefined) return;
  const [begin, end] = [firstByte(view), lastByte(view)];
  for (const use of writes ? (["writes", "reads"] as const) : (["writes"] as const)) {
    for (const claim of there[use]) {
      if (claim.begin >= end || begin >= claim.end) continue;
      const used = use === "writes" ? "written" : "read";
      throw new FoveaError("ERR_FOVEA_BUSY", `${name}: is being ${used} by an unsettled call; await that call first`);
    }
  }
}

/**
 * Registers a call: what it reads and writes, and holds their storages. The function it returns ends that, once the call has
 * settled. `waits`: it may be enqueued later, so that on a GPU, too, others could come between.
 */
export function takeOff(reads: readonly View[], written: View | undefined, waits = false): () => void {
  const taken: (() => void)[] = [];
  for (const view of reads) take(taken, view, "reads", waits);
  if (written !== undefined) take(taken, written, "writes", waits);
  const flight = {};
  flights.add(flight);
  return () => {
    for (const giveUp of taken) giveUp();
    flights.delete(flight);
    for (const waiting of waiters.splice(0)) waiting();
  };
}

const flights = new Set<object>();
const waiters: (() => void)[] = [];

/** Resolves when every call that is in flight now has landed. */
export async function whenIdle(): Promise<void> {
  const now = [...flights]; // more may come
  for (const flight of now) {
    while (flights.has(flight)) await new Promise<void>((resolve) => waiters.push(resolve));
  }
}

function take(taken: (() => void)[], view: View, use: keyof Claims, waits: boolean): void {
  const { storage } = view;
  if (storage === undefined) return;
  storage.retain();
  const onHost = storage instanceof HostStorage;
  if (!onHost && !waits) {
    taken.push(() => storage.release());
    return;
  }
  const { space } = storage;
  const claim = { begin: firstByte(view), end: lastByte(view) };
  let there = claims.get(space);
  if (there === undefined) claims.set(space, (there = { reads: new Set(), writes: new Set() }));
  const { reads, writes } = there;
  there[use].add(claim);
  if (onHost) storage.pin();
  taken.push(() => {
    there[use].delete(claim);
    if (reads.size + writes.size === 0) claims.delete(space);
    storage.release();
  });
}

function firstByte({ storage, begin }: View): number {
  return storage!.byteOffset + begin * storage!.bytesPerElement;
}

function lastByte({ storage, end }: View): number {
  return storage!.byteOffset + end * storage!.bytesPerElement;
}
