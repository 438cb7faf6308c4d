# SPDX-License-Identifier: GPL-2.0-or-later
"""The device of this repository."""

import json

import ring
from in_guest import OnVirtio, device
from vm import DEVICE


class Passthrough(OnVirtio):
    serves = "ring"
    isolation = "process"
    chances = 1

    def arguments(self):
        more = {}
        if self.setting.arrangement.pinned:
            more["sqpoll_cpu"] = self.setting.arrangement.service
        return ["-blockdev", json.dumps(self.disk.blockdev())] + device(
            driver=DEVICE, id="vbu0", drive=self.disk.NODE,
            num_queues=self.queues, poll_queues=self.queues,
            isolation=self.isolation, **more)

    def prepare(self):
        self.vm.sh("load virtio_blk_uring")
        self.awake()
        return self.disk_of()

    def awake(self):
        ring.wait_state(self.vm, "ring")

    def note(self):
        rings = ring.path(self.vm)["rings"]
        iopoll = "IOPOLL" if any(one.get("iopoll") for one in rings) \
            else "no IOPOLL"
        return (f"num-queues={self.queues},poll-queues={self.queues},"
                f"isolation={self.isolation}; {iopoll}")

    def look(self):
        return ring.counters(self.vm)

    def way(self, before, after, job):
        went = after - before
        if went.virtqueue > went.ring + went.polled:
            return "virtqueue", went.virtqueue
        return "ring", went.polled if job.polled else went.ring


class PassthroughUnjailed(Passthrough):
    isolation = "none"
