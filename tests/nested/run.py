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
import machines
import test_errors
import test_exits
import test_image
import test_iopoll
import test_nvme
import test_tcp
from tap import names, run_modules
from vm import Config

# Timers that tick by themselves.  One that is set anew at each interrupt stands
# still once one is missed, and its CPU with it; a CPU that TCG has run old code
# (vm.ONE_CPU) can miss one.
PERIODIC = "nohz=off highres=off"
# Silence for so long, in seconds, means that a test in the machine hangs.
PATIENCE = 600

# The tests that take long, too.
FULL = "1" if os.environ.get("VBU_FULL") else ""

MODULES = (test_iopoll, test_exits, test_nvme, test_image, test_tcp,
           test_errors)


def run_emulated(options, selected):
    if not os.path.exists(ROOT_IMAGE):
        print(f"Bail out! {ROOT_IMAGE} is missing: run make check-nvme, which "
              "makes it")
        return 1

    def command(patterns):
        words = ["python3", "-B", "tests/nested/run.py",
                 "--disk=/dev/nvme0n1", "--i-own-this-disk",
                 "--isolation=" + options.isolation, *patterns]
        full = f"VBU_FULL={FULL} " if FULL else ""
        return (f"{full}VBU_INITRD={PROJECT}/build/guest/initramfs.cpio "
                f"VBU_EMULATED=1 VBU_APPEND='{PERIODIC}' "
                + " ".join(map(shlex.quote, words)))

    def machine(number):
        logs = "logs" if number == 1 else f"logs-{number}"
        return Machine(os.path.join(BUILD, "nested", logs), append=PERIODIC)

    return machines.run(machine, command, selected)


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
    config = Config(accel="kvm", isolation=options.isolation)
    selected = names(MODULES, config, options.patterns)
    if options.list:
        for name in selected:
            print(name)
        return 0
    if not options.disk:
        return run_emulated(options, selected)
    drive.PATH = options.disk
    refused = drive.refusal(options.disk, options.i_own_this_disk) \
        or config.missing()
    if refused:
        print(f"Bail out! {refused}")
        return 1
    return run_modules(MODULES, config, options.patterns, PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
