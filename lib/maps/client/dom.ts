// Small things that several views do to the document.

import { select, type Selection } from "d3";

export type Html<Element extends HTMLElement = HTMLElement> = Selection<Element, unknown, null, undefined>;

/** The step that an arrow key, Home or End asks for among `count` things in a row, from `index`; undefined for other keys. */
export function stepTo(key: string, index: number, count: number): number | undefined {
  const target = {
    ArrowUp: index - 1,
    ArrowLeft: index - 1,
    ArrowDown: index + 1,
    ArrowRight: index + 1,
    Home: 0,
    End: count - 1,
  }[key];
  return target === undefined ? undefined : Math.min(Math.max(target, 0), count - 1);
}

/** A button that stays pressed. */
export function toggle(parent: Html, label: string, name: string, press: () => void): Html<HTMLButtonElement> {
  return parent
    .append("button")
    .attr("type", "button")
    .attr("class", "toggle")
    .attr("aria-label", name)
    .text(label)
    .on("click", press);
}

/** What is under the pointer, in a box beside it. */
export class Tip {
  readonly #box: Html;

  constructor(parent: HTMLElement) {
    this.#box = select(parent)
      .append<HTMLElement>("div")
      .attr("class", "tip")
      .attr("aria-hidden", "true")
      .attr("hidden", "");
  }

  show(x: number, y: number, lines: readonly string[]): void {
    this.#box
      .attr("hidden", null)
      .selectAll("div")
      .data(lines)
      .join("div")
      .text((line) => line);
    const { offsetWidth, offsetHeight } = this.#box.node()!;
    const left = Math.min(x + 14, innerWidth - offsetWidth - 8);
    const top = y + 18 + offsetHeight > innerHeight ? y - offsetHeight - 10 : y + 18;
    this.#box.style("left", `${Math.max(8, left)}px`).style("top", `${top}px`);
  }

  hide(): void {
    this.#box.attr("hidden", "");
  }
}
