#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the tests on an NVMe drive under KVM and report them as TAP.

    tests/nested/run.sh                 in an emulated machine that has both
    tests/nested/run.sh verify jail     groups or tests that match a pattern
    tests/nested/run.sh --list          what there is
    tests/nested/run.sh --disk=/dev/nvme0n1p3 --i-own-this-disk
                                        on this host, which has both; destroys
                                        what is on that disk

A pattern is a regular expression, looked for in "group: description".
Logs lie in build/nested/logs (of the emulated machine) and in
build/tests/guest/GROUP/ (of the tests, on whichever machine they run).
"""

import argparse
import os
import shlex
import sys

# First, as it shows where the others are.
from emulated import BUILD, PROJECT, ROOT_IMAGE, Machine
import drive
import test_errors
import test_exits
import test_image
import test_iopoll
import test_nvme
import test_tcp
from tap import run_modules
from vm import Config

SECONDS = 12000         # a test that says nothing ends much sooner
# TCG now and then loses an interrupt of a CPU's local timer (seen with 10.0, when
# this host is busy).  A timer that is set anew at each interrupt stands still
# then, and its CPU with it, until something else happens to wake that; one
# that ticks by itself does not.  So for the machine, and for the guests in it.
PERIODIC = "nohz=off highres=off"

# The tests that take long, too.
FULL = "1" if os.environ.get("VBU_FULL") else ""

MODULES = (test_iopoll, test_exits, test_nvme, test_image, test_tcp,
           test_errors)


def run_emulated(options):
    if not os.path.exists(ROOT_IMAGE):
        print(f"Bail out! {ROOT_IMAGE} is missing: run make check-nvme, which "
              "makes it")
        return 1
    words = ["python3", "-B", "tests/nested/run.py",
             "--disk=/dev/nvme0n1", "--i-own-this-disk",
             "--isolation=" + options.isolation, *options.patterns]
    full = f"VBU_FULL={FULL} " if FULL else ""
    command = (f"{full}VBU_INITRD={PROJECT}/build/guest/initramfs.cpio "
               f"VBU_EMULATED=1 VBU_APPEND='{PERIODIC}' "
               + " ".join(map(shlex.quote, words)))
    with Machine(os.path.join(BUILD, "nested", "logs"),
                 append=PERIODIC) as machine:
        machine.boot()
        return machine.run(command, SECONDS)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    drive.add_options(parser)
    parser.add_argument("--isolation", default="process",
                        choices=("process", "none"),
                        help="who owns the rings (default process)")
    parser.add_argument("--list", action="store_true",
                        help="list the tests and run none")
    parser.add_argument("patterns", nargs="*", help="which tests to run")
    options = parser.parse_args()
    if not options.disk and not options.list:
        return run_emulated(options)
    if not options.list:
        refused = drive.refusal(options.disk, options.i_own_this_disk)
        if refused:
            print(f"Bail out! {refused}")
            return 1
    drive.PATH = options.disk
    config = Config(accel="kvm", isolation=options.isolation)
    if not options.list and config.missing():
        print(f"Bail out! {config.missing()}")
        return 1
    return run_modules(MODULES, config, options.patterns, options.list)


if __name__ == "__main__":
    sys.exit(main())
