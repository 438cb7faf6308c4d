# SPDX-License-Identifier: GPL-2.0-or-later
"""Which system calls the threads of a process make in a stretch of time."""

import collections
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from hosttrace import Trace
from tap import Skip

# x86-64; those that QEMU makes in its loops, and whether the first argument
# is a file descriptor.
NAMES = {0: ("read", True), 1: ("write", True), 3: ("close", True),
         7: ("poll", False), 16: ("ioctl", True), 17: ("pread64", True),
         18: ("pwrite64", True), 19: ("readv", True), 20: ("writev", True),
         28: ("madvise", False), 46: ("sendmsg", True), 47: ("recvmsg", True),
         56: ("clone", False), 75: ("fdatasync", True), 202: ("futex", False),
         208: ("io_getevents", False), 209: ("io_submit", False),
         232: ("epoll_wait", True), 271: ("ppoll", False),
         281: ("epoll_pwait", True), 285: ("fallocate", True),
         295: ("preadv", True), 296: ("pwritev", True),
         327: ("preadv2", True), 328: ("pwritev2", True),
         426: ("io_uring_enter", True), 435: ("clone3", False)}
ON_FD = {name for name, on_fd in NAMES.values() if on_fd}

TRACED = re.compile(r"NR (-?\d+) \(([0-9a-f]+)")
STRACED = re.compile(r"^(\d+) +(\w+)\(([^,)]*)")

Call = collections.namedtuple("Call", "thread name fd")


def threads(pid):
    return [int(task) for task in os.listdir(f"/proc/{pid}/task")]


def _parse_traced(thread, text):
    match = TRACED.match(text)
    number = int(match[1])
    name, on_fd = NAMES.get(number, (f"syscall {number}", False))
    return Call(thread, name, int(match[2], 16) if on_fd else None)


def record(pid, seconds):
    """The calls of all threads of `pid`, new ones included, for so long."""
    try:
        with Trace("raw_syscalls/sys_enter", pids=threads(pid)) as trace:
            time.sleep(seconds)
            return [_parse_traced(*entry) for entry in trace.read()]
    except Skip as no_tracefs:
        if not shutil.which("strace"):
            raise Skip(f"{no_tracefs}, and there is no strace") from None
        return record_with_strace(pid, seconds)


def record_with_strace(pid, seconds):
    """As record(), slower: every call stops its thread twice."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as output:
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", output.name, "-p", str(pid)],
            stderr=subprocess.PIPE, text=True)
        # It says "Process N attached" once it is there.
        if "attached" not in tracer.stderr.readline():
            tracer.wait()
            raise Skip("strace may not attach to QEMU")
        time.sleep(seconds)
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()
        tracer.wait()
        calls = []
        for line in output:
            match = STRACED.match(line)
            if match:
                on_fd = match[2] in ON_FD and match[3].isdigit()
                calls.append(Call(int(match[1]), match[2],
                                  int(match[3]) if on_fd else None))
        return calls
