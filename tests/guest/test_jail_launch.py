# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a QEMU that may start no process has no jail, or one that is not."""

import contextlib
import os
import subprocess
import sys

import jailinfo
import ring
from cgroup import Cgroup
from jail_group import GONE_SECONDS, JAIL, JailGroup
from jailinfo import Life
from launching import Launcher
from tap import MIB
from vm import HERE, make_image


class NoSpawn(JailGroup):
    """QEMU may start no process: others start the jails."""

    FD = 61

    def __init__(self, config, name):
        super().__init__(config, name)
        self.launcher = None

    def cage(self):
        """Arguments and wrapping words that keep QEMU from starting any."""
        sandbox = ["-sandbox", "on,spawn=deny"]
        tried = subprocess.run([self.config.qemu, *sandbox, "-version"],
                               capture_output=True, check=False)
        if tried.returncode == 0:
            return sandbox, []
        return [], [sys.executable, os.path.join(HERE, "nospawn.py")]

    def disks(self):
        self.end_launcher()
        self.launcher = Launcher(JAIL)
        second = make_image(self.image + "-2", self.image_size)
        disks = super().disks() + [{"image": second, "props": self.props}]
        disks[0]["props"] += ",jail=" + self.launcher.address
        disks[1]["props"] += f",jail=fd:{self.FD}"
        return disks

    def guest_options(self):
        args, wrap = self.cage()
        return {"args": args, "wrap": [
            sys.executable, os.path.join(HERE, "launcher.py"), "with",
            str(self.FD), JAIL] + wrap}

    def end_launcher(self):
        if self.launcher:
            self.launcher.close()
            self.launcher = None

    def drop(self):
        super().drop()
        self.end_launcher()

    def die_and_rise(self, disk, name):
        before = self.jail(disk)
        self.verify(name)
        ring.forget_changes(self.vm, disk)
        with Life(before) as jail:
            jail.kill()
            ring.wait_told(self.vm, "virtqueue", "died", disk)
            jail.expect_end(GONE_SECONDS)
        after = self.jail(disk)
        assert after != before
        self.verify(name)
        wrong = list(jailinfo.complaints(
            after, self.vm.process.pid, jailinfo.ram_of_guest(self.vm),
            rings=2, disk_size=self.image_size))
        assert not wrong, "; ".join(wrong)
        self.expect_warnings(1)
        return after

    def names(self):
        return [line.split()[0] for line in self.vm.sh("disks").splitlines()]

    def test_refused(self):
        """QEMU that may start no process says how it gets a jail"""
        args, wrap = self.cage()
        said = self.refusal("refused", self.props, args=args, wrap=wrap)
        assert "jail=" in said, said

    def test_socket(self):
        """jail=PATH: what listens there starts the jail, and the next one"""
        pid = self.die_and_rise("vbu0", self.names()[0])
        started = self.launcher.jails()
        assert pid in started, (pid, started)

    def test_fd(self):
        """jail=fd:N: a launcher that QEMU was given starts them"""
        self.die_and_rise("vbu1", self.names()[1])
        assert not jailinfo.children(self.vm.process.pid)

    def test_all_gone(self):
        """without children, too, QEMU's end is that of its jails"""
        with Life(self.jail("vbu0")) as one, Life(self.jail("vbu1")) as two:
            self.vm.process.kill()
            one.expect_end(GONE_SECONDS)
            two.expect_end(GONE_SECONDS)
        self.drop()


class LaunchedSmall(JailGroup):
    """The launcher's jails have a memory limit, and RAM is not preallocated.

    Who touches a page of RAM first has it charged to its cgroup: for an
    honest guest the limit has to be guest RAM and what the jail needs itself.
    """

    RAM = 512 * MIB
    OWN = 64 * MIB
    READ = 300
    image_size = 512 * MIB      # sparse
    drive = "cache=none"

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()

    def disks(self):
        self.stack.close()
        self.cgroup = self.stack.enter_context(Cgroup(self.name, "memory"))
        self.cgroup.bound_memory(self.RAM + self.OWN)
        launcher = Launcher(JAIL)
        self.stack.callback(launcher.close)
        # Its jails are born where it is.
        self.cgroup.move(launcher.process.pid)
        disks = super().disks()
        disks[0]["props"] += ",jail=" + launcher.address
        return disks

    def guest_options(self):
        # So that the guest itself does not touch what it reads into.
        return {"mem": f"{self.RAM >> 20}M", "append": "init_on_alloc=0"}

    def drop(self):
        super().drop()
        self.stack.close()

    def stop(self):
        super().stop()
        self.stack.close()

    def test_untouched(self):
        """reads into memory that nobody has touched do not cost the jail"""
        pid = self.jail()
        # Through the guest's page cache: each page is one that was free.
        self.vm.sh(f"dd if=/dev/{self.disk} of=/dev/null bs=1M "
                   f"count={self.READ}", timeout=400)
        touched = sum(jailinfo.touched(pid).values())
        print(f"# {touched >> 20} MiB of guest RAM touched by the jail, "
              f"{self.cgroup.memory_peak() >> 20} MiB charged at most",
              flush=True)
        assert self.cgroup.memory_peak() > self.OWN, "too little to tell"
        assert self.jail() == pid
        assert self.cgroup.memory_kills() == 0


GROUPS = {"jail-launch": NoSpawn, "jail-launch-memory": LaunchedSmall}
