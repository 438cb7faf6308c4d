# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: what qemu-ring-watch shows is not what the guest and the kernel did."""

import os
import shutil
import signal
import tempfile

import fio
import ring
import ringwatch
from disk_group import DiskGroup
from ringwatch import RingWatch
from tap import Skip
from vm import make_image

NOBODY = 65534


class Watch(DiskGroup):
    """Two disks, each with a jail, and a monitor for the watch."""

    props = "num-queues=2,poll-queues=1"
    smp = 2
    place = None

    def disks(self):
        self.remove_place()
        self.place = tempfile.mkdtemp(prefix="vbu-")
        self.monitor = os.path.join(self.place, "qmp")
        other = make_image(self.image + "-2", self.image_size)
        return super().disks() + [{"image": other, "props": self.props}]

    def guest_options(self):
        return {"args": ("-qmp", f"unix:{self.monitor},server=on,wait=off")}

    def remove_place(self):
        if self.place:
            shutil.rmtree(self.place)
            self.place = None

    def drop(self):
        super().drop()
        self.remove_place()

    def start(self):
        if self.config.stock:
            raise Skip("stock virtio-blk has no ring")
        if self.config.isolation != "process":
            raise Skip("with isolation=none the rings of two disks are not "
                       "told apart")
        ringwatch.need()
        super().start()

    def prepare(self):
        super().prepare()
        ring.wait_state(self.vm, "ring", "vbu1")
        self.disk, self.other = (
            line.split()[0] for line in
            sorted(self.vm.sh("disks").splitlines(),
                   key=lambda line: int(line.split()[2].removeprefix(
                       "virtio"))))

    def device_of(self, disk):
        for line in self.vm.sh("disks").splitlines():
            if line.split()[0] == disk:
                return line.split()[2]
        raise AssertionError(f"no disk {disk}")

    def watch(self, *arguments):
        return RingWatch("--qmp", self.monitor, *arguments)

    def make_known(self, watch):
        """I/O until the watch knows which ring is which.

        A ring that is watched from the middle of its life it knows when the
        kernel has told a counter that no other ring has, and that the kernel
        does not tell while the ring is busy.
        """
        start = self.counters()

        def known():
            first = len(watch.lines)
            for polled in (False, True):
                self.fio("randread", "4k", 1, polled=polled, number_ios=10,
                         numjobs=2, cpus_allowed="0-1",
                         cpus_allowed_policy="split")
            watch.await_lines(sum((self.counters() - start).by_queue))
            return len(watch.count("ring", first)) == 3 and \
                "q?" not in watch.count("ring", first)
        self.wait_until(known, "each ring is known", 300)
        return len(watch.lines)

    def expect_by_queue(self, watch, went, disk="", since=0):
        """As many requests of each ring as the device has counted."""
        shown = watch.count("ring", since)
        for queue, count in enumerate(went.by_queue):
            assert shown[f"{disk}q{queue}"] == count, \
                f"{went}, and these were shown: {shown}"

    def test_counts(self):
        """each request is shown, with opcode, ring and result, and no other"""
        with self.watch("--device", "vbu0", "-C") as watch:
            since = self.make_known(watch)
            before = self.counters()
            # Somebody else's meanwhile.
            self.fio("randread", "4k", 4, number_ios=100,
                     filename="/dev/" + self.other)
            flushes = self.requests()[1]
            reads = self.fio("randread", "4k", 8, number_ios=300, numjobs=2)
            writes = self.fio("randwrite", "8k", 4, number_ios=100, fsync=10)
            flushes = self.requests()[1] - flushes
            polled = self.fio("randread", "4k", 4, polled=True, number_ios=200)
            went = self.counters() - before
        assert went.virtqueue == 0, went
        self.expect_by_queue(watch, went, since=since)
        expected = {"READV": reads.ios() + polled.ios(),
                    "WRITEV": writes.ios(), "FSYNC": flushes}
        assert went.ring and went.polled and flushes, (went, flushes)
        shown = watch.count("opcode", since)
        assert shown == expected, shown
        assert watch.table == {opcode: (count, 0) for opcode, count
                               in watch.count("opcode").items()}
        for line in watch.lines[since:]:
            size = {"READV": 4096, "WRITEV": 8192, "FSYNC": 0}[line.opcode]
            assert line.result == size and " us>" in line.rest, line
        assert len(watch.notes) == 1, watch.notes

    def test_start(self):
        """rings that start during the watch are shown from their first SQE"""
        with RingWatch("--pid", str(self.vm.process.pid)) as watch:
            before = self.counters()
            ring.set_passthrough(self.vm, False)
            ring.wait_state(self.vm, "virtqueue")
            watch.await_note("have ended")
            ring.set_passthrough(self.vm, True)
            jail = ring.wait_state(self.vm, "ring")["jail-pid"]
            for polled in (False, True):
                self.fio("randread", "4k", 1, polled=polled, number_ios=20)
            went = self.counters() - before
        assert f"-- watching the rings of {jail}, jail {jail}" \
            in watch.notes, watch.notes
        assert went.ring + went.polled >= 40, went
        self.expect_by_queue(watch, went, f"{jail}/")

    def test_ends(self):
        """-n and --seconds end the watch of a guest that goes on"""
        job = fio.command("/dev/" + self.disk, "randread", "4k", 4,
                          time_based=True, runtime=300, norandommap=True)
        self.vm.sh(f"start load '{job}'")
        before = self.counters()
        self.wait_until(lambda: (self.counters() - before).ring > 100,
                        "fio reads")
        jail = str(ring.path(self.vm)["jail-pid"])
        for end in (("-n", "500"), ("--seconds", "5", "-c")):
            watch = RingWatch("--jail", jail, *end)
            watch.finish()
            if "-n" in end:
                assert len(watch.lines) == 500, len(watch.lines)
            else:
                assert watch.table["READV"][0] > 10, watch.table
        self.finish_load()

    def test_lost(self):
        """what was too much for the buffer is missing, and that is said"""
        count = 4000
        with self.watch("--device", "vbu0", "--buffer", "16") as watch:
            watch.signal(signal.SIGSTOP)
            self.fio("randread", "4k", 16, number_ios=count, size="16m")
            watch.signal(signal.SIGCONT)
        lost = [note for note in watch.notes if "were lost" in note]
        assert len(watch.lines) < count, len(watch.lines)
        assert any("lost here" in note for note in lost) and \
            any("lost in all" in note for note in lost), watch.notes
        # Submissions are missing, and nothing is made up in their place.
        assert set(watch.count("opcode")) <= {"READV", "?"}, \
            watch.count("opcode")

    def test_nothing_left(self):
        """nothing is left in the kernel, not even of a watch that was killed"""
        with self.watch() as watch:
            assert watch.instances(), "the test looks at the wrong place"
        assert not watch.instances(), watch.instances()
        watch = self.watch()
        watch.kill()
        assert watch.instances(), "none of a watch that was killed"
        with self.watch():
            pass
        assert not watch.instances(), watch.instances()

    def attack(self, watch, device, drivers):
        """Hostile requests, 100 of them, and the honest driver again."""
        self.vm.sh(f"echo {device} >{drivers}/virtio_blk_uring/unbind\n"
                   "load vbu_hostile\n"
                   f"[ -e {drivers}/vbu_hostile/{device} ] || "
                   f"echo {device} >{drivers}/vbu_hostile/bind")
        watch.await_note("have ended")
        said = self.vm.sh(
            f"cd /sys/bus/virtio/devices/{device}/hostile\n"
            "echo sqes 1 100 >attack; cat results\n"
            f"echo {device} >{drivers}/vbu_hostile/unbind\n"
            f"echo {device} >{drivers}/virtio_blk_uring/bind", timeout=400)
        ring.wait_state(self.vm, "ring")
        return said

    def test_refused_requests(self):
        """what the kernel refuses is shown, with opcode and reason"""
        device = self.device_of(self.disk)
        drivers = "/sys/bus/virtio/drivers"
        # A busy machine may hold up the watch for as long as the rings live.
        for _ in range(3):
            with self.watch("--device", "vbu0") as watch:
                said = self.attack(watch, device, drivers)
            if not watch.missing():
                break
        answers = dict(line.split()[:2] for line in said.splitlines())
        # The honest driver reads the partition table when it is bound again, and
        # the hostile one has tried what this kernel makes of a drain.
        ours = [line for line in watch.lines if line.tag > 1 << 32]
        # On a host that is very busy rings may begin before the watch sees them.
        missing = int(answers["submitted"]) - len(ours)
        assert 0 <= missing <= watch.missing(), (missing, watch.notes)
        assert missing < len(ours), "that is no watch"
        for name in ("EACCES", "EINVAL", "EFAULT"):
            shown = sum(line.error == name for line in ours)
            assert 0 <= int(answers[name.lower()]) - shown <= missing and \
                shown, (name, shown, answers)
        nop, = (line for line in ours if line.opcode == "NOP")
        assert nop.error == "EACCES" and "allow this opcode" in nop.rest, nop
        none, = (line for line in ours if line.opcode == "opcode-255")
        assert none.error == "EINVAL" and "refused" in none.rest, none
        assert any(line.opcode == "READV" and line.error == "EACCES" and
                   "does not allow flags 0x" in line.rest
                   for line in ours), "no READV with flags was refused"

    def test_refusals(self):
        """what cannot be watched is refused in one sentence"""
        own = str(os.getpid())
        for words, arguments, wrap in (
                ("is no jail", ("--jail", own), ()),
                ("there is no process", ("--jail", "4194304"), ()),
                ("there is no process", ("--pid", "4194304"), ()),
                ("no virtio-blk-uring device 'none'",
                 ("--qmp", self.monitor, "--device", "none"), ()),
                ("cannot be used", ("--qmp", self.monitor + "-none"), ()),
                ("are for root", ("--pid", own),
                 ("setpriv", f"--reuid={NOBODY}", "--clear-groups"))):
            said = ringwatch.refusal(*arguments, wrap=wrap)
            assert words in said and said.startswith(ringwatch.NAME + ": "), \
                said
            assert len(said.splitlines()) == 1, said
        said = ringwatch.refusal("--device", "vbu0", "--pid", own)
        assert "use --qmp" in said, said


GROUPS = {"watch": Watch}
