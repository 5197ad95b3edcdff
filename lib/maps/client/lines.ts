// Lines from the chosen word: thicker and stronger with more weight.

import { curveBumpX, line, max, scaleLinear, type Selection } from "d3";
import { headColour } from "./colours.js";
import type { Model, Series, Share } from "./model.js";

interface Point {
  x: number;
  y: number;
}

/** Where words lie in the drawing, in pixels. */
export interface Place {
  width: number;
  height: number;
  query: (index: number) => Point;
  key: (index: number) => Point;
  /** How high arcs may be. */
  rise: number;
}

interface Line extends Share {
  series: Series;
  /** Its place among the heads that are shown, which shifts it so that lines between the same words lie side by side. */
  order: number;
  path: string;
}

/** So many lines per head, and none thinner than this share of the strongest: hundreds of words stay smooth and legible. */
const mostLines = 48;
const weakest = 0.02;
/** Solid for the first layer that is shown, then these. */
const dashes = [null, "7 4", "2 4", "12 4 2 4"];

export function drawLines(
  svg: Selection<SVGSVGElement, unknown, null, undefined>,
  model: Model,
  shown: readonly Series[],
  arrangement: "twice" | "once",
  place: Place,
): void {
  const from = place.query(model.state.query);
  const layers = [...new Set(shown.map(({ layer }) => layer))];
  const path = arrangement === "twice" ? across : arc;
  const gap = Math.min(3, 14 / Math.max(1, shown.length));
  const lines = shown.flatMap((series, order) => {
    const shift = (order - (shown.length - 1) / 2) * gap;
    return model
      .strongest(series, mostLines)
      .map((share): Line => ({ ...share, series, order, path: path(from, place.key(share.key), shift, place.rise) }));
  });
  const strongest = max(lines, ({ weight }) => weight) ?? 1;
  const width = scaleLinear([0, strongest], [0.75, 7]);
  const opacity = scaleLinear([0, strongest], [0.2, 0.95]);
  svg.attr("width", place.width).attr("height", place.height);
  svg
    .selectAll("path")
    .data(lines.filter(({ weight }) => weight >= weakest * strongest).sort((a, b) => a.weight - b.weight))
    .join("path")
    .attr("d", (item) => item.path)
    .attr("stroke", ({ series }) => headColour(series.head))
    .attr("stroke-width", ({ weight }) => width(weight))
    .attr("stroke-opacity", ({ weight }) => opacity(weight))
    .attr("stroke-dasharray", ({ series }) => dashes[layers.indexOf(series.layer) % dashes.length]!)
    .attr("data-layer", ({ series }) => series.layer)
    .attr("data-head", ({ series }) => series.head)
    .attr("data-key", ({ key }) => key)
    .attr("data-weight", ({ weight }) => weight);
}

/** Between two columns. */
const bump = line<Point>(
  ({ x }) => x,
  ({ y }) => y,
).curve(curveBumpX);

const across = (from: Point, to: Point, shift: number): string =>
  bump([
    { x: from.x, y: from.y + shift },
    { x: to.x, y: to.y + shift },
  ])!;

/** Over the words of a text. */
function arc(from: Point, to: Point, shift: number, height: number): string {
  const distance = Math.hypot(to.x - from.x, to.y - from.y);
  const rise = 18 + Math.min(height, distance / 4) + shift;
  return `M${from.x + shift},${from.y}C${from.x + shift},${from.y - rise} ${to.x + shift},${to.y - rise} ${to.x + shift},${to.y}`;
}
