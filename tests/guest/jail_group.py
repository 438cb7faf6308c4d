# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the jail have in common: the process, and its end."""

import contextlib
import os

import jailinfo
import ring
from jailinfo import Life
from load_group import LoadGroup
from tap import MIB, Skip
from vm import BUILD, Guest, GuestError, make_image

JAIL = os.path.join(BUILD, "qemu", "tools", jailinfo.COMM)
GONE_SECONDS = 30       # one that stays, stays for good
KILLED = "the jail of its rings was killed"     # QEMU's words
# Without it only what takes no long time is tested.
FULL = bool(os.environ.get("VBU_FULL"))


def full_only(test):
    """Marks a test that is not even listed without VBU_FULL=1."""
    test.full_only = True
    return test


class JailGroup(LoadGroup):
    """A group whose disk has a jail."""

    props = "num-queues=1,poll-queues=1"

    def tests(self):
        return [(description, function)
                for description, function in super().tests()
                if FULL or not hasattr(function, "full_only")]

    guest = Guest

    def start(self):
        if self.config.stock:
            raise Skip("stock virtio-blk has no jail")
        if self.config.isolation != "process":
            raise Skip(f"isolation={self.config.isolation} has no jail")
        if self.vm is None:
            self.vm = self.guest(self.config, self.directory, self.disks(),
                                 smp=self.smp, **self.guest_options())
            self.vm.wait_boot()
            self.prepare()

    def stop(self):
        """At the end of all tests; QEMU takes its jail along."""
        if self.vm is None:
            return
        with contextlib.ExitStack() as stack:
            path = self.path()
            life = path["jail-pid"] and stack.enter_context(
                Life(path["jail-pid"]))
            super().stop()
            assert not life or life.ended(), \
                "QEMU has ended, and the jail has not"

    def path(self, disk="vbu0"):
        return ring.path(self.vm, disk)

    def jail(self, disk="vbu0"):
        """The process id of the jail, which must be there."""
        path = ring.wait_state(self.vm, "ring", disk)
        assert path["jail-pid"], path
        return path["jail-pid"]

    def expect_no_jail(self, life):
        """The jail that was there has gone, and QEMU has waited for it."""
        life.expect_end(GONE_SECONDS)
        qemu = self.vm.process.pid
        self.wait_until(lambda: not jailinfo.children(qemu),
                        "no child of QEMU's is left", seconds=5)
        assert self.path()["jail-pid"] == 0, self.path()

    def expect_warnings(self, times, silent=0):
        """QEMU has said so often that a jail was killed, and nothing else.

        So many of them may have been silent: who kills a jail whose rings are
        ending already brings about what was wanted.
        """
        said = [line for line in self.vm.new_log_lines()
                if not any(known in line for known in self.known_warnings)]
        assert times - silent <= len(said) <= times and \
            all(KILLED in line for line in said), \
            f"QEMU said {said}, and {times} jails were killed"

    def verify(self, disk=None, **options):
        """A little data, written and read back by the ring."""
        self.fio("randwrite", "4k", 16, size="2m", verify="crc32c",
                 verify_fatal=1, **options,
                 **({"filename": "/dev/" + disk} if disk else {}))

    @contextlib.contextmanager
    def extra_guest(self, name, props, guest=Guest, **options):
        """A second QEMU with a disk of its own, not booted."""
        image = make_image(f"{self.directory}-{name}.img", MIB)
        with guest(self.config, os.path.join(self.directory, name),
                   [{"image": image, "props": props}], **options) as other:
            yield other

    def refusal(self, name, props, **options):
        """What QEMU says when it does not start with these properties."""
        try:
            with self.extra_guest(name, props, **options):
                pass
        except GuestError as error:
            return str(error)
        raise AssertionError(f"QEMU starts with {props} {options}")
