/** What to do when a signal is aborted. One listener per signal, however many calls share it: Node warns of more than ten. */
const watched = new WeakMap<AbortSignal, Watch>();

interface Watch {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

/** Calls `callback` when the signal is aborted. Returns the way to take that back. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let watch = watched.get(signal);
  if (watch === undefined) {
    const callbacks = new Set<() => void>();
    watch = { callbacks, listener: () => callbacks.forEach((each) => each()) };
    watched.set(signal, watch);
    signal.addEventListener("abort", watch.listener);
  }
  const { callbacks, listener } = watch;
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0) return;
    signal.removeEventListener("abort", listener);
    watched.delete(signal);
  };
}
