# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: requests other than reads and writes, and requests that fail."""

import os

import fio
import ring
from disk_group import DiskGroup
from hosttrace import Trace
from tap import MIB, Skip


class Requests(DiskGroup):
    image_size = 32 * MIB
    image_fill = 0xee
    drive = "cache=writeback,discard=unmap"

    def test_discard(self):
        """discard goes over the virtqueue and gives the image's blocks back"""
        os.sync()               # Or blocks are still to be allocated.
        allocated = os.stat(self.image).st_blocks
        before = self.counters()
        self.vm.sh(f"blkdiscard -o 0 -l {16 * MIB} /dev/{self.disk}")
        went = self.counters() - before
        assert went.ring + went.polled <= 1, f"rings know no discard: {went}"
        # A hole may cost a block of the file system's own.
        assert os.stat(self.image).st_blocks <= \
            allocated - 15 * MIB // 512, "the image still holds the blocks"
        with open(self.image, "rb") as image:
            image.seek(16 * MIB)
            assert image.read(4096) == b"\xee" * 4096, "too much was discarded"

    def test_write_zeroes(self):
        """write zeroes makes zeroes and touches nothing beside them"""
        zeroable = self.vm.sh(
            f"cat /sys/block/{self.disk}/queue/write_zeroes_max_bytes")
        assert int(zeroable) > 0, "the disk takes no write zeroes"
        # dd cannot say it, mke2fs can: it zeroes its inode tables this way.
        pattern = "tr '\\0' U </dev/zero | head -c 8388608"
        self.vm.sh(f"{pattern} | dd of=/dev/{self.disk} bs=1M oflag=direct "
                   "iflag=fullblock 2>/dev/null")
        before = ring.block_stats(self.vm)
        self.vm.sh(f"real mke2fs -q -F -t ext4 -O ^has_journal -N 4096 -E "
                   f"nodiscard,lazy_itable_init=0 /dev/{self.disk} 8m")
        after = ring.block_stats(self.vm)
        assert after["wr_operations"] > before["wr_operations"] or \
            self.config.stock, "no write zeroes came over the virtqueue"
        self.vm.sh(f"real e2fsck -f -n /dev/{self.disk}")
        with open(self.image, "rb") as image:
            start = image.read(8 * MIB)
            assert image.read(1) in (b"\0", b"\xee")
        assert start.count(b"\0" * (64 << 10)) > 0, "nothing was zeroed"
        assert b"U" * 4096 in start, "everything was zeroed"

    def test_flush(self):
        """each flush is one FSYNC through the ring, on polled queues too"""
        for polled in (False, True):
            polled = polled and not self.config.stock
            # fio flushes between writes, so one time less than it writes.
            before, requests = self.counters(), self.requests()
            # An io_uring that polls takes no fsync, preadv2 and fsync(2) do.
            self.fio("write", "4k", 1, polled=polled, size="404k", fsync=1,
                     engine="pvsync2")
            went, flushes = self.counters() - before, \
                self.requests()[1] - requests[1]
            assert flushes >= 100, f"the guest sent {flushes} flushes"
            if not self.config.stock:
                assert went.flushes == 0, "QEMU did the flushes"
                assert went.ring + went.polled == 101 + flushes, \
                    f"{flushes} flushes, and {went}"

    def test_flush_reaches_image(self):
        """each flush syncs the image: the host's file system sees it"""
        synced = self.image_syncs(lambda: self.fio(
            "write", "4k", 1, size="204k", fsync=1))
        assert synced >= 50, f"50 flushes, {synced} syncs of the image"

    def test_fua(self):
        """FUA is on offer, and a write with it syncs the image by itself"""
        fua = self.vm.sh(f"cat /sys/block/{self.disk}/queue/fua").strip()
        if self.config.stock:
            raise Skip("stock virtio-blk knows no FUA")
        assert fua == "1", f"queue/fua is {fua}"
        requests = self.requests()
        synced = self.image_syncs(lambda: self.fio(
            "write", "4k", 1, size="200k", sync="dsync"))
        flushes = self.requests()[1] - requests[1]
        # What O_DSYNC makes of a write to a block device is a FUA write, and
        # depending on the kernel a flush behind it.
        assert synced >= 50 + flushes, \
            f"50 FUA writes and {flushes} flushes, {synced} syncs of the image"

    def shorts(self):
        return int(self.vm.sh(f"grep ^shorts /sys/block/{self.disk}/uring/"
                              "counters").split()[1])

    def test_short(self):
        """short reads are taken for what they are, by interrupt and polled"""
        self.need_ring()
        try:
            os.truncate(self.image, MIB + 512)
            for polled in (False, True):
                before = self.shorts()
                # The first sector is there; QEMU makes zeroes of the rest.
                self.fio("read", "4k", 1, polled=polled, offset=MIB, size="4k")
                went = self.shorts() - before
                assert went == 2, f"{went} short reads where 2 must be"
        finally:
            os.truncate(self.image, self.image_size)

    def image_syncs(self, function):
        """How often the host synced the image while `function` ran."""
        inode = os.stat(self.image).st_ino
        with Trace("ext4/ext4_sync_file_enter", f"ino == {inode}") as trace:
            function()
            return len(trace.read())


class HostErrors(DiskGroup):
    """The image is sparse, and lies on a file system that is soon full."""

    image_size = 64 * MIB
    room = 24 * MIB
    drive = "cache=writeback,werror=report,rerror=report"

    @property
    def place(self):
        return self.directory + ".small"

    def guest_options(self):
        # A mount that nobody else sees and that ends with QEMU.
        os.makedirs(self.place, exist_ok=True)
        return {"wrap": [
            "unshare", "--mount", "sh", "-e", "-c",
            f"mount -t tmpfs -o size={self.room} vbu '{self.place}';"
            f"truncate -s {self.image_size} '{self.place}/disk.img';"
            'exec "$@"', "sh"]}

    def start(self):
        if os.geteuid() != 0:
            raise Skip("a small file system can be mounted by root only")
        super().start()

    def disks(self):
        return [{"image": os.path.join(self.place, "disk.img"),
                 "props": self.props, "drive": self.drive}]

    def fails(self, polled):
        """Write more than the host has room for; what fio says."""
        return self.vm.sh_status(fio.command(
            "/dev/" + self.disk, "write", "64k", 8,
            polled=polled and not self.config.stock, size="48m"), 60)

    def test_enospc(self):
        """a full host file system is an I/O error in the guest, no hang"""
        for polled in (False, True):
            before = self.counters()
            status, output = self.fails(polled)
            assert status != 0, "fio wrote more than the host can hold"
            assert "No space left" in output or "Input/output error" in output
            self.expect_ring_served(before, polled)

    def test_works_on(self):
        """after such errors what was written can be read, path RING"""
        self.fails(polled=False)
        self.fio("write", "64k", 8, size="4m", verify="crc32c", verify_fatal=1)
        for polled in (False, True):
            before = self.counters()
            self.fio("randread", "4k", 8, size="4m",
                     polled=polled and not self.config.stock)
            self.expect_ring_served(before, polled, at_least=1024)
        if not self.config.stock:
            assert ring.path(self.vm)["state"] == "ring"


GROUPS = {"requests": Requests, "errors": HostErrors}
