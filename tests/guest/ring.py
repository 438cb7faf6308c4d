# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way the requests of a disk went: QEMU's own counters."""

import time

from vm import GuestError

DEVICE_PATH = "/machine/peripheral/"
PATH_CHANGE = "VIRTIO_BLK_URING_PATH_CHANGE"


class Counters:
    """A look at one disk's counters; subtract an older one from a newer."""

    def __init__(self, ring, polled, by_queue, virtqueue, flushes):
        self.ring = ring            # SQEs that interrupt rings consumed
        self.polled = polled        # SQEs that poll rings consumed
        self.by_queue = by_queue    # the same, for each ring
        self.virtqueue = virtqueue  # reads and writes that QEMU did
        self.flushes = flushes      # flushes that QEMU did

    def __sub__(self, older):
        return Counters(self.ring - older.ring, self.polled - older.polled,
                        [a - b for a, b in zip(self.by_queue, older.by_queue)],
                        self.virtqueue - older.virtqueue,
                        self.flushes - older.flushes)

    def __str__(self):
        return (f"{self.ring} by interrupt rings, {self.polled} by poll rings "
                f"({'/'.join(map(str, self.by_queue))}), "
                f"{self.virtqueue} over virtqueues")


def path(vm, disk="vbu0"):
    return vm.qmp("qom-get", path=DEVICE_PATH + disk, property="path")


def set_passthrough(vm, on, disk="vbu0"):
    """Switch the property of a running device, by True or False."""
    vm.qmp("qom-set", path=DEVICE_PATH + disk, property="passthrough",
           value="on" if on else "off")


def block_stats(vm, disk="vbu0"):
    for entry in vm.qmp("query-blockstats"):
        if (entry.get("qdev", "") + "/").startswith(DEVICE_PATH + disk + "/"):
            return entry["stats"]
    raise AssertionError(f"query-blockstats knows no device {disk}")


def counters(vm, disk="vbu0"):
    stats = block_stats(vm, disk)
    by_queue, polled, interrupt = [], 0, 0
    if not vm.config.stock:
        for ring in path(vm, disk)["rings"]:
            by_queue.append(ring["submitted"])
            if ring["polled"]:
                polled += ring["submitted"]
            else:
                interrupt += ring["submitted"]
    return Counters(interrupt, polled, by_queue,
                    stats["rd_operations"] + stats["wr_operations"],
                    stats["flush_operations"])


def forget_changes(vm, disk="vbu0"):
    """Of changes of the path so far no event is left."""
    path(vm, disk)              # what was on its way has come with the answer
    vm.events = [event for event in vm.events
                 if event["event"] != PATH_CHANGE or
                 event["data"].get("id") != disk]


def was_told(vm, state, reason, disk="vbu0"):
    """Whether the path was in a state, also if it is over now; asks nobody."""
    return any(event["event"] == PATH_CHANGE and
               event["data"].get("id") == disk and
               event["data"]["state"] == state and
               event["data"]["reason"] == reason for event in vm.events)


def wait_told(vm, state, reason, disk="vbu0"):
    """Wait for a state that may be over when somebody asks for it."""
    vm.wait_event(PATH_CHANGE, id=disk, state=state, reason=reason)


def wait_state(vm, wanted, disk="vbu0", seconds=60):
    """Wait until the path is in a state, from one change of it to the next."""
    deadline = time.monotonic() + seconds
    while True:
        now = path(vm, disk)
        if now["state"] == wanted:
            return now
        try:
            vm.wait_event(PATH_CHANGE, id=disk,
                          timeout=max(deadline - time.monotonic(), 0))
        except GuestError:
            # If QEMU has ended, this says it again.
            now = path(vm, disk)
            raise AssertionError(
                f"QEMU told no change of the path of {disk} to '{wanted}' "
                f"within {seconds} s; it is '{now['state']}' (reason "
                f"'{now['reason']}')") from None
