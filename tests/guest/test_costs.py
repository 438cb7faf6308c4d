# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: rings cost the rest of the machine: its vCPUs, its other disks."""

import contextlib
import os

import jailinfo
import ring
import syscalls
from cgroup import Cgroup
from jail_group import JailGroup
from tap import MIB, Skip
from vm import STOCK_DEVICE, make_image

PLAIN = "plain"         # a disk without rings, and its serial number
FLUSHES = 10
SECONDS = 3             # to watch QEMU's system calls


def affinities(pid):
    """The CPUs that each thread of a process may use."""
    found = {}
    for task, name in jailinfo.threads(pid).items():
        try:
            found[f"{name} ({task})"] = os.sched_getaffinity(task)
        except ProcessLookupError:
            pass                # an io-wq worker that has just gone
    return found


class Costs(JailGroup):
    """vbu0 is as usual, vbu1 has a cgroup for its jail, the third is plain."""

    RAM = "256M"

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()
        self.groups, self.no_groups, self.cpus = {}, None, []

    def disks(self):
        self.stack.close()
        self.cpus = sorted(os.sched_getaffinity(0))
        self.groups, self.no_groups = {}, None
        props = self.props
        try:
            for each in ("emulator", "vcpu", "jail"):
                self.groups[each] = self.stack.enter_context(
                    Cgroup(f"{self.name}-{each}", "cpuset"))
                self.groups[each].bind_cpus(
                    str(self.cpus[0 if each == "emulator" else -1]))
            props += ",jail-cgroup=" + self.groups["jail"].directories()[0]
        except Skip as reason:
            self.groups, self.no_groups = {}, reason
        names = {name: make_image(f"{self.image}-{name}", 16 * MIB)
                 for name in ("second", PLAIN)}
        return super().disks() + [
            {"image": names["second"], "props": props},
            {"image": names[PLAIN], "id": PLAIN, "device": STOCK_DEVICE,
             "props": "serial=" + PLAIN}]

    def guest_options(self):
        return {"mem": self.RAM, "args": [
            "-object", "memory-backend-memfd,id=bound,share=on,prealloc=on,"
                       "size=" + self.RAM,
            "-machine", "memory-backend=bound"]}

    def prepare(self):
        super().prepare()
        ring.wait_state(self.vm, "ring", "vbu1")
        self.vm.sh("load virtio_blk; "
                   f"until disk_of {PLAIN} 2>/dev/null; do usleep 20000; done")

    def drop(self):
        super().drop()
        self.stack.close()

    def stop(self):
        super().stop()
        self.stack.close()

    def new_jail(self, disk):
        """The jail that the guest's driver has started, from a vCPU."""
        ring.set_passthrough(self.vm, False, disk)
        ring.wait_state(self.vm, "virtqueue", disk)
        ring.set_passthrough(self.vm, True, disk)
        return self.jail(disk)

    def need_cpusets(self):
        if not self.groups:
            raise self.no_groups
        if len(self.cpus) < 2:
            raise Skip("the host has one CPU only")

    def pin_vcpus(self):
        """As management programs do: vCPUs here, all else of QEMU there."""
        self.groups["emulator"].move(self.vm.process.pid)
        for vcpu in self.vm.qmp("query-cpus-fast"):
            self.groups["vcpu"].move_thread(vcpu["thread-id"])

    def expect_place(self, disk, group, cpu):
        pid = self.new_jail(disk)
        threads = affinities(pid)
        assert any(name.startswith("iou-sqp") for name in threads), threads
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            inside = file.read()
        assert self.groups[group].has(pid), \
            f"the jail of {disk} is not in the group of the {group}: {inside}"
        wrong = {name: cpus for name, cpus in threads.items()
                 if cpus != {cpu}}
        assert not wrong, \
            f"threads of the jail of {disk} are not on CPU {cpu}: {wrong}"

    def test_main_thread(self):
        """a vCPU pinned by a cpuset does not share its CPU with the jail"""
        self.need_cpusets()
        self.pin_vcpus()
        self.expect_place("vbu0", "emulator", self.cpus[0])

    def test_jail_cgroup(self):
        """a jail in a cpuset of its own runs on the CPUs of that"""
        self.need_cpusets()
        self.expect_place("vbu1", "jail", self.cpus[-1])
        self.groups["jail"].bind_cpus(str(self.cpus[0]))
        try:
            self.expect_place("vbu1", "jail", self.cpus[0])
        finally:
            self.groups["jail"].bind_cpus(str(self.cpus[-1]))

    def test_flushes(self):
        """a disk without rings has no needless flush, beside one with rings"""
        name = self.vm.sh("disk_of " + PLAIN).strip()
        flush = f"dd if=/dev/null of=/dev/{name} count=0 conv=fsync,notrunc " \
                "2>/dev/null"
        self.vm.sh(f"dd if=/dev/zero of=/dev/{name} bs=4k count=1 "
                   f"conv=fsync,notrunc 2>/dev/null; {flush}")
        images = {os.path.realpath(f"{self.image}-{PLAIN}")}
        fds = {fd for fd, what in
               jailinfo.fds(self.vm.process.pid).items() if what in images}
        before = ring.block_stats(self.vm, PLAIN)["flush_operations"]
        done = self.vm.sh_begin(
            f"usleep 500000; for i in $(seq {FLUSHES}); do {flush}; done")
        calls = [call for call in
                 syscalls.record(self.vm.process.pid, SECONDS)
                 if call.name == "fdatasync" and call.fd in fds]
        status, output = done()
        assert not status, output
        asked = ring.block_stats(self.vm, PLAIN)["flush_operations"] - before
        assert asked >= FLUSHES, f"{asked} flushes arrived in QEMU"
        assert not calls, f"{len(calls)} of {asked} flushes of a disk that " \
                          "nobody wrote to went to the host"


GROUPS = {"costs": Costs}
