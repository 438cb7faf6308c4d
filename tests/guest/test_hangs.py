# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a jail or launcher that hangs takes QEMU with it, or outlives it."""

import contextlib
import os
import signal
import time

import ring
from cgroup import Cgroup
from jail_group import GONE_SECONDS, JAIL, JailGroup
from jailinfo import Life
from launching import Launcher
from vm import make_image

# Longest time for QEMU's answer, in seconds: much for a machine under load,
# little for somebody who waits for a jail.
ANSWER = 2
# A jail has less time than this to answer, and QEMU to try again.
ATTEMPT = 60


class Hangs(JailGroup):
    """One disk whose jails a launcher starts, one whose jails QEMU starts."""

    def __init__(self, config, name):
        super().__init__(config, name)
        self.launcher = None

    def disks(self):
        self.end_launcher()
        self.launcher = Launcher(JAIL)
        second = make_image(self.image + "-2", self.image_size)
        disks = super().disks() + [{"image": second, "props": self.props}]
        disks[0]["props"] += ",jail=" + self.launcher.address
        return disks

    def prepare(self):
        super().prepare()
        ring.wait_state(self.vm, "ring", "vbu1")

    def end_launcher(self):
        if self.launcher:
            self.launcher.close()
            self.launcher = None

    def drop(self):
        super().drop()
        self.end_launcher()

    def stop(self):
        super().stop()
        self.end_launcher()

    def answers_until(self, condition, what, seconds=ATTEMPT):
        """Ask QEMU until something is so; its slowest answer, in seconds."""
        worst, deadline = 0, time.monotonic() + seconds
        while True:
            started = time.monotonic()
            self.vm.qmp("query-status")
            worst = max(worst, time.monotonic() - started)
            started = time.monotonic()
            done = condition()
            worst = max(worst, time.monotonic() - started)
            if done:
                return worst
            assert started < deadline, \
                f"not so within {seconds} s: {what}; {self.path()}"
            time.sleep(0.01)

    def failed(self):
        path = self.path()
        return path["state"] == "virtqueue" and path["reason"] == "host"

    def expect_words(self, *words):
        """QEMU has warned of it, in these words; it may warn once only."""
        said = [line for line in self.vm.new_log_lines()
                if not any(known in line for known in self.known_warnings)]
        assert any(all(word in line for word in words) for line in said), \
            f"no warning says {' and '.join(words)}: {said}"

    def test_silent(self):
        """a jail that does not answer: the monitor does, and says so"""
        ring.set_passthrough(self.vm, False)
        ring.wait_state(self.vm, "virtqueue")
        self.launcher.hang()
        try:
            ring.set_passthrough(self.vm, True)
            worst = self.answers_until(self.failed,
                                       "the attempt to start rings has ended")
            error = self.path().get("error")
            self.fio("randread", "4k", size="1m")
        finally:
            self.launcher.go_on()
        print(f"# QEMU's slowest answer took {worst * 1000:.0f} ms; {error}",
              flush=True)
        assert worst < ANSWER, f"QEMU's monitor hung for {worst:.1f} s"
        assert error and "jail" in error, f"the sentence is: {error}"
        self.expect_words("jail")
        ring.wait_state(self.vm, "ring", seconds=ATTEMPT)
        self.verify()

    def test_absent(self):
        """a launcher that is back: rings are back, and nobody did anything"""
        before = self.jail()
        self.launcher.end()
        try:
            with Life(before) as jail:
                jail.kill()
                self.answers_until(self.failed, "no jail can be had")
        finally:
            self.launcher.start()
        ring.wait_state(self.vm, "ring", seconds=ATTEMPT)
        assert self.jail() in self.launcher.jails()
        self.verify()
        self.expect_words("jail")

    def reset_when_frozen(self, jail, cgroup):
        cgroup.move(jail.pid)
        cgroup.freeze()
        self.vm.new_log_lines()
        self.vm.qmp("set-action", reboot="reset")
        self.vm.qmp("system_reset", timeout=20)
        worst = self.answers_until(
            lambda: any(each["event"] == "RESET" for each in self.vm.events),
            "the machine was reset")
        self.vm.wait_event("RESET")
        self.expect_words("frozen", str(jail.pid))
        self.vm.wait_boot()
        self.vm.qmp("set-action", reboot="shutdown")
        self.load()
        ring.wait_state(self.vm, "ring")
        assert self.path("vbu1")["state"] == "virtqueue", self.path("vbu1")
        assert not jail.ended(), "it was not frozen: this proves nothing"
        assert worst < ANSWER, f"QEMU's monitor hung for {worst:.1f} s"

    def test_frozen(self):
        """a reset while the jail is in a frozen cgroup ends, with a warning"""
        with contextlib.ExitStack() as stack:
            cgroup = stack.enter_context(Cgroup(self.name, "freezer"))
            jail = stack.enter_context(Life(self.jail("vbu1")))
            stack.callback(jail.expect_end, GONE_SECONDS)
            stack.callback(cgroup.freeze, False)
            self.reset_when_frozen(jail, cgroup)
        ring.wait_state(self.vm, "ring", "vbu1", seconds=ATTEMPT)
        self.verify()

    def test_stopped(self):
        """SIGKILL of QEMU ends jails that SIGSTOP has stopped, of any kind"""
        with Life(self.jail("vbu0")) as one, Life(self.jail("vbu1")) as two:
            try:
                for jail in (one, two):
                    os.kill(jail.pid, signal.SIGSTOP)
                self.vm.process.kill()
                left = [name for name, jail in (("the launcher's", one),
                                                ("QEMU's own", two))
                        if not jail.ended(GONE_SECONDS / 3)]
            finally:
                for jail in (one, two):
                    if not jail.ended():
                        jail.kill()
            assert not left, f"still there, stopped: {' and '.join(left)}"
        self.drop()


GROUPS = {"hangs": Hangs}
