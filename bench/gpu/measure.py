"""Measures fovea's CUDA kernels and PyTorch's attention in turns, shape by shape, in one run.

    measure.py path/to/fovea_cuda_bench [--tokens n] [--samples n] [--results folder]

fovea_cuda_bench decides the shapes and prints one JSON object for each measurement; before it goes on, PyTorch measures
the same shape. Without torch, fovea is measured alone.
"""

import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys

from table import print_table
from torch_attention import TorchAttention

SHAPE = ("kind", "dtype", "batch", "heads", "kvHeads", "queryLength", "keyLength", "headDim", "causal")


def measure(command, torch):
    """Yields a row per measurement of fovea: what it printed, and under "torch" PyTorch's figures of the same shape."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        measured_shape, figures = None, {}
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="")
                continue
            row = json.loads(line)
            shape = {name: row[name] for name in SHAPE}
            if shape != measured_shape:  # several algorithms of fovea share one shape
                measured_shape, figures = shape, torch.measure(shape) if torch else {}
            yield row | {"torch": figures}
            process.stdin.write("\n")
            process.stdin.flush()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)


def write_results(folder, rows, torch):
    now = datetime.datetime.now(datetime.timezone.utc)
    gpu = rows[0]["gpu"]
    name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    path = pathlib.Path(folder) / f"{now.date()}-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"date": now.isoformat(timespec="seconds"), "gpu": gpu, "torch": torch.version if torch else None}
    path.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description="fovea's CUDA kernels beside PyTorch's attention")
    parser.add_argument("bench", help="fovea_cuda_bench")
    parser.add_argument("--tokens", type=int, default=16384, help="batch x length")
    parser.add_argument("--samples", type=int, default=15, help="timed runs of each shape")
    parser.add_argument("--results", default="bench/results", help="folder for the JSON file")
    arguments = parser.parse_args()
    torch = TorchAttention.open(arguments.samples)
    command = [arguments.bench, "--turns", "--tokens", str(arguments.tokens), "--samples", str(arguments.samples)]
    rows, failure = [], None
    try:
        for row in measure(command, torch):
            rows.append(row)
            if sys.stderr.isatty():
                print(f"\r{len(rows)} measured ", end="", file=sys.stderr, flush=True)
    except (subprocess.CalledProcessError, BrokenPipeError) as error:
        failure = error  # what was measured before still counts
    if rows:
        print()
        print_table(rows)
        write_results(arguments.results, rows, torch)
    if failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
