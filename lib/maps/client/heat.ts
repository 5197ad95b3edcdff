// A head's weights as pixels.

import { isDark, weightPixels } from "./colours.js";
import type { Model, Series } from "./model.js";

/** Images of heads, a pixel per weight, each coloured from 0 to the head's largest weight. */
export class HeatImages {
  readonly #model: Model;
  readonly #images = new Map<string, HTMLCanvasElement>();
  #dark: boolean | undefined;
  #pixels: Uint32Array = new Uint32Array();

  constructor(model: Model) {
    this.#model = model;
  }

  of(series: Series): HTMLCanvasElement {
    if (this.#dark !== isDark()) {
      this.#dark = isDark();
      this.#pixels = weightPixels();
      this.#images.clear();
    }
    const name = `${series.layer} ${series.head}`;
    let image = this.#images.get(name);
    if (image === undefined) this.#images.set(name, (image = this.#paint(series)));
    return image;
  }

  #paint(series: Series): HTMLCanvasElement {
    const { weights } = this.#model;
    const canvas = document.createElement("canvas");
    canvas.width = weights.keys;
    canvas.height = weights.queries;
    const data = new ImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(data.data.buffer);
    const step = 255 / (weights.largest(series) || 1);
    const head = weights.head(series);
    for (let index = 0; index < head.length; index++) pixels[index] = this.#pixels[Math.round(head[index]! * step)]!;
    canvas.getContext("2d")!.putImageData(data, 0, 0);
    return canvas;
  }
}

/** Gives a canvas a size in CSS pixels and as many pixels as the screen has there; returns its context in CSS pixels. */
export function sizeCanvas(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = Math.min(devicePixelRatio, 16384 / Math.max(width, height));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
