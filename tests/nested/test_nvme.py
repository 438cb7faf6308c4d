# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: bytes that are not the ones that were written, on IOPOLL rings."""

import os
import signal

import ring
from jailinfo import Life
from nvme_group import NvmeGroup

KIB = 1 << 10
MIB = 1 << 20
ROUNDS = 3

# (way, block size, queue depth, bytes)
POLLED = (
    ("randwrite", "512", 32, 256 * KIB),
    ("write", "4k", 1, 2 * MIB),
    ("randrw", "4k", 64, 8 * MIB),
    ("randwrite", "64k", 8, 16 * MIB),
    ("randrw", "256k", 4, 16 * MIB),
)
BY_INTERRUPT = (
    ("randrw", "4k", 32, 8 * MIB),
    ("write", "1m", 8, 32 * MIB),
)
# Larger than what a drive takes at once: the guest's kernel splits it, and what
# is split it does not poll for.
SPLIT = (
    ("randrw", "4m", 4, 32 * MIB),
)


class Verify(NvmeGroup):
    """fio writes, reads back and compares checksums."""

    def tests(self):
        for polled, cases, how in ((True, POLLED, "on an IOPOLL ring"),
                                   (False, BY_INTERRUPT, "by interrupt"),
                                   (None, SPLIT, "polled, but split")):
            for case in cases:
                way, bs, depth, _ = case
                yield (f"fio --verify {way} {bs} QD {depth}, {how}",
                       lambda case=case, polled=polled:
                       self.checked(*case, polled))
        yield from super().tests()

    def checked(self, way, bs, depth, size, polled, **options):
        if polled:
            self.expect_iopoll()
        job = {"bs": bs, "iodepth": depth, "polled": polled is not False,
               "size": size,
               "verify": "crc32c", "verify_fatal": 1, **options}
        if way == "randrw":
            # Reads of a mix are verified too, so there must be something.
            self.fio("write", **dict(job, do_verify=0))
        before = self.counters()
        self.fio(way, **job)
        return self.expect_ring_served(before, polled=polled)

    def test_flush(self):
        """a flush after polled writes takes a ring that can, and reaches it"""
        self.expect_iopoll()
        before = self.counters()
        self.vm.sh(f"dd if=/dev/zero of=/dev/{self.disk} bs=4k count=4 "
                   "conv=fsync 2>&1")
        went = self.counters() - before
        # Pages are written by interrupt, all in one; FSYNC follows them.
        assert went.ring >= 2 and went.virtqueue == 0, went

    def test_dsync(self):
        """polled writes that are to be durable one by one, verified"""
        self.expect_iopoll()
        job = {"bs": "4k", "size": MIB, "verify": "crc32c", "polled": True}
        before = self.counters()
        self.fio("randwrite", sync="dsync", **job)
        went = self.counters() - before
        assert went.polled + went.virtqueue + went.ring >= \
            MIB // (4 * KIB), went

    def test_filesystem(self):
        """ext4 on it: a verified file outlives an unmount, fsck is content"""
        node = "/dev/" + self.disk
        self.vm.sh(f"real mke2fs -q -F -t ext4 {node} 128m && "
                   f"mount -t ext4 {node} /mnt", timeout=400)
        self.fio("randwrite", "4k", 8, filename="/mnt/file", size="8m",
                 polled=True, verify="crc32c", do_verify=0, fsync_on_close=1)
        self.vm.sh(f"umount /mnt && mount -t ext4 {node} /mnt")
        self.fio("randwrite", "4k", 8, filename="/mnt/file", size="8m",
                 verify="crc32c", verify_only=True)
        self.vm.sh(f"umount /mnt && real e2fsck -fn {node}", timeout=400)


class Changes(NvmeGroup):
    """The path changes under polled load, as on any disk."""

    def kill(self, polled):
        self.start_load(polled)
        kind = "polled" if polled else "ring"
        for _ in range(ROUNDS):
            self.wait_growth(kind, self.counters())
            pid = self.jail()
            with Life(pid) as life:
                os.kill(pid, signal.SIGKILL)
                life.expect_end(60)
            self.wait_until(lambda: self.path()["jail-pid"] not in (0, pid),
                            "there is a new jail")
            ring.wait_state(self.vm, "ring")
        self.finish_load()
        self.expect_warnings(ROUNDS)

    def test_kill(self):
        """kill -9 of the jail under load on an IOPOLL ring, verified"""
        self.expect_iopoll()
        self.kill(True)

    def test_kill_interrupt(self):
        """kill -9 of the jail under load by interrupt, verified"""
        self.kill(False)

    def test_suspend(self):
        """suspend and resume under load on an IOPOLL ring, verified"""
        self.expect_iopoll()
        self.churn(polled=True)
        self.expect_iopoll()

    def test_stopped(self):
        """stop and cont under load on an IOPOLL ring, verified"""
        self.expect_iopoll()
        self.start_load(True)
        for _ in range(ROUNDS):
            self.wait_growth("polled", self.counters())
            self.vm.qmp("stop")
            stopped = str(self.counters())
            for _ in range(20):
                assert str(self.counters()) == stopped, \
                    "I/O went on in a stopped machine"
            self.vm.qmp("cont")
            ring.wait_state(self.vm, "ring")
        self.finish_load()

    def test_killed(self):
        """QEMU killed under load on an IOPOLL ring takes its jail along"""
        self.expect_iopoll()
        self.start_load(True)
        self.wait_growth("polled", self.counters())
        with Life(self.jail()) as life:
            self.drop()
            life.expect_end(60)


GROUPS = {"verify": Verify, "changes": Changes}
