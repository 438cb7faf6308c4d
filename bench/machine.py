# SPDX-License-Identifier: GPL-2.0-or-later
"""On what it was measured."""

import os
import re
import subprocess
import time


def _first_line(*command):
    try:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return "missing"
    return done.stdout.partition("\n")[0].strip()


def _cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as table:
        text = table.read()
    model = re.search(r"^model name\s*: (.*)", text, re.MULTILINE)
    inside = re.search(r"^flags.* hypervisor\b", text, re.MULTILINE)
    return (model[1] if model else "unknown") + \
        (" (a virtual machine)" if inside else "")


def _memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages >> 20} MiB"


def describe(setting, seconds):
    """A dictionary of sentences or less, for people."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "kernel": os.uname().release,
        "CPU": _cpu(),
        "CPUs": os.cpu_count(),
        "memory": _memory(),
        "accel": setting.config.accel,
        "QEMU": _first_line(setting.config.qemu, "--version"),
        "fio": _first_line("fio", "--version"),
        "disk": str(setting.disk),
        "disk can poll": setting.disk.why_no_polling() or "yes",
        "guests": f"{setting.memory} of memory, a vCPU for each queue",
        "arrangement": str(setting.arrangement),
        "seconds of each run": seconds,
        "load before": round(os.getloadavg()[0], 1),
    }
