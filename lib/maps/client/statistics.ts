// A row per head: what it does on average.

import { max, scaleLinear } from "d3";
import type { PageStatistics } from "../page-data.js";
import type { Html } from "./dom.js";
import type { Model, Series } from "./model.js";

interface Column {
  name: string;
  what: string;
  of: keyof PageStatistics;
  write: (value: number) => string;
}

const share = (value: number): string => `${(100 * value).toFixed(1)} %`;

const columns: Column[] = [
  {
    name: "Entropy",
    what: "in nats; 0 looks at one word",
    of: "entropy",
    write: (value) => value.toFixed(2),
  },
  {
    name: "Distance",
    what: "mean, in words",
    of: "distance",
    write: (value) => value.toFixed(1),
  },
  { name: "Confidence", what: "largest weight of a row", of: "confidence", write: (value) => value.toFixed(3) },
  { name: "On first", what: "weight on the first word", of: "shareOnFirst", write: share },
  { name: "On self", what: "weight on the word itself", of: "shareOnSelf", write: share },
];

interface Row extends Series {
  statistics: PageStatistics;
}

export class Statistics {
  readonly #model: Model;
  readonly #root: Html;
  readonly #columns: Column[];
  readonly #rows: Row[];
  #order: { column: Column; descending: boolean } | undefined;

  constructor(root: Html, model: Model) {
    this.#model = model;
    this.#rows = model.data.layers.flatMap(({ statistics }, layer) =>
      statistics.map((own, head) => ({ layer, head, statistics: own })),
    );
    // Queries of another text have no place among the keys: no distance, no self.
    this.#columns = columns.filter(({ of }) => this.#rows.some(({ statistics }) => statistics[of] !== null));
    this.#root = root.append<HTMLElement>("div").attr("class", "statistics");
    this.#root
      .append("p")
      .attr("class", "caution")
      .text(
        "Weights are not explanations. They show where a head reads, not what the model makes of it: values, the other " +
          "heads and what passes by them count as much, and different weights can give the same answer.",
      );
    this.#root
      .append("p")
      .attr("class", "note")
      .text("Each head on average over its rows. Choose a title to sort, a head to see its matrix.");
    const table = this.#root.append<HTMLElement>("div").attr("class", "scroll").append("table");
    table.attr("aria-label", "Statistics of each head");
    const titles = table.append("thead").append("tr");
    titles.append("th").attr("scope", "col").text("Head");
    for (const column of this.#columns) {
      const title = titles.append("th").attr("scope", "col").attr("class", "sortable").datum(column);
      const button = title
        .append("button")
        .attr("type", "button")
        .on("click", () => this.#sort(column));
      button.append("span").text(column.name);
      button.append("small").text(column.what);
    }
    table.append("tbody");
  }

  draw(): void {
    const rows = [...this.#rows];
    if (this.#order) {
      const { column, descending } = this.#order;
      const value = ({ statistics }: Row): number => statistics[column.of] ?? -1;
      rows.sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)));
    }
    const scales = this.#columns.map(({ of }) => {
      return scaleLinear([0, max(this.#rows, ({ statistics }) => statistics[of] ?? 0) || 1], [0, 100]);
    });
    this.#root.selectAll<HTMLElement, Column>(".sortable").attr("aria-sort", (column) => {
      if (column !== this.#order?.column) return "none";
      return this.#order.descending ? "descending" : "ascending";
    });
    const lines = this.#root
      .select("tbody")
      .selectAll<HTMLTableRowElement, Row>("tr")
      .data(rows, ({ layer, head }) => `${layer} ${head}`)
      .join((enter) => {
        const line = enter.append("tr");
        line
          .append("th")
          .attr("scope", "row")
          .append("button")
          .attr("type", "button")
          .text((row) => this.#model.nameOf(row))
          .on("click", (_, { layer, head }) => this.#model.change({ view: "matrix", map: { layer, head } }));
        return line;
      })
      .order();
    lines
      .selectAll<HTMLTableCellElement, Column>("td")
      .data((row) => this.#columns.map((column) => row.statistics[column.of]))
      .join("td")
      .style("--share", (value, index) => `${scales[index]!(value ?? 0)}%`)
      .text((value, index) => (value === null ? "–" : this.#columns[index]!.write(value)));
  }

  #sort(column: Column): void {
    const descending = this.#order?.column === column ? !this.#order.descending : true;
    this.#order = { column, descending };
    this.draw();
  }
}
