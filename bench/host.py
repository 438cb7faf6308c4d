# SPDX-License-Identifier: GPL-2.0-or-later
"""fio on the host, on the same disk: no virtual machine at all."""

import os
import select
import subprocess
import tempfile

import fio
from cputime import Process
from matrix import idle_command
from sample import Floor, Sample, Usage

import counters

# How often the threads of a running fio are looked at; it takes their CPU
# times with it when it ends.
LOOK_SECONDS = 0.2


class Host:
    serves = "host"
    guest = False
    chances = 1

    def __init__(self, name, disk, arrangement, sqpoll=False, iopoll=False):
        self.name = name
        self.disk = disk
        self.arrangement = arrangement
        self.sqpoll, self.iopoll = sqpoll, iopoll
        self.floor = None

    def why_not(self):
        """Why it cannot be had here; or None."""
        return self.disk.why_no_polling() if self.iopoll else None

    def takes(self, job):
        # With SQPOLL fio looks for completions by itself; with neither, it
        # sleeps in the kernel until there are some.
        return job.polled == (self.sqpoll or self.iopoll)

    def start(self, queues):
        pass

    def calibrate(self, seconds, counting):
        del counting
        start = Usage(self._fio(idle_command(0))[1])
        self.floor = Floor(start, start, seconds)

    def options(self):
        options = {"direct": int(self.disk.direct)}
        if self.sqpoll:
            options["sqthread_poll"] = 1
            if self.disk.why_no_polling() is None:
                options["hipri"] = 1
        if self.iopoll:
            options["hipri"] = 1
        return options | self.arrangement.fio_options(self.sqpoll)

    def note(self):
        options = self.options()
        words = [word for word in ("sqthread_poll", "hipri") if word in options]
        return "fio with " + " and ".join(words) if words else \
            "fio sleeps until completions"

    def commands(self):
        """How to do the same by hand."""
        return []

    def command(self, job, seconds):
        return job.command(self.disk.path, self.disk.size, seconds,
                           **self.options())

    def _fio(self, command):
        """Its output, and its CPU time by kinds."""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(command.split(), stdout=output,
                                       stderr=subprocess.STDOUT)
            watched = Process(process.pid, "fio")
            end = os.pidfd_open(process.pid)
            poll = select.poll()
            poll.register(end, select.POLLIN)
            last = {}
            while not poll.poll(LOOK_SECONDS * 1000):
                last = watched.seconds_by_thread() or last
            os.close(end)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read()
        if process.returncode:
            raise RuntimeError("fio on the host failed: " + fio.complaint(text))
        return text, self._split(usage.ru_utime + usage.ru_stime, last)

    @staticmethod
    def _split(total, last):
        """The exact total, in proportions of the last look."""
        by = {"fio": 0}
        for (_, kind), seconds in last.items():
            by[kind] = by.get(kind, 0) + seconds
        seen = sum(by.values())
        if not seen:
            return {"fio": total}
        return {kind: total * seconds / seen for kind, seconds in by.items()}

    def run(self, job, seconds, counting=False):
        del counting
        pattern = self.disk.interrupts()
        before = counters.host_interrupts(pattern) if pattern else 0
        output, cpu = self._fio(self.command(job, seconds))
        result = fio.Result(output)
        costs = {}
        if pattern:
            costs["host_irqs_per_io"] = (counters.host_interrupts(pattern)
                                         - before) / result.ios()
        return Sample(result, self.serves, seconds, Usage(cpu), self.floor,
                      costs)

    def close(self):
        pass
