# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: the process that owns the rings can do more than it should, or stays.

The jail as seen from the host, with a guest that knows nothing of it.
"""

import collections
import os
import re

import jailinfo
import ring
from jail_group import GONE_SECONDS, JailGroup, full_only
from jailinfo import Life
from vm import DEVICE


class Jail(JailGroup):
    """From birth to death, of the jail and of QEMU."""

    bus = "slot0"

    def guest_options(self):
        # So that threads of QEMU's have names.
        return {"args": ["-name", "vbu,debug-threads=on"]}

    def die_and_rise(self, polled):
        activations = self.path()["activations"]
        self.start_load(polled)
        for _ in range(3):
            self.wait_growth("polled" if polled else "ring", self.counters())
            pid, before = self.jail(), self.counters()
            ring.forget_changes(self.vm)
            with Life(pid) as jail:
                jail.kill()
                ring.wait_told(self.vm, "virtqueue", "died")
                assert jail.ended(), "the guest goes on, and the jail still lives"
            new = self.jail()
            assert new != pid
            assert set(jailinfo.children(self.vm.process.pid)) == {new}
            went = self.counters() - before
            assert min(went.by_queue) >= 0, f"counted backwards: {went}"
            assert went.virtqueue > 0, \
                f"nothing went over the virtqueues meanwhile: {went}"
        self.wait_growth("polled" if polled else "ring", self.counters())
        self.finish_load()
        assert self.path()["activations"] == activations + 3, self.path()
        self.expect_warnings(3)

    def test_killed_interrupt(self):
        """kill -9 of the jail under load: virtqueues, then RING, no error"""
        self.die_and_rise(polled=False)

    def test_killed_polled(self):
        """kill -9 of the jail under polled load: the same"""
        self.die_and_rise(polled=True)

    def inventory(self):
        """What QEMU has open and what runs in it, numbers aside."""
        qemu = self.vm.process.pid
        self.wait_until(lambda: "ring-counters" not in
                        jailinfo.threads(qemu).values(),
                        "the thread that reads counters has ended")
        found = collections.Counter(re.sub(r"\d+", "N", what)
                                    for what in jailinfo.fds(qemu).values())
        found.update("thread " + name
                     for name in jailinfo.threads(qemu).values())
        # Its pool of threads for files grows and shrinks as it likes.
        del found["thread worker"]
        return found

    def off_and_on(self):
        with Life(self.jail()) as jail:
            ring.set_passthrough(self.vm, False)
            ring.wait_state(self.vm, "virtqueue")
            self.expect_no_jail(jail)
        suspended = self.inventory()
        ring.set_passthrough(self.vm, True)
        self.jail()
        return suspended, self.inventory()

    def test_suspended(self):
        """passthrough off and on, 20 times: a jail when on, nothing leaks"""
        self.off_and_on()
        before = self.off_and_on()
        for _ in range(20):
            after = self.off_and_on()
        for old, new in zip(before, after):
            assert old == new, f"QEMU has {new - old} more, {old - new} less"
        self.verify()

    def test_stopped(self):
        """a stopped machine has no jail, and with cont it has one again"""
        self.start_load(polled=False)
        self.wait_growth("ring", self.counters())
        with Life(self.jail()) as jail:
            self.vm.qmp("stop")
            self.expect_no_jail(jail)
        self.vm.qmp("cont")
        self.jail()
        self.finish_load()

    def test_unplugged(self):
        """unplugged in the middle of I/O, a disk takes its jail with it"""
        self.start_load(polled=False)
        self.wait_growth("ring", self.counters())
        with Life(self.jail()) as jail:
            self.vm.qmp("device_del", id="vbu0")
            self.vm.wait_event("DEVICE_DELETED", device="vbu0")
            jail.expect_end(GONE_SECONDS)
        assert not jailinfo.children(self.vm.process.pid)
        self.vm.sh_status("finish load")
        self.vm.qmp("blockdev-add", driver="file", node_name="again",
                    filename=self.image)
        self.vm.qmp("device_add", driver=DEVICE, id="vbu0", bus="slot0",
                    drive="again", num_queues=1,
                    poll_queues=1)
        # There is no udev in the guest that would tell.
        self.vm.sh("until [ -n \"$(disks)\" ]; do usleep 20000; done")
        self.disk = self.disk_of(self.config.driver())
        self.vm.sh(f"until [ -b /dev/{self.disk} ]; do usleep 20000; done")
        self.jail()
        self.verify()

    def test_confined(self):
        """the jail has guest RAM, a page of code, its fds, and no rights"""
        self.verify()
        pid = self.jail()
        for line in jailinfo.describe(pid):
            print("# " + line, flush=True)
        wrong = list(jailinfo.complaints(
            pid, self.vm.process.pid, jailinfo.ram_of_guest(self.vm),
            rings=2, disk_size=os.path.getsize(self.image)))
        assert not wrong, "; ".join(wrong)

    def test_reset(self):
        """a reset in the middle of I/O ends the jail, the driver gets another
        """
        self.start_load(polled=True)
        self.wait_growth("polled", self.counters())
        self.vm.qmp("set-action", reboot="reset")
        with Life(self.jail()) as jail:
            self.vm.qmp("system_reset")
            self.vm.wait_event("RESET")
            self.expect_no_jail(jail)
        self.vm.wait_boot()
        self.vm.qmp("set-action", reboot="shutdown")
        self.load()
        self.jail()
        self.verify()

    def test_qemu_killed(self):
        """kill -9 of QEMU in the middle of I/O: the jail goes with it"""
        self.start_load(polled=True)
        self.wait_growth("polled", self.counters())
        with Life(self.jail()) as jail:
            self.vm.process.kill()
            took = jail.expect_end(GONE_SECONDS)
        print(f"# the jail was gone {took * 1000:.1f} ms after QEMU was killed",
              flush=True)
        self.drop()

    @full_only
    def test_qemu_quits(self):
        """a QEMU that ends by itself in the middle of I/O leaves no jail"""
        self.start_load(polled=False)
        self.wait_growth("ring", self.counters())
        with Life(self.jail()) as jail:
            self.stop()
            assert jail.ended(), "QEMU has ended, and the jail has not"


GROUPS = {"jail": Jail}
