#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the guest tests and report them as TAP.

    tests/guest/run.sh                      all of them
    tests/guest/run.sh suspend integrity    groups or tests that match a pattern
    tests/guest/run.sh --list               what there is
    tests/guest/run.sh --accel=kvm          with KVM instead of TCG
    tests/guest/run.sh --stock              stock virtio-blk instead: what then
                                            passes says nothing about the ring

A pattern is a regular expression, looked for in "group: description".
Logs of each group lie in build/tests/guest/GROUP/.
"""

import argparse
import sys

import test_attack
import test_blockops
import test_boot
import test_costs
import test_filesystem
import test_hangs
import test_hotplug
import test_integrity
import test_jail
import test_jail_bounds
import test_jail_launch
import test_jail_ram
import test_jail_slow
import test_lifecycle
import test_migration
import test_neighbours
import test_polling
import test_register_storm
import test_requests
import test_start
import test_stuck_rings
import test_suspend
import test_watch
from tap import names, run_modules
from vm import Config

MODULES = (test_start, test_boot, test_integrity, test_neighbours,
           test_filesystem, test_requests,
           test_suspend, test_lifecycle, test_hotplug, test_migration,
           test_blockops, test_polling, test_jail,
           test_jail_slow, test_hangs, test_costs, test_jail_launch,
           test_jail_ram, test_jail_bounds,
           test_attack, test_register_storm,
           test_stuck_rings, test_watch)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--stock", action="store_true",
                        help="use stock virtio-blk, as a control")
    parser.add_argument("--list", action="store_true",
                        help="list the tests and run none")
    parser.add_argument("patterns", nargs="*", help="which tests to run")
    options = parser.parse_args()
    config = Config(accel=options.accel, stock=options.stock,
                    isolation=options.isolation)
    if options.list:
        for name in names(MODULES, config, options.patterns):
            print(name)
        return 0
    if config.missing():
        print(f"Bail out! {config.missing()}")
        return 1
    return run_modules(MODULES, config, options.patterns)


if __name__ == "__main__":
    sys.exit(main())
