# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: an image file on the drive is not a disk like the drive itself."""

import os
import subprocess
import tempfile

import drive
import host
from tap import Skip
from test_nvme import Verify
from vm import make_image

MIB = 1 << 20


def _run(*words):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise Skip(f"'{' '.join(words)}' fails: {done.stdout.strip()}")


class Image(Verify):
    """A raw image on ext4 on the drive.  ext4 polls for reads only."""

    mount = None

    def tests(self):
        return [("fio --verify on an image on ext4, on an IOPOLL ring",
                 self.polled),
                ("fio --verify on an image on ext4, by interrupt",
                 self.by_interrupt)]

    def disks(self):
        _run("mke2fs", "-q", "-F", "-t", "ext4", drive.PATH, "200m")
        self.mount = tempfile.mkdtemp()
        _run("mount", "-t", "ext4", drive.PATH, self.mount)
        # With data, as only a read of data tells that a disk can be polled.
        image = make_image(os.path.join(self.mount, "image"), 64 * MIB, 0x5a)
        return [{"image": image, "props": self.props, "drive": self.drive}]

    def drop(self):
        super().drop()
        if self.mount:
            host.run_until("umount", self.mount)
            os.rmdir(self.mount)
            self.mount = None

    def stop(self):
        super().stop()
        self.drop()

    def polled(self):
        self.expect_iopoll()
        self.checked("randrw", "4k", 16, 2 * MIB, True)
        self.checked("randrw", "256k", 4, 8 * MIB, True)

    def by_interrupt(self):
        self.checked("randrw", "4k", 16, 2 * MIB, False)


GROUPS = {"image": Image}
