# SPDX-License-Identifier: GPL-2.0-or-later
"""The one file or block device that all contenders but null_blk use."""

import os
import stat
import subprocess

import blockdev
from vm import make_image

IMAGE_SIZE = 256 << 20


class Disk:
    """path: None for an image of our own in `directory`."""

    NODE = "disk0"

    def __init__(self, path=None, directory=None, owned=False):
        self.direct = path is not None
        # Our own image is ours to write.
        self.writable = path is None or owned
        if path is None:
            path = self._own_image(directory)
        self.path = os.path.abspath(path)
        found = os.stat(self.path)
        self.block = stat.S_ISBLK(found.st_mode)
        if self.block and owned:
            who = blockdev.in_use(self.path)
            if who:
                raise SystemExit(
                    f"error: {path} is not for writing: {who}; unmount it, or "
                    "name a disk or partition that nothing uses")
        self.sysfs = blockdev.sysfs(found.st_rdev if self.block else found.st_dev)
        self.size = self._size(self.path)

    @classmethod
    def _own_image(cls, directory):
        path = os.path.join(directory, "disk.img")
        if cls._file_system(directory) == "tmpfs":
            raise SystemExit(
                f"error: {directory} lies on tmpfs, where io_uring hands "
                "every read to a worker thread: name a file on a disk "
                "file system with --disk=PATH")
        if not os.path.exists(path) or os.path.getsize(path) != IMAGE_SIZE:
            make_image(path, IMAGE_SIZE, 0x5a)
        # What was left of an earlier run would be written back now.
        subprocess.run(["sync", path], check=False)
        with open(path, "rb") as image:     # into the page cache
            while image.read(1 << 20):
                pass
        return path

    @staticmethod
    def _file_system(path):
        return subprocess.run(["stat", "-f", "-c", "%T", path], text=True,
                              stdout=subprocess.PIPE,
                              check=False).stdout.strip()

    @staticmethod
    def _size(path):
        try:
            with open(path, "rb") as disk:
                size = disk.seek(0, os.SEEK_END)
        except OSError as error:
            raise SystemExit(f"error: {path} cannot be read "
                             f"({error.strerror}): name another with "
                             "--disk=PATH, or be root") from None
        if size < 1 << 20:
            raise SystemExit(f"error: {path} holds {size} bytes, too few to "
                             "measure on: name a disk of 1 MiB or more")
        return size

    def why_no_polling(self):
        """Why completions of this disk cannot be polled for; or None."""
        if not self.direct:
            return "the page cache has no completions to poll for"
        if self.sysfs is None or not blockdev.can_poll(self.sysfs):
            return (f"{self.path} has no queues for polling (an NVMe drive "
                    "has with the kernel argument nvme.poll_queues=N)")
        return None

    def interrupts(self):
        """What the names of the drive's interrupts match; None: unknown."""
        return blockdev.interrupts(self.sysfs) if self.sysfs else None

    def blockdev(self, aio="io_uring"):
        """The disk as a node of QEMU's, without a format in between."""
        return {"driver": "host_device" if self.block else "file",
                "node-name": self.NODE, "filename": self.path, "aio": aio,
                "cache": {"direct": self.direct},
                "read-only": not self.writable,
                # All guests share it, one at a time.
                "locking": "off"}

    def __str__(self):
        kind = "block device" if self.block else \
            f"file on {self._file_system(self.path)}"
        return (f"{self.path}, {self.size >> 20} MiB, {kind}, "
                + ("direct I/O" if self.direct else "page cache"))
