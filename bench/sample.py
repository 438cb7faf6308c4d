# SPDX-License-Identifier: GPL-2.0-or-later
"""What one run of a job gave, and what it cost."""

MIO = 1_000_000


class Usage:
    """What a stretch of time cost.

    cpu: {kind of thread: seconds}, or None if the clock was not to be
    believed; exits: {reason: number}, calls: system calls, both None where
    they were not counted.
    """

    def __init__(self, cpu, exits=None, calls=None):
        self.cpu, self.exits, self.calls = cpu, exits, calls


class Floor:
    """What a run costs without its I/O: the start of fio, and being busy.

    The first counts for CPU time; for exits and system calls both do, since a
    timer makes a busy guest exit too.
    """

    def __init__(self, start, busy, seconds):
        self.start, self.busy, self.seconds = start, busy, seconds

    def above(self, spent, what, seconds):
        """`spent` without the floor; what: takes the same of a Usage."""
        start, busy = what(self.start), what(self.busy)
        return max(0, spent - start
                   - max(0, busy - start) * seconds / self.seconds)


class Sample:
    """result: fio's; usage, floor: of all that served; costs: counters per
    I/O that are known already, {key of a row: number}."""

    def __init__(self, result, served_by, seconds, usage, floor, costs=()):
        self.ios = result.ios()
        self.iops = result.iops()
        self.p50, self.p99, self.p999 = (
            result.percentile_us(percent) for percent in (50, 99, 99.9))
        self.served_by = served_by
        self.costs = dict(costs)
        # A run of a few I/Os says nothing of what one costs.
        if self.ios:
            self._add(usage, floor, seconds)

    def _add(self, usage, floor, seconds):
        if usage.cpu and floor.start.cpu:
            by = {kind: max(0, spent - floor.start.cpu.get(kind, 0))
                  * MIO / self.ios for kind, spent in usage.cpu.items()}
            self.costs["cpu_by"] = by
            self.costs["cpu_s_per_mio"] = sum(by.values())
        if usage.exits and floor.busy.exits:
            each = {name: floor.above(count, lambda of, n=name: of.exits[n],
                                      seconds) / self.ios
                    for name, count in usage.exits.items()}
            self.costs["exits_by"] = each
            self.costs["exits_per_io"] = sum(each.values())
        if usage.calls is not None and floor.busy.calls is not None:
            self.costs["syscalls_per_io"] = floor.above(
                usage.calls, lambda of: of.calls, seconds) / self.ios
