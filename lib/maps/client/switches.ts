// Heads and layers, switched on and off, and how the sentence stands.

import { headColour } from "./colours.js";
import { toggle, type Html } from "./dom.js";
import type { Model } from "./model.js";

export class Switches {
  readonly #model: Model;
  readonly #root: Html;

  constructor(root: Html, model: Model) {
    this.#model = model;
    this.#root = root.append<HTMLElement>("div").attr("class", "switches");
    const group = (name: string): Html => {
      const set = this.#root
        .append<HTMLElement>("div")
        .attr("role", "group")
        .attr("aria-label", name)
        .attr("class", "group");
      set.append("span").attr("class", "group-name").text(name);
      return set;
    };
    if (model.data.layers.length > 1) {
      const layers = group("Layers");
      for (const [index, { name }] of model.data.layers.entries()) {
        toggle(layers, name, name, () => this.#flip("layers", index)).classed("layer", true);
      }
    }
    const heads = group("Heads");
    for (const index of model.state.heads.keys()) {
      toggle(heads, `${index + 1}`, `Head ${index + 1}`, () => this.#flip("heads", index)).classed("head", true);
    }
    for (const [name, on] of [
      ["All", true],
      ["None", false],
    ] as const) {
      heads
        .append("button")
        .attr("type", "button")
        .attr("class", "plain")
        .attr("aria-label", `${name} heads`)
        .text(name)
        .on("click", () => model.change({ heads: model.state.heads.map(() => on) }));
    }
    if (!model.cross) {
      const sentence = group("Sentence");
      for (const arrangement of ["twice", "once"] as const) {
        toggle(sentence, arrangement, `Show the sentence ${arrangement}`, () => model.change({ arrangement }))
          .classed("arrangement", true)
          .attr("data-arrangement", arrangement);
      }
    }
  }

  draw(): void {
    const { layers, heads, arrangement } = this.#model.state;
    this.#root.selectAll(".layer").attr("aria-pressed", (_, index) => `${layers[index]!}`);
    this.#root
      .selectAll<HTMLElement, unknown>(".head")
      .attr("aria-pressed", (_, index) => `${heads[index]!}`)
      .style("--head", (_, index) => headColour(index));
    this.#root.selectAll<HTMLElement, unknown>(".arrangement").attr("aria-pressed", (_, index, buttons) => {
      return `${buttons[index]!.dataset["arrangement"] === arrangement}`;
    });
  }

  #flip(what: "layers" | "heads", index: number): void {
    const { state } = this.#model;
    this.#model.change({ [what]: state[what].with(index, !state[what][index]) });
  }
}
