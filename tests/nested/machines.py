# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests in an emulated machine, and in another one if that is lost.

TCG can run old code where a kernel has changed its own while it runs on several
CPUs (vm.ONE_CPU): a breakpoint that is no longer there, a timer that does not
tick.  So the machine can be lost.  Then what is left of the tests is run in a new
one, and the report says so.  A test during which it is lost twice has failed.
"""

import re
import sys

from tap import Report
from vm import GuestError

# A program in the machine that is silent for so long, in seconds, cannot even
# say where it hangs.
PATIENCE = 660
SECONDS = 12000         # guard for all of a machine's tests
MACHINES = 3
RESULT = re.compile(r"(not )?ok \d+ - (.*?)( # SKIP .*)?$")


class Relay:
    """What a machine prints, with its results numbered as ours."""

    def __init__(self, report, pending):
        self.report = report
        self.pending = pending      # names of tests without a result
        self.passed = set()
        self.over = False           # whether the machine has nothing to add

    def write(self, text):
        result = RESULT.match(text)
        if result:
            bad, name, directive = result.groups()
            # A test that was run again, as it was the last of a lost machine
            if bad or name not in self.passed:
                self.report.line(not bad, name, directive or "")
            if not bad:
                self.passed.add(name)
            if name in self.pending:
                self.pending.remove(name)
        elif text.startswith("1.."):
            self.over = True
        else:
            self.over = self.over or text.startswith("Bail out!")
            sys.stdout.write(text)

    @staticmethod
    def flush():
        sys.stdout.flush()


def _run_one(machine, number, command, relay):
    """Why the machine was lost before its tests were over, or None."""
    try:
        with machine(number) as started:
            started.boot()
            status = started.run(command, SECONDS, relay, PATIENCE)
    except GuestError as error:
        return str(error)
    if relay.over:
        return None
    return f"the tests ended early, with status {status}"


def run(machine, command, selected):
    """Run tests as TAP; an exit status.

    machine: makes a Machine, from its number.  command: makes, from patterns, a
    shell command for it that runs the tests that match.  selected: the names of
    the tests.
    """
    report = Report()
    relay = Relay(report, list(selected))
    suspect = None
    number = 0
    while relay.pending and number < MACHINES:
        number += 1
        patterns = [f"^{re.escape(name)}$" for name in relay.pending]
        why = _run_one(machine, number, command(patterns), relay)
        if why is None:
            break
        report.explain(f"the machine was lost: {why}")
        before = suspect
        # What is lost after the last test may be so because of that one.
        suspect = (relay.pending or selected[-1:])[0]
        if suspect == before:
            report.line(False, suspect)
            relay.pending = relay.pending[1:]
        elif not relay.pending:
            relay.pending = [suspect]
        if relay.pending and number < MACHINES:
            report.explain("what is left is run in another machine, from "
                           f"'{relay.pending[0]}' on")
    else:
        for name in relay.pending:
            report.explain(f"{number} machines were lost before it was over")
            report.line(False, name)
    report.end()
    return 1 if report.failed or relay.pending else 0
