// All heads of all layers as small heat maps, to choose one.

import { select } from "d3";
import { isDark } from "./colours.js";
import { stepTo, type Html } from "./dom.js";
import { sizeCanvas, type HeatImages } from "./heat.js";
import type { Model, Series } from "./model.js";

/** The longer side of a small map, in pixels. */
const side = 64;

export class Multiples {
  readonly #model: Model;
  readonly #images: HeatImages;
  readonly #root: Html;
  readonly #all: Series[];
  /** For which colours and screen the maps were painted. */
  #painted = "";

  constructor(root: Html, model: Model, images: HeatImages) {
    this.#model = model;
    this.#images = images;
    this.#all = model.data.layers.flatMap(({ heads }, layer) =>
      Array.from({ length: heads }, (_, head) => ({ layer, head })),
    );
    this.#root = root
      .append<HTMLElement>("div")
      .attr("class", "multiples")
      .attr("role", "radiogroup")
      .attr("aria-label", "Head");
    for (const [layer, { name, heads }] of model.data.layers.entries()) {
      this.#root.append<HTMLElement>("div").attr("class", "layer-name").text(name);
      const row = this.#root.append<HTMLElement>("div").attr("class", "row");
      for (let head = 0; head < heads; head++) {
        const choice = row
          .append<HTMLElement>("div")
          .datum({ layer, head })
          .attr("role", "radio")
          .attr("aria-label", model.nameOf({ layer, head }))
          .on("click", () => this.#choose({ layer, head }))
          .on("keydown", (event: KeyboardEvent) => this.#step(event));
        choice.append("canvas");
        choice.append("span").text(`${head + 1}`);
      }
    }
  }

  draw(): void {
    const { map } = this.#model.state;
    const { queries, keys } = this.#model;
    const scale = side / Math.max(queries.length, keys.length);
    const [width, height] = [Math.max(8, keys.length * scale), Math.max(8, queries.length * scale)];
    const choices = this.#choices()
      .attr("aria-checked", (series) => `${same(series, map)}`)
      .attr("tabindex", (series) => (same(series, map) ? 0 : -1));
    const painted = `${isDark()} ${devicePixelRatio}`;
    if (painted !== this.#painted) {
      this.#painted = painted;
      choices.each((series, index, choices) => {
        const context = sizeCanvas(select(choices[index]!).select<HTMLCanvasElement>("canvas").node()!, width, height);
        context.imageSmoothingEnabled = scale < 1;
        context.drawImage(this.#images.of(series), 0, 0, width, height);
      });
    }
  }

  #choices() {
    return this.#root.selectAll<HTMLElement, Series>("[role=radio]");
  }

  #choose(map: Series): void {
    this.#model.change({ map });
    const index = this.#all.findIndex((series) => same(series, map));
    this.#choices().nodes()[index]!.focus();
  }

  #step(event: KeyboardEvent): void {
    const { map } = this.#model.state;
    const vertical = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const index = this.#all.findIndex((series) => same(series, map));
    const target = stepTo(event.key, index, this.#all.length);
    if (event.key === " " || event.key === "Enter") this.#choose(map);
    else if (vertical !== undefined) this.#choose(this.#below(map, vertical));
    else if (target !== undefined) this.#choose(this.#all[target]!);
    else return;
    event.preventDefault();
  }

  #below({ layer, head }: Series, step: number): Series {
    const { layers } = this.#model.data;
    const target = Math.min(Math.max(layer + step, 0), layers.length - 1);
    return { layer: target, head: Math.min(head, layers[target]!.heads - 1) };
  }
}

const same = (a: Series, b: Series): boolean => a.layer === b.layer && a.head === b.head;
