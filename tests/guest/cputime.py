# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time of the processes that serve a disk, by what their threads are for.

vcpu, iothread, qemu (its main loop and all else of it), jail, daemon, fio (on
bare metal), and of whichever process: sqpoll (the host's SQPOLL threads), io-wq
(the host's io_uring workers).  other: threads that ended in between.
"""

import os
import time

TICK = os.sysconf("SC_CLK_TCK")


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _stat(pid):
    """Fields of /proc/PID/stat from the third on, and the name."""
    name, _, rest = _read(f"/proc/{pid}/stat").partition("(")[2] \
        .rpartition(")")
    return name, rest.split()


def children(pid):
    """{process id: name} of living children."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name, fields = _stat(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found[int(entry)] = name
    return found


def threads(pid):
    return [int(task) for task in os.listdir(f"/proc/{pid}/task")]


class Process:
    """kind: of its threads, unless `special` has them: {thread id: kind}."""

    def __init__(self, pid, kind, special=None):
        self.pid, self.kind = pid, kind
        self.special = special or {}

    def _kind(self, task):
        name = _read(f"/proc/{self.pid}/task/{task}/comm")
        if name.startswith("iou-sqp"):
            return "sqpoll"
        if name.startswith("iou-wrk"):
            return "io-wq"
        return self.special.get(task, self.kind)

    def seconds_by_thread(self):
        """{(thread id, kind): seconds}"""
        found = {}
        for task in threads(self.pid):
            try:
                spent = _read(f"/proc/{self.pid}/task/{task}/schedstat")
                found[task, self._kind(task)] = int(spent.split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                pass            # an io-wq worker that has gone
        return found

    def seconds(self):
        """Of all its threads, ended ones too; in ticks."""
        fields = _stat(self.pid)[1]
        return (int(fields[11]) + int(fields[12])) / TICK


class Look:
    """The CPU time of processes so far."""

    def __init__(self, processes):
        self.when = time.monotonic()
        self.threads, self.total = {}, {}
        for process in processes:
            self.threads |= process.seconds_by_thread()
            self.total[process.pid] = process.seconds()

    def since(self, older):
        """{kind: seconds} from an older look at the same processes.

        None when a thread ran for longer than there was time: the clocks of
        an emulated machine's CPUs may be minutes apart.
        """
        found = {}
        most = (time.monotonic() - older.when) * 1.05 + 2 / TICK
        for key, seconds in self.threads.items():
            spent = seconds - older.threads.get(key, 0)
            if not 0 <= spent <= most:
                return None
            found[key[1]] = found.get(key[1], 0) + spent
        total = sum(seconds - older.total[pid]
                    for pid, seconds in self.total.items())
        # Ticks are coarse.
        lost = total - sum(found.values()) - 2 / TICK * len(self.total)
        if 0 < lost < most:
            found["other"] = lost
        return found
