import Table from "cli-table3";

export type Align = "left" | "right";

/** An empty table for the terminal, without colours: a title and an alignment per column. */
export const textTable = (columns: readonly (readonly [title: string, align: Align])[]): Table.Table =>
  new Table({
    head: columns.map(([title]) => title),
    colAligns: columns.map(([, align]) => align),
    style: { head: [], border: [], compact: true },
  });
