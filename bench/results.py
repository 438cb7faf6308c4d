# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file of results holds, and how its rows are found again."""

import json
import os
import statistics
import time
from collections import namedtuple

SUBJECT = "passthrough"
# In this order wherever several stand side by side; others come last.
ORDER = ("passthrough", "passthrough-none", "passthrough-fixed",
         "bare-metal-sqpoll", "bare-metal-iopoll", "bare-metal", "guest-null",
         "virtio-blk", "virtio-blk-native", "virtio-blk-iothread",
         "virtio-blk-iothread-vq", "vhost-user-blk", "nvme-emulated")
WAYS = ("randread", "randwrite", "randrw", "read", "write")
NEEDED = ("config", "rw", "qd", "polled", "iops")


def is_ours(config):
    return config.startswith(SUBJECT)


def is_reference(config):
    """No virtual disk: the disk itself, or a guest without one."""
    return config.startswith("bare-metal") or config == "guest-null"


def is_rival(config):
    return not is_ours(config) and not is_reference(config)


def is_virtqueue(config):
    return config.startswith(("virtio-blk", "vhost-user-blk"))


def rank(name, order):
    return (order.index(name) if name in order else len(order), name)


def block_bytes(size):
    """Of fio's 4k, 64k and 1M."""
    unit = {"k": 1 << 10, "m": 1 << 20}.get(size[-1:].lower())
    return int(size[:-1]) * unit if unit else int(size)


class Combination(namedtuple("Combination", "rw bs polled")):
    """What one chart or table is about."""

    def __str__(self):
        mix = " 70/30" if self.rw == "randrw" else ""
        how = "polled" if self.polled else "by interrupt"
        return f"{self.rw}{mix} {self.bs}, {how}"

    def order(self):
        return (not self.polled, block_bytes(self.bs), rank(self.rw, WAYS))


HEADLINE = Combination("randread", "4k", True)


class Row:
    """One contender in one point of the matrix."""

    def __init__(self, values):
        self.values = values
        self.config = values["config"]
        self.combination = Combination(values["rw"], values.get("bs", "4k"),
                                       bool(values["polled"]))
        self.qd = values["qd"]
        self.jobs = values.get("jobs", 1)
        self.queues = values.get("queues")
        self.iops = values["iops"]
        self.runs = values.get("iops_runs") or [self.iops]

    def get(self, name):
        """An optional value; None when it was not measured."""
        return self.values.get(name)

    @property
    def low(self):
        return min(self.runs)

    @property
    def high(self):
        return max(self.runs)

    def spread(self):
        """Half of what lies between the slowest and the fastest run."""
        return (self.high - self.low) / 2 / self.iops if self.iops else 0

    def ratio(self, other):
        """How many times the IOPS of another row; None when there are none."""
        return self.iops / other.iops if other and other.iops else None

    def overlaps(self, other):
        """Whether the runs of both have IOPS in common."""
        return self.low <= other.high and other.low <= self.high


class Results:
    """All rows of one run of the benchmark on one machine.

    notes is a list of sentences.  reasons says why a rival wins: a dictionary
    from "virtio-blk", or more closely "virtio-blk cpu",
    "virtio-blk cpu randread 4k polled" or "... QD 32", to a sentence.
    """

    def __init__(self, rows, machine=None, notes=(), commands=(),
                 name="results", reasons=None):
        self.name = name
        self.machine = dict(machine or {})
        self.commands = list(commands)
        self.notes, self.reasons = [], dict(reasons or {})
        for note in [notes] if isinstance(notes, dict) else notes:
            if isinstance(note, dict):
                self.reasons.update(note)
            else:
                self.notes.append(note)
        self.rows = [self._row(number, values)
                     for number, values in enumerate(rows, 1)]
        self.configs = sorted({row.config for row in self.rows},
                              key=lambda config: rank(config, ORDER))
        self.combinations = sorted({row.combination for row in self.rows},
                                   key=Combination.order)

    def _row(self, number, values):
        for key in NEEDED:
            if not isinstance(values, dict) or key not in values:
                raise ValueError(f"row {number} of {self.name} has no {key}: "
                                 "give a file that bench/run.py wrote")
        return Row(values)

    @staticmethod
    def _beside(path):
        """What run.py writes about FILE.json: machine-FILE.json, if any."""
        directory, name = os.path.split(path)
        path = os.path.join(directory, "machine-" + name)
        if not os.path.exists(path):
            return {}
        try:
            with open(path, encoding="utf-8") as source:
                return dict(json.load(source))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be used ({error}): remove it, or "
                             "run the benchmark again") from error

    @classmethod
    def load(cls, path, reasons=None):
        name = os.path.splitext(os.path.basename(path))[0]
        try:
            with open(path, encoding="utf-8") as source:
                found = json.load(source)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}): "
                             "run the benchmark first") from error
        except ValueError as error:
            raise ValueError(f"{path} is no JSON ({error}): give a file that "
                             "bench/run.py wrote") from error
        if isinstance(found, list):
            found = {**cls._beside(path), "rows": found}
        if not isinstance(found, dict) or not found.get("rows"):
            raise ValueError(f"{path} holds no rows of results: give a file "
                             "that bench/run.py wrote")
        machine = dict(found.get("machine") or {})
        if not any(key.lower() == "date" for key in machine):
            machine["results written"] = time.strftime(
                "%Y-%m-%d %H:%M", time.localtime(os.path.getmtime(path)))
        return cls(found["rows"], machine, found.get("notes") or (),
                   found.get("commands") or (), name,
                   {**(found.get("reasons") or {}), **(reasons or {})})

    def has(self, name):
        return any(row.get(name) is not None for row in self.rows)

    def of(self, combination):
        return [row for row in self.rows if row.combination == combination]

    def shape(self, combination):
        """(config, jobs, queues) of the simplest rows: of the one-job kind."""
        jobs = min(row.jobs for row in self.of(combination))
        fewest = {}
        for row in self.of(combination):
            if row.jobs == jobs:
                queues = row.queues or 0
                fewest[row.config] = min(fewest.get(row.config, queues),
                                         queues)
        return jobs, fewest

    def simple(self, combination):
        """Rows with the fewest jobs and queues: {(config, qd): row}."""
        if combination not in self.combinations:
            return {}
        jobs, fewest = self.shape(combination)
        return {(row.config, row.qd): row for row in self.of(combination)
                if row.jobs == jobs
                and (row.queues or 0) == fewest[row.config]}

    def depths(self, combination):
        return sorted({qd for _, qd in self.simple(combination)})

    def beside(self, row, config):
        """The row of another contender at the same point, or None.

        One that has queues of its own number, such as one for each IOThread,
        is taken as it is.
        """
        same = [other for other in self.of(row.combination)
                if other.config == config and other.qd == row.qd
                and other.jobs == row.jobs]
        return min(same, default=None, key=lambda other: abs(
            (other.queues or row.queues or 0) - (row.queues or 0)))

    def repetitions(self):
        """Runs behind a row, from the fewest to the most."""
        counts = [len(row.runs) for row in self.rows]
        return min(counts), max(counts)

    def typical_spread(self):
        return statistics.median(row.spread() for row in self.rows)
