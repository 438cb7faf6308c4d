#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the guest's driver for several kernels, and test it with each.

    scripts/check-kernels.py 6.1 newest     these two
    scripts/check-kernels.py -v -p PATTERN 6.1
                                            a line for each test; only tests
                                            whose name matches

A kernel is a series that Debian has, or "newest". Tests of the host's side,
which does not know what kernel the guest has, are left out. A table has a row
for each kernel; the last line is "N passed, N failed, N skipped".
"""

import argparse
import os
import subprocess
import sys
import time

import check

# What these groups are about is the same whatever kernel the guest has.
OF_THE_HOST = "attack|costs|hangs|jail|register-storm|start|stuck-rings|watch"

STEPS = (("kernel", "fetch-kernel.sh"),
         ("module", "guest-module.sh"),
         ("root file system", "guest-image.sh"))
COLUMNS = "{:<36} {:>6} {:>7} {:>7} {:>8}"


def build_directory(series):
    """Where what is made for this kernel lies; as in guest-kernel.sh."""
    if series == "6.12":
        return check.BUILD
    return os.path.join(check.BUILD, "kernels", series)


def build(series):
    """Whether the driver could be built; if not, the step has said why."""
    scripts = os.path.join(check.TOP, "scripts")
    for name, script in STEPS:
        command = [os.path.join(scripts, "step.sh"),
                   f"{name} of the guest, {series}",
                   os.path.join(scripts, script)]
        env = dict(os.environ, VBU_GUEST_KERNEL=series)
        if subprocess.run(command, env=env, check=False).returncode:
            return False
    return True


def release(series):
    with open(os.path.join(build_directory(series), "guest", "kver"),
              encoding="utf-8") as kver:
        return kver.read().strip()


def check_kernel(series, options):
    """Its row of the table, and its tally."""
    tally = check.Tally(options.verbose)
    logs = os.path.join(check.BUILD, "log")
    if not build(series):
        tally.fail(f"Linux {series}: the driver builds",
                   time.monotonic() - tally.started, [], logs)
        return (series, "no", "-", "-", "-"), tally
    check.run_tap(tally, "guest", f"Linux {release(series)}",
                  [os.path.join(check.TOP, "tests", "guest", "run.sh"),
                   f"^(?!{OF_THE_HOST})(?=.*(?:{options.pattern}))"],
                  os.path.join(logs, "check-kernels", series + ".log"),
                  env=dict(os.environ, VBU_BUILD=build_directory(series)))
    return (release(series), "yes", tally.passed, len(tally.failed),
            len(tally.skipped)), tally


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each test")
    parser.add_argument("-p", "--pattern", default="",
                        help="only tests whose name matches")
    parser.add_argument("kernels", nargs="+", help="6.1, 6.12, newest...")
    options = parser.parse_args()

    rows, tallies = [], []
    for series in options.kernels:
        row, tally = check_kernel(series, options)
        rows.append(row)
        tallies.append(tally)
    print(COLUMNS.format("kernel", "builds", "passed", "failed", "skipped"))
    for row in rows:
        print(COLUMNS.format(*row))
    passed = sum(tally.passed for tally in tallies)
    failed = sum(len(tally.failed) for tally in tallies)
    skipped = sum(len(tally.skipped) for tally in tallies)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
