# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with bad blocks that can be polled: null_blk, in memory."""

import os

import host

CONFIG = "/sys/kernel/config/nullb"
MIB = 1 << 20
SECTOR = 512


class BadBlocks:
    """A disk of `size` bytes where what reaches into a range fails: EIO.

    A table of the device mapper with such a range is not one that can be
    submitted to without a risk of waiting; this is.
    """

    def __init__(self, name, size, start, end):
        host.need_modules("null_blk")
        self._place = os.path.join(CONFIG, name)
        os.mkdir(self._place)
        try:
            for key, value in (
                    ("size", size // MIB), ("memory_backed", 1),
                    ("poll_queues", 1), ("badblocks",
                     f"+{start // SECTOR}-{end // SECTOR - 1}"), ("power", 1)):
                self._write(key, value)
        except BaseException:
            os.rmdir(self._place)
            raise
        self.path = "/dev/" + name

    def _write(self, key, value):
        with open(os.path.join(self._place, key), "w",
                  encoding="ascii") as file:
            file.write(str(value))

    def close(self):
        self._write("power", 0)
        os.rmdir(self._place)
