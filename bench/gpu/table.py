"""One table of what measure.py found: fovea's times and rates, and PyTorch's times as multiples of fovea's."""


def tokens(count):
    return f"{count // 1024}k" if count >= 1024 and count % 1024 == 0 else str(count)


def describe(row):
    queries, keys = row["queryLength"], row["keyLength"]
    lengths = tokens(keys) if queries == keys else f"{queries} x {tokens(keys)}"
    heads = str(row["heads"]) if row["heads"] == row["kvHeads"] else f"{row['heads']}/{row['kvHeads']}"
    kind = row["kind"] + (" causal" if row["causal"] else "")
    return [kind, row["dtype"], str(row["headDim"]), str(row["batch"]), heads, lengths]


def rate(row):
    if "error" in row:
        return [row["algorithm"], "", row["error"]]
    of = f"{row['gigabytesPerSecond']:.0f} GB/s" if row["kind"] == "decode" else f"{row['teraflops']:.1f} TFLOP/s"
    return [row["algorithm"], f"{row['milliseconds']:.3f}", of]


def ratio(row, figure):
    """PyTorch's time over fovea's: over 1, fovea is faster."""
    if "milliseconds" not in row or "milliseconds" not in figure:
        return "-"
    return f"{figure['milliseconds'] / max(row['milliseconds'], 1e-6):.2f}"


def print_table(rows):
    backends = list(dict.fromkeys(name for row in rows for name in row["torch"]))
    titles = ["shape", "dtype", "D", "batch", "heads", "length", "fovea", "ms", "rate"]
    lines = [titles + [f"x {name}" for name in backends]]
    for row in rows:
        lines.append(describe(row) + rate(row) + [ratio(row, row["torch"].get(name, {})) for name in backends])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print(rows[0]["gpu"])
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    if backends:
        print("x: a PyTorch backend's time over fovea's; over 1, fovea is faster. -: one of them does not compute it.")
