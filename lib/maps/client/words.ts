// The words, and lines from the chosen one to those it attends to.

import { max, type Selection } from "d3";
import { headColour } from "./colours.js";
import { stepTo, type Html, type Tip } from "./dom.js";
import { sizeCanvas } from "./heat.js";
import { drawLines, paintLines } from "./lines.js";
import type { Model, Series } from "./model.js";
import { placesInColumns, placesInText, type Places } from "./places.js";
import { digits, visible } from "./text.js";

type Items = Selection<HTMLLIElement, string, HTMLElement, unknown>;

/** So few words have lines as SVG, and as running text room for high arcs. */
const mostFew = 48;
/** Cells just out of sight are painted too. */
const margin = 200;

export class Words {
  readonly #model: Model;
  readonly #tip: Tip;
  readonly few: boolean;
  readonly #canvas: Html<HTMLCanvasElement>;
  /** The box that scrolls, with the canvas behind it. */
  readonly #root: Html;
  #arrangement = "";
  #selected = -1;
  #queryItems!: Items;
  #keyItems!: Items;
  #places: { laid: string; of: Places } | undefined;

  constructor(root: Html, model: Model, tip: Tip) {
    this.#model = model;
    this.#tip = tip;
    this.few = Math.max(model.keys.length, model.queries.length) <= mostFew;
    const frame = root.append<HTMLElement>("div").attr("class", "frame");
    this.#canvas = frame.append("canvas").attr("class", "lines").attr("aria-hidden", "true");
    if (this.few) this.#canvas.attr("hidden", "");
    this.#root = frame.append<HTMLElement>("div").attr("class", "words");
    if (!this.few) this.#root.on("scroll", () => this.#paint());
  }

  draw(): void {
    const { arrangement, query } = this.#model.state;
    const laid = arrangement !== this.#arrangement;
    if (laid) this.#lay(arrangement);
    if (query !== this.#selected || laid) {
      const nodes = this.#queryItems.nodes();
      for (const [index, on] of [[this.#selected, false] as const, [query, true] as const]) {
        nodes[index]?.setAttribute("aria-selected", `${on}`);
        nodes[index]?.setAttribute("tabindex", on ? "0" : "-1");
      }
      this.#selected = query;
    }
    if (laid) this.#reveal();
    this.#paint();
  }

  /** Makes the elements anew. */
  #lay(arrangement: string): void {
    this.#arrangement = arrangement;
    const { queries, keys, cross } = this.#model;
    const twice = arrangement === "twice";
    this.#root.attr("class", `words ${arrangement}`).classed("few", this.few).selectChildren().remove();
    if (twice) {
      const names = cross ? ["Target: who attends", "Source: to whom"] : ["Who attends", "To whom"];
      for (const name of names) this.#root.append<HTMLElement>("div").attr("class", "column-name").text(name);
    }
    const chooser = this.#list("queries", queries)
      .attr("role", "listbox")
      .attr("aria-label", "Words: choose one to see what it attends to")
      .attr("aria-orientation", twice ? "vertical" : "horizontal");
    if (this.few) this.#root.append("svg").attr("class", "lines").attr("aria-hidden", "true");
    this.#queryItems = chooser
      .selectAll<HTMLLIElement, string>("li")
      .attr("role", "option")
      .attr("aria-selected", "false")
      .attr("tabindex", "-1")
      .on("click", (event: MouseEvent) => this.#choose(indexOf(event.currentTarget as Element)))
      .on("keydown", (event: KeyboardEvent) => this.#step(event));
    this.#keyItems = twice
      ? this.#list("keys", keys).attr("aria-hidden", "true").selectAll<HTMLLIElement, string>("li")
      : this.#queryItems;
    this.#keyItems
      .on("pointermove", (event: PointerEvent) => this.#tell(event))
      .on("pointerleave", () => this.#tip.hide())
      .append("span")
      .attr("class", "strip");
  }

  #list(name: string, tokens: readonly string[]): Selection<HTMLUListElement, unknown, null, undefined> {
    const list = this.#root.append("ul").attr("class", name);
    list
      .selectAll("li")
      .data(tokens)
      .join("li")
      .append("bdi")
      .text((token) => visible(token));
    return list;
  }

  /** Lines and cells: all of few words, of many those in sight. */
  #paint(): void {
    const { arrangement } = this.#model.state;
    const shown = this.#model.shown();
    this.#root.style("--cells", `${Math.max(1, shown.length)}`);
    const places = this.#measure(shown.length);
    if (this.few) {
      this.#paintCells(shown, 0, this.#model.keys.length);
      drawLines(this.#root.select<SVGSVGElement>("svg"), this.#model, shown, arrangement, places);
      return;
    }
    const { scrollTop, clientHeight, clientWidth } = this.#root.node()!;
    this.#paintCells(shown, ...places.within(scrollTop - margin, scrollTop + clientHeight + margin));
    const context = sizeCanvas(this.#canvas.node()!, clientWidth, clientHeight);
    const count = paintLines(context, this.#model, shown, arrangement, places, scrollTop, clientHeight);
    this.#canvas.attr("data-lines", count);
  }

  /** Where words lie; asked anew where the width is another, or that of the cells beside words. */
  #measure(cells: number): Places {
    const twice = this.#arrangement === "twice";
    const laid = `${this.#arrangement} ${this.#root.node()!.clientWidth} ${twice ? cells : ""}`;
    if (this.#places?.laid !== laid) {
      const [queries, keys] = [this.#queryItems, this.#keyItems].map((items) => items.node()!.parentElement!);
      const of = twice ? placesInColumns(queries!, keys!) : placesInText(queries!, this.few ? 64 : 14);
      this.#places = { laid, of };
    }
    return this.#places.of;
  }

  /** Each key's weights: a cell per head beside (or under) its word, as strong as the weight is beside the strongest. */
  #paintCells(shown: readonly Series[], first: number, last: number): void {
    const { weights, state } = this.#model;
    const rows = shown.map((series) => weights.row(series, state.query));
    const colours = shown.map(({ head }) => headColour(head));
    const percent = 100 / (max(rows, (row) => max(row)) || 1);
    const items = this.#keyItems.nodes();
    for (let key = first; key < last; key++) {
      const stops = rows.map((row, index) => {
        const edges = `${(100 * index) / rows.length}% ${(100 * (index + 1)) / rows.length}%`;
        return `color-mix(in srgb, ${colours[index]!} ${(percent * row[key]!).toFixed(1)}%, transparent) ${edges}`;
      });
      const strip = items[key]!.lastElementChild as HTMLElement;
      strip.style.background = `linear-gradient(to right, ${stops.join(", ") || "transparent, transparent"})`;
    }
  }

  /** Scrolls the chosen word to the middle of its box, where it would be out of sight. */
  #reveal(): void {
    const box = this.#root.node()!;
    const item = this.#queryItems.nodes()[this.#model.state.query]!;
    box.scrollTop = item.offsetTop - box.clientHeight / 2;
  }

  #choose(query: number): void {
    this.#model.change({ query });
    this.#queryItems.nodes()[query]!.focus();
  }

  #step(event: KeyboardEvent): void {
    const target = stepTo(event.key, this.#model.state.query, this.#model.queries.length);
    if (target === undefined) return;
    event.preventDefault();
    this.#choose(target);
  }

  #tell(event: PointerEvent): void {
    const key = indexOf(event.currentTarget as Element);
    const { keys, queries, weights, state } = this.#model;
    const shown = this.#model.shown();
    const lines = shown.slice(0, 16).map((series) => {
      return `${this.#model.nameOf(series)}: ${digits(weights.row(series, state.query)[key]!)}`;
    });
    this.#tip.show(event.clientX, event.clientY, [
      `${visible(queries[state.query]!)} → ${visible(keys[key]!)}`,
      ...lines,
      ...(shown.length > lines.length ? ["…"] : []),
    ]);
  }
}

const indexOf = (item: Element): number => Array.prototype.indexOf.call(item.parentElement!.children, item);
