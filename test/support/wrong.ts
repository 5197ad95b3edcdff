// What tests of errors share.
import { expect } from "vitest";

/** An array over memory that may move. */
export const resizable = new Float32Array(
  Reflect.construct(ArrayBuffer, [768, { maxByteLength: 1024 }]) as ArrayBuffer,
);

/** A message, whole or by pattern. */
export const anyText = (message: string | RegExp) =>
  typeof message === "string" ? message : expect.stringMatching(message);
