# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups of tests that share one guest, reported as TAP.

A Group boots its guest once.  A test that fails costs the guest its life, so
that the next one finds a fresh guest and not the ruins of the last.
"""

import faulthandler
import os
import re
import sys
import time
import traceback

import autopsy
from vm import BUILD, Guest, GuestError, make_image

MIB = 1 << 20
# What the guest's kernel says when it is unwell, whatever the test was about.
KERNEL_TROUBLE = re.compile(
    r"BUG:|WARNING:|Oops|blocked for more than|soft lockup|rcu.*stall"
    r"|list_(add|del) corruption|refcount_t")
# No test is silent for so long, in seconds, unless the program hangs.
PATIENCE = 840


class Skip(Exception):
    """Raised by a test that lacks something; says what."""


class Group:
    """Tests over one guest: methods test_*, or what tests() yields.

    A test's description is the first line of its doc string and names the
    behaviour.  image_size, props, drive and smp describe the guest's disk
    vbu0; disks() and guest_options() can be overridden for more.
    """

    image_size = 64 * MIB
    image_fill = None
    props = "num-queues=1,poll-queues=1"
    drive = "cache=writeback"
    bus = None
    smp = 1
    # How often a test may lose its guest to what it runs on
    tries = 1
    # Parts of the lines that QEMU may write here; all else fails a test.
    known_warnings = ("under TCG, code that the guest reads",)

    def __init__(self, config, name):
        self.config = config
        self.name = name
        self.directory = os.path.join(BUILD, "tests", "guest", name)
        self.image = self.directory + ".img"
        self.vm = None
        self.disk = None

    def tests(self):
        for attribute in sorted(dir(self), key=self._line_of):
            if attribute.startswith("test_"):
                method = getattr(self, attribute)
                yield method.__doc__.splitlines()[0].strip(), method

    def _line_of(self, attribute):
        method = getattr(type(self), attribute, None)
        code = getattr(method, "__code__", None)
        return code.co_firstlineno if code else 0

    def disks(self):
        make_image(self.image, self.image_size, self.image_fill)
        return [{"image": self.image, "props": self.props,
                 "drive": self.drive, "bus": self.bus}]

    def guest_options(self):
        return {}

    def prepare(self):
        """What has to be done in a fresh guest before the first test."""
        self.load()

    def load(self, module=None):
        """Insert the driver; self.disk is the name of the first disk then."""
        driver = module or self.config.driver()
        parameters = " poll_queues=1" if driver == "virtio_blk" else ""
        self.vm.sh(f"load {driver}{parameters}")
        self.disk = self.disk_of(driver)

    def disk_of(self, driver):
        for line in self.vm.sh("disks").splitlines():
            disk, bound, _ = line.split()
            if bound == driver:
                return disk
        raise AssertionError(f"no disk is driven by {driver}: "
                             + (self.vm.sh("disks") or "there is no disk"))

    @staticmethod
    def wait_until(condition, what, seconds=90):
        """Wait for something that QEMU tells only when asked."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {seconds} s: {what}")
            time.sleep(0.01)

    # -- one life of the guest ---------------------------------------------

    def start(self):
        if self.vm is None:
            self.vm = Guest(self.config, self.directory, self.disks(),
                            smp=self.smp, **self.guest_options())
            self.vm.wait_boot()
            self.prepare()

    def check_qemu(self):
        """QEMU has no warning that this group did not bargain for."""
        for line in self.vm.new_log_lines():
            if not any(known in line for known in self.known_warnings):
                raise AssertionError("QEMU says: " + line)

    def check_kernel(self):
        """The guest's kernel has nothing to complain about."""
        said = self.vm.sh("dmesg -c")
        with open(os.path.join(self.directory, "dmesg.log"), "a",
                  encoding="utf-8") as log:
            log.write(said + "\n")
        trouble = KERNEL_TROUBLE.search(said)
        if trouble:
            at = said.count("\n", 0, trouble.start())
            lines = said.splitlines()[max(at - 2, 0):at + 25]
            raise AssertionError("the guest's kernel complains:\n"
                                 + "\n".join(lines))

    def autopsy(self):
        """What can be seen of a QEMU or guest that does not answer."""
        if self.vm is None or self.vm.process.poll() is not None:
            return ""
        return "\n".join(autopsy.report(self.vm.process.pid))

    def drop(self):
        if self.vm is not None:
            self.vm.close()
            self.vm = None

    def stop(self):
        if self.vm is not None:
            vm, self.vm = self.vm, None
            vm.quit()


class Report:
    """TAP on standard output; '#' lines before a failure explain it.

    patience: after so many seconds of silence it says where each thread of
    this program is, and ends the program; None: it never does.
    """

    def __init__(self, patience=None):
        self.number = 0
        self.failed = 0
        self.patience = patience
        self._heard()

    def _heard(self):
        if self.patience:
            faulthandler.dump_traceback_later(
                self.patience, exit=True, file=sys.__stdout__)

    def line(self, good, description, directive=""):
        self._heard()
        self.number += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {description}"
              + directive, flush=True)

    def explain(self, text):
        self._heard()
        for line in text.rstrip().splitlines():
            print("# " + line, flush=True)

    def end(self):
        if self.patience:
            faulthandler.cancel_dump_traceback_later()
        print(f"1..{self.number}"
              + ("" if self.number else " # SKIP no test matches"), flush=True)


def select(modules, config, patterns):
    """Groups of modules' GROUPS, each with the tests of it that are wanted.

    patterns: regular expressions, one of which "group: description" matches.
    """
    wanted = [re.compile(pattern) for pattern in patterns]
    for module in modules:
        for name, group_class in module.GROUPS.items():
            group = group_class(config, name)
            selected = [(description, function)
                        for description, function in group.tests()
                        if not wanted or any(
                            pattern.search(f"{name}: {description}")
                            for pattern in wanted)]
            if selected:
                yield group, selected


def names(modules, config, patterns):
    """What the tests that are wanted are called in a report."""
    return [f"{group.name}: {description}"
            for group, selected in select(modules, config, patterns)
            for description, _ in selected]


def run_modules(modules, config, patterns, patience=PATIENCE):
    """Run the tests of modules that patterns select; an exit status."""
    report = Report(patience)
    for group, selected in select(modules, config, patterns):
        run_group(group, selected, report)
    report.end()
    return 1 if report.failed else 0


def run_test(group, function, report):
    """Run it; once more if the machine below is known to lose guests."""
    for left in reversed(range(group.tries)):
        try:
            group.start()
            function()
            if group.vm is not None:
                group.check_kernel()
                group.check_qemu()
            return
        except GuestError as error:
            if not left:
                raise
            report.explain(f"tried again, as the guest was lost: {error}")
            group.drop()


def run_group(group, selected, report):
    """Run the (description, function) pairs of one group."""
    for description, function in selected:
        started = time.monotonic()
        name = f"{group.name}: {description}"
        try:
            run_test(group, function, report)
        except Skip as reason:
            report.line(True, name, f" # SKIP {reason}")
            continue
        except Exception as error:          # pylint: disable=broad-except
            if isinstance(error, AssertionError) or not str(error):
                where = traceback.extract_tb(error.__traceback__)[-1]
                report.explain(f"{where.filename}:{where.lineno}: "
                               f"{where.line}")
            report.explain(f"{type(error).__name__}: {error}")
            if isinstance(error, GuestError):
                report.explain(group.autopsy())
            report.explain(f"logs in {group.directory}")
            report.line(False, name)
            group.drop()
            continue
        report.line(True, name)
        if sys.stdout.isatty():
            report.explain(f"{time.monotonic() - started:.1f} s")
    try:
        group.stop()
    except Exception as error:              # pylint: disable=broad-except
        report.explain(str(error))
        report.line(False, f"{group.name}: QEMU ends by itself when told to")
    finally:
        group.drop()
