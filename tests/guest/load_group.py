# SPDX-License-Identifier: GPL-2.0-or-later
"""fio that writes and verifies in the background while something happens."""

import fio
import ring
from disk_group import DiskGroup
from tap import MIB

ROUNDS = 5
GROWTH = 40     # requests that each way has to serve before the next change


class LoadGroup(DiskGroup):
    """A group whose tests put the first disk under load."""

    image_size = 32 * MIB

    def start_load(self, polled, bs="4k", iodepth=8, runtime=300):
        job = fio.command("/dev/" + self.disk, "randwrite", bs,
                          iodepth=iodepth, polled=polled and
                          not self.config.stock,
                          size="16m", verify="crc32c", verify_fatal=1,
                          verify_backlog=128, time_based=True, runtime=runtime)
        self.vm.sh(f"start load '{job}'")

    def wait_growth(self, what, than):
        """Wait until a counter has grown; it is the load that moves it."""
        def grown():
            return getattr(self.counters(), what) - getattr(than, what) \
                >= GROWTH
        self.wait_until(grown, f"I/O goes on, counter '{what}' grows")

    def expect_way(self, kind):
        """The load goes on, and that way only.

        The driver opens its rings somewhat later than QEMU has them, and what
        was on its way by then is counted when it is done.
        """
        for _ in range(6):
            before = self.counters()
            self.wait_growth(kind, before)
            went = self.counters() - before
            if not {"ring": went.polled + went.virtqueue,
                    "polled": went.virtqueue,
                    "virtqueue": went.ring + went.polled}[kind]:
                return
        raise AssertionError(f"requests take other ways, too: {went}")

    def churn(self, polled):
        """Suspends and resumes under load, several times."""
        self.need_ring()
        kind = "polled" if polled else "ring"
        activations = ring.path(self.vm)["activations"]
        self.start_load(polled)
        for _ in range(ROUNDS):
            self.wait_growth(kind, self.counters())
            ring.set_passthrough(self.vm, False)
            path = ring.wait_state(self.vm, "virtqueue")
            assert all(r["in-flight"] == 0 for r in path["rings"]), path
            seen = self.counters()
            self.wait_growth("virtqueue", seen)
            late = self.counters() - seen
            assert late.ring + late.polled == 0, \
                f"a ring went on after it was suspended: {late}"
            ring.set_passthrough(self.vm, True)
            ring.wait_state(self.vm, "ring")
        self.expect_way(kind)
        self.finish_load()
        path = ring.wait_state(self.vm, "ring")
        assert path["activations"] == activations + ROUNDS, path
