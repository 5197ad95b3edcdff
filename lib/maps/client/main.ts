/*!
This page holds parts of d3 (https://d3js.org), Copyright 2010-2023 Mike Bostock.
Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies. THE SOFTWARE IS PROVIDED "AS IS"
AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY
AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY
DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER
TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
*/
// The page of renderAttention: reads what it was written with, and makes its views.

import { select } from "d3";
import type { PageData } from "../page-data.js";
import { isDark, switchTheme, watchTheme } from "./colours.js";
import { stepTo, Tip, type Html } from "./dom.js";
import { mostDashed, mostLines } from "./lines.js";
import { Matrix } from "./matrix.js";
import { Model, type State } from "./model.js";
import { Readout } from "./readout.js";
import { Statistics } from "./statistics.js";
import { Switches } from "./switches.js";
import { Words } from "./words.js";

const data = JSON.parse(document.getElementById("attention")!.textContent) as PageData;
const model = new Model(data);
const body: Html = select(document.body);

const header = body.append("header");
header.append("h1").text(data.title);
header.append("p").attr("class", "facts").text(facts());
const theme = header
  .append("button")
  .attr("type", "button")
  .attr("class", "plain theme")
  .on("click", () => {
    switchTheme();
    draw();
  });

const viewNames: Record<State["view"], string> = {
  words: model.cross ? "Cross-attention" : "Words",
  matrix: "Matrix",
  statistics: "Statistics",
};
const viewKeys = Object.keys(viewNames) as State["view"][];
const tabs = body.append<HTMLElement>("div").attr("role", "tablist").attr("aria-label", "Views");
const panels = viewKeys.map((view) => {
  tabs
    .append("button")
    .attr("type", "button")
    .attr("role", "tab")
    .attr("id", `tab-${view}`)
    .attr("aria-controls", `panel-${view}`)
    .text(viewNames[view])
    .on("click", () => model.change({ view }))
    .on("keydown", stepView);
  return body
    .append<HTMLElement>("main")
    .attr("role", "tabpanel")
    .attr("id", `panel-${view}`)
    .attr("aria-labelledby", `tab-${view}`);
});
const [wordsPanel, matrixPanel, statisticsPanel] = panels as [Html, Html, Html];

const tip = new Tip(document.body);
const switches = new Switches(wordsPanel, model);
const columns: Html = wordsPanel.append<HTMLElement>("div").attr("class", "beside");
const words = new Words(columns, model, tip);
const readout = new Readout(columns, model);
wordsPanel
  .append("p")
  .attr("class", "note")
  .text(
    "Lines and cells grow stronger with weight; lines under 2 % of the strongest are not drawn. Colours are heads (they repeat " +
      "after eight), dashes are layers" +
      (words.few ? "." : ` while lines are at most ${mostDashed}; no more than ${mostLines} are drawn at once.`),
  );
const matrix = new Matrix(matrixPanel, model, tip);
const statistics = new Statistics(statisticsPanel, model);
const live = body.append<HTMLElement>("div").attr("role", "status").attr("class", "unseen");
body
  .append("footer")
  .append("p")
  .text(
    "Weights show where a head reads; they are not explanations of what a model answers. Values are kept as float16: " +
      "3 digits, those under 0.00006 to 3e-8.",
  );

model.onChange(draw);
watchTheme(draw);
new ResizeObserver(draw).observe(document.body);
draw();

function draw(): void {
  const { view } = model.state;
  for (const [index, name] of viewKeys.entries()) panels[index]!.attr("hidden", name === view ? null : "");
  tabs
    .selectAll<HTMLElement, unknown>("[role=tab]")
    .attr("aria-selected", (_, index) => `${viewKeys[index] === view}`)
    .attr("tabindex", (_, index) => (viewKeys[index] === view ? 0 : -1));
  theme.text(isDark() ? "Light" : "Dark").attr("aria-label", `Show in ${isDark() ? "light" : "dark"} colours`);
  if (view === "words") {
    words.draw(); // first: it asks how words lie, which is known until something changes
    switches.draw();
    readout.draw();
    live.text(readout.sentence());
  } else if (view === "matrix") {
    matrix.draw();
    live.text(matrix.sentence());
  } else {
    statistics.draw();
    live.text("");
  }
}

function stepView(event: KeyboardEvent): void {
  const target = stepTo(event.key, viewKeys.indexOf(model.state.view), viewKeys.length);
  if (target === undefined) return;
  event.preventDefault();
  model.change({ view: viewKeys[target]! });
  document.getElementById(`tab-${viewKeys[target]!}`)!.focus();
}

function facts(): string {
  const count = (number: number, thing: string): string => `${number} ${thing}${number === 1 ? "" : "s"}`;
  const heads = data.layers.map((layer) => layer.heads);
  const each = new Set(heads).size === 1 ? heads[0]! : heads.join(" and ");
  const texts = model.cross
    ? `${count(model.queries.length, "target word")}, ${count(model.keys.length, "source word")}`
    : count(model.keys.length, "word");
  return `${texts}; ${count(heads.length, "layer")} of ${each} ${each === 1 ? "head" : "heads"}`;
}
