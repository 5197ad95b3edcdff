// The weights of one head as a heat map: a row per query, a column per key.

import { range } from "d3";
import { inkColour, weightScale } from "./colours.js";
import type { Html, Tip } from "./dom.js";
import { HeatImages, sizeCanvas } from "./heat.js";
import type { Model } from "./model.js";
import { Multiples } from "./multiples.js";
import { digits, quoted, visible } from "./text.js";

const font = "12px system-ui, sans-serif";
const largestCell = 46;
const smallestCell = 2;

interface Cell {
  query: number;
  key: number;
}

export class Matrix {
  readonly #model: Model;
  readonly #tip: Tip;
  readonly #images: HeatImages;
  readonly #multiples: Multiples;
  readonly #root: Html;
  readonly #canvas: Html<HTMLCanvasElement>;
  /** Of the last drawing: pixels of a cell, and where the first begins. */
  #cell = 1;
  #left = 0;
  #top = 0;

  constructor(root: Html, model: Model, tip: Tip) {
    this.#model = model;
    this.#tip = tip;
    this.#images = new HeatImages(model);
    this.#root = root.append<HTMLElement>("div").attr("class", "matrix");
    this.#multiples = new Multiples(this.#root, model, this.#images);
    const large = this.#root.append<HTMLElement>("div").attr("class", "large");
    large.append("h2");
    const legend = large.append<HTMLElement>("div").attr("class", "legend");
    legend.append("span").text("0");
    legend.append("span").attr("class", "ramp");
    legend.append("span").attr("class", "most");
    this.#canvas = large
      .append<HTMLElement>("div")
      .attr("class", "scroll")
      .append("canvas")
      .attr("tabindex", "0")
      .attr("role", "application")
      .attr("aria-roledescription", "heat map")
      .on("pointermove", (event: PointerEvent) => this.#tell(event))
      .on("pointerleave", () => this.#tip.hide())
      .on("click", (event: PointerEvent) => this.#choose(this.#at(event)))
      .on("keydown", (event: KeyboardEvent) => this.#step(event));
  }

  draw(): void {
    const { map } = this.#model.state;
    const most = this.#model.weights.largest(map);
    this.#multiples.draw();
    this.#root.select("h2").text(this.#model.nameOf(map));
    this.#root.select(".most").text(`${digits(most)}, this head's largest weight`);
    const scale = weightScale(1);
    const stops = range(0, 1.01, 0.1).map((weight) => scale(weight));
    this.#root.select<HTMLElement>(".ramp").style("background", `linear-gradient(to right, ${stops.join(", ")})`);
    this.#canvas.attr("aria-label", `Weights of ${this.#model.nameOf(map)}. Arrow keys move: rows attend to columns.`);
    this.#paint();
  }

  /** For the live region: the cell under the cursor. */
  sentence(): string {
    const { queries, keys, weights, state } = this.#model;
    const weight = digits(weights.row(state.map, state.query)[state.key]!);
    return `${quoted(queries[state.query]!)} to ${quoted(keys[state.key]!)}: ${weight}`;
  }

  #paint(): void {
    const { queries, keys, state } = this.#model;
    const canvas = this.#canvas.node()!;
    const available = (canvas.parentElement as HTMLElement).clientWidth;
    const context = canvas.getContext("2d")!;
    context.font = font;
    const longest = (tokens: readonly string[]): number =>
      Math.min(
        available < 500 ? 72 : 110,
        Math.max(...tokens.map((token) => context.measureText(visible(token)).width)),
      );
    this.#left = Math.ceil(longest(queries)) + 12;
    this.#top = Math.ceil(longest(keys)) + 12;
    const fitting = (available - this.#left - 2) / keys.length;
    this.#cell = Math.min(largestCell, Math.max(smallestCell, fitting >= 4 ? Math.floor(fitting) : fitting));
    const [width, height] = [keys.length * this.#cell, queries.length * this.#cell];

    const draw = sizeCanvas(canvas, this.#left + width + 2, this.#top + height + 2);
    draw.imageSmoothingEnabled = false;
    draw.drawImage(this.#images.of(state.map), this.#left, this.#top, width, height);
    draw.strokeStyle = inkColour();
    draw.lineWidth = 1;
    draw.globalAlpha = 0.25;
    draw.strokeRect(this.#left - 0.5, this.#top - 0.5, width + 1, height + 1);
    draw.globalAlpha = 1;
    this.#label(draw);
    this.#outline(draw);
  }

  #label(draw: CanvasRenderingContext2D): void {
    const { queries, keys, state } = this.#model;
    const step = Math.ceil(14 / this.#cell);
    draw.fillStyle = inkColour();
    draw.textBaseline = "middle";
    const write = (token: string, chosen: boolean, room: number): void => {
      draw.font = chosen ? `bold ${font}` : font;
      draw.fillText(visible(token), 0, 0, room);
    };
    // Where there is no room for all, some are left out, but never the cursor's, which pushes its neighbours aside.
    const labelled = (index: number, chosen: number): boolean =>
      index === chosen || (index % step === 0 && (step === 1 || Math.abs(index - chosen) >= step));
    draw.textAlign = "right";
    for (const [index, token] of queries.entries()) {
      if (!labelled(index, state.query)) continue;
      draw.save();
      draw.translate(this.#left - 7, this.#top + (index + 0.5) * this.#cell);
      write(token, index === state.query, this.#left - 9);
      draw.restore();
    }
    draw.textAlign = "left";
    for (const [index, token] of keys.entries()) {
      if (!labelled(index, state.key)) continue;
      draw.save();
      draw.translate(this.#left + (index + 0.5) * this.#cell, this.#top - 7);
      draw.rotate(-Math.PI / 2);
      write(token, index === state.key, this.#top - 9);
      draw.restore();
    }
  }

  /** The cursor. */
  #outline(draw: CanvasRenderingContext2D): void {
    const { query, key } = this.#model.state;
    const size = Math.max(this.#cell, 5);
    const [x, y] = [this.#left + key * this.#cell, this.#top + query * this.#cell];
    for (const [colour, width] of [
      ["#ffffff", 4],
      ["#d55e00", 2],
    ] as const) {
      draw.strokeStyle = colour;
      draw.lineWidth = width;
      draw.strokeRect(x, y, size, size);
    }
  }

  #at(event: PointerEvent): Cell | undefined {
    const query = Math.floor((event.offsetY - this.#top) / this.#cell);
    const key = Math.floor((event.offsetX - this.#left) / this.#cell);
    const inside = query >= 0 && key >= 0 && query < this.#model.queries.length && key < this.#model.keys.length;
    return inside ? { query, key } : undefined;
  }

  #choose(cell: Cell | undefined): void {
    if (cell) this.#model.change(cell);
  }

  #step(event: KeyboardEvent): void {
    const { query, key } = this.#model.state;
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const within = (index: number, count: number): number => Math.min(Math.max(index, 0), count - 1);
    this.#choose({
      query: within(query + step[0]!, this.#model.queries.length),
      key: within(key + step[1]!, this.#model.keys.length),
    });
  }

  #tell(event: PointerEvent): void {
    const cell = this.#at(event);
    if (cell === undefined) {
      this.#tip.hide();
      return;
    }
    const { queries, keys, weights, state } = this.#model;
    this.#tip.show(event.clientX, event.clientY, [
      `${visible(queries[cell.query]!)} → ${visible(keys[cell.key]!)}`,
      digits(weights.row(state.map, cell.query)[cell.key]!),
    ]);
  }
}
