#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migrations under load: virtio-blk-uring beside stock virtio-blk.

Two guests, each with a fio that writes and verifies and one that shows the host
when I/O stands still (heartbeat.py), move from QEMU to QEMU on this host over a
unix socket, by turns, with QEMU's default parameters.  The one whose turn it is
not is stopped.

Printed: the longest time without I/O in each migration, and in a time of the
same length without one; what QEMU calls downtime; and how long after the
guest's arrival its requests take rings again.  The exit status is 1 if a
migration failed, fio found an error or a wrong byte, or the path was not RING
in the end.  All figures: build/bench/migrations.json.
"""

import argparse
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "tests", "guest"))

# pylint: disable=wrong-import-position
import heartbeat                                # noqa: E402
import migrate                                  # noqa: E402
import ring                                     # noqa: E402
from load_group import LoadGroup                # noqa: E402
from tap import MIB                             # noqa: E402
from vm import BUILD, Config                    # noqa: E402

RESULTS = os.path.join(BUILD, "bench")
# Of the image; the load uses what is before it.
HEART = 24 * MIB
ASIDE = 2       # directories of logs that are kept of each guest


class Mover(LoadGroup):
    """A guest that moves."""

    def __init__(self, config, polled):
        super().__init__(config, config.device())
        self.directory = os.path.join(RESULTS, "migrations", self.name)
        self.image = self.directory + ".img"
        self.polled = polled
        self.moves = []
        self.heart = None

    def begin(self):
        self.start()
        self.start_load(self.polled)
        self.vm.sh("start heart '" + heartbeat.command(
            self.disk, HEART, self.polled and not self.config.stock) + "'")
        self.heart = heartbeat.Heartbeat(self.image, HEART)
        self.heart.start()
        self.heart.wait_beat(time.monotonic())
        self.vm.qmp("stop")

    def way(self):
        """The counter that the load moves."""
        if self.config.stock:
            return "virtqueue"
        return "polled" if self.polled else "ring"

    def settle(self):
        """Until requests go their way and the clock knows nothing of a stop."""
        if not self.config.stock:
            ring.wait_state(self.vm, "ring")
        self.wait_growth(self.way(), self.counters())
        self.heart.wait_beat(time.monotonic())

    def move(self):
        """One migration and a time of the same length without; figures."""
        self.vm.qmp("cont")
        self.settle()
        self.heart.forget()
        logs = f"{self.directory}/life{len(self.moves) % ASIDE}"
        with migrate.Attempt(self.vm, logs) as attempt:
            begin = time.monotonic()
            self.vm = attempt.arrive()
            figures = attempt.figures
        arrived = time.monotonic()
        self.settle()
        end = time.monotonic()
        pause = self.heart.pause(begin, end)
        self.check_qemu()
        self.heart.wait_beat(end + (end - begin))
        self.moves.append({
            "pause_ms": pause * 1000,
            "undisturbed_ms": self.heart.pause(end, 2 * end - begin) * 1000,
            "downtime_ms": figures["downtime"],
            "total_ms": figures["total-time"],
            "in_rings_again_ms": (end - arrived) * 1000,
        })
        self.vm.qmp("stop")

    def end(self):
        self.vm.qmp("cont")
        self.settle()
        self.heart.stop()
        result = self.finish_load()
        status, output = self.vm.sh_status("finish heart")
        # fio says 128 when a signal told it to end, as all of them were.
        assert status in (0, 128), f"fio ended with status {status}: {output}"
        self.check_kernel()
        self.stop()
        return result.ios()


def spread(moves, key):
    values = [move[key] for move in moves]
    return (f"{statistics.median(values):8.0f}{min(values):8.0f}"
            f"{max(values):8.0f}")


def table(movers):
    """Milliseconds, for people."""
    what = (("pause of I/O", "pause_ms"),
            ("the same without migration", "undisturbed_ms"),
            ("QEMU's downtime", "downtime_ms"),
            ("whole migration", "total_ms"),
            ("arrived, until all is as before", "in_rings_again_ms"))
    yield f"{'ms':<34}{'':<18}{'median':>8}{'best':>8}{'worst':>8}"
    for title, key in what:
        for mover in movers:
            yield f"{title:<34}{mover.name:<18}{spread(mover.moves, key)}"
    if len(movers) == 2:
        ours, stock = (statistics.median(move["pause_ms"] for move
                                         in mover.moves) for mover in movers)
        yield f"median pause, {movers[0].name} / {movers[1].name}: " \
              f"{ours / stock:.2f}"


def run(movers, count):
    """A sentence about what failed, for each failure."""
    failures = []
    for number in range(count):
        for mover in movers if number % 2 == 0 else reversed(movers):
            try:
                mover.move()
            except Exception as error:      # pylint: disable=broad-except
                failures.append(f"{mover.name}, migration {number + 1}: "
                                f"{error}")
        if failures:
            # What is left of that guest says nothing about the next one.
            break
        if sys.stderr.isatty() or (number + 1) % 10 == 0:
            print(f"{number + 1} of {count} migrations of each",
                  file=sys.stderr, flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--count", type=int, default=100, metavar="N",
                        help="migrations of each guest (default 100)")
    parser.add_argument("--polled", action="store_true",
                        help="the load polls, but for stock virtio-blk's")
    options = parser.parse_args()
    movers = [Mover(Config(accel=options.accel, isolation=options.isolation,
                           stock=stock), options.polled)
              for stock in (False, True)]
    if movers[0].config.missing():
        sys.exit("error: " + movers[0].config.missing())
    started = time.monotonic()
    failures = []
    try:
        for mover in movers:
            mover.begin()
        failures = run(movers, options.count)
        for mover in movers if not failures else ():
            try:
                print(f"{mover.name}: fio verified "
                      f"{mover.end()} requests, no error", flush=True)
            except Exception as error:      # pylint: disable=broad-except
                failures.append(f"{mover.name}, at the end: {error}")
    finally:
        for mover in movers:
            mover.drop()
    if all(mover.moves for mover in movers):
        for line in table(movers):
            print(line)
    with open(os.path.join(RESULTS, "migrations.json"), "w",
              encoding="utf-8") as out:
        json.dump({mover.name: mover.moves for mover in movers}, out, indent=1)
    for failure in failures:
        print("error: " + failure, file=sys.stderr)
    done = " and ".join(f"{len(mover.moves)} of {mover.name}"
                        for mover in movers)
    print(f"{done}: {len(failures)} failures, "
          f"{time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
