// The words, and lines from the chosen one to those it attends to.

import { max, type Selection } from "d3";
import { headColour } from "./colours.js";
import { stepTo, type Html, type Tip } from "./dom.js";
import { drawLines, type Place } from "./lines.js";
import type { Model, Series } from "./model.js";
import { digits, visible } from "./text.js";

type Items = Selection<HTMLLIElement, string, HTMLElement, unknown>;

/** So few words as running text have room for high arcs. */
const mostFew = 48;

export class Words {
  readonly #model: Model;
  readonly #tip: Tip;
  readonly #root: Html;
  #arrangement = "";
  #queryItems!: Items;
  #keyItems!: Items;

  constructor(root: Html, model: Model, tip: Tip) {
    this.#model = model;
    this.#tip = tip;
    this.#root = root.append<HTMLElement>("div").attr("class", "words");
  }

  draw(): void {
    const { arrangement, query } = this.#model.state;
    const laid = arrangement !== this.#arrangement;
    if (laid) this.#lay(arrangement);
    this.#queryItems
      .attr("aria-selected", (_, index) => `${index === query}`)
      .attr("tabindex", (_, index) => (index === query ? 0 : -1));
    const shown = this.#model.shown();
    this.#paint(shown);
    if (laid) this.#reveal();
    const place = arrangement === "twice" ? this.#placesInColumns() : this.#placesInText();
    drawLines(this.#root.select<SVGSVGElement>("svg"), this.#model, shown, arrangement, place);
  }

  /** Makes the elements anew. */
  #lay(arrangement: string): void {
    this.#arrangement = arrangement;
    const { queries, keys, cross } = this.#model;
    const twice = arrangement === "twice";
    this.#root
      .attr("class", `words ${arrangement}`)
      .classed("few", keys.length <= mostFew)
      .selectChildren()
      .remove();
    if (twice) {
      const names = cross ? ["Target: who attends", "Source: to whom"] : ["Who attends", "To whom"];
      for (const name of names) this.#root.append<HTMLElement>("div").attr("class", "column-name").text(name);
    }
    const chooser = this.#list("queries", queries)
      .attr("role", "listbox")
      .attr("aria-label", "Words: choose one to see what it attends to")
      .attr("aria-orientation", twice ? "vertical" : "horizontal");
    this.#root.append("svg").attr("class", "lines").attr("aria-hidden", "true");
    this.#queryItems = chooser
      .selectAll<HTMLLIElement, string>("li")
      .attr("role", "option")
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

  /** Each key's weights: a cell per head beside (or under) its word, as strong as the weight is beside the strongest. */
  #paint(shown: readonly Series[]): void {
    const { weights, state } = this.#model;
    const rows = shown.map((series) => weights.row(series, state.query));
    const colours = shown.map(({ head }) => headColour(head));
    const percent = 100 / (max(rows, (row) => max(row)) || 1);
    this.#keyItems.select<HTMLSpanElement>(".strip").style("background", (_, key) => {
      const stops = rows.map((row, index) => {
        const edges = `${(100 * index) / rows.length}% ${(100 * (index + 1)) / rows.length}%`;
        return `color-mix(in srgb, ${colours[index]!} ${(percent * row[key]!).toFixed(1)}%, transparent) ${edges}`;
      });
      return `linear-gradient(to right, ${stops.join(", ") || "transparent, transparent"})`;
    });
    this.#root.style("--cells", `${Math.max(1, rows.length)}`);
  }

  /** Words in columns have one height: no need to ask where each lies. */
  #placesInColumns(): Place {
    const svg = this.#root.select<SVGSVGElement>("svg").node()!;
    const height = this.#queryItems.node()!.offsetHeight;
    const middle = (index: number): number => (index + 0.5) * height;
    return {
      width: svg.clientWidth,
      height: svg.clientHeight,
      query: (index) => ({ x: 4, y: middle(index) }),
      key: (index) => ({ x: svg.clientWidth - 6, y: middle(index) }),
      rise: 0,
    };
  }

  #placesInText(): Place {
    const list = this.#queryItems.node()!.parentElement as HTMLElement;
    const places = this.#queryItems
      .nodes()
      .map((item) => ({ x: item.offsetLeft + item.offsetWidth / 2, y: item.offsetTop }));
    const place = (index: number): { x: number; y: number } => places[index]!;
    const rise = this.#model.keys.length <= mostFew ? 64 : 14;
    return {
      width: list.offsetLeft + list.offsetWidth,
      height: list.offsetTop + list.offsetHeight,
      query: place,
      key: place,
      rise,
    };
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
