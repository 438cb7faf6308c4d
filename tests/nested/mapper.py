# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of the device mapper, which fails, is slow or grows when told to.

A table is a list of (sectors, target, parameters); what it maps to is the
drive of the tests, at the same place as on the disk plus `offset`.
"""

import os

import host

SECTOR = 512
# udev is not needed, and may not be there.
DMSETUP = ("dmsetup", "--noudevsync", "--noudevrules")


class Mapped:
    """A disk of `size` bytes, which nobody may use when it is closed."""

    def __init__(self, name, backing, size, offset=0):
        host.need_modules("dm-mod", "dm-delay", "dm-flakey")
        self.name = name
        self.backing = backing
        self.offset = offset // SECTOR
        self.size = size
        self.nowait = True
        host.run(*DMSETUP, "create", name, text=self._text(self.good()))
        number = host.run(*DMSETUP, "info", "-c", "--noheadings", "-o",
                          "minor", name)
        self.path = f"/dev/dm-{number}"

    # -- tables -----------------------------------------------------------

    def _mapped(self, target, start, end, *parameters):
        """A segment that ends up on the backing disk; bytes."""
        words = [self.backing, str(self.offset + start // SECTOR),
                 *map(str, parameters)]
        return (end - start) // SECTOR, target, " ".join(words)

    def good(self):
        """One where all is well.

        nowait: whether it can be submitted to without a risk of waiting, which
        none of the others can. What is opened while it can is not polled well
        when it cannot any more: the kernel ends such requests with EOPNOTSUPP.
        """
        if self.nowait:
            return [self._mapped("linear", 0, self.size)]
        return [self._mapped("flakey", 0, self.size, 24 * 3600, 0)]

    def bad(self, start, end):
        """One where reads and writes from `start` to `end` fail."""
        return [self._mapped("linear", 0, start),
                ((end - start) // SECTOR, "error", ""),
                self._mapped("linear", end, self.size)]

    def down(self):
        """One where all reads and writes fail; flushes don't."""
        return [self._mapped("flakey", 0, self.size, 0, 24 * 3600)]

    def slow(self, milliseconds):
        """One where each read, write and flush takes so long."""
        return [self._mapped("delay", 0, self.size, milliseconds)]

    @staticmethod
    def _text(table):
        lines, start = [], 0
        for sectors, target, parameters in table:
            lines.append(f"{start} {sectors} {target} {parameters}\n")
            start += sectors
        return "".join(lines)

    # -- changes ------------------------------------------------------------

    def change(self, table):
        """Use another table, when what is in flight is done by the old one."""
        host.run(*DMSETUP, "reload", self.name, text=self._text(table))
        host.run(*DMSETUP, "resume", self.name)

    def grow(self, size):
        self.size = size
        self.change(self.good())

    # -- what it has done ---------------------------------------------------

    def device(self):
        """As the kernel's trace events have it."""
        number = os.stat(self.path).st_rdev
        return os.major(number) << 20 | os.minor(number)

    def writes(self):
        """Writes that it has completed."""
        with open(f"/sys/class/block/{os.path.basename(self.path)}/stat",
                  encoding="ascii") as stat:
            return int(stat.read().split()[4])

    def close(self):
        host.run_until(*DMSETUP, "remove", self.name)
