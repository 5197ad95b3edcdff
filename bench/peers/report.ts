// Tables for people.
import Table from "cli-table3";
import type { PointResult, Times } from "./measure.js";
import type { MemoryResult } from "./memory.js";
import type { Overhead } from "./overhead.js";
import { flops, keyValueBytes, type Point } from "./points.js";
import type { Probe } from "./probe.js";
import { geometricMean, median } from "../lib/statistics.js";

/** What one process, with one number of threads, found. */
export interface ThreadsResult {
  threads: number;
  points: PointResult[];
  overhead: Record<string, Overhead>;
}

export interface Means {
  /** By form of fovea: the geometric mean of the ratios over the points from 1024 queries on, and the lowest. */
  full: Record<string, { mean: number; lowest: number }>;
  causal: Record<string, { mean: number; lowest: number }>;
}

const digits = (x: number): string => (x < 10 ? x.toFixed(2) : x < 100 ? x.toFixed(1) : x.toFixed(0));
const megabytes = (bytes: number): string => `${digits(bytes / 1e6)} MB`;

function table(head: string[], rows: string[][]): string {
  const result = new Table({
    head,
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, column) => (column === 0 ? "left" : "right")),
  });
  result.push(...rows);
  return result.toString();
}

export function geometricMeans(points: PointResult[]): Means {
  const means = (causal: boolean): Means["full"] => {
    const counted = points.filter(
      ({ point }) => point.causal === causal && point.queryLength >= 1024 && !point.bandwidthBound,
    );
    return Object.fromEntries(
      Object.keys(counted[0]?.ratios ?? {}).map((form) => {
        const ratios = counted.map((result) => result.ratios[form]!.median);
        return [form, { mean: geometricMean(ratios), lowest: Math.min(...ratios) }];
      }),
    );
  };
  return { full: means(false), causal: means(true) };
}

/** GFLOP/s or GB/s, and as a share of what the machine was seen to do: the best of its FMA samples, its median read. */
function rate(point: Point, ms: number, probes: Probe[]): string {
  const share = (of: number): string => (probes.length ? `, ${Math.round(of * 100)}%` : "");
  if (point.bandwidthBound) {
    const read = keyValueBytes(point) / ms / 1e6;
    return `${digits(read)} GB/s${share(read / median(probes.map((probe) => probe.read)))}`;
  }
  const speed = flops(point) / ms / 1e6;
  return `${digits(speed)}${share(speed / Math.max(...probes.map((probe) => probe.fma)))}`;
}

const spread = ({ median, p10, min }: Times): string => `${digits(median)} (${digits(p10)}, ${digits(min)})`;

export function speedReport({ threads, points, overhead }: ThreadsResult): string {
  const lines = [`\n${threads} thread${threads > 1 ? "s" : ""}`];
  if (points.length) lines.push(...pointsReport(points));
  if (Object.keys(overhead).length) {
    lines.push(
      "Microseconds of a call on 1 head, 16 x 16, headDim 64:",
      table(
        ["form", "median", "p10", "min"],
        Object.entries(overhead).map(([name, { median, p10, min }]) => [name, ...[median, p10, min].map(digits)]),
      ),
    );
  }
  return lines.join("\n");
}

function pointsReport(points: PointResult[]): string[] {
  const lines: string[] = [];
  const forms = Object.keys(points[0]!.fovea);
  const allProbes = points.flatMap(({ probes }) => probes);
  if (allProbes.length) {
    const fma = allProbes.map((probe) => probe.fma);
    const read = allProbes.map((probe) => probe.read);
    lines.push(
      `FMA peak ${digits(Math.max(...fma))} GFLOP/s (median ${digits(median(fma))}), ` +
        `plain read ${digits(Math.max(...read))} GB/s (median ${digits(median(read))})`,
    );
  }
  lines.push(
    `Both in their fastest form (fovea: ${forms[0]}):`,
    table(
      [
        "point",
        "onnxruntime",
        "ms (p10, min)",
        "GFLOP/s, share",
        "fovea ms (p10, min)",
        "GFLOP/s, share",
        "difference",
        "others",
      ],
      points.map(({ point, best, onnxruntime, fovea, difference, othersBusy, probes }) => {
        const [peer, ours] = [onnxruntime[best]!, fovea[forms[0]!]!];
        const samples = point.bandwidthBound ? probes : allProbes;
        return [
          point.name,
          best,
          spread(peer),
          rate(point, peer.median, samples),
          spread(ours),
          rate(point, ours.median, samples),
          difference.toExponential(1),
          othersBusy.toFixed(2),
        ];
      }),
    ),
  );
  const means = geometricMeans(points);
  const meanRow = (name: string, of: Means["full"]): string[][] =>
    Object.keys(of).length
      ? [[name, ...forms.map((form) => `${digits(of[form]!.mean)} (lowest ${digits(of[form]!.lowest)})`)]]
      : [];
  lines.push(
    "How many times as fast as onnxruntime's fastest form, median of the rounds' ratios (p10), by form of fovea:",
    table(
      ["point", ...forms],
      [
        ...points.map(({ point, ratios }) => [
          point.name,
          ...forms.map((form) => `${digits(ratios[form]!.median)} (${digits(ratios[form]!.p10)})`),
        ]),
        ...meanRow("full, L >= 1024", means.full),
        ...meanRow("causal, L >= 1024", means.causal),
      ],
    ),
  );
  return lines;
}

export function memoryReport(results: MemoryResult[]): string {
  return [
    "\nFirst call and extra memory (growth of the resident peak over inputs, session and the output given):",
    table(
      ["point", "threads", "library", "form", "first call ms", "later ms", "first call", "all calls"],
      results.map((result) => [
        result.point.name,
        String(result.threads),
        result.library,
        result.form,
        digits(result.firstCallMs),
        digits(result.laterCallMs),
        megabytes(result.firstCallBytes),
        megabytes(result.allCallsBytes),
      ]),
    ),
  ].join("\n");
}
