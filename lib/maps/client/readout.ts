// In words and numbers: what the chosen word attends to, for people who do not see the lines as well.

import { headColour } from "./colours.js";
import type { Html } from "./dom.js";
import type { Model, Series, Share } from "./model.js";
import { digits, quoted, visible } from "./text.js";

const mostShares = 3;

export class Readout {
  readonly #model: Model;
  readonly #root: Html;

  constructor(root: Html, model: Model) {
    this.#model = model;
    this.#root = root
      .append<HTMLElement>("section")
      .attr("class", "readout")
      .attr("aria-label", "What the chosen word attends to");
    this.#root.append("h2");
    this.#root.append("ul");
  }

  draw(): void {
    const { queries, state } = this.#model;
    const shown = this.#model.shown();
    this.#root.select("h2").text(`${quoted(queries[state.query]!)} attends to`);
    const items = this.#root
      .select("ul")
      .selectChildren<HTMLLIElement, Series>("li")
      .data(shown)
      .join((enter) => {
        const item = enter.append("li");
        item.append("span").attr("class", "head-name");
        item.append("ol");
        return item;
      });
    items
      .style("--head", ({ head }) => headColour(head))
      .select(".head-name")
      .text((series) => this.#model.nameOf(series));
    items
      .select("ol")
      .selectAll<HTMLLIElement, Share>("li")
      .data((series) => this.#model.strongest(series, mostShares))
      .join((enter) => {
        const share = enter.append("li");
        share.append("bdi");
        share.append("span").attr("class", "value");
        return share;
      })
      .style("--weight", ({ weight }) => weight)
      .call((share) => share.select("bdi").text(({ key }) => visible(this.#model.keys[key]!)))
      .call((share) => share.select(".value").text(({ weight }) => digits(weight)));
    this.#root.classed("empty", shown.length === 0);
  }

  /** For the live region: the strongest of each head. */
  sentence(): string {
    const { queries, keys, state } = this.#model;
    const parts = this.#model.shown().map((series) => {
      const [first] = this.#model.strongest(series, 1);
      const what = first ? `${quoted(keys[first.key]!)} ${digits(first.weight)}` : "nothing";
      return `${this.#model.nameOf(series)}: ${what}`;
    });
    const word = quoted(queries[state.query]!);
    return parts.length === 0 ? `${word}: no head is switched on` : `${word} attends most to: ${parts.join("; ")}`;
  }
}
