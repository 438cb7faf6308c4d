# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a guest that only writes registers keeps the host busy, or QEMU silent.

All CPUs of the guest write the registers of all of its disks as fast as they
can; the host counts the processes that QEMU starts, and asks QEMU's monitor.
VBU_FULL=1 does it for longer.
"""

import math
import time

import ring
import syscalls
from hosttrace import Trace
from jail_group import FULL, JailGroup
from tap import MIB, Skip
from vm import make_image

SECONDS = 60 if FULL else 4
# The device's back-off: of rings that the guest itself ends, so many
# activations at once, and so many a second from then on.
BURST = 8
RATE = 1
# Between two questions.  The monitor's answer takes less than a millisecond.
PAUSE = 0.005
# Of 99 of 100 answers.  50 ms is what is wanted; a slow host is no failure.
WANTED, GROSS = 0.05, 1
# Until rings are offered again to a guest whose rings often failed.
COOLDOWN = 32


class Answers:
    """How long the monitor took for each answer, in seconds."""

    def __init__(self, times):
        self.times = sorted(times)

    def share(self, percent):
        return self.times[min(len(self.times) * percent // 100,
                              len(self.times) - 1)]

    def __str__(self):
        return (f"{len(self.times)} answers of the monitor, p50 "
                f"{self.share(50) * 1e3:.1f} ms, p99 "
                f"{self.share(99) * 1e3:.1f} ms, the slowest "
                f"{self.times[-1] * 1e3:.1f} ms")


class RegisterStorm(JailGroup):
    """Four disks of 64 rings each, and nobody who drives them honestly."""

    number = 4              # of disks
    image_size = MIB
    props = "num-queues=32,poll-queues=32"
    smp = 4
    known_warnings = JailGroup.known_warnings + (
        "the driver is at fault", "which the device does not have",
        "cannot be started")

    def disks(self):
        return [{"image": make_image(f"{self.directory}-{number}.img",
                                     self.image_size),
                 "props": self.props} for number in range(self.number)]

    def prepare(self):
        status, output = self.vm.sh_status("load vbu_hostile")
        if status:
            raise Skip(output)
        devices = self.vm.sh("ls -d /sys/bus/virtio/drivers/vbu_hostile/*/"
                             "hostile").split()
        assert len(devices) == self.number, devices
        self.devices = devices

    def ask(self, seconds):
        """query-status for so long."""
        times, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            assert self.vm.qmp("query-status")["running"]
            times.append(time.monotonic() - started)
            time.sleep(PAUSE)
        return Answers(times)

    def storm(self, name):
        """All disks at a time; (processes started, seconds, results)."""
        started = time.monotonic()
        with Trace("sched/sched_process_exec",
                   pids=syscalls.threads(self.vm.process.pid)) as trace:
            finish = self.vm.sh_begin("\n".join(
                ["set -e"] +
                [f"start storm{number} 'cd {device}; echo {name} {number} "
                 f"{SECONDS} >attack && cat results'"
                 for number, device in enumerate(self.devices)] +
                [f"finish storm{number}" for number in range(self.number)]))
            # All that the monitor says while registers are written.
            answers = self.ask(SECONDS)
            status, output = finish(timeout=300 + 20 * SECONDS)
            processes = len(trace.read())
        took = time.monotonic() - started
        assert status == 0, output
        results = {}
        for line in output.splitlines():
            key, _, value = line.partition(" ")
            assert key != "report", value
            results[key] = results.get(key, 0) + int(value)
        print(f"# {name}: {took:.1f} s, {results['commands']} times ACTIVATE, "
              f"{processes} processes started; {answers}", flush=True)
        if answers.share(99) > WANTED:
            print(f"# {name}: p99 is above the {WANTED * 1e3:.0f} ms that are "
                  "wanted", flush=True)
        assert results["commands"] > 0, results
        return processes, took, answers

    def expect_answers(self, answers):
        assert answers.share(99) < GROSS, f"QEMU is silent: {answers}"

    def expect_backoff(self, processes, seconds):
        most = self.number * (BURST + math.ceil(RATE * seconds))
        assert processes <= most, \
            f"{processes} processes were started in {seconds:.1f} s, and " \
            f"{most} are the most that {self.number} disks may start"

    def expect_honest(self):
        """An honest driver finds all rings, if not at once."""
        self.vm.sh("rmmod vbu_hostile")
        self.load()
        for number in range(self.number):
            ring.wait_state(self.vm, "ring", f"vbu{number}",
                            seconds=2 * COOLDOWN)
        self.vm.sh(f"rmmod {self.config.driver()}")
        self.prepare()

    def test_bad(self):
        """ACTIVATE of rings that cannot be starts nothing, QEMU answers"""
        processes, _, answers = self.storm("storm-bad")
        assert processes == 0, f"{processes} processes were started for it"
        self.expect_answers(answers)
        self.expect_honest()

    def test_good(self):
        """rings that come and go all the time are held back, QEMU answers"""
        processes, took, answers = self.storm("storm-good")
        assert processes > 0, "not one disk ever had rings"
        self.expect_backoff(processes, took)
        self.expect_answers(answers)
        self.expect_honest()

    def test_mix(self):
        """all registers at random, resets too: held back, QEMU answers"""
        processes, took, answers = self.storm("storm-mix")
        self.expect_backoff(processes, took)
        self.expect_answers(answers)
        self.expect_honest()


class OneStorm(RegisterStorm):
    """One disk with few rings, which are soon there, and soon gone."""

    number = 1
    props = "num-queues=1,poll-queues=1"

    def tests(self):
        return [(function.__doc__, function) for function in
                (self.test_good, self.test_mix)]


GROUPS = {"register-storm": RegisterStorm, "register-storm-one": OneStorm}
