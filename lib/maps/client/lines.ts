// Lines from the chosen word: thicker and stronger with more weight. As SVG where words are few, else on a canvas, of which only
// what is in sight is painted.

import { curveBumpX, line, max, scaleLinear, type Selection } from "d3";
import { headColour } from "./colours.js";
import type { Model, Series } from "./model.js";
import type { Places, Point } from "./places.js";

interface Line {
  key: number;
  weight: number;
  series: Series;
  /** Its place among the heads that are shown, which shifts it so that lines between the same words lie side by side. */
  shift: number;
}

/** None thinner than this share of the strongest. */
const weakest = 0.02;
/** So many lines on a canvas: more would be neither smooth nor legible. Dashes, which cost several times as much, only for so many. */
export const mostLines = 500;
export const mostDashed = 100;
/** Solid for the first layer that is shown, then these. */
const dashes = [null, "7 4", "2 4", "12 4 2 4"];
/** Lines on the canvas have so many widths, so that those of one head and width are one stroke. */
const widths = 24;

interface Pen {
  lines: Line[];
  width: (weight: number) => number;
  opacity: (weight: number) => number;
  dash: (series: Series) => string | null;
}

/** Every line that is worth one, the strongest last. */
function linesOf(model: Model, shown: readonly Series[]): Pen {
  const rows = shown.map((series) => model.weights.row(series, model.state.query));
  const strongest = max(rows, (row) => max(row)) || 1;
  const gap = Math.min(3, 14 / Math.max(1, shown.length));
  const lines: Line[] = [];
  for (const [order, series] of shown.entries()) {
    const shift = (order - (shown.length - 1) / 2) * gap;
    const row = rows[order]!;
    for (let key = 0; key < row.length; key++) {
      const weight = row[key]!;
      if (weight > 0 && weight >= weakest * strongest) lines.push({ key, weight, series, shift });
    }
  }
  const layers = [...new Set(shown.map(({ layer }) => layer))];
  return {
    lines: lines.sort((a, b) => a.weight - b.weight),
    width: scaleLinear([0, strongest], [0.75, 7]),
    opacity: scaleLinear([0, strongest], [0.2, 0.95]),
    dash: ({ layer }) => dashes[layers.indexOf(layer) % dashes.length]!,
  };
}

export function drawLines(
  svg: Selection<SVGSVGElement, unknown, null, undefined>,
  model: Model,
  shown: readonly Series[],
  arrangement: "twice" | "once",
  places: Places,
): void {
  const from = places.query(model.state.query);
  const { lines, width, opacity, dash } = linesOf(model, shown);
  const path = arrangement === "twice" ? across : arc;
  svg.attr("width", places.width).attr("height", places.height);
  svg
    .selectAll("path")
    .data(lines)
    .join("path")
    .attr("d", ({ key, shift }) => path(from, places.key(key), shift, places.rise))
    .attr("stroke", ({ series }) => headColour(series.head))
    .attr("stroke-width", ({ weight }) => width(weight))
    .attr("stroke-opacity", ({ weight }) => opacity(weight))
    .attr("stroke-dasharray", ({ series }) => dash(series))
    .attr("data-layer", ({ series }) => series.layer)
    .attr("data-head", ({ series }) => series.head)
    .attr("data-key", ({ key }) => key)
    .attr("data-weight", ({ weight }) => weight);
}

/** The same on a canvas that shows `height` pixels from `top` on; returns how many lines there are. */
export function paintLines(
  context: CanvasRenderingContext2D,
  model: Model,
  shown: readonly Series[],
  arrangement: "twice" | "once",
  places: Places,
  top: number,
  height: number,
): number {
  const from = places.query(model.state.query);
  const { lines, width, opacity, dash } = linesOf(model, shown);
  const margin = places.rise + 32;
  const inSight = lines.filter(({ key }) => {
    const { y } = places.key(key);
    return Math.min(from.y, y) - margin < top + height && Math.max(from.y, y) + margin > top;
  });
  const path = arrangement === "twice" ? across : arc;
  const most = lines.at(-1)?.weight ?? 1;
  const strokes = new Map<string, { path: Path2D; weight: number; series: Series }>();
  const drawn = inSight.slice(-mostLines);
  for (const { key, weight, series, shift } of drawn) {
    const step = Math.ceil((weight / most) * widths);
    const name = `${step} ${series.layer} ${series.head}`;
    let stroke = strokes.get(name);
    if (stroke === undefined) {
      strokes.set(name, (stroke = { path: new Path2D(), weight: (step / widths) * most, series }));
    }
    stroke.path.addPath(new Path2D(path(from, places.key(key), shift, places.rise)));
  }
  context.translate(0, -top);
  for (const { path: lines, weight, series } of strokes.values()) {
    context.strokeStyle = headColour(series.head);
    context.lineWidth = width(weight);
    context.globalAlpha = opacity(weight);
    context.setLineDash(drawn.length > mostDashed ? [] : (dash(series)?.split(" ").map(Number) ?? []));
    context.stroke(lines);
  }
  return drawn.length;
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
