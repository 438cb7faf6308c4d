# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: what a file system stored is not what it finds, here or elsewhere."""

import hashlib
import os
import subprocess

from disk_group import DiskGroup
from ring import wait_state
from tap import MIB, Skip
from vm import DRIVER

# Files of many sizes, from empty to several extents, and their checksums.
FILL = """
mkdir {at}/many
for i in $(seq 0 60)
do head -c $((i * i * 37)) /dev/urandom >{at}/many/$i; done
for i in 1 2 3; do head -c $((i * 1000001)) /dev/urandom >{at}/big.$i; done
(cd {at}; find . -type f ! -name SUMS ! -path './lost*' | sort |
 xargs md5sum) >{at}/SUMS
"""


class FileSystem(DiskGroup):
    """One disk, used in turn by our driver and by the stock driver."""

    image_size = 48 * MIB

    def prepare(self):
        super().prepare()
        self.vm.sh("mkdir -p /mnt/disk")
        self.filled = False

    def make(self):
        self.vm.sh(f"real mke2fs -q -t ext4 -E nodiscard /dev/{self.disk}")
        self.mounted(FILL.format(at="/mnt/disk"))
        self.filled = True

    def need_files(self):
        """After a failed test the guest and its disk are new and empty."""
        if not self.filled:
            self.make()

    def use_driver(self, driver):
        """Hand the same device to another driver, in the same guest."""
        if self.config.stock and driver == DRIVER:
            driver = "virtio_blk"
        for old in {DRIVER, "virtio_blk"} - {driver}:
            self.vm.sh(f"[ ! -d /sys/module/{old} ] || rmmod {old}")
        self.load(driver)
        if driver == DRIVER:
            wait_state(self.vm, "ring")

    def mounted(self, script, options="rw"):
        return self.vm.sh(f"mount -t ext4 -o {options} /dev/{self.disk} "
                          f"/mnt/disk\n{script}\numount /mnt/disk")

    def device_digest(self):
        return self.vm.sh(f"dd if=/dev/{self.disk} bs=1M iflag=direct "
                          "2>/dev/null | md5sum", timeout=400).split()[0]

    def image_digest(self):
        with open(self.image, "rb") as image:
            return hashlib.md5(image.read()).hexdigest()

    def test_mkfs_mount_fsck(self):
        """ext4: mkfs, mount, write, unmount, and fsck finds it clean"""
        before = self.counters()
        self.make()
        self.vm.sh(f"real e2fsck -f -n /dev/{self.disk}")
        went = self.counters() - before
        if not self.config.stock:
            # mke2fs zeroes by write zeroes, which no ring has: that alone
            # may take the virtqueue.
            assert went.ring > 100 and went.virtqueue * 4 < went.ring, went
            assert went.flushes == 0, "flushes took the slow path"

    def test_checksums(self):
        """ext4: after a new mount all files have their checksums"""
        self.need_files()
        self.mounted("cd /mnt/disk; md5sum -c SUMS >/run/sums ||"
                     " { grep -v OK /run/sums; false; }; cd /", "ro")

    def test_stock_sees_same(self):
        """the stock driver sees the bytes that virtio_blk_uring wrote"""
        self.need_files()
        ours = self.device_digest()
        self.use_driver("virtio_blk")
        theirs = self.device_digest()
        assert theirs == ours, "the two drivers read different bytes"
        self.mounted("cd /mnt/disk; md5sum -c SUMS >/run/sums; cd /", "ro")
        assert self.image_digest() == ours, "the image holds other bytes"

    def test_sees_stock(self):
        """virtio_blk_uring sees the bytes that the stock driver wrote"""
        self.need_files()
        self.use_driver("virtio_blk")
        self.mounted("rm -r /mnt/disk/many\n" + FILL.format(at="/mnt/disk"))
        theirs = self.device_digest()
        self.use_driver(DRIVER)
        before = self.counters()
        ours = self.device_digest()
        self.expect_ring_served(before)
        assert theirs == ours, "the two drivers read different bytes"
        self.mounted("cd /mnt/disk; md5sum -c SUMS >/run/sums; cd /", "ro")
        self.vm.sh(f"real e2fsck -f -n /dev/{self.disk}")

    def test_image_bytes(self):
        """the image on the host holds the guest's bytes and a clean ext4"""
        self.need_files()
        ours = self.device_digest()
        assert self.image_digest() == ours, "the image holds other bytes"
        for place in ("/usr/sbin", "/sbin", "/usr/bin"):
            e2fsck = os.path.join(place, "e2fsck")
            if os.path.exists(e2fsck):
                break
        else:
            raise Skip("the host has no e2fsck")
        check = subprocess.run([e2fsck, "-f", "-n", self.image],
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, check=False)
        assert check.returncode == 0, check.stdout.decode()


GROUPS = {"filesystem": FileSystem}
