# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, spread and ratios of the samples: as a table and as JSON."""

import json
import statistics

SUBJECT = "passthrough"


def short(microseconds):
    """Four characters at most: 7, 850, 12k."""
    return f"{microseconds:.0f}" if microseconds < 9999.5 else \
        f"{microseconds / 1000:.0f}k"


class Row:
    """All samples of one contender in one point of the matrix."""

    def __init__(self, config, job, samples):
        self.config = config
        self.job = job
        self.runs = [sample.iops for sample in samples]
        self.iops = statistics.median(self.runs)
        self.p50 = statistics.median(sample.p50 for sample in samples)
        self.p99 = statistics.median(sample.p99 for sample in samples)
        ways = sorted({sample.served_by for sample in samples})
        self.served_by = " + ".join(ways)

    def spread(self):
        """Half of what lies between the slowest and the fastest run."""
        return (max(self.runs) - min(self.runs)) / 2 / self.iops \
            if self.iops else 0

    def as_dict(self):
        return {"config": self.config, "rw": self.job.rw, "bs": self.job.bs,
                "qd": self.job.qd, "jobs": self.job.jobs,
                "polled": self.job.polled, "iops": round(self.iops, 1),
                "iops_runs": [round(run, 1) for run in self.runs],
                "p50_us": round(self.p50, 2), "p99_us": round(self.p99, 2),
                "served_by": self.served_by}


def write_json(path, rows):
    with open(path, "w", encoding="utf-8") as out:
        out.write("[\n")
        out.write(",\n".join(json.dumps(row.as_dict()) for row in rows))
        out.write("\n]\n")


class Table:
    def __init__(self, rows, contenders):
        self.rows = {(row.config, row.job.rw, row.job.qd, row.job.polled): row
                     for row in rows}
        self.names = [contender.name for contender in contenders]
        self.depths = sorted({row.job.qd for row in rows})
        self.ways = list(dict.fromkeys(row.job.rw for row in rows))

    def find(self, name, rw, qd, polled):
        # Bare metal has one way of waiting, and stands beside both of ours.
        return self.rows.get((name, rw, qd, polled)) or (
            self.rows.get((name, rw, qd, not polled))
            if name.startswith("bare-metal") else None)

    def ratio(self, other, rw, qd, polled):
        ours = self.find(SUBJECT, rw, qd, polled)
        theirs = self.find(other, rw, qd, polled)
        return ours.iops / theirs.iops if ours and theirs and theirs.iops \
            else None

    def text(self):
        lines = []
        for polled in (True, False):
            for rw in self.ways:
                lines += self._block(rw, polled)
        return "\n".join(lines)

    def _line(self, first, cells):
        return f"{first:<34}" + "".join(f"{cell:>21}" for cell in cells)

    def _block(self, rw, polled):
        how = "polled" if polled else "by interrupt"
        lines = [self._line(f"{rw} 4k, {how}",
                            [f"QD {qd}" for qd in self.depths])]
        lines.append(self._line("kIOPS, spread, p50/p99 us", []))
        for name in self.names:
            cells = []
            for qd in self.depths:
                row = self.find(name, rw, qd, polled)
                cells.append("-" if row is None else
                             f"{row.iops / 1000:.1f} ±{row.spread():3.0%} "
                             f"{short(row.p50)}/{short(row.p99)}")
            lines.append(self._line("  " + name, cells))
        for name in self.names:
            if name != SUBJECT:
                ratios = [self.ratio(name, rw, qd, polled)
                          for qd in self.depths]
                lines.append(self._line(
                    f"  {SUBJECT} / {name}",
                    ["-" if ratio is None else f"{ratio:.2f}"
                     for ratio in ratios]))
        return lines + [""]

    def fallbacks(self):
        """Rows that were not served the way that their name says."""
        wanted = {"passthrough": "ring", "passthrough-none": "ring",
                  "virtio-blk": "virtqueue",
                  "virtio-blk-iothread": "virtqueue", "guest-null": "null_blk"}
        return [f"{row.config} {row.job}: served by {row.served_by}"
                for row in self.rows.values()
                if row.served_by != wanted.get(row.config, "host")]
