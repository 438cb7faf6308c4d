# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the threads of a QEMU are that does not answer, and its jails'.

As far as this user may see it: a thread that waits for the kernel has its
function there (wchan), and for root the stack below it.
"""

import glob
import os
import subprocess

KERNEL_LINES = 8
STACK_DEPTH = 6


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _family(pid):
    """A process and its children: any of its threads may have made one."""
    found = [int(child) for path in glob.glob(f"/proc/{pid}/task/*/children")
             for child in _read(path).split()]
    return [pid] + [one for child in found for one in _family(child)]


def _stack(task):
    functions = [line.split()[-1].partition("+")[0]
                 for line in _read(task + "/stack").splitlines()]
    return " < ".join(functions[:STACK_DEPTH]) or _read(task + "/wchan")


def threads(pid):
    """A line for each thread of a process and of its children."""
    for one in _family(pid):
        for task in sorted(glob.glob(f"/proc/{one}/task/*")):
            state = _read(task + "/stat").rpartition(")")[2].split()[:1]
            yield (f"{one} {_read(task + '/comm')}: {''.join(state)} "
                   f"{_stack(task)}")


def kernel():
    """The last lines of this machine's kernel log, if they can be had."""
    try:
        done = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL, errors="replace",
                              check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()[-KERNEL_LINES:]


def report(pid):
    """Lines for who has to find out what went wrong."""
    yield "threads of QEMU and its jails (state, what they wait for):"
    for line in threads(pid):
        yield "  " + line
    log = kernel()
    if log and os.geteuid() == 0:
        yield "the host's kernel:"
        for line in log:
            yield "  " + line
