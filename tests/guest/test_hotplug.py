# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: each disk that was plugged and pulled leaves something in QEMU."""

import os
import re

import jailinfo
import ring
from jail_group import FULL
from load_group import LoadGroup
from plug import Plugged
from tap import MIB
from vm import make_image

TIMES = 100 if FULL else 10
WARM_UP = 4             # times, after which QEMU has all that it keeps
# What the heap of a QEMU at work may grow by, whatever is plugged
HEAP = 2 * MIB


def resident(pid):
    """Bytes of a process in memory, without guest RAM and translated code.

    Both grow with what the guest does, and not with what QEMU keeps.
    """
    total, counted = 0, True
    with open(f"/proc/{pid}/smaps", encoding="utf-8",
              errors="replace") as smaps:
        for line in smaps:
            head = re.match(r"[0-9a-f]+-[0-9a-f]+ (....) ", line)
            if head:
                counted = head[1] != "rwxp" and "memfd:" not in line
            elif counted and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
    return total


class Footprint:
    """What a QEMU has of its host."""

    def __init__(self, vm):
        pid = vm.process.pid
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))
        self.threads = len(os.listdir(f"/proc/{pid}/task"))
        self.jails = len(jailinfo.children(pid))
        self.nodes = len(vm.qmp("query-named-block-nodes"))
        self.resident = resident(pid)

    def counts(self):
        return {"fds": self.fds, "threads": self.threads, "jails": self.jails,
                "nodes": self.nodes}

    def __str__(self):
        return f"{self.counts()}, {self.resident >> 10} KiB"


class ManyTimes(LoadGroup):
    """A disk comes and goes beside one that stays, both under load."""

    def once(self, image, polled):
        disk = Plugged(self, "extra", image)
        disk.put()
        disk.load(polled)
        disk.pull(loaded=True)

    def footprint(self):
        """Once what is going away has gone."""
        pid = self.vm.process.pid
        jails = 1 if self.config.isolation == "process" else 0
        self.wait_until(lambda: len(jailinfo.children(pid)) == jails,
                        f"QEMU has {jails} jails")
        return Footprint(self.vm)

    def plug_and_pull(self, times):
        image = make_image(f"{self.directory}-extra.img", 32 * MIB)
        for number in range(times):
            self.once(image, polled=bool(number % 2))

    def footprint_like(self, least):
        """The same, when workers of QEMU's thread pool have gone, too."""
        try:
            self.wait_until(lambda: self.footprint().counts() ==
                            least.counts(), "as before", seconds=120)
        except AssertionError:
            pass                # the caller says what is left
        return self.footprint()

    def test_many_times(self):
        """device_add and device_del under load, time and again: no leak"""
        self.need_ring()
        self.start_load(polled=False)
        self.plug_and_pull(WARM_UP)
        before = self.footprint()
        self.plug_and_pull(TIMES)
        after = self.footprint_like(before)
        print(f"# hotplug: {TIMES} times, before {before}, after {after}")
        left = {what: (before.counts()[what], count)
                for what, count in after.counts().items()
                if count > before.counts()[what]}
        assert not left, f"{TIMES} times have left (before, after): {left}"
        grown = after.resident - before.resident
        assert grown < HEAP, f"QEMU has grown by {grown >> 10} KiB"
        self.finish_load()
        ring.wait_state(self.vm, "ring")


GROUPS = {"hotplug-many": ManyTimes}
