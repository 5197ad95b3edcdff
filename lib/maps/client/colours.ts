// Colours that people with any colour vision can tell apart, on light and on dark ground.

import { interpolateLab, lab, piecewise, range, rgb, scaleSequential, type ScaleSequential } from "d3";

/** Okabe and Ito, "Color Universal Design", 2008, the darkest first; their black is the page's ink. */
const okabeIto = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "ink", "#f0e442"];
const ink = { light: "#1b1f24", dark: "#e8eaed" };
/** On dark ground both blues are lighter. */
const onDark: Readonly<Record<string, string>> = { "#0072b2": "#3d93d6", "#56b4e9": "#9cd8ff" };

const root = document.documentElement;

/** Calls `changed` when the page turns light or dark with the system, and before and after it is printed. */
export function watchTheme(changed: () => void): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  addEventListener("beforeprint", () => {
    root.dataset["paper"] = "";
    changed();
  });
  addEventListener("afterprint", () => {
    delete root.dataset["paper"];
    changed();
  });
}

/** Paper is always light. */
export function isDark(): boolean {
  const { paper, theme } = root.dataset;
  if (paper !== undefined) return false;
  return theme === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
}

export function switchTheme(): void {
  root.dataset["theme"] = isDark() ? "light" : "dark";
}

export const inkColour = (): string => (isDark() ? ink.dark : ink.light);

/** A head's colour; they repeat after eight. */
export function headColour(head: number): string {
  const colour = okabeIto[head % okabeIto.length]!;
  if (colour === "ink") return inkColour();
  return isDark() ? (onDark[colour] ?? colour) : colour;
}

// Lightness goes in equal steps, so that equal differences of weight look equally large.
const ramps = {
  light: [lab(99, 0, 1), lab(72, -16, -24), lab(45, 4, -42), lab(17, 24, -38)],
  dark: [lab(11, 1, -4), lab(38, 14, -44), lab(66, -18, -26), lab(95, -12, 22)],
};

/** Weights from 0 to `largest` as colours. */
export function weightScale(largest: number): ScaleSequential<string> {
  const ramp = ramps[isDark() ? "dark" : "light"].map(String);
  return scaleSequential(piecewise(interpolateLab, ramp)).domain([0, largest || 1]);
}

/** The same in 256 steps, each a pixel of a canvas (red in the lowest byte). */
export function weightPixels(): Uint32Array {
  const scale = weightScale(255);
  return Uint32Array.from(range(256), (step) => {
    const { r, g, b } = rgb(scale(step));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
