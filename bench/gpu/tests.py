"""Runs fovea_cuda_test so that no test costs the others their turn.

    tests.py path/to/fovea_cuda_test [--patience seconds] [--seconds n] [--log file] [argument of it...]

A test that crashes, loses the device or does not end has failed, and the rest goes on in another process.
"""

import argparse
import re
import sys
import time

from supervise import Program


def run(arguments, log):
    """Runs all; returns the names of those that passed and of those that failed."""
    until = time.monotonic() + arguments.seconds
    passed, failed, after = [], [], None
    while True:
        command = [arguments.program, "--progress", *(["--after", after] if after is not None else []), *arguments.rest]
        program = Program(command, arguments.patience)
        running, ended, said = None, False, []

        def settle():
            if running is None:
                return
            (failed if any(line.startswith("FAILED") for line in said) else passed).append(running)

        for line in program.lines():
            log.write(line + "\n")
            log.flush()
            if line.startswith("begin "):
                settle()
                running, said = line.removeprefix("begin "), []
            elif line == "end":
                settle()
                running, ended = None, True
            elif not re.fullmatch(r"\d+ passed, \d+ failed, .*", line):
                said.append(line)
                if len(failed) < arguments.shown:
                    print(line[:300], flush=True)
            if time.monotonic() > until:
                program.kill()
                print(f"stopped after {arguments.seconds:.0f} s, at {running}", flush=True)
                return passed, failed
        if ended:
            return passed, failed
        if running is None:
            sys.exit(f"{arguments.program} {program.end()}")
        if not any(line.startswith("FAILED") for line in said):
            print(f"FAILED {running}\n  {program.end()}", flush=True)
        failed.append(running)
        after = running


def main():
    parser = argparse.ArgumentParser(description="fovea_cuda_test, test by test")
    parser.add_argument("program")
    parser.add_argument("--patience", type=float, default=60, help="seconds for one test")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all of them")
    parser.add_argument("--log", default="/dev/null", help="file for all output")
    parser.add_argument("--shown", type=int, default=40, help="failures whose messages are printed")
    arguments, arguments.rest = parser.parse_known_args()
    with open(arguments.log, "w", encoding="utf-8") as log:
        passed, failed = run(arguments, log)
    print(f"{len(passed)} passed, {len(failed)} failed")
    if failed:
        print("failed: " + "; ".join(failed[:60]))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
