# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a QEMU that may start no process has no jail, or one that is not."""

import os
import shutil
import subprocess
import sys
import tempfile

import jailinfo
import ring
from jail_group import GONE_SECONDS, JAIL, JailGroup
from jailinfo import Life
from vm import HERE, make_image


class NoSpawn(JailGroup):
    """QEMU may start no process: others start the jails."""

    FD = 61

    def __init__(self, config, name):
        super().__init__(config, name)
        self.launcher = None
        self.place = None

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
        self.place = tempfile.mkdtemp(prefix="vbu-")
        address = os.path.join(self.place, "jail.sock")
        self.launcher = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "launcher.py"), "listen",
             address, JAIL], stdout=subprocess.PIPE, text=True)
        assert self.launcher.stdout.readline() == "ready\n"
        second = make_image(self.image + "-2", self.image_size)
        disks = super().disks() + [{"image": second, "props": self.props}]
        disks[0]["props"] += ",jail=" + address
        disks[1]["props"] += f",jail=fd:{self.FD}"
        return disks

    def guest_options(self):
        args, wrap = self.cage()
        return {"args": args, "wrap": [
            sys.executable, os.path.join(HERE, "launcher.py"), "with",
            str(self.FD), JAIL] + wrap}

    def end_launcher(self):
        if self.launcher:
            self.launcher.kill()
            self.launcher.stdout.close()
            self.launcher.wait()
            shutil.rmtree(self.place)
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
        started = jailinfo.children(self.launcher.pid)
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


GROUPS = {"jail-launch": NoSpawn}
