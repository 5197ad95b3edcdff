// What changes how queries attend, beside the rules: tensors spread over the scores, vectors per head, page tables.
import { FoveaError, list, shapeError } from "./errors.js";
import { assertFree } from "./flight.js";
import { dtypeError, floatDType, inputView, vectorView } from "./input.js";
import type { Placed } from "./layout.js";
import { packed } from "./memory.js";
import type { AttentionOptions } from "./options.js";
import type { Sequence } from "./sequences.js";
import type { View } from "./view.js";

/** `full`: what the mask is spread to; `atLeast`: its rows and columns may be more than that. */
export function placeMask(
  { mask }: AttentionOptions,
  full: readonly number[],
  atLeast: boolean,
  bare: boolean,
): Placed | undefined {
  if (mask === undefined) return undefined;
  const view = inputView("mask", mask, bare);
  if (view.dtype !== "bool") throw dtypeError("mask", '"bool"', view);
  return placeBroadcast("mask", view, full, atLeast);
}

export function placeBias(
  { bias }: AttentionOptions,
  full: readonly number[],
  atLeast: boolean,
  bare: boolean,
): Placed | undefined {
  if (bias === undefined) return undefined;
  const view = inputView("bias", bias, bare);
  floatDType("bias", view);
  return placeBroadcast("bias", view, full, atLeast);
}

/** int32 [batch, maxPages]. */
export function placePageTable({ pageTable }: AttentionOptions, bare: boolean): Placed | undefined {
  if (pageTable === undefined) return undefined;
  const view = inputView("pageTable", pageTable, bare);
  if (view.shape.length !== 2) throw shapeError("pageTable", ["*", "*"], "batch, maxPages", view.shape);
  return vectorRows("pageTable", view, "int32", view.storage === undefined);
}

/** `[B, H, Lq, Lk]`, aligned at the right; a size of 1 is spread. `atLeast`: rows and columns may be more than are used. */
function placeBroadcast(name: string, view: View, full: readonly number[], atLeast: boolean): Placed {
  const { shape, strides } = view;
  const missing = 4 - shape.length;
  const steps = [0, 0, 0, 0];
  let fits = missing >= 0 && missing <= 2;
  for (let i = 0; fits && i < shape.length; i++) {
    const dim = i + missing;
    const enough = atLeast && dim >= 2 ? shape[i]! >= full[dim]! : shape[i] === full[dim];
    fits = enough || shape[i] === 1;
    steps[dim] = shape[i] === 1 ? 0 : strides[i]!;
  }
  if (!fits) {
    const bounds = full.map((size, dim) => (atLeast && dim >= 2 ? `>=${size}` : size));
    const how = "batch, heads, queryLength, keyLength; each may be 1, the first two may be left out";
    throw shapeError(name, bounds, how, shape);
  }
  return { view, batch: steps[0]!, head: steps[1]!, row: steps[2]!, column: steps[3]! };
}

/** float32 [heads], or where `batch` is given [batch, heads] too. */
export function placePerHead(
  name: string,
  input: unknown,
  heads: number,
  batch: number | undefined,
  bare: boolean,
): Placed | undefined {
  if (input === undefined) return undefined;
  const placed = vectorRows(name, vectorView(name, input, bare), "float32", bare);
  const { shape } = placed.view;
  const fits = shape.length === 1 || (shape.length === 2 && batch !== undefined && shape[0] === batch);
  if (!fits || shape.at(-1) !== heads) {
    const either = batch === undefined ? "" : ` or ${list([batch, heads])} (batch, heads)`;
    throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${list([heads])} (heads)${either}, got ${list(shape)}`);
  }
  return placed;
}

/**
 * A vector per sequence, or one for all, whose elements native code reads one after the other: else they are copied, unless
 * nothing will read them.
 */
function vectorRows(name: string, view: View, dtype: "float32" | "int32", isUnread: boolean): Placed {
  if (view.dtype !== dtype) throw dtypeError(name, `"${dtype}"`, view);
  const dense = isUnread || view.shape.at(-1)! <= 1 || view.strides.at(-1) === 1;
  if (!dense) assertFree(name, view, false);
  const rows = dense ? view : packed(name, view);
  return { view: rows, batch: rows.shape.length === 2 ? rows.strides[0]! : 0, head: 1, row: 0, column: 1 };
}

/** Every page that a sequence's keys are on must exist. */
export function checkPages(
  { view, batch: stride }: Placed,
  sequences: readonly Sequence[],
  pageSize: number,
  pages: number,
): void {
  if (view.shape[0] !== sequences.length) {
    throw shapeError("pageTable", [sequences.length, "*"], "batch, maxPages", view.shape);
  }
  if (view.storage === undefined) return;
  const entries = view.storage.array("pageTable");
  for (const { index, keyLength } of sequences) {
    const needed = Math.ceil(keyLength / pageSize);
    for (let i = 0; i < needed; i++) {
      const page = entries[view.offset + index * stride + i]!;
      if (page >= 0 && page < pages) continue;
      throw new FoveaError(
        "ERR_FOVEA_BOUNDS",
        `pageTable[${index}, ${i}]: expected a page from 0 to ${pages - 1}, got ${page}`,
      );
    }
  }
}
