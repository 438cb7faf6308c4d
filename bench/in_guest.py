# SPDX-License-Identifier: GPL-2.0-or-later
"""fio in a guest, which is stopped while the others run.

All guests are alike but for the disk: kernel, memory, vCPUs.
"""

import contextlib
import json
import os
import re

import counters
import fio
from cputime import Look, Process, children, threads
from matrix import idle_command
from sample import Floor, Sample, Usage
from vm import Guest

# Of the requests that fio counts, this share must be in the counters of the
# way that a row names.
ALMOST_ALL = 0.999
# See cputime.Look.since().
CLOCK_TRIES = 3


class InGuest:
    guest = True
    serves = "virtqueue"
    # How often it may be started: that a rival hangs is not ours to mend, and
    # no reason to lose all of a long run.
    chances = 2

    def __init__(self, name, setting):
        self.name = name
        self.setting = setting
        self.disk = setting.disk
        self.queues = 1
        self.vm = self.node = self.floor = None

    # -- what a contender says of itself ------------------------------------

    def why_not(self):
        """Why it cannot be had here; or None."""
        return None

    def takes(self, job):
        del job
        return True

    def arguments(self):
        """QEMU's, for the disk."""
        return []

    def append(self):
        """The kernel's, for the disk."""
        return ""

    def prepare(self):
        """Make the disk appear; its device node in the guest."""
        raise NotImplementedError

    def awake(self):
        """Wait until a guest that runs again is what it was."""

    def daemons(self):
        """Process ids of what serves outside of QEMU and its children."""
        return []

    def interrupt_names(self):
        """What the names of the disk's interrupts in the guest match."""
        return None

    def look(self):
        """Counters of the ways to the disk."""
        raise NotImplementedError

    def way(self, before, after, job):
        """The name of the way that so many requests took, and how many."""
        raise NotImplementedError

    def size(self):
        return self.disk.size

    def note(self):
        raise NotImplementedError

    # -- its life -----------------------------------------------------------

    def start(self, queues):
        self.queues = queues
        # With twice as many CPUs that could be as there are: Linux gives a
        # disk as many queues as there could be CPUs, and half of ours are for
        # polling.  Two neighbours share a queue, and one of them is there.
        self.vm = Guest(self.setting.config,
                        os.path.join(self.setting.logdir, self.name),
                        smp=2 * queues, mem=self.setting.memory,
                        append=f"maxcpus=1 {self.append()}",
                        args=self.arguments())
        self.vm.wait_boot()
        for cpu in range(2, 2 * queues, 2):
            self.vm.sh(f"echo 1 >/sys/devices/system/cpu/cpu{cpu}/online")
        self.node = self.prepare()
        self.pin()
        self.vm.qmp("stop")

    def cpus(self):
        """Thread ids of the vCPUs, in their order."""
        return [cpu["thread-id"] for cpu in
                sorted(self.vm.qmp("query-cpus-fast"),
                       key=lambda cpu: cpu["cpu-index"])]

    def pin(self):
        cpus = self.cpus()
        for task in threads(self.vm.process.pid):
            if task not in cpus:
                # The host's own threads in there have what their ring says.
                with contextlib.suppress(OSError):
                    self.setting.arrangement.pin_service(task)
        for number, task in enumerate(cpus[::2]):
            self.setting.arrangement.pin_request(task, number)
        for pid in self.daemons():
            for task in threads(pid):
                self.setting.arrangement.pin_service(task)

    def processes(self):
        qemu = self.vm.process.pid
        special = dict.fromkeys(self.cpus(), "vcpu")
        for iothread in self.vm.qmp("query-iothreads"):
            special[iothread["thread-id"]] = "iothread"
        return [Process(qemu, "qemu", special)] + \
            [Process(pid, "jail") for pid in children(qemu)] + \
            [Process(pid, "daemon") for pid in self.daemons()]

    def close(self):
        if self.vm:
            self.vm.close()
            self.vm = None

    def commands(self):
        """How to do the same by hand."""
        path = os.path.join(self.vm.logdir, "command")
        with open(path, encoding="utf-8") as command:
            return [command.read().strip()]

    # -- runs ---------------------------------------------------------------

    def fio(self, command, seconds, counting):
        """Its output, and what it cost; in a guest that runs."""
        processes = self.processes()
        with contextlib.ExitStack() as stack:
            calls = exits = None
            if counting:
                calls = stack.enter_context(contextlib.closing(
                    counters.Events("raw_syscalls/sys_enter",
                                    [task for process in processes
                                     for task in threads(process.pid)])))
                if self.setting.config.accel == "kvm":
                    exits = stack.enter_context(contextlib.closing(
                        counters.Exits(self.cpus())))
            look = Look(processes)
            status, output = self.vm.sh_status(command,
                                               timeout=60 + 10 * seconds)
            usage = Usage(Look(processes).since(look),
                          exits.read() if exits else None,
                          calls.read() if calls else None)
        if status:
            raise RuntimeError(f"fio in {self.name} failed: "
                               + fio.complaint(output))
        return output, usage

    @contextlib.contextmanager
    def running(self):
        self.vm.qmp("cont")
        self.awake()
        yield
        self.vm.qmp("stop")

    def calibrate(self, seconds, counting):
        """Measure what a run costs without its I/O."""
        with self.running():
            # The first one reads fio from the root file system.
            self.vm.sh(idle_command(0))
            for _ in range(CLOCK_TRIES):
                start = self.fio(idle_command(0), seconds, counting)[1]
                if start.cpu is not None:
                    break
            busy = self.fio(idle_command(seconds), seconds, counting)[1]
        self.floor = Floor(start, busy, seconds)

    def command(self, job, seconds):
        return job.command(self.node, self.size(), seconds, polled=job.polled)

    def run(self, job, seconds, counting=False):
        """counting: system calls and exits, which takes its time."""
        pattern = self.disk.interrupts() if self.serves != "null_blk" else None
        with self.running():
            irqs = self.interrupts()
            before = self.look()
            host = counters.host_interrupts(pattern) if pattern else 0
            output, usage = self.fio(self.command(job, seconds), seconds,
                                     counting)
            if pattern:
                host = counters.host_interrupts(pattern) - host
            after = self.look()
            irqs = self.interrupts() - irqs
        result = fio.Result(output)
        costs = {}
        if result.ios():
            if self.interrupt_names():
                costs["irqs_per_io"] = irqs / result.ios()
            if pattern:
                costs["host_irqs_per_io"] = host / result.ios()
        way, count = self.way(before, after, job)
        if count < ALMOST_ALL * result.ios():
            way = f"{way} {count} of {result.ios()}"
        return Sample(result, way, seconds, usage, self.floor, costs)

    def interrupts(self):
        names = self.interrupt_names()
        return counters.interrupts(self.vm.sh("cat /proc/interrupts"),
                                   re.compile(names)) if names else 0


class OnVirtio(InGuest):
    """A virtio disk, by whichever driver."""

    device = None

    def disk_of(self):
        """Make its name and its device known, once its driver is loaded."""
        name, _, self.device = self.vm.sh("disks").split()[:3]
        return "/dev/" + name

    def interrupt_names(self):
        return re.escape(self.device) + "-(ring|req|virtqueues)"


def device(**properties):
    """The words of a -device, with '_' for '-' in names.

    A few of QEMU's have '_' themselves.
    """
    return ["-device", json.dumps({
        key if key in ("event_idx", "max_ioqpairs") else
        key.replace("_", "-"): value for key, value in properties.items()})]


def operations(vm, node):
    """Reads and writes that QEMU's device on this node did, merged ones too."""
    for entry in vm.qmp("query-blockstats"):
        if entry.get("node-name") == node:
            return sum(entry["stats"][f"{way}_{kind}"] for way in ("rd", "wr")
                       for kind in ("operations", "merged"))
    raise AssertionError(f"query-blockstats knows no device on {node}")
