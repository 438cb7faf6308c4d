# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: QEMU is in the data path, or what looks like the ring is not it."""

import collections

import fio
import ring
import syscalls
from disk_group import DiskGroup


ENOUGH = 100000         # I/Os to count system calls over
WINDOW = 3              # seconds of each recording
MOST_WINDOWS = 250
CALLS_PER_IO = 0.001
# How much busier the timers of an emulated guest may look with I/O than
# without: what they cost varies by a quarter from second to second.
TIMER_SLACK = 1.6


class Polling(DiskGroup):
    """fio polls in the guest; the host watches what QEMU does meanwhile."""

    # A busy host may keep the vCPU off its CPU for longer than the usual 20 ms.
    # The SQPOLL thread would go to sleep, and waking it is QEMU's business.
    props = "num-queues=1,poll-queues=1,sqpoll-idle-ms=2000"

    def settled(self):
        return all(each["submitted"] == each["completed"]
                   for each in ring.path(self.vm)["rings"])

    def exact(self, rw, depth, polled, count):
        self.need_ring()
        before = self.counters()
        requests = self.requests()
        result = self.fio(rw, "4k", depth, polled=polled, size="64m",
                          number_ios=count, randrepeat=0)
        # The kernel posts a CQE before it moves the SQ's head.
        self.wait_until(self.settled, "the rings have settled")
        after = self.counters()
        went = after - before
        path = ring.path(self.vm)
        assert result.ios() == count, f"fio did {result.ios()} I/Os"
        assert self.requests()[0] - requests[0] == count
        assert went.virtqueue == 0, went
        assert (went.polled if polled else went.ring) == count, \
            f"fio did {count} I/Os, but {went}"
        assert (went.ring if polled else went.polled) == 0, went
        for each in path["rings"]:
            assert each["submitted"] == each["completed"], path
            assert each["in-flight"] == 0, path

    def test_exact_polled(self):
        """polled, the ring's counters equal fio's count exactly"""
        self.exact("randread", 8, True, 16000)
        self.exact("randwrite", 1, True, 4000)

    def test_exact_interrupt(self):
        """by interrupt, the ring's counters equal fio's count exactly"""
        self.exact("randread", 8, False, 8000)
        self.exact("randwrite", 1, False, 2000)

    def polled_load(self, disk):
        self.vm.sh("start load '" + fio.command(
            "/dev/" + disk, "randread", "4k", 8, polled=True, size="64m",
            time_based=True, runtime=2000, norandommap=True) + "'")

    def device_threads_calls(self, seconds):
        """Calls of QEMU's threads but for the vCPUs'."""
        cpus = {cpu["thread-id"] for cpu in self.vm.qmp("query-cpus-fast")}
        return [call for call in
                syscalls.record(self.vm.process.pid, seconds)
                if call.thread not in cpus]

    @staticmethod
    def kinds(calls):
        return collections.Counter((call.name, call.fd) for call in calls)

    def test_no_syscall(self):
        """QEMU makes no system call per polled I/O, over 100000 I/Os"""
        self.need_ring()
        # Under TCG it is QEMU's main loop that is the guest's timer, I/O or
        # not.  The same load on a disk that ends in the guest shows which
        # calls that takes.
        self.vm.sh("null_disk 1")
        self.polled_load("nullb0")
        self.wait_sectors("nullb0", 8000)
        windows = [self.device_threads_calls(WINDOW) for _ in range(4)]
        floor, floor_seconds = sum(windows, []), len(windows) * WINDOW
        # Others may have kept QEMU from its CPU in some of them.
        busiest = max(map(len, windows)) / WINDOW
        self.finish_load()
        timer = set(self.kinds(floor))

        self.polled_load(self.disk)
        start = self.counters()
        self.wait_until(lambda: (self.counters() - start).polled > 2000,
                        "fio's I/O goes through the poll ring")
        calls, seconds, ios = [], 0, 0
        while ios < ENOUGH and seconds < MOST_WINDOWS * WINDOW:
            before = self.counters()
            calls += self.device_threads_calls(WINDOW)
            went = self.counters() - before
            assert went.virtqueue == 0, went
            ios += went.polled
            seconds += WINDOW
            print(f"# {ios} I/Os", flush=True)
        self.finish_load()
        self.explain(calls, floor, timer, ios, seconds, floor_seconds)
        assert ios >= ENOUGH, f"only {ios} I/Os in {seconds} s"

        by_io = [call for call in calls
                 if (call.name, call.fd) not in timer]
        assert len(by_io) / ios < CALLS_PER_IO, \
            f"{len(by_io)} calls in {ios} I/Os that no timer makes"
        limit = max(TIMER_SLACK * busiest * seconds, CALLS_PER_IO * ios)
        assert len(calls) - len(by_io) <= limit, \
            f"{len(calls)} calls in {seconds} s, more than timers explain"

    def wait_sectors(self, disk, sectors):
        self.vm.sh(f"until [ $(awk '{{print $3}}' /sys/block/{disk}/stat) -ge "
                   f"{sectors} ]; do usleep 50000; done")

    @staticmethod
    def explain(calls, floor, timer, ios, seconds, floor_seconds):
        def show(what, some, over):
            print(f"#   {what}: {len(some)} calls in {over} s")
            found = collections.Counter(
                (call.thread, call.name, call.fd) for call in some)
            for (thread, name, fd), count in found.most_common():
                where = "" if fd is None else f" of fd {fd}"
                print(f"#     thread {thread}: {count} {name}{where}")

        by_io = [c for c in calls if (c.name, c.fd) not in timer]
        by_timer = [c for c in calls if (c.name, c.fd) in timer]
        print(f"# {ios} polled I/Os in {seconds} s; QEMU without its vCPUs:")
        show("calls that only I/O explains", by_io, seconds)
        show("calls of kinds that timers make", by_timer, seconds)
        show("for comparison, the same load without a host disk", floor,
             floor_seconds)
        print(f"#   {len(by_io) / ios if ios else 0:.6f} calls per I/O",
              flush=True)


GROUPS = {"polling": Polling}
