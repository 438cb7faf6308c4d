#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of nested tests whose machine is lost, with machines that only
print what a real one would.

    machines.py         the names of the checks, and what each of them shows
    machines.py NAME    run one; the exit status is 0 when it holds
"""

import contextlib
import importlib.util
import io
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "guest"))

# pylint: disable=wrong-import-position
from vm import GuestError                               # noqa: E402

# By its path: its name is this program's, too.
_spec = importlib.util.spec_from_file_location(
    "nested_machines", os.path.join(TESTS, "nested", "machines.py"))
machines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(machines)

LOST = object()


class Machine:
    """Prints lines, and is lost where LOST is among them."""

    def __init__(self, lines):
        self.lines = lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def boot(self):
        pass

    def run(self, _command, _timeout, output, _patience):
        for line in self.lines:
            if line is LOST:
                raise GuestError("gone")
            output.write(line + "\n")
        return 1


def results(selected, *lives):
    """The results, the exit status, and the patterns that each life got."""
    left = iter(lives)
    asked = []

    def command(patterns):
        asked.append([pattern.strip("^$") for pattern in patterns])
        return ""

    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = machines.run(lambda _: Machine(next(left)), command, selected)
    lines = said.getvalue().splitlines()
    good = [line for line in lines if line.startswith(("ok", "not ok"))]
    assert f"1..{len(good)}" in lines[-1], lines
    assert sum("machine was lost" in line for line in lines) == \
        sum(LOST in life for life in lives), lines
    assert next(left, None) is None, "a machine was not needed"
    return good, status, asked


def check_kept():
    """a machine that is not lost: its results, and its status"""
    assert results(["a", "b"], ["ok 1 - a # SKIP why", "ok 2 - b", "1..2"]) \
        == (["ok 1 - a # SKIP why", "ok 2 - b"], 0, [["a", "b"]])
    assert results(["a", "b"], ["ok 1 - a", "not ok 2 - b", "1..2"])[:2] \
        == (["ok 1 - a", "not ok 2 - b"], 1)


def check_lost():
    """what is left of a lost machine's tests runs in another one"""
    assert results(["a", "b", "c"], ["ok 1 - a", LOST],
                   ["ok 1 - b", "ok 2 - c", "1..2"]) \
        == (["ok 1 - a", "ok 2 - b", "ok 3 - c"], 0,
            [["a", "b", "c"], ["b", "c"]])


def check_twice():
    """a test during which the machine is lost twice fails, no other does"""
    assert results(["a", "b", "c"], ["ok 1 - a", LOST], [LOST],
                   ["ok 1 - c", "1..1"]) \
        == (["ok 1 - a", "not ok 2 - b", "ok 3 - c"], 1,
            [["a", "b", "c"], ["b", "c"], ["c"]])


def check_last():
    """lost after the last test: that runs again, and is counted once"""
    once = ["ok 1 - a", "ok 2 - b", LOST]
    assert results(["a", "b"], once, ["ok 1 - b", "1..1"])[:2] \
        == (["ok 1 - a", "ok 2 - b"], 0)
    good, status, _ = results(["a", "b"], once, ["ok 1 - b", LOST])
    assert good[-1] == "not ok 3 - b" and status == 1, good


def check_many():
    """what is left after three lost machines fails"""
    assert results(["a", "b", "c"], [LOST], ["ok 1 - a", LOST],
                   ["ok 1 - b", LOST])[:2] \
        == (["ok 1 - a", "ok 2 - b", "not ok 3 - c"], 1)


CHECKS = {name.removeprefix("check_"): function
          for name, function in list(globals().items())
          if name.startswith("check_")}


def main():
    if len(sys.argv) == 1:
        for name, function in CHECKS.items():
            print(name, function.__doc__)
        return
    CHECKS[sys.argv[1]]()


if __name__ == "__main__":
    main()
