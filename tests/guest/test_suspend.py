# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: requests are lost or done twice when the path changes under load."""

import ring
from load_group import ROUNDS, LoadGroup


class UnderLoad(LoadGroup):
    """fio writes and verifies in the background while the path changes."""

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
