# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that is plugged into the guest's empty slot, and pulled."""

import fio
import ring


class Plugged:
    """Comes with put() and goes with pull(), or as a context manager.

    group: whose guest it is; serial: what the guest knows the disk by, and
    the device's id.  The image is left alone.
    """

    def __init__(self, group, serial, image, read_only=False, bus="slot0"):
        self.group = group
        self.vm = group.vm
        self.serial = serial
        self.image = image
        self.read_only = read_only
        self.bus = bus
        self.node = f"n-{serial}"
        self.name = None

    def put(self):
        self.vm.qmp("blockdev-add", driver="raw", node_name=self.node,
                    read_only=self.read_only,
                    file={"driver": "file", "filename": self.image})
        self.vm.qmp("device_add", driver=self.group.config.device(),
                    id=self.serial, bus=self.bus, drive=self.node,
                    serial=self.serial, num_queues=1, poll_queues=1,
                    isolation=self.group.config.isolation)
        # There is no udev in the guest that would tell.
        self.name = self.vm.sh(
            f"until disk_of {self.serial} 2>/dev/null; do usleep 20000; done"
        ).strip()
        self.vm.sh(f"until [ -b /dev/{self.name} ]; do usleep 20000; done")
        ring.wait_state(self.vm, "ring", self.serial)

    def load(self, polled):
        """Reads and writes without an end, which have begun."""
        before = ring.counters(self.vm, self.serial)
        job = fio.command("/dev/" + self.name, "randrw", "4k", 8,
                          polled=polled, time_based=True, runtime=300)
        self.vm.sh(f"start {self.serial} '{job}'")

        def grown():
            went = ring.counters(self.vm, self.serial) - before
            return (went.polled if polled else went.ring) > 40
        self.group.wait_until(grown, f"rings serve {self.serial}", 60)

    def pull(self, loaded=False):
        """Nothing of it is left in QEMU; its load ends with errors."""
        self.vm.qmp("device_del", id=self.serial)
        self.vm.wait_event("DEVICE_DELETED", device=self.serial)
        if loaded:
            status, output = self.vm.sh_status(f"finish {self.serial}")
            assert status, f"fio saw no error: {output}"
        self.vm.qmp("blockdev-del", node_name=self.node)

    def __enter__(self):
        self.put()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.pull()
