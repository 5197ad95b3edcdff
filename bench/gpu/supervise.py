"""Programs that may crash, or wait for a kernel that never ends: their output line by line, with a limit on silence."""

import ctypes
import os
import queue
import signal
import subprocess
import threading


PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def end_with_parent():
    """In the program, before it starts: whoever kills this script would leave it measuring beside what comes next."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A program in a process group of its own. `lines()` ends when it does, or when it has been silent for too long."""

    def __init__(self, command, patience):
        self.patience = patience
        self.silent = False
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self.read = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.read.put(line.rstrip("\n"))
        self.read.put(None)

    def lines(self):
        while True:
            try:
                line = self.read.get(timeout=self.patience)
            except queue.Empty:
                self.silent = True
                self.kill()
                return
            if line is None:
                self.process.wait()
                return
            yield line

    def answer(self):
        """Lets a program that waits for a line go on."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; lines() says so

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            pass  # the driver has not let it go yet

    def end(self):
        """How it ended, in words; empty if all went well."""
        if self.silent:
            return f"no end within {self.patience:.0f} s"
        code = self.process.returncode
        if not code:
            return ""
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
