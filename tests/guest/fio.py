# SPDX-License-Identifier: GPL-2.0-or-later
"""fio command lines and what fio answers."""

import json

COMMON = ("--name=job", "--thread", "--group_reporting", "--eta=never",
          "--output-format=json", "--direct=1")


def command(filename, rw, bs, iodepth=1, polled=False, engine="io_uring",
            numjobs=1, **options):
    """A fio command line; options as fio's own, True for one without value."""
    words = ["fio", *COMMON, f"--filename={filename}", f"--rw={rw}",
             f"--bs={bs}", f"--iodepth={iodepth}", f"--ioengine={engine}",
             f"--numjobs={numjobs}"]
    if polled:
        words.append("--hipri=1")
    for key, value in options.items():
        words.append(f"--{key}" if value is True else f"--{key}={value}")
    return " ".join(words)


def complaint(output):
    """What fio said besides its statistics."""
    return (output.partition("{\n")[0] + output.rpartition("\n}")[2]).strip()


class Result:
    """The first (with group_reporting the only) job of a fio run.

    failing: of a fio that goes on after errors (continue_on_error), whose job
    may have had some.
    """

    def __init__(self, output, failing=False):
        # fio may put notes before and after its JSON.
        start, end = output.find("{\n"), output.rfind("}")
        if start < 0 or end < 0:
            raise AssertionError("fio said: " + output)
        self.job = json.loads(output[start:end + 1])["jobs"][0]
        self.notes = (output[:start] + output[end + 1:]).strip()
        if self.job["error"] and not failing:
            raise AssertionError(f"fio ended with error {self.job['error']}: "
                                 + self.notes)

    def _ways(self):
        # With unified_rw_reporting there is "mixed" instead of the two.
        return [self.job[way] for way in ("read", "write", "mixed")
                if self.job.get(way, {}).get("total_ios")]

    def errors(self):
        """How many requests failed, and the errno of the first one."""
        return self.job["total_err"], self.job["first_error"]

    def ios(self):
        """Reads and writes that completed."""
        return sum(way["total_ios"] for way in self._ways())

    def iops(self):
        return sum(way["iops"] for way in self._ways())

    def percentile_us(self, percent):
        """Of the latency from submission on (lat_percentiles=1)."""
        for way in self._ways():
            table = way["lat_ns"].get("percentile", {})
            return table.get(f"{percent:.6f}", 0) / 1000
        return 0
