#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the test suites and add up what they say.

    scripts/check.py                  all of them
    scripts/check.py unit qtest       these suites
    scripts/check.py -v unit          a line for each test, not only for the
                                      failed and the skipped
    scripts/check.py -p PATTERN ...   only tests whose name matches

unit and qtest are GLib test programs, of which each test is run in a process
of its own, so that one that crashes costs itself only. entry, guest and nvme
are programs that speak TAP; the last gets the options in the variable NVME. The last line is "N passed, N failed,
N skipped"; the exit status is 0 when nothing failed and something passed.
"""

import argparse
import glob
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build")
# Another build of QEMU than the usual one, as for make check-asan
NAME = os.environ.get("VBU_QEMU_BUILD") or "qemu"
QEMU = os.path.join(BUILD, NAME)
LOGS = os.path.join(BUILD, "log", "check" + NAME.removeprefix("qemu"))

# Silence for so long means that a test hangs.
PATIENCE = {"unit": 120, "qtest": 180, "guest": 900, "entry": 300,
            "nvme": 900}

# Of what a failed test said: what went wrong, and what it looked like then.
FIRST_DETAILS, LAST_DETAILS = 4, 26

# GLib's exit status
ALL_SKIPPED = 77

RESULT = re.compile(r"(not )?ok\b\s*\d*\s*(?:- )?(.*)")
DIRECTIVE = re.compile(r"#\s*(SKIP|TODO)\b[:\s]*(.*)", re.IGNORECASE)
# What a test says that did not go as it should, and may pass all the same
LOST = ("# tried again", "# the machine was lost",
        "# the host's kernel complains")
# What GLib and libqtest say of every test.
CHATTER = ("TAP version", "# random seed", "# Start of", "# End of",
           "# starting QEMU: exec")
PLAN = re.compile(r"1\.\.(\d+)(?:\s*#\s*SKIP\b\s*(.*))?", re.IGNORECASE)


class Tally:
    """What was seen so far, and the lines about it."""

    def __init__(self, verbose):
        self.verbose = verbose
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.started = self.spoke = time.monotonic()
        self.status = sys.stdout.isatty()

    def say(self, line):
        if self.status:
            sys.stdout.write("\r\033[K")
        print(line, flush=True)
        self.spoke = time.monotonic()

    def progress(self, suite):
        """A sign of life: on a terminal at once, in a log twice a minute."""
        seconds = time.monotonic() - self.started
        text = (f"{suite}: {self.passed} passed, {len(self.failed)} failed, "
                f"{len(self.skipped)} skipped so far, {seconds:.0f} s")
        if self.status:
            sys.stdout.write("\r\033[K" + text)
            sys.stdout.flush()
        elif time.monotonic() - self.spoke > 30:
            self.say(text)

    def ok(self, name, seconds):
        self.passed += 1
        if self.verbose:
            self.say(f"ok      {name} ({seconds:.1f} s)")

    def skip(self, name, reason, seconds):
        self.skipped.append((name, reason or "no reason given"))
        self.say(f"skip    {name} ({seconds:.1f} s): {reason}")

    def fail(self, name, seconds, details, log):
        self.failed.append(name)
        self.say(f"FAILED  {name} ({seconds:.1f} s); its output: "
                 f"{os.path.relpath(log, TOP)}")
        if len(details) > FIRST_DETAILS + LAST_DETAILS:
            details = details[:FIRST_DETAILS] + ["..."] + \
                details[-LAST_DETAILS:]
        for line in details:
            self.say(f"        {line}")


class Program:
    """A running test program, read line by line, killed when it is silent."""

    def __init__(self, command, log, patience, env=None, cwd=None):
        os.makedirs(os.path.dirname(log), exist_ok=True)
        self.log = open(log, "w", encoding="utf-8", errors="replace")
        self.patience = patience
        self.hung = False
        # A session of its own: what the program left behind goes with it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
            env=env, cwd=cwd, start_new_session=True)
        self.queue = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.queue.put(line.rstrip("\n"))
        self.queue.put(None)

    def lines(self, heartbeat):
        last = time.monotonic()
        while True:
            try:
                line = self.queue.get(timeout=1)
            except queue.Empty:
                heartbeat()
                # A child of the program may hold the pipe open for ever.
                if self.process.poll() is not None and not self.reader.is_alive():
                    return
                if time.monotonic() - last > self.patience:
                    self.hung = True
                    self.end()
                    return
                continue
            last = time.monotonic()
            if line is None:
                return
            self.log.write(line + "\n")
            self.log.flush()
            yield line

    def end(self):
        """The exit status, after whatever is left of the session is gone."""
        try:
            if self.hung:
                os.killpg(self.process.pid, signal.SIGKILL)
            status = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            status = self.process.wait()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.log.close()
        return status


def run_tap(tally, suite, name, command, log, env=None, cwd=None, only=None):
    """Run a program that speaks TAP. `only`: it is to say one result."""
    last = time.monotonic()
    details = []
    planned = None
    results = 0
    wrong = False
    bailed = None
    program = Program(command, log, PATIENCE.get(suite, 300), env, cwd)
    for line in program.lines(lambda: tally.progress(suite)):
        now = time.monotonic()
        result = RESULT.match(line)
        plan = PLAN.match(line)
        if result:
            results += 1
            text = result.group(2)
            directive = DIRECTIVE.search(text)
            title = only or f"{name}: {DIRECTIVE.sub('', text).strip()}"
            if directive and directive.group(1).upper() == "SKIP":
                tally.skip(title, directive.group(2).strip(), now - last)
            elif result.group(1):
                wrong = True
                tally.fail(title, now - last, details, log)
            else:
                tally.ok(title, now - last)
            details = []
            last = now
        elif plan:
            planned = int(plan.group(1))
            if planned == 0:
                tally.skip(only or name, plan.group(2), now - last)
        elif line.startswith("Bail out!"):
            bailed = line[len("Bail out!"):].strip()
            if bailed not in details:
                details.append(line)
        elif line.strip() and not line.startswith(CHATTER):
            # Of an attack: what was attacked, and how much
            if line.startswith(LOST) or \
                    line.startswith("# attack:") and os.environ.get("VBU_FULL"):
                tally.say(line)
            details.append(line)
        tally.progress(suite)
    status = program.end()

    seconds = time.monotonic() - last
    if program.hung:
        tally.fail(only or name, seconds,
                   details + [f"nothing was heard of it for {program.patience} s"], log)
    elif bailed is not None:
        tally.fail(only or name, seconds, details or [bailed], log)
    elif planned is not None and results != planned:
        tally.fail(only or name, seconds,
                   details + [f"{planned} tests were announced and {results} reported"
                              f" (exit status {status})"], log)
    elif results == 0 and planned != 0:
        tally.fail(only or name, seconds,
                   details + [f"it reported no test (exit status {status})"], log)
    elif status < 0:
        tally.fail(only or name, seconds,
                   details + [f"killed by signal {-status}"], log)
    elif status not in (0, ALL_SKIPPED) and not wrong:
        # A sanitizer's last word, on leaks, comes after the tests.
        tally.fail(only or name, seconds, details + [f"exit status {status}"], log)


def qemu_env():
    env = dict(os.environ)
    env.update({
        "QTEST_QEMU_BINARY": "./qemu-system-x86_64",
        "QTEST_QEMU_IMG": "./qemu-img",
        "QTEST_QEMU_STORAGE_DAEMON_BINARY": "./storage-daemon/qemu-storage-daemon",
        "G_TEST_SRCDIR": os.path.join(BUILD, "qemu-src", "tests", "unit"),
        "G_TEST_BUILDDIR": os.path.join(QEMU, "tests", "unit"),
    })
    return env


def run_glib(tally, suite, program, wanted):
    """Each test of a GLib test program for which wanted(path) is true."""
    name = os.path.basename(program)
    if not os.path.exists(program):
        tally.fail(name, 0, ["it was not built"], LOGS)
        return
    listing = subprocess.run([program, "-l"], cwd=QEMU, env=qemu_env(),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, encoding="utf-8", check=False)
    paths = [line for line in listing.stdout.splitlines() if line.startswith("/")]
    if listing.returncode != 0 or not paths:
        log = os.path.join(LOGS, suite, name + ".list.log")
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "w", encoding="utf-8") as output:
            output.write(listing.stdout + listing.stderr)
        tally.fail(name, 0, ["it did not list its tests"] +
                   listing.stderr.splitlines(), log)
        return
    for path in paths:
        if wanted(path):
            log = os.path.join(LOGS, suite, name + path.replace("/", "-") + ".log")
            run_tap(tally, suite, name, [program, "--tap", "-k", "-p", path], log,
                    env=qemu_env(), cwd=QEMU, only=shorten(f"{name}: {path}"))


def shorten(name):
    """The device's place in libqos's graph says nothing to a reader."""
    return re.sub(r"/x86_64/.*?/(virtio-blk-uring)", r"\1", name)


def unit(tally, matches):
    for source in sorted(glob.glob(os.path.join(TOP, "tests/unit/test-*.c"))):
        name = os.path.splitext(os.path.basename(source))[0]
        run_glib(tally, "unit", os.path.join(QEMU, "tests/unit", name),
                 lambda path: matches(f"{name}: {path}"))


def qtest(tally, matches):
    run_glib(tally, "qtest", os.path.join(QEMU, "tests/qtest/qos-test"),
             lambda path: "virtio-blk-uring" in path and matches(f"qos-test: {path}"))


def tap_suite(suite, directory, options=""):
    """A program that speaks TAP; `options`: a variable that has more of them."""
    script = os.path.join(TOP, "tests", directory, "run.sh")

    def run(tally, matches):
        if not os.path.exists(script):
            tally.fail(suite, 0, [f"{os.path.relpath(script, TOP)} is missing"], LOGS)
            return
        patterns = [matches.pattern] if getattr(matches, "pattern", None) else []
        more = shlex.split(os.environ.get(options, ""))
        run_tap(tally, suite, suite, [script, *more, *patterns],
                os.path.join(LOGS, suite + ".log"))
    return run


SUITES = {"entry": tap_suite("entry", "entry"), "unit": unit, "qtest": qtest,
          "guest": tap_suite("guest", "guest"),
          "nvme": tap_suite("nvme", "nested", "NVME")}


class Matcher:
    def __init__(self, pattern):
        self.pattern = pattern

    def __call__(self, name):
        return not self.pattern or re.search(self.pattern, name) is not None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each test")
    parser.add_argument("-p", "--pattern", help="only tests whose name matches")
    parser.add_argument("suites", nargs="*", help="entry, unit, qtest, guest, nvme")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        sys.exit(f"error: there is no suite {min(unknown)}; there are {', '.join(SUITES)}")

    tally = Tally(options.verbose)
    for suite in options.suites or SUITES:
        started = tally.started = time.monotonic()
        before = tally.passed, len(tally.failed), len(tally.skipped)
        SUITES[suite](tally, Matcher(options.pattern))
        after = tally.passed, len(tally.failed), len(tally.skipped)
        passed, failed, skipped = (b - a for a, b in zip(before, after))
        tally.say(f"{suite}: {passed} passed, {failed} failed, {skipped} skipped "
                  f"in {time.monotonic() - started:.0f} s")
    if tally.failed:
        tally.say("failed:")
        for name in tally.failed:
            tally.say(f"  {name}")
    if tally.skipped:
        tally.say("skipped:")
        for name, reason in tally.skipped:
            tally.say(f"  {name}: {reason}")
    if not tally.passed and not tally.failed:
        tally.say("no test ran")
    summary = (f"{tally.passed} passed, {len(tally.failed)} failed, "
               f"{len(tally.skipped)} skipped")
    os.makedirs(LOGS, exist_ok=True)
    with open(os.path.join(LOGS, "summary"), "w", encoding="utf-8") as output:
        print(summary, file=output)
    print(summary, flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
