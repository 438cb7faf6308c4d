# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes that own rings, and the threads of theirs that serve them."""

import os
import re
import select

from refusal import Refusal

JAIL = "qemu-ring-jail"
# A jail's ring of queue 0 has this number, the others follow.
JAIL_FD_RING0 = 64
RING = "anon_inode:[io_uring]"
SQPOLL = "iou-sqp-"
WORKER = "iou-wrk-"
# The kernel tells a ring's counters only while nobody holds its lock.
TRIES = 8
# What is looked for stands before lists that can be long.
FDINFO_BYTES = 1024


def read(*path):
    """A file below /proc; empty if it has gone."""
    try:
        with open(os.path.join("/proc", *map(str, path)), encoding="utf-8",
                  errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def listing(*path):
    try:
        return os.listdir(os.path.join("/proc", *map(str, path)))
    except (FileNotFoundError, ProcessLookupError):
        return []


def name_of(pid):
    return read(pid, "comm").strip()


def jails_of(qemu):
    """Children of a process that are jails."""
    found = []
    for thread in listing(qemu, "task"):
        for child in read(qemu, "task", thread, "children").split():
            if name_of(child) == JAIL:
                found.append(int(child))
    return sorted(found)


def ring_name(fd):
    """Of a jail's ring."""
    return f"q{fd - JAIL_FD_RING0}"


class Ring:
    """A ring as the owner's /proc/PID/fdinfo shows it."""

    def __init__(self, fd, name):
        self.fd = fd
        self.name = name
        self.thread = None          # SQPOLL thread
        self.consumed = None        # SQEs, modulo 2^32


class Owner:
    """A process whose rings are watched; label: how its rings are called."""

    def __init__(self, pid, label):
        self.pid = pid
        self.label = label
        self.is_jail = name_of(pid) == JAIL
        self._pidfd = os.pidfd_open(pid)
        self._sockets = ()

    def close(self):
        os.close(self._pidfd)

    def fileno(self):
        """To be polled: readable when the process has ended."""
        return self._pidfd

    def ended(self):
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def threads(self):
        """{thread id: name} of the rings' SQPOLL threads."""
        found = {}
        for thread in listing(self.pid, "task"):
            name = read(self.pid, "task", thread, "comm").strip()
            if name.startswith(SQPOLL):
                found[int(thread)] = name
        return found

    def rings(self):
        """{fd: Ring} of all rings that have an SQPOLL thread."""
        found = {}
        for fd in listing(self.pid, "fd"):
            try:
                if os.readlink(f"/proc/{self.pid}/fd/{fd}") != RING:
                    continue
            except (FileNotFoundError, ProcessLookupError):
                continue
            except PermissionError:
                raise Refusal(f"/proc/{self.pid}/fd is for root: use "
                              "sudo") from None
            number = int(fd)
            ring = Ring(number, ring_name(number) if self.is_jail
                        else f"fd{number}")
            self.update(ring)
            if ring.thread != -1:
                found[number] = ring
        return found

    def update(self, ring):
        """Ask the kernel for a ring's thread and counter; whether it said."""
        for _ in range(TRIES):
            text = read(self.pid, "fdinfo", ring.fd)[:FDINFO_BYTES]
            consumed = re.search(r"^CachedSqHead:\s*(\d+)", text, re.MULTILINE)
            thread = re.search(r"^SqThread:\s*(-?\d+)", text, re.MULTILINE)
            if consumed and thread:
                ring.consumed = int(consumed[1])
                ring.thread = int(thread[1])
                return True
            if not text:
                break
        ring.consumed = None
        return False
