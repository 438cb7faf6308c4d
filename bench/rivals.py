# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's other ways to give a guest the same disk, and the guest's ceiling."""

import json
import os
import socket
import subprocess
import tempfile

from in_guest import InGuest, OnVirtio, device, operations
from vm import STOCK_DEVICE, die_with_parent


class Stock(OnVirtio):
    """virtio-blk, served by QEMU's main loop."""

    aio = "io_uring"

    def drive(self):
        return ["-blockdev", json.dumps(self.disk.blockdev(self.aio))]

    def more(self):
        """Further properties of the device."""
        return {}

    def arguments(self):
        return self.drive() + device(
            driver=STOCK_DEVICE, id="vbu0", drive=self.disk.NODE,
            num_queues=2 * self.queues, **self.more())

    def prepare(self):
        self.vm.sh(f"load virtio_blk poll_queues={self.queues}")
        return self.disk_of()

    def note(self):
        more = "".join(f",{key}={json.dumps(value)}".replace("_", "-")
                       for key, value in self.more().items())
        return (f"num-queues={2 * self.queues}{more}; aio={self.aio}; the "
                f"guest's virtio_blk has poll_queues={self.queues}")

    def look(self):
        return operations(self.vm, self.disk.NODE)

    def way(self, before, after, job):
        del job
        return self.serves, after - before


class StockNative(Stock):
    aio = "native"

    def why_not(self):
        return None if self.disk.direct else \
            "aio=native needs direct I/O, which --disk=PATH has"


class StockIOThread(Stock):
    def drive(self):
        return ["-object", "iothread,id=io0"] + super().drive()

    def more(self):
        return {"iothread": "io0"}


class StockIOThreadPerQueue(Stock):
    """The queues of the device spread over several IOThreads."""

    IOTHREADS = 4

    def drive(self):
        objects = []
        for number in range(self.IOTHREADS):
            objects += ["-object", f"iothread,id=io{number}"]
        return objects + super().drive()

    def more(self):
        return {"iothread_vq_mapping": [
            {"iothread": f"io{number}"} for number in range(self.IOTHREADS)]}

    def note(self):
        return (f"num-queues={2 * self.queues}, spread over "
                f"{self.IOTHREADS} IOThreads; aio={self.aio}; the guest's "
                f"virtio_blk has poll_queues={self.queues}")


class GuestCounted(InGuest):
    """A disk whose requests only the guest counts."""

    def look(self):
        """Reads and writes that its driver did, merged ones too."""
        name = os.path.basename(self.node)
        stat = [int(word) for word in
                self.vm.sh(f"cat /sys/block/{name}/stat").split()]
        return stat[0] + stat[1] + stat[4] + stat[5]

    def way(self, before, after, job):
        del job
        return self.serves, after - before


class VhostUser(GuestCounted, OnVirtio):
    """virtio-blk's queues, served by qemu-storage-daemon."""

    serves = "vhost-user"

    def __init__(self, name, setting):
        super().__init__(name, setting)
        self.program = os.path.join(os.path.dirname(setting.config.qemu),
                                    "storage-daemon", "qemu-storage-daemon")
        self.directory = self.daemon = None

    def why_not(self):
        return None if os.path.exists(self.program) else \
            (f"{self.program} is missing; build it with "
             "scripts/qemu-build.sh storage-daemon/qemu-storage-daemon")

    def start(self, queues):
        self.queues = queues
        # A path in a socket's address is short, and that of build/ may not be.
        self.directory = tempfile.TemporaryDirectory(prefix="vbu-bench.")
        self._serve(os.path.join(self.directory.name, "socket"))
        super().start(queues)

    def _serve(self, path):
        log = os.path.join(self.setting.logdir, self.name + ".log")
        # It listens before the daemon starts: nothing to wait for.
        with socket.socket(socket.AF_UNIX) as listening, \
                open(log, "w", encoding="utf-8") as output:
            listening.bind(path)
            listening.listen()
            export = {"type": "vhost-user-blk", "id": "export",
                      "node-name": self.disk.NODE,
                      "writable": self.disk.writable,
                      "num-queues": 2 * self.queues,
                      "addr": {"type": "fd", "str": str(listening.fileno())}}
            self.daemon = subprocess.Popen(
                [self.program,
                 "--blockdev", json.dumps(self.disk.blockdev()),
                 "--export", json.dumps(export)],
                stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
                pass_fds=(listening.fileno(),))

    def arguments(self):
        return ["-chardev", "socket,id=daemon,path="
                + os.path.join(self.directory.name, "socket")] + device(
            driver="vhost-user-blk-pci", id="vbu0", chardev="daemon",
            # With it, the daemon (of QEMU 10.0) wants to interrupt for the
            # first request of a queue, and gives up on the whole disk when
            # that is one for polling, which has no interrupt.
            event_idx=False, num_queues=2 * self.queues)

    def prepare(self):
        self.vm.sh(f"load virtio_blk poll_queues={self.queues}")
        return self.disk_of()

    def daemons(self):
        return [self.daemon.pid]

    def commands(self):
        words = self.daemon.args
        return [" ".join(f"'{word}'" if "{" in word else word
                         for word in words)] + super().commands()

    def note(self):
        return (f"num-queues={2 * self.queues},event_idx=off, "
                "qemu-storage-daemon with "
                "aio=io_uring; the guest's virtio_blk has poll_queues="
                f"{self.queues}")

    def close(self):
        super().close()
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None
            self.directory.cleanup()


class EmulatedNVMe(InGuest):
    """A drive of QEMU's own, behind the guest's NVMe driver."""

    serves = "nvme"

    def arguments(self):
        return ["-blockdev", json.dumps(self.disk.blockdev())] + device(
            driver="nvme", id="vbu0", drive=self.disk.NODE, serial="vbu0",
            max_ioqpairs=2 * self.queues)

    def append(self):
        return f"nvme.poll_queues={self.queues}"

    def prepare(self):
        return "/dev/" + self.vm.sh("cd /sys/block && echo nvme*").split()[0]

    def interrupt_names(self):
        return r"nvme\d+q\d+$"

    def note(self):
        return (f"-device nvme,max_ioqpairs={2 * self.queues}; the guest has "
                f"nvme.poll_queues={self.queues}")

    def look(self):
        return operations(self.vm, self.disk.NODE)

    def way(self, before, after, job):
        del job
        return self.serves, after - before


class NullBlk(GuestCounted):
    """No disk at all: what this guest's block layer and fio can do."""

    serves = "null_blk"

    def prepare(self):
        # The module's own poll_queues is the most that a disk may have.
        self.vm.sh("load configfs\n"
                   f"load null_blk nr_devices=0 poll_queues={self.queues}\n"
                   f"null_disk {self.queues}\n"
                   f"[ {self.queues} = 1 ] || echo {self.queues} "
                   ">/sys/kernel/config/nullb/nullb0/submit_queues")
        return "/dev/nullb0"

    def note(self):
        return (f"null_blk in the guest, poll_queues={self.queues}: the "
                "guest's own ceiling")

    def size(self):
        return "256m"
