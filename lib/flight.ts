import { FoveaError } from "./errors.js";
import { HostStorage, type Storage } from "./storage.js";
import type { View } from "./view.js";

/** Bytes [begin, end) of a buffer that an unsettled call reads or writes. */
interface Claim {
  readonly begin: number;
  readonly end: number;
  readonly writes: boolean;
}

/**
 * What calls in flight use of the host's memory, by buffer. Empty most of the time, which makes the checks free. A GPU's
 * memory needs none: what is done to it happens in call order.
 */
const claims = new Map<unknown, Claim[]>();

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
  const begin = firstByte(view);
  const end = lastByte(view);
  for (const claim of claims.get(view.storage.space) ?? []) {
    if ((writes || claim.writes) && claim.begin < end && begin < claim.end) {
      const use = claim.writes ? "written" : "read";
      throw new FoveaError("ERR_FOVEA_BUSY", `${name}: is being ${use} by an unsettled call; await that call first`);
    }
  }
}

/**
 * Registers a call: what it reads and writes, and holds their storages. The function it returns ends that, once the call has
 * settled.
 */
export function takeOff(reads: readonly View[], written: View | undefined): () => void {
  const taken: [Storage, Claim | undefined][] = [];
  for (const view of reads) take(taken, view, false);
  if (written !== undefined) take(taken, written, true);
  const flight = {};
  flights.add(flight);
  return () => {
    for (const [storage, claim] of taken) {
      if (claim !== undefined) giveUp(storage, claim);
      storage.release();
    }
    flights.delete(flight);
    for (const waiting of waiters.splice(0)) waiting();
  };
}

const flights = new Set<object>();
const waiters: (() => void)[] = [];

/** Resolves when every call that is in flight now has landed. */
export async function whenIdle(): Promise<void> {
  const now = [...flights];
  while (now.some((flight) => flights.has(flight))) await new Promise<void>((resolve) => waiters.push(resolve));
}

function take(taken: [Storage, Claim | undefined][], view: View, writes: boolean): void {
  const { storage } = view;
  if (storage === undefined) return;
  storage.retain();
  if (!(storage instanceof HostStorage)) {
    taken.push([storage, undefined]);
    return;
  }
  const claim = { begin: firstByte(view), end: lastByte(view), writes };
  const list = claims.get(storage.space);
  if (list === undefined) claims.set(storage.space, [claim]);
  else list.push(claim);
  storage.pin();
  taken.push([storage, claim]);
}

function giveUp({ space }: Storage, claim: Claim): void {
  const list = claims.get(space)!;
  if (list.length === 1) claims.delete(space);
  else list.splice(list.indexOf(claim), 1);
}

function firstByte({ storage, begin }: View): number {
  return storage!.byteOffset + begin * storage!.bytesPerElement;
}

function lastByte({ storage, end }: View): number {
  return storage!.byteOffset + end * storage!.bytesPerElement;
}
