import * as format from "../terminal/format.js";
import { textTable } from "../terminal/text-table.js";
import type { Measurements } from "./measure.js";
import type { Point } from "./point.js";

const titles = ["tokens"].concat(
  ["time\nstandard", "time\ntiled", "\nratio"],
  ["GFLOP/s\nstandard", "GFLOP/s\ntiled"],
  ["extra memory\nstandard", "extra memory\ntiled", "\nratio"],
);

/** Standard against tiled, a row per length; "-" where a measurement was left out. */
export function scalingTable({ points, omitted }: Measurements): string {
  const table = textTable(titles.map((title) => [title, "right"]));
  const lengths = [...new Set([...points, ...omitted].map((point) => point.tokens))];
  for (const tokens of lengths) {
    const standard = points.find((point) => point.tokens === tokens && point.algorithm === "standard");
    const tiled = points.find((point) => point.tokens === tokens && point.algorithm === "tiled");
    const cell = (point: Point | undefined, show: (point: Point) => string): string => (point ? show(point) : "-");
    const ratio = (of: (point: Point) => number): string =>
      standard && tiled ? `${(of(standard) / of(tiled)).toFixed(1)} ×` : "-";
    const time = (point: Point): string => format.seconds(point.seconds);
    const speed = (point: Point): string => (point.flops / point.seconds / 1e9).toFixed(0);
    const memory = (point: Point): string => format.bytes(extraMemory(point));
    table.push([
      `${tokens}`,
      cell(standard, time),
      cell(tiled, time),
      ratio((point) => point.seconds),
      cell(standard, speed),
      cell(tiled, speed),
      cell(standard, memory),
      cell(tiled, memory),
      ratio(extraMemory),
    ]);
  }
  return table.toString();
}

/** Memory that the call took beside inputs and output: as measured, or where that cannot be as planned. */
export const extraMemory = (point: Point): number => point.measuredBytes ?? point.plannedBytes;
