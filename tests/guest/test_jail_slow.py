# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: what a dying jail still does reaches memory that is others' by then."""

import contextlib
import os
import re
import shutil
import subprocess
import time

import fio
import jailinfo
import ring
from cgroup import Cgroup
from hosttrace import Trace
from jail_group import JailGroup
from jailinfo import Life
from tap import MIB, Skip
from vm import make_image


class StampedTrace(Trace):
    """A trace whose times can be compared with time.clock_gettime()."""

    ENTRY = re.compile(r"-(?P<pid>\d+) +\[\d+\] \S+ +(?P<time>[\d.]+): "
                       r"\w+: ring (?P<ring>\w+), ")

    def __enter__(self):
        super().__enter__()
        self._write("trace_clock", "mono")
        return self

    def completions(self):
        """Ends the recording; (time, thread id, ring) of each completion."""
        self.read()             # complains if any were lost
        with open(os.path.join(self.instance, "trace"), encoding="utf-8",
                  errors="replace") as table:
            found = [self.ENTRY.search(line) for line in table]
        return [(float(each["time"]), int(each["pid"]), each["ring"])
                for each in found if each]


class SlowDisk(JailGroup):
    """The storage is slow to answer: a jail cannot die before it has."""

    RATE = MIB // 4             # bytes a second, for the jail alone
    image_size = 16 * MIB
    drive = "cache=none"
    CHANGE = re.compile(r"@(\d+\.\d+):virtio_blk_uring_state .* -> (\w+),")
    known_warnings = JailGroup.known_warnings + ("virtio_blk_uring_state",)

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()

    def losetup(self, *words):
        if not shutil.which("losetup"):
            raise Skip("there is no losetup to make a disk that can be slowed")
        done = subprocess.run(["losetup", *words], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            raise Skip("no loop device to slow down: " + done.stderr.strip())
        return done.stdout.strip()

    def disks(self):
        self.stack.close()
        make_image(self.image, self.image_size, 0)
        self.throttle = self.stack.enter_context(Cgroup(self.name, "io"))
        self.loop = self.losetup("--find", "--show", "--direct-io=on",
                                 self.image)
        self.stack.callback(self.losetup, "--detach", self.loop)
        return [{"image": self.loop, "props": self.props, "drive": self.drive}]

    def guest_options(self):
        return {"args": ["-msg", "timestamp=on", "-trace",
                         "virtio_blk_uring_state"]}

    def drop(self):
        super().drop()
        self.stack.close()

    def slow_down(self):
        pid = self.jail()
        self.throttle.move(pid)
        self.throttle.bound_disk(self.loop, self.RATE)
        return pid

    def wait_in_flight(self, count):
        self.wait_until(
            lambda: self.path()["rings"][0]["in-flight"] >= count,
            f"{count} requests are in flight")

    def kill_slowly(self, pid):
        """Kill the jail; seconds until the guest knew, answers until then."""
        answers = 0
        ring.forget_changes(self.vm)
        with Life(pid) as jail:
            started = time.monotonic()
            jail.kill()
            while True:
                self.vm.sh("true")
                self.path()             # which brings the events along
                took = time.monotonic() - started
                if ring.was_told(self.vm, "virtqueue", "died"):
                    break
                answers += 1
                assert took < 120, self.path()
            assert jail.ended(), "the guest goes on, and the jail still lives"
        ring.set_passthrough(self.vm, False)
        # There may have been new rings by then.
        ring.wait_state(self.vm, "virtqueue")
        self.expect_warnings(1)
        return took, answers

    def told(self):
        """When the device said DEAD, and when it had rings again."""
        offset = time.time() - time.monotonic()
        with open(os.path.join(self.directory, "qemu.log"),
                  encoding="utf-8") as log:
            changes = [(float(when) - offset, state)
                       for when, state in self.CHANGE.findall(log.read())]
        dead = [when for when, state in changes if state == "dead"][-1]
        return dead, min((when for when, state in changes
                          if state == "ring" and when > dead),
                         default=float("inf"))

    def die(self, rw):
        job = fio.command("/dev/" + self.disk, rw, "64k", iodepth=32,
                          buffer_pattern="0x41", size="4m", loops=1)
        self.vm.sh(f"start load '{job}'")
        self.wait_in_flight(24)

    def settle(self):
        status, output = self.vm.sh_status("finish load", timeout=400)
        assert status == 0, f"fio ended with status {status}: {output}"
        fio.Result(output)

    def explain(self, took, answers):
        print(f"# the guest was told {took:.2f} s after the jail was killed; "
              f"meanwhile monitor and guest answered {answers} times",
              flush=True)
        assert took > 0.5, "the storage was not slow: this proves nothing"
        # One that waits for the storage answers once before, at most.
        assert answers >= 4, "QEMU or its guest stood still"

    def again(self):
        ring.set_passthrough(self.vm, True)
        self.jail()

    def test_writes(self):
        """no write of a killed jail's reaches the disk when that is told"""
        pid = self.slow_down()
        self.die("write")
        took, answers = self.kill_slowly(pid)
        self.settle()
        # Every byte that fio wrote is something else now, and stays so.
        before = self.counters()
        self.vm.sh("tr '\\0' B </dev/zero | dd iflag=fullblock oflag=direct "
                   f"of=/dev/{self.disk} bs=64k count=64 2>/dev/null")
        assert (self.counters() - before).virtqueue >= 64
        quiet = time.monotonic() + 32 * 65536 / self.RATE + 1
        while time.monotonic() < quiet:
            with open(self.image, "rb") as image:
                assert image.read(4 * MIB) == b"B" * (4 * MIB), \
                    "a write of the old ring came after its end"
            time.sleep(0.1)
        self.explain(took, answers)
        self.again()

    def test_reads(self):
        """no read of a killed jail's ends after its end was told"""
        pid = self.slow_down()
        with StampedTrace("io_uring/io_uring_complete") as trace:
            tasks = set(jailinfo.threads(pid))
            self.die("read")
            tasks |= set(jailinfo.threads(pid))
            took, answers = self.kill_slowly(pid)
            self.settle()
            done = trace.completions()
        rings = {where for _, task, where in done if task in tasks}
        told, again = self.told()
        # New rings may be where the old ones were.
        ours = [when for when, _, where in done
                if where in rings and when < again]
        assert ours, "no completion of the jail's was traced"
        print(f"# the last of {len(ours)} completions came "
              f"{(told - max(ours)) * 1000:.1f} ms before it was told",
              flush=True)
        assert max(ours) < told, "the old ring went on after its end"
        self.explain(took, answers)
        self.again()


GROUPS = {"jail-slow": SlowDisk}
