# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of the host's kernel around a run."""

import ctypes
import fcntl
import os
import re
import struct

from hosttrace import tracefs
from tap import Skip

SYS_PERF_EVENT_OPEN = 298               # x86-64
PERF_TYPE_TRACEPOINT = 2
# Bits of struct perf_event_attr
DISABLED, INHERIT = 1 << 0, 1 << 1
IOC_ENABLE, IOC_SET_FILTER = 0x2400, 0x40082406

# Why a guest exits, by the numbers of AMD's and Intel's manuals.  doorbell:
# memory that is a device's, or that the guest touches for the first time.
# timer: the guest's timer and the host's interrupts, and completions too.
EXITS = {
    "svm": {"doorbell": (0x400,), "halt": (0x78,), "port": (0x7b,),
            "timer": (0x60, 0x64, 0x7c)},
    "vmx": {"doorbell": (48, 49), "halt": (12,), "port": (30,),
            "timer": (1, 7, 32, 52)},
}


def interrupts(text, pattern):
    """How many interrupts of all CPUs, of names that match."""
    total = 0
    for line in text.splitlines()[1:]:
        words = line.split()
        if words and pattern.match(words[-1]):
            for word in words[1:]:
                if not word.isdigit():
                    break
                total += int(word)
    return total


def host_interrupts(pattern):
    with open("/proc/interrupts", encoding="ascii") as table:
        return interrupts(table.read(), pattern)


class Events:
    """Counts a trace event in threads, and in those that they start.

    event: "system/name"; condition: a filter on its fields.  The kernel counts
    by itself, so that nothing can be lost.  While it does, each such event on
    this machine takes a little longer.
    """

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, event, threads, condition=None):
        self.event = event
        self.fds = []
        with tracefs() as root:
            path = os.path.join(root, "events", event, "id")
            try:
                with open(path, encoding="ascii") as file:
                    number = int(file.read())
            except OSError as error:
                raise self._skip(error.strerror) from None
        attributes = struct.pack("=IIQQQQQIIQ", PERF_TYPE_TRACEPOINT, 64,
                                 number, 0, 0, 0, DISABLED | INHERIT, 0, 0, 0)
        try:
            for thread in threads:
                self._add(attributes, thread, condition)
        except BaseException:
            self.close()
            raise

    def _add(self, attributes, thread, condition):
        fd = self.libc.syscall(SYS_PERF_EVENT_OPEN, attributes, thread, -1, -1,
                               0)
        if fd < 0:
            if not os.path.exists(f"/proc/{thread}"):
                return              # an io-wq worker that has gone
            raise self._skip(os.strerror(ctypes.get_errno()))
        self.fds.append(fd)
        if condition and self.libc.ioctl(fd, IOC_SET_FILTER,
                                         condition.encode()):
            raise self._skip(os.strerror(ctypes.get_errno()))
        fcntl.ioctl(fd, IOC_ENABLE, 0)

    def _skip(self, why):
        return Skip(f"the kernel does not count {self.event} here ({why})")

    def read(self):
        return sum(struct.unpack("Q", os.read(fd, 8))[0] for fd in self.fds)

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Exits:
    """Counts by their reason the exits of a guest that runs under KVM."""

    def __init__(self, cpus):
        with open("/proc/cpuinfo", encoding="ascii") as info:
            kind = "svm" if re.search(r"^flags.* svm\b", info.read(),
                                      re.MULTILINE) else "vmx"
        self.events = {}
        try:
            for name, reasons in (EXITS[kind] | {"all": ()}).items():
                condition = " || ".join(f"exit_reason == {reason}"
                                        for reason in reasons)
                self.events[name] = Events("kvm/kvm_exit", cpus, condition)
        except BaseException:
            self.close()
            raise

    def read(self):
        found = {name: event.read() for name, event in self.events.items()}
        known = sum(found.values()) - found["all"]
        found["other"] = found.pop("all") - known
        return found

    def close(self):
        for event in self.events.values():
            event.close()


def why_not(event):
    """Why an event cannot be counted here; or None."""
    try:
        Events(event, [os.getpid()]).close()
    except Skip as reason:
        return str(reason)
    return None
