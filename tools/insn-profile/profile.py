#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions per I/O in a guest, by function: a measure without noise.

An emulated guest runs fio with a fixed number of I/Os, on virtio-blk-uring and
on null_blk, while insn-profile.c counts what is executed.  Two runs of
different length are subtracted, so that what fio does once drops out.

    tools/insn-profile/run.sh [--depths=1,32] [--functions] [--lines]

"driver" is the driver's own code, "kernel" is all of the guest's kernel that
runs at least once in 40 I/Os (timer ticks are rarer).  How often a disk is
polled per I/O is a matter of time, so at QD 1 all polls but one are taken out
of both; "spin" is what each of them costs.  At other depths polls are left in
"kernel", and what polls in vain is left out of "driver".  --lines counts
instead the cache lines and pages of data that the driver touches.
"""

import argparse
import bisect
import collections
import mmap
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "guest"))

# pylint: disable=wrong-import-position
import fio                                          # noqa: E402
import ring                                         # noqa: E402
from vm import BUILD, DEVICE, Config, Guest, make_image    # noqa: E402

OUT = os.path.join(BUILD, "insn-profile")
MAGIC = 0x31465250534e49
HEADER = struct.Struct("<8Q")
BLOCK = struct.Struct("<3Q")
LINE = struct.Struct("<4Q")
KERNEL = 1 << 63
PAGE_LINES = 64
SIZE = 64 << 20
# A block that is executed less often than this per I/O is no part of the path,
# but of a timer tick or the like.
RARE_ALONE = 0.9
RARE_TOGETHER = 1 / 40
# A line that is touched less often was touched by what fio does once.
RARE_LINE = 1 / 100
# Measurements until one is sound.
TRIES = 4
# What is executed N times per I/O is seen so near to N.
EXACT = 0.03
# No block is executed so often per poll.
MOST_LOOPS = 12

class Profile:
    """The plugin's file."""

    def __init__(self, path):
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        magic, self.blocks, self.lines = HEADER.unpack_from(self.map)[:3]
        if magic != MAGIC:
            raise SystemExit(f"error: {path} is not what insn-profile.c "
                             "writes: build both anew")
        self.first_line = HEADER.size + self.blocks * BLOCK.size

    def executed(self):
        """How often each block was executed: {(address, instructions): n}."""
        if HEADER.unpack_from(self.map)[3]:
            raise SystemExit("error: the profile's tables are full, raise "
                             "BLOCK_SLOTS or LINE_SLOTS in insn-profile.c")
        part = self.map[HEADER.size:self.first_line]
        return collections.Counter({(a, i): n for a, i, n
                                    in BLOCK.iter_unpack(part) if n})

    def record_lines(self, on):
        if on:
            self.map[self.first_line:] = bytes(len(self.map) - self.first_line)
        self.map[32:40] = struct.pack("<Q", on)

    def touched(self):
        """Yield (instruction, line, reads, writes)."""
        for entry in LINE.iter_unpack(self.map[self.first_line:]):
            if entry[0]:
                yield entry


class Symbols:
    def __init__(self, kallsyms):
        table = []
        for line in kallsyms.splitlines():
            words = line.split()
            if words[1] in "tTwW":
                module = words[3] if len(words) > 3 else ""
                table.append((int(words[0], 16), words[2], module))
        table.sort()
        self.table = table
        self.starts = [entry[0] for entry in table]

    def find(self, address):
        """(function, module in brackets or "", whether it begins here)."""
        if address < KERNEL:
            return "user space", "", False
        at = bisect.bisect_right(self.starts, address) - 1
        start, name, module = self.table[at]
        return name, module, start == address


class Function:
    def __init__(self, name, module):
        self.name, self.module = name, module
        self.instructions = 0.0
        self.calls = 0.0


class Measurement:
    """What one I/O takes."""

    def __init__(self, blocks, ios, symbols, alone):
        self.functions = {}
        self.alone = alone
        self.polls = sum(
            executed for (address, _), executed in blocks.items()
            if symbols.find(address)[::2] in POLLS) / ios
        self.spin = 0.0
        spins = self.polls - 1
        rare = RARE_ALONE if alone else RARE_TOGETHER
        for (address, instructions), executed in blocks.items():
            each = executed / ios
            name, module, begins = symbols.find(address)
            if alone and abs(spins) > EXACT and address >= KERNEL:
                loops = self.loops(each, spins)
                each -= loops * spins
                self.spin += loops * instructions
            if each < rare:
                continue
            function = self.functions.setdefault(
                (name, module), Function(name, module))
            function.instructions += each * instructions
            if begins:
                function.calls += each

    @staticmethod
    def loops(each, spins):
        """How often a block is executed per poll: what is left is whole."""
        for loops in range(MOST_LOOPS):
            left = each - loops * spins
            if left > -EXACT and abs(left - round(left)) < EXACT:
                return loops
        return 0

    def sound(self):
        """Whether looks in vain could be told from the rest."""
        spins = abs(self.polls - 1)
        return not self.alone or not self.polls or spins < EXACT or \
            self.polls > 1 and abs(spins - round(spins)) > 2 * EXACT

    def sum(self, accept):
        return sum(f.instructions for f in self.functions.values()
                   if accept(f))

    def driver(self):
        return self.sum(lambda f: f.module in DRIVERS and
                        (self.alone or f.name not in LOOKS))

    def kernel(self):
        return self.sum(lambda f: f.name != "user space")

    def user(self):
        return self.sum(lambda f: f.name == "user space")


# What the driver does of a look in vain, of which there are any number.
LOOKS = ("vbu_poll", "vbu_ring_poll")
# As symbols.find() says it, without the module: these begin here.
POLLS = (("vbu_poll", True), ("null_poll", True))
DRIVERS = ("[virtio_blk_uring]", "[null_blk]")


class Rig:
    """A guest with both disks, and its counts."""

    def __init__(self, options):
        os.makedirs(OUT, exist_ok=True)
        self.options = options
        plugin = os.path.join(OUT, "insn-profile.so")
        counts = os.path.join(OUT, "counts")
        image = make_image(os.path.join(OUT, "disk.img"), SIZE, 0x5a)
        config = Config(qemu=os.path.join(BUILD, "qemu-plugins",
                                          "qemu-system-x86_64"))
        lines = "on" if options.lines else "off"
        self.vm = Guest(
            config, os.path.join(OUT, "guest"),
            [{"image": image, "device": DEVICE,
              "props": "num-queues=1,poll-queues=1"}],
            smp=2, append="maxcpus=1",
            args=["-plugin", f"{plugin},counts={counts},lines={lines}"])
        self.profile = Profile(counts)
        self.vm.wait_boot()
        self.vm.sh("load virtio_blk_uring; null_disk 1", timeout=120)
        ring.wait_state(self.vm, "ring")
        self.disks = {
            "uring": "/dev/" + self.vm.sh("disks").split()[0],
            "null": "/dev/nullb0"}
        self.symbols = Symbols(self.vm.sh("cat /proc/kallsyms"))

    def run(self, disk, job, ios):
        """fio with so many I/Os; the blocks that it executed."""
        qd, how, rw = job
        options = {"number_ios": ios, "size": SIZE, "norandommap": True,
                   "randrepeat": 1, "registerfiles": True, "fixedbufs": True,
                   "invalidate": 0}
        if how == "batch":
            options.update(iodepth_batch_submit=qd, iodepth_batch_complete_min=1,
                           iodepth_batch_complete_max=qd)
        command = fio.command(self.disks[disk], rw, "4k", qd,
                              polled=how != "interrupt", **options)
        self.vm.qmp("stop")
        before = self.profile.executed()
        self.vm.qmp("cont")
        result = fio.Result(self.vm.sh(command, timeout=600))
        assert result.ios() == ios, f"{result.ios()} I/Os instead of {ios}"
        self.vm.qmp("stop")
        after = self.profile.executed()
        self.vm.qmp("cont")
        after.subtract(before)
        return after

    def measure(self, disk, job):
        few, many = self.options.ios // 5, self.options.ios
        self.run(disk, job, few)        # translates, and warms up
        for _ in range(TRIES):
            less = self.run(disk, job, few)
            more = self.run(disk, job, many)
            more.subtract(less)
            found = Measurement(more, many - few, self.symbols, job[0] == 1)
            if found.sound():
                break
        return found

    def lines(self, disk, job):
        self.run(disk, job, self.options.ios // 5)
        self.vm.qmp("stop")
        self.profile.record_lines(1)
        self.vm.qmp("cont")
        self.run(disk, job, self.options.ios)
        self.vm.qmp("stop")
        self.profile.record_lines(0)
        self.vm.qmp("cont")
        return Lines(self.profile.touched(), self.options.ios, self.symbols)


class Lines:
    """What data the driver touches per I/O."""

    def __init__(self, touched, ios, symbols):
        self.ios = ios
        self.lines = collections.Counter()
        self.pages = collections.Counter()
        for pc, line, reads, writes in touched:
            if symbols.find(pc)[1] in DRIVERS:
                self.lines[line] += reads + writes
                self.pages[line // PAGE_LINES] += reads + writes

    def text(self):
        return (f"driver {self._each(self.lines):5.1f} lines "
                f"{self._each(self.pages):5.1f} pages; of all I/Os "
                f"{len(self._often(self.lines))} lines "
                f"{len(self._often(self.pages))} pages")

    def _often(self, counts):
        return [count for count in counts.values()
                if count > RARE_LINE * self.ios]

    def _each(self, counts):
        # Of things there are many of, each is touched now and then.
        return sum(min(1, count / self.ios) for count in self._often(counts))


def show(name, job, found):
    qd, how, rw = job
    spin = f", spin {found.spin:5.1f}" if found.spin else ""
    print(f"{name:<6} {rw:<9} {how:<9} QD {qd:<3} driver "
          f"{found.driver():6.1f}  kernel {found.kernel():7.1f}  "
          f"user {found.user():7.1f}  ({found.polls:.2f} polls{spin})",
          flush=True)


def show_functions(found, every):
    table = sorted(found.functions.values(), key=lambda f: -f.instructions)
    for function in table:
        if function.module in DRIVERS or every and function.instructions >= 1:
            print(f"    {function.instructions:8.1f} {function.calls:7.2f}  "
                  f"{function.name} {function.module}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ios", type=int, default=10000,
                        help="of the longer run (default 10000)")
    parser.add_argument("--depths", default="1,32")
    parser.add_argument("--ways", default="randread")
    parser.add_argument("--how", default="polled,interrupt,batch")
    parser.add_argument("--disks", default="uring,null")
    parser.add_argument("--functions", action="store_true",
                        help="list the driver's functions")
    parser.add_argument("--all", action="store_true",
                        help="list all functions of the guest's kernel")
    parser.add_argument("--lines", action="store_true",
                        help="cache lines and pages instead")
    options = parser.parse_args()
    rig = Rig(options)
    try:
        for rw in options.ways.split(","):
            for how in options.how.split(","):
                for qd in map(int, options.depths.split(",")):
                    if how == "batch" and qd == 1:
                        continue
                    for disk in options.disks.split(","):
                        job = (qd, how, rw)
                        if options.lines:
                            print(f"{disk:<6} {rw} {how} QD {qd}: "
                                  + rig.lines(disk, job).text(), flush=True)
                            continue
                        found = rig.measure(disk, job)
                        show(disk, job, found)
                        if options.functions or options.all:
                            show_functions(found, options.all)
    finally:
        rig.vm.close()


if __name__ == "__main__":
    main()
