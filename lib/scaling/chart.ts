// Draws time and extra memory against tokens, both axes logarithmic, as an SVG of 900 pixels' width.

import { createRequire } from "node:module";
import type * as echarts from "echarts";
import type { Measurements, ScalingOptions } from "./measure.js";
import type { Point } from "./point.js";
import * as format from "../terminal/format.js";
import { extraMemory } from "./table.js";

const colors = { standard: "#b5532a", tiled: "#1f6f8b" };
const algorithms = ["standard", "tiled"] as const;
const text = "#333";

interface Panel {
  title: string;
  left: number;
  base: number;
  value: (point: Point) => number;
  label: (value: number) => string;
}

const panels: Panel[] = [
  { title: "Time of a call", left: 70, base: 10, value: (point) => point.seconds, label: format.seconds },
  { title: "Extra memory", left: 535, base: 16, value: extraMemory, label: format.bytes },
];
const panelWidth = 335;

export function scalingChart({ points }: Measurements, options: ScalingOptions, machine: string): string {
  // The package in one file, which loads ten times faster than the many that an import would bring; and only here, as it is
  // an optional peer.
  const { init } = createRequire(import.meta.url)("echarts") as typeof echarts;
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 900, height: 460 });
  const rules = options.causal ? "causal" : "every query sees every key";
  chart.setOption({
    animation: false,
    backgroundColor: "#fff",
    textStyle: { fontFamily: "sans-serif", color: text },
    title: [
      {
        text: "Attention over longer and longer texts: standard against tiled",
        subtext: `${options.heads} heads of ${options.headDim}, float32, ${rules}; ${machine}`,
        left: 24,
        top: 14,
        textStyle: { fontSize: 17, color: text },
        subtextStyle: { fontSize: 12, color: "#666" },
      },
      ...panels.map(({ title, left }) => ({
        text: title,
        left,
        top: 96,
        padding: 0,
        textStyle: { fontSize: 13, color: text },
      })),
    ],
    legend: {
      data: [...algorithms],
      right: 24,
      top: 92,
      itemWidth: 28,
      itemGap: 18,
      textStyle: { fontSize: 13, color: text },
    },
    grid: panels.map(({ left }) => ({ left, top: 126, width: panelWidth, height: 270 })),
    xAxis: panels.map((_, gridIndex) => ({
      gridIndex,
      type: "category" as const,
      boundaryGap: false,
      data: [...new Set(points.map((point) => point.tokens))].map(format.tokens),
      name: "tokens",
      nameLocation: "middle" as const,
      nameGap: 30,
      nameTextStyle: { fontSize: 13, color: text },
      axisLabel: { fontSize: 12, color: text },
    })),
    yAxis: panels.map(({ base, label }, gridIndex) => ({
      gridIndex,
      type: "log" as const,
      logBase: base,
      axisLabel: { fontSize: 12, color: text, formatter: (value: number) => label(value).replace(".0 ", " ") },
      splitLine: { lineStyle: { color: "#e4e4e4" } },
    })),
    series: panels.flatMap(({ value, label }, panel) =>
      algorithms.map((algorithm) => {
        const own = points.filter((point) => point.algorithm === algorithm);
        return {
          name: algorithm,
          type: "line" as const,
          xAxisIndex: panel,
          yAxisIndex: panel,
          symbol: "circle",
          symbolSize: 7,
          color: colors[algorithm],
          lineStyle: { width: 2.5 },
          // The last value stands beside its point.
          data: own.map((point, index) => ({
            value: [format.tokens(point.tokens), value(point)],
            label: {
              show: index === own.length - 1,
              position: "top" as const,
              fontSize: 12,
              color: colors[algorithm],
              formatter: label(value(point)),
            },
          })),
        };
      }),
    ),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
