#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""fio side by side: bare metal, passthrough, QEMU's other ways, guest null_blk.

Every contender runs each job for a short time, one after the other, and all
of that several times over in a rotated order, so that whatever else the
machine does hits all alike.  Guests that wait for their turn are stopped.

By default the image is a file on an XFS that is made for it (as root; a file in
build/bench/ otherwise), which QEMU and the host's fio use through the page
cache.  --directory=DIR has the file elsewhere.  --disk=PATH uses another file or
a block device, with direct I/O.

Result: a table, build/bench/flat.json with a row for each contender and job,
and a report of that in build/bench/report.html and report.md, made from
machine-flat.json, which has all else too: make_report.py makes one report of several
such files.  The exit status is 1 when a contender broke down, or was not served
by what its name says, as when passthrough fell back to virtqueues.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "tests", "guest"))

# pylint: disable=wrong-import-position
import machine                                         # noqa: E402
import matrix                                          # noqa: E402
from arrangement import Arrangement                    # noqa: E402
from contenders import Setting, chosen                 # noqa: E402
from counters import why_not                           # noqa: E402
from disk import Disk                                  # noqa: E402
from filesystem import mount_xfs                       # noqa: E402
from hosttrace import Trace                            # noqa: E402
from host import Host                                  # noqa: E402
from page import write_report                          # noqa: E402
from report import Table, write_json                   # noqa: E402
from results import Results                            # noqa: E402
from runner import Runner, say, span                   # noqa: E402
from tap import Skip                                   # noqa: E402
from vm import BUILD, Config                           # noqa: E402

RESULTS = os.path.join(BUILD, "bench")


def worker_notes(disk, jobs):
    """How much of each kind of I/O the host's io_uring does by itself.

    What it cannot do without waiting it hands to a worker thread, one for
    writes to the same file: a detour that no guest can avoid, and that bare
    metal takes too.
    """
    host = Host("probe", disk, Arrangement(), sqpoll=True)
    host.calibrate(0.2, False)
    for rw in dict.fromkeys(job.rw for job in jobs):
        try:
            with Trace("io_uring/io_uring_queue_async_work") as trace:
                ios = host.run(matrix.Job(rw, 1, True), 0.2).ios
                handed = min(len(trace.read()), ios)
        except (Skip, AssertionError):
            continue        # not root, or more than the trace holds
        if ios >= 100 and handed * 10 > ios:
            yield (f"of {ios} {rw} I/Os on this disk the host's "
                   f"io_uring handed {handed} to a worker thread")


def image_directory(wanted):
    if wanted:
        return wanted
    directory, reason = mount_xfs(RESULTS)
    if not directory:
        say(f"note: {reason}, so the image is in {RESULTS}")
    return directory or RESULTS


def goals(table):
    """What this project promises of its polled path, and whether it holds."""
    for job in table.jobs:
        for other, depths, least in (("passthrough-none", (1, 32), 0.97),
                                     ("virtio-blk", (1,), 2.5),
                                     ("virtio-blk-iothread", (1,), 2.0),
                                     ("virtio-blk-iothread", (8, 16, 32), 1.0)):
            ratio = table.ratio(other, job)
            if job.polled and job.qd in depths and ratio is not None:
                yield (f"{job}: {ratio:.2f} times {other}, wanted "
                       f"{least}: {'yes' if ratio >= least else 'NO'}")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--disk", metavar="PATH",
                        help="a file or block device, used with direct I/O")
    parser.add_argument("--directory", metavar="DIR",
                        help="where the image is, instead of on its own XFS")
    parser.add_argument("--i-own-this-disk", action="store_true",
                        help="measure writes on --disk too: destroys what is "
                             "on it")
    parser.add_argument("--only", metavar="NAMES",
                        help="only these contenders, separated by commas")
    parser.add_argument("--runtime", type=float, metavar="SECONDS", default=1,
                        help="of each fio run (default 1)")
    parser.add_argument("--pin", action="store_true",
                        help="vCPUs (or fio) and what serves them on CPUs "
                             "of their own")
    parser.add_argument("--sqpoll-cpu", type=int, metavar="CPU",
                        help="--pin, with this CPU for what serves (default "
                             "the last)")
    parser.add_argument("--memory", default="512M", metavar="SIZE",
                        help="of each guest (default 512M)")
    parser.add_argument("--no-counting", action="store_true",
                        help="leave out the runs that count system calls "
                             "and exits")
    parser.add_argument("--output", metavar="FILE", default="flat.json",
                        help="of the rows (default flat.json), in build/bench "
                             "unless it has a path")
    matrix.add_options(parser)
    options = parser.parse_args()
    if options.disk and not os.path.exists(options.disk):
        sys.exit(f"error: {options.disk} does not exist: name a file or block "
                 "device with --disk=PATH")
    if options.i_own_this_disk and not options.disk:
        sys.exit("error: --i-own-this-disk is about the one of --disk=PATH, "
                 "and there is none; the image that is made otherwise is "
                 "written to anyway")
    return options


def write_results(options, setting, runner, rows, notes):
    """The rows, and with them in machine-* all else that a report needs."""
    path = os.path.join(RESULTS, options.output)
    write_json(path, rows)
    whole = os.path.join(os.path.dirname(path),
                         "machine-" + os.path.basename(path))
    notes = notes + [f"{contender.name}: {text}"
                     for contender, text in runner.notes.items()]
    commands = ["bench/run.sh " + " ".join(sys.argv[1:])] + [
        line for lines in runner.commands.values() for line in lines]
    with open(whole, "w", encoding="utf-8") as out:
        json.dump({"machine": machine.describe(setting, options.runtime),
                   "notes": notes, "commands": commands,
                   "rows": [row.as_dict() for row in rows]}, out, indent=1)
        out.write("\n")
    return path, whole


def main():
    options = parse()
    config = Config(accel=options.accel)
    if config.missing():
        sys.exit("error: " + config.missing())
    os.makedirs(RESULTS, exist_ok=True)
    disk = Disk(options.disk, options.disk or
                image_directory(options.directory), options.i_own_this_disk)
    setting = Setting(config, RESULTS, disk,
                      Arrangement(options.pin, options.sqpoll_cpu),
                      options.memory)
    contenders, notes = chosen(
        setting, options.only.split(",") if options.only else None)
    jobs = matrix.selected(options, disk.writable)
    if not jobs:
        sys.exit(f"error: all of these jobs write, and {options.disk} is not "
                 "given for that; --i-own-this-disk gives it")
    if not disk.writable:
        notes.append(f"reads only, so that {options.disk} stays as it is; "
                     "--i-own-this-disk measures writes too")
    why = None if options.no_counting else why_not(
        "raw_syscalls/sys_enter") or (
            options.accel == "kvm" and why_not("kvm/kvm_exit"))
    if why:
        notes.append(why)
    notes += worker_notes(disk, jobs)
    load = os.getloadavg()[0]
    if load > 1:
        notes.append(f"other programs use {load:.1f} CPUs; what follows will "
                     "be noise more than measurement")
    print(f"disk: {disk}; {options.accel}, {os.cpu_count()} host CPUs, "
          f"{setting.arrangement}; {len(jobs)} jobs, runs of "
          f"{options.runtime} s", flush=True)
    for note in notes:
        say("note: " + note)

    runner = Runner(contenders, jobs, options.runtime,
                    not (options.no_counting or why))
    runner.run()
    rows = runner.rows()
    table = Table(rows, contenders)
    print("\n" + table.text())
    for contender, text in runner.notes.items():
        print(f"{contender.name + ':':<24}{text}")
    for line in goals(table):
        print(line)
    path, whole = write_results(options, setting, runner, rows,
                                notes + runner.trouble)
    print(f"{len(rows)} rows in {path}; took {span(runner.progress.spent())}")
    if rows:
        results = Results.load(whole)
        results.name = os.path.splitext(os.path.basename(path))[0]
        for written in write_report([results], os.path.dirname(path)):
            print(written)
    complaints = list(runner.broken.values()) + table.fallbacks()
    for line in complaints:
        say("error: " + line)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
