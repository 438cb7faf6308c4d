#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that can happen to a disk, in random order, to one loaded guest.

fio writes and verifies on one disk; SQLite, on ext4 on another, tells the host
of each commit.  Operations come in rounds, each of which has all of them once
in an order of its own; a seed gives the same operations in the same order.

    tests/soak/run.sh                        ten minutes
    tests/soak/run.sh --minutes=60 --seed=7
    tests/soak/run.sh --only=kexec --only=S3
    tests/soak/run.sh --list

The last line has the number of operations and of errors, and the seed.  The
exit status is 1 if anything was wrong.  Logs lie in build/tests/soak/.
"""

import argparse
import random
import re
import statistics
import sys
import time
import traceback

import paths                                    # noqa: F401

# pylint: disable=wrong-import-position
import block_ops                                # noqa: E402
import driver_ops                               # noqa: E402
import machine_ops                              # noqa: E402
import migration_ops                            # noqa: E402
import path_ops                                 # noqa: E402
import plug_ops                                 # noqa: E402
from soak import Soak                           # noqa: E402
from vm import Config                           # noqa: E402

OPERATIONS = [operation for module in
              (path_ops, block_ops, migration_ops, driver_ops, plug_ops,
               machine_ops) for operation in module.OPERATIONS]


def sequence(seed, operations):
    """Without end: (operation, what is left to chance in it)."""
    order = random.Random(f"{seed}")
    number = 0
    while True:
        for operation in order.sample(operations, len(operations)):
            number += 1
            # Its own, so that what one draws does not change the next one.
            yield operation, random.Random(f"{seed}/{number}")


def say(text):
    print(text, flush=True)


class Run:
    """A run: how long each operation took, and the error that ended it."""

    def __init__(self, soak, seed):
        self.soak = soak
        self.seed = seed
        self.times = {}
        self.errors = []

    def done(self):
        return sum(len(times) for times in self.times.values())

    def one(self, operation, rng):
        started = time.monotonic()
        instance = operation(self.soak, rng)
        instance.run()
        self.soak.settle()
        seconds = time.monotonic() - started
        self.times.setdefault(operation.name, []).append(seconds)
        self.soak.check_kernel()
        self.soak.check_warnings(instance.warnings)
        say(f"{self.done():4} {seconds:6.1f} s  {operation.name}")

    def all(self, operations, seconds):
        """Until the time is up, or something is wrong."""
        what = "the start"
        try:
            self.soak.start()
            self.soak.begin(random.Random(f"{self.seed}/0"))
            self.soak.settle()
            until = time.monotonic() + seconds
            for operation, rng in sequence(self.seed, operations):
                if time.monotonic() > until:
                    break
                what = f"operation {self.done() + 1}, {operation.name}"
                self.one(operation, rng)
            what = "the end"
            rows = self.soak.finish()
            say(f"fio verified {self.soak.ios} requests; SQLite has {rows} "
                f"rows, all {self.soak.database.acked()} that were committed; "
                f"integrity_check and e2fsck find nothing; "
                f"{self.soak.boots} boots, {self.soak.lives} QEMUs; path RING")
        except Exception as error:              # pylint: disable=broad-except
            self.errors.append(what)
            say(f"error in {what}: {type(error).__name__}: {error}")
            for frame in traceback.extract_tb(error.__traceback__)[-3:]:
                say(f"  {frame.filename}:{frame.lineno}: {frame.line}")
            say(self.soak.autopsy())
            say(f"logs in {self.soak.directory}")
        finally:
            self.soak.drop()

    def table(self):
        yield f"{'seconds':<32}{'count':>8}{'median':>8}{'worst':>8}"
        for name, times in self.times.items():
            yield (f"{name:<32}{len(times):8}{statistics.median(times):8.1f}"
                   f"{max(times):8.1f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--minutes", type=float, default=10, metavar="N",
                        help="begin no operation after so long (default 10)")
    parser.add_argument("--seed", type=int, help="default: a new one")
    parser.add_argument("--only", action="append", metavar="PATTERN",
                        help="only operations whose name matches")
    parser.add_argument("--list", action="store_true",
                        help="list the operations and do nothing")
    options = parser.parse_args()
    operations = [operation for operation in OPERATIONS
                  if not options.only or any(
                      re.search(pattern, operation.name)
                      for pattern in options.only)]
    if options.list:
        for operation in operations:
            print(operation.name)
        return 0
    if not operations:
        sys.exit("error: no operation matches; --list has all of them")
    config = Config(accel=options.accel, isolation=options.isolation)
    if config.missing():
        sys.exit("error: " + config.missing())
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    say(f"seed {seed}")
    run = Run(Soak(config), seed)
    run.all(operations, options.minutes * 60)
    for line in run.table():
        say(line)
    missing = [operation.name for operation in operations
               if operation.name not in run.times]
    if missing:
        say("not tried: " + ", ".join(missing))
    say(f"{run.done()} operations, {len(run.errors)} errors, seed {seed}")
    return 1 if run.errors else 0


if __name__ == "__main__":
    sys.exit(main())
