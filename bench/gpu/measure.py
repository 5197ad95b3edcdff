"""Measures fovea's CUDA kernels and PyTorch's attention in turns, shape by shape, in one run.

    measure.py path/to/fovea_cuda_bench [--rules] [--quick] [--continue] [--seconds n] [--tokens n] [--samples n]
               [--results folder]

fovea_cuda_bench decides the shapes, those that say most first, and prints one JSON object for each measurement; before it
goes on, PyTorch measures the same shape. Without torch, fovea is measured alone. There are two sets: shapes without rules,
then those with one rule each (--rules: these alone).

Every figure is written to results/DATE-GPU.json, or DATE-GPU-rules.json, as it comes. A measurement that fails or does not
end is one with an "error", and the next is made by another process.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from supervise import Program
from table import IDENTITY, brief, print_rules_table, print_table
from torch_attention import TorchAttention

SHAPE = (*IDENTITY, "rules", "window", "keyLengths")


class Results:
    """Rows by number, in a file that always holds all of them."""

    def __init__(self, folder, gpu, about, suffix):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
        self.path = pathlib.Path(folder) / f"{now.date()}-{name}{suffix}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.about = {"date": now.isoformat(timespec="seconds"), "gpu": gpu} | about
        self.rows = {}
        if self.path.exists():  # of an earlier run today: what is not measured again stays
            before = json.loads(self.path.read_text())
            if before.get("tokens") == self.about["tokens"]:
                self.rows = {row["number"]: row for row in before["rows"]}

    def add(self, row):
        self.rows[row["number"]] = row
        ordered = [self.rows[number] for number in sorted(self.rows)]
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.about | {"rows": ordered}, indent=1) + "\n")
        os.replace(partial, self.path)


def measure(arguments, rules, first, torch, until):
    """Yields a row per measurement of fovea: what it printed, and under "torch" PyTorch's figures of the same shape."""
    command = [arguments.bench, "--turns", "--tokens", str(arguments.tokens), "--samples", str(arguments.samples)]
    command += ["--quick"] * arguments.quick + ["--rules"] * rules
    measured_shape, figures = None, {}
    while True:
        program = Program([*command, "--from", str(first)], arguments.patience)
        begun, told = None, False
        for line in program.lines():
            if not line.startswith("{"):
                print(line, flush=True)
                continue
            row = json.loads(line)
            if row.pop("begin", False):
                begun = row
                continue
            shape = {name: row[name] for name in SHAPE}
            if shape != measured_shape:  # several algorithms of fovea share one shape
                measured_shape, figures = shape, torch.measure(shape) if torch else {}
            first, begun, told = row["number"] + 1, None, True
            yield row | {"torch": figures}
            if time.monotonic() > until:
                program.kill()
                print(f"stopped after {arguments.seconds:g} s with measurement {row['number']}: --continue does what is left", flush=True)
                return
            program.answer()
        if not program.end():
            return
        if begun is None and not (told and program.process.returncode == 3):  # 3: it has told of the fault itself
            raise RuntimeError(f"fovea_cuda_bench {program.end()}")
        if begun:
            first = begun["number"] + 1
            yield begun | {"error": program.end(), "torch": {}}


def measure_set(arguments, rules, gpu, torch, until):
    """Measures one of the two sets and prints it. Returns what ended it too early."""
    about = {"tokens": arguments.tokens, "torch": torch.version if torch else None}
    results = Results(arguments.results, gpu, about, "-rules" if rules else "")
    measured, failure = [], None
    first = max(results.rows, default=-1) + 1 if arguments.goes_on else 0
    try:
        for row in measure(arguments, rules, first, torch, until):
            results.add(row)
            measured.append(row)
            print(brief(row), flush=True)  # whoever ends this before its table has seen what there is
    except (RuntimeError, KeyboardInterrupt) as error:
        failure = error  # what was measured before still counts
    if measured:
        print()
        if rules:
            print_rules_table(measured, results.rows.values())
        else:
            print_table(measured)
        print(f"{results.path}: {len(results.rows)} figures, {len(measured)} of them new", flush=True)
    return failure


def main():
    parser = argparse.ArgumentParser(description="fovea's CUDA kernels beside PyTorch's attention")
    parser.add_argument("bench", help="fovea_cuda_bench")
    parser.add_argument("--rules", action="store_true", help="the shapes with rules, alone")
    parser.add_argument("--quick", action="store_true", help="the shapes that say most, alone")
    parser.add_argument("--continue", dest="goes_on", action="store_true", help="after the last that today's files have")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no measurement after this time")
    parser.add_argument("--patience", type=float, default=60, help="seconds for one measurement")
    parser.add_argument("--compile-seconds", type=float, default=45, help="for all that torch compiles")
    parser.add_argument("--tokens", type=int, default=16384, help="batch x length")
    parser.add_argument("--samples", type=int, default=15, help="timed runs of each shape")
    parser.add_argument("--results", default="bench/results", help="folder for the JSON files")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    gpu = subprocess.run([arguments.bench, "--name"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if gpu.startswith("no CUDA"):
        print(gpu)
        return
    torch = TorchAttention.open(arguments.samples, arguments.compile_seconds)
    failure = None if arguments.rules else measure_set(arguments, False, gpu, torch, until)
    if not arguments.rules and time.monotonic() > until:
        print("none with rules: --continue goes on to them, and --rules measures them alone")
    elif not failure:
        failure = measure_set(arguments, True, gpu, torch, until)
    if failure:
        sys.exit(str(failure) or "stopped")


if __name__ == "__main__":
    main()
