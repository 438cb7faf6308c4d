# SPDX-License-Identifier: GPL-2.0-or-later
"""tools/ring-watch at work, and its lines taken apart."""

import collections
import os
import re
import signal
import subprocess
import sys
import threading

from hosttrace import tracefs
from tap import Skip
from vm import TOP

TOOL = os.path.join(TOP, "tools", "ring-watch")
NAME = "qemu-ring-watch"
SECONDS = 180

Line = collections.namedtuple("Line", "ring opcode tag result error rest")
LINE = re.compile(r"[0-9:.]{15} (\S+) +(\S+) +tag (\S+) (.*)")
ROW = re.compile(r"(?!total )\S+ +\d+ +\d+ ")
MISSING = re.compile(r"(\d+) requests(?:$| were of rings that ended)")
RESULT = re.compile(r"= (-?\d+)(?: ([A-Z]\w+))?")


def need():
    """The host has what it takes."""
    with tracefs() as root:
        if not os.path.isdir(os.path.join(root, "events", "io_uring")):
            raise Skip("the host's kernel has no io_uring tracepoints")


def refusal(*arguments, wrap=()):
    """What it says when it does not start."""
    run = subprocess.run([*wrap, sys.executable, "-B", TOOL, *arguments],
                         capture_output=True, text=True, timeout=SECONDS,
                         check=False)
    assert run.returncode and not run.stdout, run
    return run.stderr.strip()


class RingWatch:
    """Watches while it is entered; then there are lines, notes and table."""

    def __init__(self, *arguments):
        need()
        self._process = subprocess.Popen(
            [sys.executable, "-B", TOOL, *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self._changed = threading.Condition()
        self._ended = False
        self.notes, self.lines, self.table = [], [], {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # By then the kernel records.
        self.await_note("")

    def _read(self):
        for line in self._process.stdout:
            with self._changed:
                self._take(line.rstrip("\n"))
                self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def await_note(self, text):
        """Until it says so."""
        def said():
            return any(text in note for note in self.notes)
        with self._changed:
            self._changed.wait_for(lambda: said() or self._ended, SECONDS)
            assert said(), f"it did not say '{text}': {self.notes}"

    def await_lines(self, count):
        """Until it has shown so many requests."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self.lines) >= count or self._ended, SECONDS)
            assert len(self.lines) >= count, (len(self.lines), count)

    def signal(self, number):
        self._process.send_signal(number)

    def finish(self):
        """Await the end that it comes to by itself."""
        self._reader.join(SECONDS)
        assert self._ended, f"it goes on; it has said {self.notes}"
        self._process.stdout.close()
        assert self._process.wait() == 0, self.notes

    def instances(self):
        """What there is of it in tracefs."""
        with tracefs() as root:
            return [name for name in
                    os.listdir(os.path.join(root, "instances"))
                    if name.startswith(f"{NAME}-{self._process.pid}")]

    def kill(self):
        self._process.kill()
        self._reader.join()
        self._process.stdout.close()
        self._process.wait()

    def _take(self, line):
        match = LINE.match(line)
        if match:
            result = RESULT.search(match[4])
            self.lines.append(Line(
                match[1], match[2], int(match[3], 0),
                int(result[1]) if result else None, result and result[2],
                match[4]))
        elif ROW.match(line):
            opcode, calls, errors = line.split()[:3]
            self.table[opcode] = int(calls), int(errors)
        elif not line.startswith(("opcode ", "total ")):
            self.notes.append(line)

    def missing(self):
        """Requests that are not shown, by what it says of that."""
        return sum(int(number) for note in self.notes
                   for number in MISSING.findall(note))

    def count(self, field, since=0):
        return collections.Counter(getattr(line, field)
                                   for line in self.lines[since:])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.kill()
        elif self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self.finish()
