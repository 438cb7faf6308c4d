# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a disk over a network is not a disk like others."""

import drive
import nvmet
import ring
from test_nvme import Verify

MIB = 1 << 20


class TCP(Verify):
    """The same drive, by way of the kernel's NVMe/TCP target and loopback."""

    def tests(self):
        return [("fio --verify over NVMe/TCP, on an IOPOLL ring",
                 self.polled),
                ("fio --verify over NVMe/TCP, by interrupt",
                 self.by_interrupt),
                ("flushes over NVMe/TCP go by a ring", self.flushed)]

    def disks(self):
        self.target = nvmet.Target(drive.PATH)
        self.device = self.target.connect(poll_queues=1)
        return [{"image": self.device, "props": self.props,
                 "drive": self.drive}]

    def drop(self):
        super().drop()
        target, self.target = self.target, None
        if target:
            target.close()

    target = device = None

    def polled(self):
        assert drive.can_poll(self.device), self.device
        path = ring.wait_state(self.vm, "ring")
        assert [each["iopoll"] for each in path["rings"]] == [False, True], \
            path
        self.checked("randrw", "4k", 16, 2 * MIB, True)
        self.checked("randwrite", "256k", 8, 8 * MIB, True)

    def by_interrupt(self):
        self.checked("randrw", "4k", 16, 2 * MIB, False)

    def flushed(self):
        self.test_flush()

    def expect_iopoll(self):
        assert self.poll_ring()["iopoll"], self.path()


GROUPS = {"tcp": TCP}
