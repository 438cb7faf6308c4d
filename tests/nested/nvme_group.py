# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests on an NVMe drive have in common."""

import os

import drive
import host
import ring
from jail_group import JailGroup
from load_group import LoadGroup
from tap import Skip


class NvmeGroup(JailGroup):
    """A guest under KVM whose disk is the drive itself, with direct I/O."""

    props = "num-queues=1,poll-queues=1"
    drive = "cache=none,aio=io_uring"
    # TCG loses guests, some three in fifteen runs of all tests: one had its state
    # overwritten with the host's by VMRUN's emulation, of others the reason may
    # be old code (vm.ONE_CPU).  What a test finds wrong, and a guest that is lost
    # twice, fails all the same.
    tries = 2 if os.environ.get("VBU_EMULATED") else 1

    def __init__(self, config, name):
        super().__init__(config, name)
        self.kernel_log = None

    def start(self):
        if self.kernel_log is None:
            self.kernel_log = host.KernelLog()
        LoadGroup.start(self)

    def stop(self):
        LoadGroup.stop(self)
        # It may be the emulated CPU that is to blame, so no test fails.
        for line in self.kernel_log.trouble():
            print("# the host's kernel complains: " + line, flush=True)

    def disks(self):
        return [{"image": drive.PATH, "props": self.props,
                 "drive": self.drive}]

    def need_poll(self):
        if not drive.can_poll(drive.PATH):
            raise Skip(f"{drive.PATH} has no queue to poll; boot this host "
                       "with nvme.poll_queues=2")

    def poll_ring(self, disk="vbu0"):
        """What QEMU says about the poll ring."""
        rings = [each for each in ring.path(self.vm, disk)["rings"]
                 if each["polled"]]
        assert len(rings) == 1, rings
        return rings[0]

    def expect_iopoll(self):
        self.need_poll()
        path = ring.wait_state(self.vm, "ring")
        for each in path["rings"]:
            assert each["iopoll"] == each["polled"], path
        assert path["iopoll-error"] == "", path
