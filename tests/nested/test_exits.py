# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: the guest leaves its virtual CPU, or QEMU works, for each I/O."""

import contextlib
import os
import time

import counters
import cputime
import fio
import ring
from nvme_group import NvmeGroup

ENOUGH = 100000
WINDOW = 8              # seconds
MOST_SECONDS = 1500
# What rounds to 0.00.
NOTHING = 0.005
# Interrupts that the emulated machine may lose; the driver looks for itself then.
LOST = 2 if os.environ.get("VBU_EMULATED") else 0
# Exits of a kind that the timers of a busy guest make anyway.
TIMER_SLACK = 1.3


class Exits(NvmeGroup):
    """KVM's and the kernel's own counters over at least 100,000 I/Os."""

    props = "num-queues=1,poll-queues=1,sqpoll-idle-ms=2000"

    def load(self, module=None):
        super().load(module)
        self.vm.sh("null_disk 1")

    @staticmethod
    def look(exits, calls):
        return dict(exits.read(), calls=calls.read(),
                    seconds=time.monotonic())

    def background(self, disk, polled, depth):
        self.vm.sh("start load '" + fio.command(
            "/dev/" + disk, "randread", "4k", depth, polled=polled, size="64m",
            time_based=True, runtime=3000, norandommap=True) + "'")

    def measure(self, disk, done, ios_wanted):
        """What happens while a polled load runs: (differences, I/Os)."""
        self.background(disk, True, 16)
        total, ios = {}, 0
        try:
            self.wait_until(lambda: done() > 100, "I/O is on its way",
                            seconds=120)
            with contextlib.closing(counters.Exits(
                    [cpu["thread-id"] for cpu in
                     self.vm.qmp("query-cpus-fast")])) as exits, \
                 contextlib.closing(counters.Events(
                     "raw_syscalls/sys_enter",
                     cputime.threads(self.vm.process.pid))) as calls:
                # To ask QEMU how far it is makes it work: not in between.
                while ios <= ios_wanted and \
                        total.get("seconds", 0) < MOST_SECONDS:
                    before = done()
                    first = self.look(exits, calls)
                    time.sleep(WINDOW)
                    last = self.look(exits, calls)
                    ios += done() - before
                    print(f"# {disk}: {ios} I/Os", flush=True)
                    for key in first:
                        total[key] = total.get(key, 0) + last[key] - first[key]
        finally:
            self.finish_load()
        return total, ios

    def null_ios(self):
        stat = self.vm.sh("cat /sys/block/nullb0/stat").split()
        return int(stat[0])

    def test_polled(self):
        """0.00 exits and 0.00 system calls of QEMU per polled I/O"""
        self.need_ring()
        floor, _ = self.measure("nullb0", self.null_ios, 0)
        start = self.counters()
        found, ios = self.measure(
            self.disk, lambda: (self.counters() - start).polled, ENOUGH)
        went = self.counters() - start
        assert went.virtqueue == 0, went
        assert ios > ENOUGH, f"only {ios} I/Os in {MOST_SECONDS} s"
        over = found["seconds"] / floor["seconds"]
        print(f"# {ios} polled I/Os in {found['seconds']:.1f} s, and a guest "
              "as busy with a disk of its own:")
        for key in found:
            if key != "seconds":
                more = found[key] - floor[key] * over
                print(f"#   {key}: {found[key]}, {floor[key] * over:.0f} "
                      f"without: {more / ios:.5f} per I/O")
        # A timer's exits are not I/O's; their number varies with the host.
        for key in ("doorbell", "halt", "port", "other", "calls"):
            more = found[key] - floor[key] * over
            assert more / ios < NOTHING, f"{key}: {more / ios:.4f} per I/O"
        most = floor["timer"] * over * TIMER_SLACK + NOTHING * ios
        assert found["timer"] <= most, f"timer: {found['timer']} > {most:.0f}"

    def test_counters_count(self):
        """the same counters see the doorbells and the work of virtqueues"""
        self.need_ring()
        ring.set_passthrough(self.vm, False)
        ring.wait_state(self.vm, "virtqueue")
        start = self.counters()
        found, ios = self.measure(
            self.disk, lambda: (self.counters() - start).virtqueue, 500)
        ring.set_passthrough(self.vm, True)
        ring.wait_state(self.vm, "ring")
        print(f"# {ios} I/Os over virtqueues: {found}")
        assert found["doorbell"] > 10 * NOTHING * ios, found
        assert found["calls"] > 10 * NOTHING * ios, found

    def driver(self):
        """The guest driver's counters of its interrupt queues."""
        lines = self.vm.sh(f"cat /sys/block/{self.disk}/uring/queues") \
            .splitlines()
        names = lines[0].split()
        rows = [dict(zip(names, line.split())) for line in lines[1:]]
        return {key: sum(int(row[key]) for row in rows
                         if row["type"] == "interrupt")
                for key in ("completed", "interrupts", "empty")}

    def test_interrupts(self):
        """by interrupt, there is at most one for each batch of completions"""
        self.need_ring()
        for depth, count in ((1, 2000), (32, 8000)):
            before = self.driver()
            self.fio("randread", "4k", depth, number_ios=count, size="100%",
                     norandommap=True, timeout=800)
            after = self.driver()
            done, raised, empty = (
                after[key] - before[key]
                for key in ("completed", "interrupts", "empty"))
            batches = raised - empty
            print(f"# QD {depth}: {raised} interrupts for {done} completions "
                  f"in {batches} batches: {raised / batches:.3f} per batch")
            assert done >= count, done
            # With QD 1 a batch is one.
            assert done - LOST <= batches <= done if depth == 1 else \
                batches < done, batches
            # One that found nothing was for a batch that another one took
            # while the host was about to signal it: some, as the host's
            # threads happen to run. Signals that the guest did not switch off
            # while it looks come for nearly each completion.
            assert raised <= done, (raised, done)
            assert empty <= 0.25 * batches, (empty, batches)


GROUPS = {"exits": Exits}
