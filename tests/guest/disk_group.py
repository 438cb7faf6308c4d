# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of a disk have in common: fio in the guest, and where it went."""

import fio
import ring
from tap import Group, Skip


class DiskGroup(Group):
    """A group whose guest has the path of its first disk in RING."""

    def prepare(self):
        super().prepare()
        if not self.config.stock:
            ring.wait_state(self.vm, "ring")

    def need_ring(self):
        if self.config.stock:
            raise Skip("stock virtio-blk has no ring")

    def counters(self):
        return ring.counters(self.vm)

    def fio(self, rw, bs, iodepth=1, timeout=400, **options):
        options.setdefault("filename", "/dev/" + self.disk)
        status, output = self.vm.sh_status(
            fio.command(rw=rw, bs=bs, iodepth=iodepth, **options), timeout)
        if status:
            raise AssertionError(f"fio ended with status {status}: "
                                 + fio.complaint(output))
        return fio.Result(output)

    def finish_load(self):
        """End the fio that was started as "load"; its result, without errors."""
        status, output = self.vm.sh_status("killall -TERM fio; finish load",
                                           timeout=400)
        # fio says 128 when a signal told it to end.
        assert status in (0, 128), f"fio ended with status {status}: {output}"
        result = fio.Result(output)
        assert "verify" not in result.notes, result.notes
        assert result.ios() > 0
        return result

    def requests(self):
        """Requests that the guest's driver has completed: (data, flushes)."""
        stat = self.vm.sh(f"cat /sys/block/{self.disk}/stat").split()
        return int(stat[0]) + int(stat[4]), int(stat[15])

    def expect_ring_served(self, before, polled=None, at_least=1,
                           strays=0.02):
        """All data since `before` went through rings, of the kind named.

        strays: this share may have taken the rings of the other kind.
        """
        went = self.counters() - before
        if self.config.stock:
            assert went.virtqueue >= at_least, f"nothing arrived: {went}"
            return went
        assert went.virtqueue == 0, f"requests took the slow path: {went}"
        if polled is not None:
            wrong = went.ring if polled else went.polled
            right = went.polled if polled else went.ring
            assert right >= at_least, f"too few requests: {went}"
            assert wrong <= strays * right, \
                f"requests took the other rings: {went}"
        else:
            assert went.ring + went.polled >= at_least, \
                f"too few requests: {went}"
        return went
