# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine starts anew or sleeps, with all that is in flight."""

import os

import ring
from operation import Operation
from plug import Plugged


class Restart(Operation):
    """A kernel after which comes another one, without a last word."""

    def run(self):
        self.vm.qmp("set-action", reboot="reset", panic="pause")
        self.forget_resets()
        self.restart()
        self.vm.qmp("set-action", reboot="shutdown", panic="shutdown")
        self.soak.begin_anew(self.rng)

    def forget_resets(self):
        """Earlier ones have been seen to."""
        self.vm.events = [event for event in self.vm.events
                          if event["event"] != "RESET"]

    def restart(self):
        raise NotImplementedError


class Reset(Restart):
    """The button."""

    name = "system_reset"

    def restart(self):
        self.vm.qmp("system_reset")
        self.vm.wait_event("RESET")
        self.vm.wait_boot()


class Reboot(Restart):
    """The guest's own; its kernel shuts the drivers down, and no more."""

    name = "guest reboot"

    def restart(self):
        self.vm.sh_restart("reboot -n -f")
        self.vm.wait_event("RESET", guest=True)


class Kexec(Restart):
    """One kernel is put into the place of another; QEMU sees nothing of it."""

    name = "kexec"

    def restart(self):
        config = self.soak.config
        files = {"kernel": config.kernel, "initrd": config.initrd}
        for name, path in files.items():
            with Plugged(self.soak, "extra", path, read_only=True) as disk:
                size = os.path.getsize(path)
                self.vm.sh(f"head -c {size} /dev/{disk.name} >/tmp/{name}")
        self.vm.sh_restart("kexec-into /tmp/kernel /tmp/initrd "
                           "\"$(cat /proc/cmdline)\"")
        assert not any(event["event"] == "RESET" for event in self.vm.events), \
            "the machine was reset"


class Panic(Restart):
    """The guest's kernel panics; pvpanic tells, and QEMU stops the machine."""

    name = "guest panic, reset"

    def restart(self):
        self.vm.sh_begin("echo c >/proc/sysrq-trigger")
        self.vm.wait_event("GUEST_PANICKED", action="pause")
        for disk in self.soak.all_disks:
            path = ring.path(self.vm, disk.id)
            assert path["state"] != "ring" and path["jail-pid"] == 0, \
                f"a panicked guest has rings: {path}"
        self.vm.qmp("system_reset")
        self.vm.qmp("cont")
        self.vm.wait_boot()


class Sleep(Reset):
    """S3, from which the loads wake up.

    And then a reset: after S3 q35's ACPI registers are not mapped any more,
    whatever disks there are, and a second sleep would return at once.
    """

    name = "S3, wakeup, system_reset"

    def restart(self):
        slept = self.vm.sh_begin("echo mem >/sys/power/state")
        self.vm.wait_event("SUSPEND")
        for disk in self.soak.all_disks:
            path = ring.path(self.vm, disk.id)
            assert path["state"] == "virtqueue", path
        self.vm.qmp("system_wakeup")
        self.vm.wait_event("WAKEUP")
        status, output = slept()
        assert not status, f"the guest could not sleep: {output}"
        self.soak.settle()
        # What the driver's restore made the kernel say goes with it.
        self.soak.check_kernel()
        # A wake-up may have been a reset, too.
        self.forget_resets()
        super().restart()


OPERATIONS = (Reset, Reboot, Kexec, Panic, Sleep)
