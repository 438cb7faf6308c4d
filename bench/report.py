# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, spread and ratios of the samples: as a table and as JSON."""

import json
import statistics

SUBJECT = "passthrough"
# Digits after the point of what is counted for each I/O.
DIGITS = 4


def short(microseconds):
    """Four characters at most: 7, 850, 12k."""
    return f"{microseconds:.0f}" if microseconds < 9999.5 else \
        f"{microseconds / 1000:.0f}k"


def _median(values):
    """Of numbers, or of dictionaries of numbers, key by key."""
    if not isinstance(values[0], dict):
        return round(statistics.median(values), DIGITS)
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: round(statistics.median(value.get(key, 0)
                                         for value in values), DIGITS)
            for key in keys}


class Row:
    """All samples of one contender in one point of the matrix.

    counted: a sample of a further run that counted exits and system calls, or
    None.
    """

    def __init__(self, contender, job, samples, counted=None):
        self.config = contender.name
        self.wanted = contender.serves
        self.job = job
        self.runs = [sample.iops for sample in samples]
        self.iops = statistics.median(self.runs)
        self.p50, self.p99, self.p999 = (
            statistics.median(getattr(sample, name) for sample in samples)
            for name in ("p50", "p99", "p999"))
        ways = sorted({sample.served_by for sample in samples})
        self.served_by = " + ".join(ways)
        self.costs = {}
        for key in dict.fromkeys(key for sample in samples
                                 for key in sample.costs):
            self.costs[key] = _median([sample.costs[key] for sample in samples
                                       if key in sample.costs])
        for key in ("exits_per_io", "exits_by", "syscalls_per_io"):
            if counted and key in counted.costs:
                self.costs[key] = _median([counted.costs[key]])

    def spread(self):
        """Half of what lies between the slowest and the fastest run."""
        return (max(self.runs) - min(self.runs)) / 2 / self.iops \
            if self.iops else 0

    def as_dict(self):
        return {"config": self.config, "rw": self.job.rw, "bs": self.job.bs,
                "qd": self.job.qd, "jobs": self.job.jobs,
                "queues": self.job.queues,
                "polled": self.job.polled, "iops": round(self.iops, 1),
                "iops_runs": [round(run, 1) for run in self.runs],
                "p50_us": round(self.p50, 2), "p99_us": round(self.p99, 2),
                "p999_us": round(self.p999, 2),
                "served_by": self.served_by, **self.costs}


def write_json(path, rows):
    with open(path, "w", encoding="utf-8") as out:
        out.write("[\n")
        out.write(",\n".join(json.dumps(row.as_dict()) for row in rows))
        out.write("\n]\n")


class Table:
    def __init__(self, rows, contenders):
        self.rows = {(row.config, row.job): row for row in rows}
        self.names = [contender.name for contender in contenders]
        self.jobs = list(dict.fromkeys(row.job for row in rows))

    def ratio(self, other, job):
        ours = self.rows.get((SUBJECT, job))
        theirs = self.rows.get((other, job))
        return ours.iops / theirs.iops if ours and theirs and theirs.iops \
            else None

    def blocks(self):
        """Jobs that differ in their depth only."""
        found = {}
        for job in sorted(self.jobs, key=lambda job: (
                job.queues, job.jobs, not job.polled)):
            key = (job.rw, job.bs, job.jobs, job.queues, job.polled)
            found.setdefault(key, []).append(job)
        return [sorted(jobs, key=lambda job: job.qd)
                for jobs in found.values()]

    def text(self):
        return "\n".join(line for jobs in self.blocks()
                         for line in self._block(jobs))

    @staticmethod
    def _line(first, cells, width=22):
        return f"{first:<38}" + "".join(f"{cell:>{width}}" for cell in cells)

    def _block(self, jobs):
        names = [name for name in self.names
                 if any((name, job) in self.rows for job in jobs)]
        title = str(jobs[0]).replace(f" QD {jobs[0].qd}", ",")
        lines = [self._line(title, [f"QD {job.qd}" for job in jobs]),
                 "kIOPS, spread, p50/p99 us"]
        for name in names:
            lines.append(self._line("  " + name, [
                self._cell(self.rows.get((name, job))) for job in jobs]))
        lines.append("per I/O: us of host CPU, exits, system calls of QEMU "
                     "and its helpers; who uses how many CPUs")
        for name in names:
            lines.append(self._line("  " + name, [
                self._costs(self.rows.get((name, job))) for job in jobs])
                + "  " + self._burners(self.rows.get((name, jobs[-1]))))
        for name in names:
            ratios = [self.ratio(name, job) for job in jobs]
            if name != SUBJECT and any(ratios):
                lines.append(self._line(
                    f"  {SUBJECT} / {name}",
                    ["-" if ratio is None else f"{ratio:.2f}"
                     for ratio in ratios]))
        return lines + [""]

    @staticmethod
    def _cell(row):
        return "-" if row is None else \
            (f"{row.iops / 1000:.1f} ±{row.spread():3.0%} "
             f"{short(row.p50)}/{short(row.p99)}")

    @staticmethod
    def _costs(row):
        if row is None:
            return "-"
        return ", ".join(
            f"{row.costs[key]:.{digits}f}" if key in row.costs else "-"
            for key, digits in (("cpu_s_per_mio", 1), ("exits_per_io", 2),
                                ("syscalls_per_io", 2)))

    @staticmethod
    def _burners(row):
        """Of the deepest queue, the largest first: "vcpu 1.0, sqpoll 0.9"."""
        if row is None or "cpu_by" not in row.costs:
            return ""
        used = {kind: seconds * row.iops / 1e6
                for kind, seconds in row.costs["cpu_by"].items()}
        return ", ".join(f"{kind} {cpus:.1f}" for kind, cpus in sorted(
            used.items(), key=lambda item: -item[1]) if cpus >= 0.05)

    def fallbacks(self):
        """Rows that were not served the way that their name says."""
        return [f"{row.config} {row.job}: served by {row.served_by}"
                for row in self.rows.values() if row.served_by != row.wanted]
