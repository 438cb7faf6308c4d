# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host's kernel did: trace events in a private tracefs instance.

Nothing that is traced is stopped for it (as ptrace would), and other users of
tracefs are not disturbed.
"""

import contextlib
import itertools
import os
import re
import subprocess
import tempfile

from tap import Skip

PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
# "   comm-PID   [CPU] flags time: event: text"; comm may hold anything.
ENTRY = re.compile(r"^.*?-(?P<pid>\d+) +\[\d+\] .*?: (?P<event>\w+)[:(] ?"
                   r"(?P<text>.*)$")
_serial = itertools.count(1)


@contextlib.contextmanager
def tracefs():
    """Where tracefs is mounted; mounted for the time being if need be."""
    for place in PLACES:
        if os.path.isdir(os.path.join(place, "instances")):
            yield place
            return
    with tempfile.TemporaryDirectory() as place:
        mount = subprocess.run(["mount", "-t", "tracefs", "vbu", place],
                               stderr=subprocess.DEVNULL, check=False)
        if mount.returncode:
            raise Skip("tracefs of the host cannot be mounted (root is needed)")
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=False)


class Trace:
    """Records trace events while it is entered.

    event: "system/name"; condition: a filter on its fields; pids: threads to
    record, their new threads included (None: all of the machine).
    """

    def __init__(self, event, condition=None, pids=None, buffer_kib=8192):
        self.event = event
        self.condition = condition
        self.pids = pids
        self.buffer_kib = buffer_kib
        self._stack = contextlib.ExitStack()

    def _write(self, path, text):
        with open(os.path.join(self.instance, path), "w",
                  encoding="ascii") as out:
            out.write(text)

    def __enter__(self):
        root = self._stack.enter_context(tracefs())
        self.instance = os.path.join(root, "instances",
                                     f"vbu-{os.getpid()}-{next(_serial)}")
        event = os.path.join("events", self.event)
        try:
            os.mkdir(self.instance)
            self._stack.callback(os.rmdir, self.instance)
            self._write("buffer_size_kb", str(self.buffer_kib))
            # Keep the beginning: what is lost then shows as an overrun.
            self._write("options/overwrite", "0")
            if self.pids is not None:
                self._write("options/event-fork", "1")
                self._write("set_event_pid", " ".join(map(str, self.pids)))
            if self.condition:
                self._write(os.path.join(event, "filter"), self.condition)
            self._write(os.path.join(event, "enable"), "1")
        except OSError as error:
            self._stack.close()
            raise Skip(f"the host's tracefs does not trace {self.event}: "
                       f"{error.strerror}") from None
        self._stack.callback(self._write, os.path.join(event, "enable"), "0")
        return self

    def __exit__(self, *_):
        self._stack.close()

    def stop(self):
        self._write("tracing_on", "0")

    def read(self):
        """Ends the recording; a list of (thread id, text of the event)."""
        self.stop()
        per_cpu = os.path.join(self.instance, "per_cpu")
        for cpu in os.listdir(per_cpu):
            with open(os.path.join(per_cpu, cpu, "stats"),
                      encoding="ascii") as stats:
                lost = dict(line.split(":", 1) for line in stats if ":" in line)
            for kind in ("overrun", "dropped events"):
                assert int(lost.get(kind, "0")) == 0, \
                    f"{lost[kind].strip()} {self.event} events were lost"
        found = []
        with open(os.path.join(self.instance, "trace"), encoding="utf-8",
                  errors="replace") as table:
            for line in table:
                match = ENTRY.match(line)
                if match:
                    found.append((int(match["pid"]), match["text"]))
        return found
