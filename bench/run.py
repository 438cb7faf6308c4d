#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""fio side by side: bare metal, passthrough, stock virtio-blk, guest null_blk.

Every contender runs each job for a short time, one after the other, and all
of that several times over in a rotated order, so that whatever else the
machine does hits all alike.  Guests that wait for their turn are stopped.

By default the image is a file on an XFS that is made for it (as root; a file in
build/bench/ otherwise), which QEMU and the host's fio use through the page
cache.  --directory=DIR has the file elsewhere.  --disk=PATH uses another file or
a block device, with direct I/O.

Result: a table, and build/bench/flat.json.  The exit status is 1 when a row
was not served by what its name says, as when passthrough fell back to
virtqueues.
"""

import argparse
import os
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "tests", "guest"))

# pylint: disable=wrong-import-position
from contenders import Host, Job, all_contenders       # noqa: E402
from filesystem import mount_xfs                       # noqa: E402
from hosttrace import Trace                            # noqa: E402
from report import Row, Table, write_json              # noqa: E402
from tap import Skip                                   # noqa: E402
from vm import BUILD, Config, make_image               # noqa: E402

RESULTS = os.path.join(BUILD, "bench")
IMAGE_SIZE = 256 << 20
DEPTHS = (1, 8, 16, 32)
WAYS = ("randread", "randwrite")


class Disk:
    """The one file or device that all contenders but null_blk use."""

    def __init__(self, path=None, directory=None):
        self.direct = path is not None
        if path is None:
            path = os.path.join(directory, "disk.img")
            if self._file_system(directory) == "tmpfs":
                raise SystemExit(
                    f"error: {directory} lies on tmpfs, where io_uring hands "
                    "every read to a worker thread: name a file on a disk "
                    "file system with --disk=PATH")
            if not os.path.exists(path) or \
                    os.path.getsize(path) != IMAGE_SIZE:
                make_image(path, IMAGE_SIZE, 0x5a)
            # What was left of an earlier run would be written back now.
            subprocess.run(["sync", path], check=False)
            with open(path, "rb") as image:     # into the page cache
                while image.read(1 << 20):
                    pass
        self.path = os.path.abspath(path)
        self.size = self._size(self.path)
        # All guests share it, one at a time: no locks.
        self.drive = "file.locking=off,cache=" + \
            ("none" if self.direct else "writeback")

    @staticmethod
    def _file_system(path):
        return subprocess.run(["stat", "-f", "-c", "%T", path], text=True,
                              stdout=subprocess.PIPE,
                              check=False).stdout.strip()

    @staticmethod
    def _size(path):
        with open(path, "rb") as disk:
            size = disk.seek(0, os.SEEK_END)
        if size < 1 << 20:
            raise SystemExit(f"error: {path} holds {size} bytes, too few to "
                             "measure on: name a disk of 1 MiB or more")
        return size

    def __str__(self):
        kind = "block device" if stat.S_ISBLK(os.stat(self.path).st_mode) \
            else f"file on {self._file_system(self.path)}"
        return (f"{self.path}, {self.size >> 20} MiB, {kind}, "
                + ("direct I/O" if self.direct else "page cache"))


class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def step(self, what):
        self.done += 1
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.total - self.done)
        text = (f"{self.done}/{self.total} {what}; "
                f"{self.span(left)} to go")
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif self.done % 50 == 0 or self.done == self.total:
            print(text, file=sys.stderr, flush=True)

    @staticmethod
    def span(seconds):
        return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"

    def end(self):
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return self.span(time.monotonic() - self.started)


def measure(contenders, jobs, repeat, seconds):
    """All samples: a dictionary of (name, job) to a list."""
    samples = {}
    pairs = [(job, contender) for job in jobs for contender in contenders
             if contender.takes(job)]
    progress = Progress(len(pairs) * repeat)
    for repetition in range(repeat):
        for job in jobs:
            able = [c for c in contenders if c.takes(job)]
            if not able:
                continue
            turn = repetition % len(able)
            for contender in able[turn:] + able[:turn]:
                samples.setdefault((contender.name, job), []).append(
                    contender.run(job, seconds))
                progress.step(f"{contender.name}, {job}, "
                              f"repetition {repetition + 1} of {repeat}")
    return samples, progress.end()


def worker_notes(disk, ways):
    """How much of each kind of I/O the host's io_uring does by itself.

    What it cannot do without waiting it hands to a worker thread, one for
    writes to the same file: a detour that no guest can avoid, and that bare
    metal takes too.
    """
    host = Host("probe", disk, sqpoll=True)
    for rw in ways:
        try:
            with Trace("io_uring/io_uring_queue_async_work") as trace:
                ios = host.run(Job(rw, 1, True), 0.2).ios
                handed = min(len(trace.read()), ios)
        except (Skip, AssertionError):
            continue        # not root, or more than the trace holds
        if handed * 10 > ios:
            yield (f"note: of {ios} {rw} I/Os on this disk the host's "
                   f"io_uring handed {handed} to a worker thread")


def image_directory(wanted):
    if wanted:
        return wanted
    directory, reason = mount_xfs(RESULTS)
    if not directory:
        print(f"note: {reason}, so the image is in {RESULTS}", flush=True)
    return directory or RESULTS


def goals(table):
    """What this project promises of its polled path, and whether it holds."""
    for rw in table.ways:
        for other, depths, least in (("passthrough-none", (1, 32), 0.97),
                                     ("virtio-blk", (1,), 2.5),
                                     ("virtio-blk-iothread", (1,), 2.0),
                                     ("virtio-blk-iothread", (8, 16, 32), 1.0)):
            for qd in depths:
                ratio = table.ratio(other, rw, qd, True)
                if ratio is not None:
                    yield (f"{rw} QD {qd}: {ratio:.2f} times {other}, wanted "
                           f"{least}: {'yes' if ratio >= least else 'NO'}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--disk", metavar="PATH",
                        help="a file or block device, used with direct I/O")
    parser.add_argument("--directory", metavar="DIR",
                        help="where the image is, instead of on its own XFS")
    parser.add_argument("--overwrite", action="store_true",
                        help="measure writes on --disk too: destroys what is "
                             "on it")
    parser.add_argument("--runtime", type=float, metavar="SECONDS",
                        help="of each fio run (default 1.5)")
    parser.add_argument("--repeat", type=int,
                        help="repetitions (default 5)")
    parser.add_argument("--quick", action="store_true",
                        help="randread QD 1 and 32 only, by default 3 "
                             "repetitions of 1 s")
    parser.add_argument("--only", metavar="NAMES",
                        help="only these contenders, separated by commas")
    options = parser.parse_args()
    depths, ways = DEPTHS, WAYS
    if options.quick:
        depths, ways = (1, 32), WAYS[:1]
    options.repeat = options.repeat or (3 if options.quick else 5)
    options.runtime = options.runtime or (1 if options.quick else 1.5)
    if options.disk and not options.overwrite:
        ways = WAYS[:1]
        print(f"note: reads only, so that {options.disk} stays as it is; "
              "--overwrite measures writes too", file=sys.stderr)
    if options.disk and not os.path.exists(options.disk):
        sys.exit(f"error: {options.disk} does not exist: name a file or block "
                 "device with --disk=PATH")

    config = Config(accel=options.accel)
    if config.missing():
        sys.exit("error: " + config.missing())
    os.makedirs(RESULTS, exist_ok=True)
    disk = Disk(options.disk, options.disk or
                image_directory(options.directory))
    contenders = all_contenders(config, RESULTS, disk)
    if options.only:
        wanted = options.only.split(",")
        contenders = [c for c in contenders if c.name in wanted]
    jobs = [Job(rw, qd, polled) for polled in (True, False) for rw in ways
            for qd in depths]
    print(f"disk: {disk}; {options.accel}, 1 vCPU, {os.cpu_count()} host "
          f"CPUs; {options.repeat} repetitions of {options.runtime} s",
          flush=True)
    for line in worker_notes(disk, ways):
        print(line, flush=True)
    load = os.getloadavg()[0]
    if load > 1:
        print(f"note: other programs use {load:.1f} CPUs; what follows will "
              "be noise more than measurement", file=sys.stderr)
    try:
        for contender in contenders:
            print(f"starting {contender.name}", file=sys.stderr, flush=True)
            contender.start()
        samples, took = measure(contenders, jobs, options.repeat,
                                options.runtime)
    finally:
        for contender in contenders:
            contender.close()

    rows = [Row(name, job, found) for (name, job), found in samples.items()]
    table = Table(rows, contenders)
    print("\n" + table.text())
    for contender in contenders:
        print(f"{contender.name + ':':<22}{contender.note()}")
    for line in goals(table):
        print(line)
    path = os.path.join(RESULTS, "flat.json")
    write_json(path, rows)
    print(f"{len(rows)} rows in {path}; took {took}")
    fallbacks = table.fallbacks()
    for line in fallbacks:
        print("error: " + line, file=sys.stderr)
    return 1 if fallbacks else 0


if __name__ == "__main__":
    sys.exit(main())
