// onnxruntime gives every output new memory: megabytes in each pass, for which the garbage collector, were it left to it, would mark
// the whole heap many times a second.

import { MessageChannel } from "node:worker_threads";

const { port1: nobody, port2: nobodysEnd } = new MessageChannel();
nobodysEnd.close();

/** Their memory is free at once, and they are empty from now on: what is sent to nobody changes hands all the same. */
export function free(arrays: readonly Float32Array[]): void {
  nobody.postMessage(
    undefined,
    arrays.map(({ buffer }) => buffer as ArrayBuffer),
  );
}
