# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a guest takes more of the host than it was given."""

import contextlib
import threading
import time

import jailinfo
from cgroup import Cgroup
from jail_group import JailGroup
from tap import MIB, Skip

# Of either kind, as many as a ring is given (VIRTIO_BLK_URING_MAX_WORKERS).
WORKERS = 8
# The rings share an SQPOLL thread, whose workers they are.
MOST_WORKERS = 2 * WORKERS


class Workers:
    """The most io-wq threads that a group's processes had at a time."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._end.wait(0.005):
            try:
                found = [name for pid in self.cgroup.processes()[0]
                         for name in jailinfo.threads(pid).values()]
            except (FileNotFoundError, ProcessLookupError):
                continue        # it has just ended
            self.most = max(self.most, sum(
                name.startswith("iou-wrk-") for name in found))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class Bounds(JailGroup):
    """The administrator's cgroups hold what the jail takes of the host."""

    MEMORY = 32 * MIB
    CPU_PERCENT = 20
    RAM = "384M"
    image_size = 512 * MIB      # sparse

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()

    def disks(self):
        self.stack.close()
        self.cgroup = self.stack.enter_context(
            Cgroup(self.name, "memory", "cpu"))
        self.cgroup.bound_memory(self.MEMORY)
        disks = super().disks()
        disks[0]["props"] += ",jail-cgroup=" + ":".join(
            self.cgroup.directories())
        return disks

    def guest_options(self):
        return {"mem": self.RAM, "args": [
            "-object", "memory-backend-memfd,id=bound,share=on,prealloc=on,"
                       "size=" + self.RAM,
            "-machine", "memory-backend=bound"]}

    def drop(self):
        super().drop()
        self.stack.close()

    def stop(self):
        super().stop()
        self.stack.close()

    def test_moved(self):
        """jail-cgroup= puts the jail, and it alone, in these groups"""
        pid = self.jail()
        for inside in self.cgroup.processes():
            assert inside == [pid], inside

    def test_honest(self):
        """a guest that uses all of its RAM keeps its jail, 32 MiB bound"""
        pid = self.jail()
        self.vm.sh(f"dd if=/dev/{self.disk} of=/dev/null bs=1M", timeout=400)
        self.verify()
        # fio, its I/O, and what the kernel keeps in its page cache.
        touched = sum(jailinfo.touched(pid).values())
        print(f"# {touched >> 20} MiB of guest RAM touched by the jail, "
              f"{self.cgroup.memory_used() >> 20} MiB charged to it",
              flush=True)
        assert touched > 3 * self.MEMORY
        assert self.jail() == pid
        assert self.cgroup.memory_kills() == 0

    def share(self, pid, seconds):
        # The clock first: a pause in between makes the share look smaller.
        started, before = time.monotonic(), jailinfo.cpu_seconds(pid)
        time.sleep(seconds)
        return (jailinfo.cpu_seconds(pid) - before) / \
            (time.monotonic() - started)

    def test_cpu(self):
        """a CPU quota of 20 % holds the jail's threads to it, under load"""
        pid = self.jail()
        self.start_load(polled=True)
        self.wait_growth("polled", self.counters())
        free = self.share(pid, 1)
        self.cgroup.bound_cpu(self.CPU_PERCENT)
        before = self.cgroup.cpu_throttled()
        self.wait_until(lambda: self.cgroup.cpu_throttled() > before,
                        "the load is large enough to be held")
        bound = self.share(pid, 2)
        throttled = self.cgroup.cpu_throttled() - before
        self.wait_growth("polled", self.counters())
        self.cgroup.bound_cpu(1000)
        print(f"# the jail took {free:.0%} of a CPU, and bound {bound:.0%}; "
              f"it was held {throttled} times", flush=True)
        self.finish_load()
        assert bound < 0.25
        assert self.jail() == pid

    def flood(self, attack):
        """An attack of the hostile driver; (bound reached, kills, workers)."""
        hostile = "cd /sys/bus/virtio/drivers/vbu_hostile/virtio*/hostile; "
        self.vm.sh("rmmod " + self.config.driver())
        status, output = self.vm.sh_status("load vbu_hostile")
        if status:
            raise Skip(output)
        refused = self.cgroup.memory_refused()
        kills = self.cgroup.memory_kills()
        with Workers(self.cgroup) as workers:
            self.vm.sh(hostile + f"echo {attack} >attack", timeout=400)
        kills = self.cgroup.memory_kills() - kills
        # The attacker gives its rings up as soon as it has filled them.
        self.expect_warnings(kills, silent=kills)
        refused = self.cgroup.memory_refused() - refused
        results = " ".join(self.vm.sh(hostile + "cat results").split())
        peak = self.cgroup.memory_peak()
        print(f"# attack: {attack}: at most {peak >> 10} KiB and "
              f"{workers.most} io-wq threads, {kills} jails killed; {results}",
              flush=True)
        assert peak <= self.MEMORY
        assert workers.most <= MOST_WORKERS
        assert self.vm.qmp("query-status")["running"]
        self.vm.sh("rmmod vbu_hostile")
        self.load()
        self.jail()
        self.verify()
        return refused, kills, workers.most

    def test_flood(self):
        """completions that nobody takes stay within 32 MiB, all live"""
        refused, _, _ = self.flood("overflow 1 2")
        assert refused, "the flood was too small to tell"

    def test_in_flight(self):
        """requests in flight stay within 32 MiB and 8 workers, QEMU lives"""
        refused, _, workers = self.flood("flushes 1 2")
        assert refused, "the flood was too small to tell"
        assert workers >= WORKERS, "the workers' bound was not reached"


GROUPS = {"jail-bounds": Bounds}
