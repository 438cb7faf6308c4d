# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: the disk is not there, or is not what it says it is."""

import hashlib
import os

import ring
from disk_group import DiskGroup
from tap import MIB, Group
from vm import STOCK_DEVICE, make_image


def digest(path):
    with open(path, "rb") as image:
        return hashlib.sha256(image.read()).hexdigest()


class Boot(DiskGroup):
    image_size = 16 * MIB + 512     # a capacity that nothing rounds to
    props = "num-queues=1,poll-queues=1,serial=boot-disk-0"

    def disks(self):
        self.readonly = make_image(self.directory + "-ro.img", 4 * MIB, 0x5a)
        self.plain = make_image(self.directory + "-stock.img", 4 * MIB)
        return super().disks() + [
            {"image": self.readonly, "drive": "readonly=on",
             "props": "num-queues=1,poll-queues=1"},
            {"image": self.plain, "device": STOCK_DEVICE}]

    def test_driver(self):
        """the guest boots and its disk is driven by virtio_blk_uring"""
        assert self.disk_of(self.config.driver()) == self.disk

    def test_path(self):
        """the path is RING once the driver has probed, a ring for each queue"""
        self.need_ring()
        path = ring.path(self.vm)
        assert path["state"] == "ring", path
        assert [r["polled"] for r in path["rings"]] == [False, True], path
        assert path["activations"] == 1, path

    def test_serial(self):
        """the guest reads the disk's serial number"""
        serial = self.vm.sh(f"cat /sys/block/{self.disk}/serial").strip()
        assert serial == "boot-disk-0", serial

    def test_capacity(self):
        """the guest sees the image's capacity to the sector"""
        size = int(self.vm.sh(f"blockdev --getsize64 /dev/{self.disk}"))
        assert size == os.path.getsize(self.image), size

    def test_last_sector(self):
        """the last sector is written and read, the one behind it refused"""
        self.vm.sh(f"dd if=/dev/zero bs=512 count=1 | tr '\\0' E |"
                   f" dd of=/dev/{self.disk} bs=512 count=1 oflag=direct"
                   f" seek={16 * MIB // 512} conv=notrunc")
        with open(self.image, "rb") as image:
            image.seek(16 * MIB)
            assert image.read() == b"E" * 512
        status, _ = self.vm.sh_status(
            f"dd if=/dev/zero of=/dev/{self.disk} bs=512 count=1 oflag=direct"
            f" seek={16 * MIB // 512 + 1} conv=notrunc")
        assert status != 0
        assert os.path.getsize(self.image) == 16 * MIB + 512

    def test_readonly(self):
        """a read-only disk is read by its ring and refuses writes"""
        before = digest(self.readonly)
        readonly = self.vm.sh("disks").splitlines()[1].split()[0]
        seen = ring.counters(self.vm, "vbu1")
        assert self.vm.sh(f"blockdev --getro /dev/{readonly}").strip() == "1"
        bytes_read = self.vm.sh(f"dd if=/dev/{readonly} bs=64k iflag=direct"
                                " 2>/dev/null | sha256sum").split()[0]
        assert bytes_read == before, "the guest read other bytes"
        if not self.config.stock:
            went = ring.counters(self.vm, "vbu1") - seen
            assert went.ring >= 4 * MIB // (64 << 10) and not went.virtqueue, \
                went
        status, _ = self.vm.sh_status(
            f"dd if=/dev/zero of=/dev/{readonly} bs=4k count=1 oflag=direct")
        assert status != 0, "a write to a read-only disk succeeded"
        assert digest(self.readonly) == before, "the image was written"

    def test_leaves_stock_alone(self):
        """a stock virtio-blk disk beside it is left to virtio_blk"""
        self.need_ring()
        self.vm.sh("load virtio_blk")
        lines = self.vm.sh("disks").splitlines()
        drivers = [line.split()[1] for line in lines]
        assert drivers == ["virtio_blk_uring", "virtio_blk_uring",
                           "virtio_blk"], lines


class LargeBlocks(Group):
    """Blocks that are larger than a page, which few kernels know."""

    props = "logical_block_size=8192,physical_block_size=8192"

    def prepare(self):
        self.vm.sh("load virtio_blk_uring")

    def test_large_blocks(self):
        """blocks of 8 KiB are read, or refused with a sentence"""
        said = self.vm.sh("dmesg")
        if not self.vm.sh("disks"):
            assert "no blocks of 8192 bytes; use a smaller" in said, said
            return
        disk = self.disk_of("virtio_blk_uring")
        self.vm.sh(f"dd if=/dev/{disk} of=/dev/null bs=8k count=1 iflag=direct")


GROUPS = {"boot": Boot, "boot-large-blocks": LargeBlocks}
