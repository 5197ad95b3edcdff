"""Tables of what measure.py found: fovea's times and rates, and PyTorch's times as multiples of fovea's.

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
    of = bandwidth(row) if row["kind"] == "decode" else f"{row['teraflops']:.1f} TFLOP/s"
    return [row["kernel"].removeprefix("cuda."), f"{row['milliseconds']:.3f}", of]


def bandwidth(row):
    """What a row reads and writes in a second, and its share of what copying memory does."""
    copied = row.get("copyGigabytesPerSecond")
    share = f", {100 * row['gigabytesPerSecond'] / copied:.0f} % of a copy" if copied else ""
    return f"{row['gigabytesPerSecond']:.0f} GB/s{share}"


def brief(row):
    """One row on one line."""
    name, figure = fastest(row["torch"])
    beside = f"; {name} {figure['milliseconds']:.3f}" if figure else ""
    found = f"ms, {rate(row)[2]}{beside}" if "error" not in row else row["error"]
    return " ".join([f"{row['number']}:", *describe(row), *rate(row)[:2], found])


def ratio(row, figure):
    """PyTorch's time over fovea's: over 1, fovea is faster."""
    if row is None or "milliseconds" not in row or "milliseconds" not in figure:
        return "-"
    return f"{figure['milliseconds'] / max(row['milliseconds'], 1e-6):.2f}"


def print_columns(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


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
    print(rows[0]["gpu"])
    print_columns(lines)
    print("x: the time of fovea's standard, or of a PyTorch backend, over that of the kernel; over 1, the kernel is faster.")


def fastest(figures):
    """Name and figure of PyTorch's fastest."""
    timed = {name: figure for name, figure in figures.items() if "milliseconds" in figure}
    return min(timed.items(), key=lambda entry: entry[1]["milliseconds"], default=("-", {}))


def print_rules_table(rows, known=(), parts=()):
    """A line per rule, and its times as multiples of the same shape's without, which is among `rows` or `known`."""
    without = [name for name in IDENTITY if name != "kvHeads"]
    plain = {tuple(row[name] for name in without): row for row in [*known, *rows] if not row["rules"]}
    titles = ["shape", "dtype", "D", "batch", "heads", "length", "rule", "kernel", "ms", "rate", "x plain"]
    lines = [titles + ["PyTorch", "ms", "x plain", "x fovea"]]
    for row in rows:
        other = plain.get(tuple(row[name] for name in without), {"torch": {}})
        name, figure = fastest(row["torch"])
        line = describe(row | {"rules": ""}) + [row["rules"] or "-"] + rate(row) + [ratio(other, row)]
        line += [name, f"{figure['milliseconds']:.3f}" if figure else "-", ratio(fastest(other["torch"])[1], figure)]
        line.append(ratio(row, figure))
        if all(part in " ".join(line) for part in parts):
            lines.append(line)
    print(rows[0]["gpu"])
    print_columns(lines)
    print("x plain: the time over that of the same shape without a rule, fovea's or PyTorch's; x fovea: PyTorch's over fovea's.")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = json.load(file)["rows"]
    if sys.argv[1].endswith("-rules.json"):
        print_rules_table(found, parts=sys.argv[2:])
    else:
        print_table(found, sys.argv[2:])
