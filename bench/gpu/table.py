"""A table of what measure.py found: fovea's times and rates, and PyTorch's times as multiples of fovea's.

    table.py file.json [part of a line...]    prints a file's, or those of its lines that have all these parts
"""

import json
import sys

IDENTITY = ("kind", "dtype", "batch", "heads", "kvHeads", "queryLength", "keyLength", "headDim", "causal")


def tokens(count):
    return f"{count // 1024}k" if count >= 1024 and count % 1024 == 0 else str(count)


def describe(row):
    queries, keys = row["queryLength"], row["keyLength"]
    lengths = tokens(keys) if queries == keys else f"{queries}x{tokens(keys)}"
    heads = str(row["heads"]) if row["heads"] == row["kvHeads"] else f"{row['heads']}/{row['kvHeads']}"
    kind = row["kind"] + (" causal" if row["causal"] else "") + (f" {row['rules']}" if row.get("rules") else "")
    return [kind, row["dtype"], str(row["headDim"]), str(row["batch"]), heads, lengths]


def rate(row):
    if row is None:
        return ["", "", ""]
    if "error" in row:
        return [row["kernel"].removeprefix("cuda."), "", row["error"][:24]]
    of = f"{row['gigabytesPerSecond']:.0f} GB/s" if row["kind"] == "decode" else f"{row['teraflops']:.1f} TFLOP/s"
    return [row["kernel"].removeprefix("cuda."), f"{row['milliseconds']:.3f}", of]


def ratio(row, figure):
    """PyTorch's time over fovea's: over 1, fovea is faster."""
    if row is None or "milliseconds" not in row or "milliseconds" not in figure:
        return "-"
    return f"{figure['milliseconds'] / max(row['milliseconds'], 1e-6):.2f}"


def print_table(rows, parts=()):
    """A line per shape: of fovea's algorithms the fused one, and standard's time beside it as one more multiple."""
    shapes = {}
    for row in rows:
        shapes.setdefault((*(row[name] for name in IDENTITY), row.get("rules", "")), {})[row["algorithm"]] = row
    backends = list(dict.fromkeys(name for row in rows for name in row["torch"]))
    titles = ["shape", "dtype", "D", "batch", "heads", "length", "kernel", "ms", "rate", "x standard"]
    lines = [titles + [f"x {name}" for name in backends]]
    for found in shapes.values():
        row, standard = found.get("tiled"), found.get("standard")
        figures = next((one["torch"] for one in found.values() if one["torch"]), {})
        line = describe(row or standard) + rate(row or standard) + [ratio(row, standard or {})]
        line += [ratio(row or standard, figures.get(name, {})) for name in backends]
        if all(part in " ".join(line) for part in parts):
            lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print(rows[0]["gpu"])
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print("x: the time of fovea's standard, or of a PyTorch backend, over that of the kernel; over 1, the kernel is faster.")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print_table(json.load(file)["rows"], sys.argv[2:])
