# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: what is called polling is not, or polls when there is nothing to do."""

import itertools
import os
import re
import subprocess

import cputime
import drive
import ring
from nvme_group import NvmeGroup
from ringwatch import RingWatch
from tap import Skip
from vm import QMPError

IOS = 20000
# Interrupts of queues that others use (flushes, the file system of the host).
FEW = 20


class IOPoll(NvmeGroup):
    """Polled I/O on a drive whose queues can be polled."""

    numbers = itertools.count(1)

    def interrupts(self, polled, count, depth):
        before = drive.interrupts(drive.PATH)
        if before is None:
            raise Skip(f"{drive.PATH} is no NVMe drive, whose interrupts could "
                       "be counted")
        result = self.fio("randread", "4k", depth, polled=polled,
                          number_ios=count, size="100%", norandommap=True,
                          timeout=300)
        assert result.ios() >= count, result.ios()
        return drive.interrupts(drive.PATH) - before

    def test_flat(self):
        """20000 polled I/Os raise no interrupt of the drive, others do"""
        self.expect_iopoll()
        before = self.counters()
        polled = self.interrupts(True, IOS, 16)
        self.expect_ring_served(before, polled=True, at_least=IOS)
        # One by one, as several may complete with one interrupt.
        others = self.interrupts(False, IOS // 20, 1)
        print(f"# {polled} interrupts of the drive in {IOS} polled I/Os, "
              f"{others} in {IOS // 20} others")
        # Or it would be a counter that never moves.
        assert others > 10 * FEW, others
        assert polled <= FEW, polled

    def test_watched(self):
        """each polled I/O is seen by the host's tracepoints, and timed"""
        self.expect_iopoll()
        with RingWatch("--pid", str(self.vm.process.pid)) as watch:
            before = self.counters()
            self.fio("randread", "4k", 8, polled=True, number_ios=300)
            self.fio("randwrite", "4k", 8, polled=True, number_ios=300)
            went = self.counters() - before
        assert went.polled >= 600, went
        shown = watch.count("ring")
        assert sorted(shown.values()) == sorted(
            count for count in went.by_queue if count), (shown, went)
        assert "q?" not in shown, shown
        assert set(watch.count("opcode")) == {"READV", "WRITEV"}, watch.lines
        for line in watch.lines:
            assert line.result == 4096 and " us>" in line.rest, line

    def sqpoll_seconds(self):
        """CPU time of the threads that poll, host seconds."""
        pid = ring.path(self.vm)["jail-pid"] or self.vm.process.pid
        found = cputime.Process(pid, "other").seconds_by_thread()
        assert any(kind == "sqpoll" for _, kind in found), found
        return sum(seconds for (_, kind), seconds in found.items()
                   if kind == "sqpoll")

    def sqpoll_sleeps(self):
        """Whether all threads that poll are asleep."""
        pid = ring.path(self.vm)["jail-pid"] or self.vm.process.pid
        for task in cputime.threads(pid):
            try:
                with open(f"/proc/{pid}/task/{task}/stat",
                          encoding="utf-8") as stat:
                    text = stat.read()
            except (FileNotFoundError, ProcessLookupError):
                continue        # an io-wq worker that has just gone
            if "(iou-sqp" in text and \
                    text.rpartition(")")[2].split()[0] != "S":
                return False
        return True

    def test_asleep(self):
        """the host sleeps when the guest does, and a doorbell wakes it"""
        self.need_ring()
        self.fio("randread", "4k", 8, polled=True, number_ios=500, size="64m")
        for _ in range(5):
            self.wait_until(self.sqpoll_sleeps, "the SQPOLL thread sleeps")
            before = self.sqpoll_seconds()
            self.vm.sh("sleep 2")
            spent = self.sqpoll_seconds() - before
            # A late doorbell wakes it for a moment, once.
            if spent < 0.02:
                break
        assert spent < 0.02, f"it used {spent:.3f} s of 2 s without I/O"

        doorbells = self.poll_ring()["doorbells"]
        result = self.fio("randread", "4k", 1, polled=True, number_ios=1,
                          size="64m")
        assert result.ios() == 1
        assert self.poll_ring()["doorbells"] > doorbells

    def test_pauses(self):
        """I/O after pauses longer than the host's patience is not lost"""
        self.need_ring()
        for polled in (True, False):
            result = self.fio("randrw", "4k", 1, polled=polled, number_ios=40,
                              size="1m", thinktime=30000,
                              thinktime_blocks=1, verify="crc32c")
            assert result.ios() >= 40

    def plug(self, node, props):
        """Plug a disk; what QEMU refuses it with, or its path."""
        self.vm.qmp("device_add", driver="virtio-blk-uring", id="extra",
                    bus="slot0", drive=node, isolation=self.config.isolation,
                    **props)
        return ring.path(self.vm, "extra")

    def unplug(self):
        self.vm.qmp("device_del", id="extra")
        self.vm.wait_event("DEVICE_DELETED", device="extra")

    def other_disk(self, poll_queues):
        """A disk of the host that has so many poll queues; its node."""
        modprobe = subprocess.run(
            ["modprobe", "null_blk", "nr_devices=0"], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if modprobe.returncode:
            raise Skip("the host has no null_blk: " + modprobe.stdout.strip())
        place = f"/sys/kernel/config/nullb/vbu{poll_queues}"
        os.makedirs(place, exist_ok=True)
        if not os.path.exists(f"/dev/vbu{poll_queues}"):
            for key, value in (("size", 64), ("memory_backed", 1),
                               ("poll_queues", poll_queues), ("power", 1)):
                with open(f"{place}/{key}", "w", encoding="ascii") as file:
                    file.write(str(value))
        node = f"null{next(self.numbers)}"
        self.vm.qmp("blockdev-add", driver="host_device", node_name=node,
                    filename=f"/dev/vbu{poll_queues}",
                    cache={"direct": True})
        return node

    def test_on_refused(self):
        """iopoll=on is refused where the disk cannot poll, and says how"""
        node = self.other_disk(0)
        try:
            self.plug(node, {"iopoll": "on", "poll-queues": 1})
        except QMPError as error:
            print(f"# {error}")
            assert "nvme.poll_queues" in str(error), error
            assert re.search(r"iopoll=(auto|off)", str(error)), error
        else:
            raise AssertionError("iopoll=on was accepted")

    def test_auto_falls_back(self):
        """iopoll=auto does without where the disk cannot poll, and says why"""
        node = self.other_disk(0)
        path = self.plug(node, {"poll-queues": 1})
        assert not any(each["iopoll"] for each in path["rings"]), path
        assert path["iopoll-error"], path
        self.unplug()

    def test_off(self):
        """iopoll=off does without on a disk that can poll"""
        node = self.other_disk(1)
        path = self.plug(node, {"iopoll": "off", "poll-queues": 1})
        assert not any(each["iopoll"] for each in path["rings"]), path
        self.unplug()
        path = self.plug(node, {"poll-queues": 1})
        assert [each["iopoll"] for each in path["rings"]] == [False, True], \
            path
        self.unplug()

    def sqpoll_threads(self):
        pid = ring.wait_state(self.vm, "ring", "extra")["jail-pid"]
        if not pid:
            raise Skip("without a jail all disks' threads are QEMU's")
        names = [open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8").read()
                 for task in cputime.threads(pid)]
        return sum(name.startswith("iou-sqp") for name in names)

    def test_threads(self):
        """rings that poll the disk have a thread of their own, and share it"""
        node = self.other_disk(1)
        for iopoll, wanted in (("auto", 2), ("off", 1)):
            self.plug(node, {"iopoll": iopoll, "num-queues": 2,
                             "poll-queues": 2})
            found = self.sqpoll_threads()
            assert found == wanted, f"iopoll={iopoll}: {found} threads"
            self.unplug()


GROUPS = {"iopoll": IOPoll}
