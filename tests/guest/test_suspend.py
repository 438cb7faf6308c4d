# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: requests are lost or done twice when the path changes under load."""

import fio
import ring
from disk_group import DiskGroup
from tap import MIB

ROUNDS = 5
GROWTH = 40     # requests that each way has to serve before the next change


class UnderLoad(DiskGroup):
    """fio writes and verifies in the background while the path changes."""

    image_size = 32 * MIB

    def start_load(self, polled, bs="4k", iodepth=8):
        job = fio.command("/dev/" + self.disk, "randwrite", bs,
                          iodepth=iodepth, polled=polled and
                          not self.config.stock,
                          size="16m", verify="crc32c", verify_fatal=1,
                          verify_backlog=128, time_based=True, runtime=300)
        self.vm.sh(f"start load '{job}'")

    def finish_load(self):
        """End fio in good order; its result, which is free of errors."""
        status, output = self.vm.sh_status("killall -TERM fio; finish load",
                                           timeout=120)
        # fio says 128 when a signal told it to end.
        assert status in (0, 128), f"fio ended with status {status}: {output}"
        result = fio.Result(output)
        assert "verify" not in result.notes, result.notes
        assert result.ios() > 0
        return result

    def wait_growth(self, what, than):
        """Wait until a counter has grown; it is the load that moves it."""
        def grown():
            return getattr(self.counters(), what) - getattr(than, what) \
                >= GROWTH
        self.wait_until(grown, f"I/O goes on, counter '{what}' grows")

    def churn(self, polled):
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
        # The driver opens its rings somewhat later than QEMU has them, and what
        # was on its way over the virtqueues by then is counted when it is done.
        for _ in range(2):
            self.wait_growth(kind, self.counters())
        seen = self.counters()
        self.wait_growth(kind, seen)
        late = self.counters() - seen
        assert late.virtqueue == 0, f"requests take the slow path: {late}"
        self.finish_load()
        path = ring.wait_state(self.vm, "ring")
        assert path["activations"] == activations + ROUNDS, path

    def test_suspend_interrupt(self):
        """suspend and resume under load by interrupt: no error, verified"""
        self.churn(polled=False)

    def test_suspend_polled(self):
        """suspend and resume under polled load: no error, verified"""
        self.churn(polled=True)

    def test_suspended_disk_works(self):
        """a disk that stays suspended is served by its virtqueues"""
        self.need_ring()
        ring.set_passthrough(self.vm, False)
        ring.wait_state(self.vm, "virtqueue")
        for polled in (False, True):
            before = self.counters()
            self.fio("randrw", "4k", 16, polled=polled, size="2m")
            went = self.counters() - before
            assert went.ring + went.polled == 0, went
            assert went.virtqueue >= 512, went
        ring.set_passthrough(self.vm, True)
        ring.wait_state(self.vm, "ring")

    def test_stop_cont(self):
        """stop and cont under load: silence while stopped, no error, RING"""
        for polled in (False, True):
            self.start_load(polled)
            for _ in range(ROUNDS):
                kind = "virtqueue" if self.config.stock else \
                    "polled" if polled else "ring"
                self.wait_growth(kind, self.counters())
                self.vm.qmp("stop")
                stopped = str(self.counters())
                # Nothing may happen now, so there is no event to wait for.
                for _ in range(50):
                    assert str(self.counters()) == stopped, \
                        "I/O went on in a stopped machine"
                self.vm.qmp("cont")
                if not self.config.stock:
                    ring.wait_state(self.vm, "ring")
            self.finish_load()


GROUPS = {"suspend": UnderLoad}
