import type { Layout } from "./options.js";
import type { View } from "./view.js";

/** A view whose strides are known by what they step over; 0 where it has no such dimension. */
export interface Placed {
  readonly view: View;
  /** From one sequence to the next (paged keys and values: from one page to the next). */
  readonly batch: number;
  readonly head: number;
  readonly row: number;
  readonly column: number;
}

/** Where a layout has its dimensions; -1: nowhere. */
export interface Axes {
  readonly batch: number;
  readonly head: number;
  readonly row: number;
  readonly column: number;
}

export const axes: Readonly<Record<Layout, Axes>> = {
  bhsd: { batch: 0, head: 1, row: 2, column: 3 },
  bshd: { batch: 0, head: 2, row: 1, column: 3 },
  thd: { batch: -1, head: 1, row: 0, column: 2 },
};

/** Four sizes (or names of them) in a layout's order. */
export function arrange<T>(layout: Layout, batch: T, heads: T, length: T, dim: T): T[] {
  if (layout === "bhsd") return [batch, heads, length, dim];
  return layout === "bshd" ? [batch, length, heads, dim] : [length, heads, dim];
}

/** The names of a layout's dimensions, as messages show them. */
export function labels(layout: Layout, batch: string, heads: string, length: string, dim: string): string {
  return arrange(layout, batch, heads, layout === "thd" ? "tokens" : length, dim).join(", ");
}

/** A view whose dimensions are at `at`. */
export function place(view: View, at: Axes): Placed {
  const { strides } = view;
  return {
    view,
    batch: at.batch < 0 ? 0 : strides[at.batch]!,
    head: strides[at.head]!,
    row: strides[at.row]!,
    column: strides[at.column]!,
  };
}

/** lse: [batch, heads, queryLength], or [heads, tokens]. */
export function placeLse(view: View): Placed {
  const { strides } = view;
  if (strides.length === 2) return { view, batch: 0, head: strides[0]!, row: strides[1]!, column: 0 };
  return { view, batch: strides[0]!, head: strides[1]!, row: strides[2]!, column: 0 };
}
