#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark on an NVMe drive under KVM, and its report.

    bench/nested.sh [OPTION...]      in an emulated machine that has both, see
                                     tests/nested
    bench/nested.sh --disk=/dev/nvme0n1p3 --i-own-this-disk [OPTION...]
                                     on this host, which has both; destroys
                                     what is on that disk

OPTIONs go to bench/run.sh, whose --help tells them; the default is
--set=proposal, and --pin in the emulated machine.  Of the emulated machine:
--cpus=N (default 2) and --drive=null (default: as fast as its emulation, some
60 us) or memory (with contents).

Result: build/bench/nested.json, or another --output=nested-WHAT.json; and of
all these report.html and report.md.
"""

import argparse
import glob
import json
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TOP, "tests", "guest"),
                os.path.join(TOP, "tests", "nested")]

# pylint: disable=wrong-import-position
from emulated import PROJECT, ROOT_IMAGE, Machine      # noqa: E402
from page import write_report                          # noqa: E402
from results import Results                            # noqa: E402
from vm import BUILD                                   # noqa: E402

RESULTS = os.path.join(BUILD, "bench")
SECONDS = 4 * 3600


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def run_here(words):
    """Run on this host; its exit status."""
    return subprocess.run(
        [sys.executable, "-B", os.path.join(HERE, "run.py"), *words],
        check=False).returncode


def run_emulated(options, words, whole):
    """The same in the emulated machine, whose results become ours."""
    if not os.path.exists(ROOT_IMAGE):
        sys.exit(f"error: {ROOT_IMAGE} is missing: run make bench-nvme, which "
                 "makes it")
    with Machine(os.path.join(BUILD, "nested", "bench-logs"),
                 cpus=options.cpus, null_drive=options.drive == "null",
                 memory="8G") as machine:
        machine.boot()
        status = machine.run(
            f"VBU_INITRD={PROJECT}/build/guest/initramfs.cpio python3 -B "
            "bench/run.py " + " ".join(map(shlex.quote, words)), SECONDS)
        found = machine.fetch("build/bench/" + os.path.basename(whole))
    if found:
        with open(whole, "wb") as out:
            out.write(found)
    return status


def point(row):
    return tuple(row.get(key) for key in ("config", "rw", "bs", "qd", "jobs",
                                          "polled", "queues"))


def write(found, whole, rows):
    """The two files that bench/run.py makes."""
    for path, what in ((whole, found), (rows, found["rows"])):
        with open(path, "w", encoding="utf-8") as out:
            json.dump(what, out, indent=1)
            out.write("\n")


def merged(found, before):
    """What was found now, and the other points of an earlier run."""
    new = {point(row) for row in found["rows"]}
    found["rows"] += [row for row in before["rows"] if point(row) not in new]
    for key in ("notes", "commands"):
        found[key] = list(dict.fromkeys(before[key] + found[key]))
    return found


def report():
    """Of all that was measured here, with what we know about the rivals."""
    reasons = load(os.path.join(HERE, "reasons.json"))
    chapters = []
    for path in sorted(glob.glob(os.path.join(RESULTS,
                                              "machine-nested*.json"))):
        results = Results.load(path, reasons)
        results.name = os.path.basename(path)[len("machine-"):-len(".json")]
        chapters.append(results)
    for path in write_report(chapters, RESULTS):
        print(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--disk", metavar="DEVICE",
                        help="run on this host, with this disk")
    parser.add_argument("--i-own-this-disk", action="store_true",
                        help="what is on it may be destroyed")
    parser.add_argument("--drive", default="null",
                        choices=("null", "memory"))
    parser.add_argument("--output", default="nested.json", metavar="NAME")
    parser.add_argument("--add", action="store_true",
                        help="to the rows that are there, instead of anew")
    parser.add_argument("--no-pin", action="store_true",
                        help="leave CPUs to the machine's scheduler")
    parser.add_argument("--cpus", type=int, default=2)
    options, words = parser.parse_known_args()
    if not any(word.startswith(("--set", "--quick", "--full", "--rw", "--qd",
                                "--bs", "--jobs", "--queues"))
               for word in words):
        words.append("--set=proposal")
    words += ["--accel=kvm", "--output=" + options.output,
              "--disk=" + (options.disk or "/dev/nvme0n1")]
    if not options.disk and not options.no_pin:
        words.append("--pin")
    if not options.disk or options.i_own_this_disk:
        words.append("--i-own-this-disk")
    os.makedirs(RESULTS, exist_ok=True)
    rows = os.path.join(RESULTS, options.output)
    whole = os.path.join(RESULTS, "machine-" + options.output)
    before = load(whole) if options.add and os.path.exists(whole) else None
    if os.path.exists(whole):
        os.remove(whole)
    status = run_here(words) if options.disk else \
        run_emulated(options, words, whole)
    if not os.path.exists(whole):
        if before:
            write(before, whole, rows)
        return status or 1          # it has said why it measured nothing
    found = load(whole)
    write(merged(found, before) if before else found, whole, rows)
    report()
    return status


if __name__ == "__main__":
    sys.exit(main())
