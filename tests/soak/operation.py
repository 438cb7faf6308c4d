# SPDX-License-Identifier: GPL-2.0-or-later
"""What all operations have in common."""

import ring


class Operation:
    """One thing that an operator, a guest or fate does to a loaded guest.

    run() does it and returns when it is over; that the path is RING, both
    loads go on and nobody complains is seen to after that (Soak.settle).
    rng: all that is left to chance comes of it, so that a seed says it all.
    warnings: parts of what QEMU may say meanwhile.
    """

    name = ""
    warnings = ()

    def __init__(self, soak, rng):
        self.soak = soak
        self.rng = rng

    @property
    def vm(self):
        """The QEMU that has the guest now."""
        return self.soak.vm

    def any_disk(self):
        return self.rng.choice(self.soak.all_disks)

    def run(self):
        raise NotImplementedError

    def expect_virtqueue(self, disk, *reasons):
        """The disk's requests go on, over the virtqueues, and it says why."""
        path = ring.wait_state(self.vm, "virtqueue", disk.id, seconds=60)
        assert path["reason"] in reasons, path
        seen = ring.counters(self.vm, disk.id)
        self.soak.wait_until(
            lambda: ring.counters(self.vm, disk.id).virtqueue > seen.virtqueue,
            f"{disk.id} is served over the virtqueues", seconds=60)
        late = ring.counters(self.vm, disk.id) - seen
        assert late.ring + late.polled == 0, \
            f"a ring of {disk.id} went on after it was suspended: {late}"
