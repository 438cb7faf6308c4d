# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a disk that fails, is slow or grows is not so in the guest."""

import contextlib
import errno
import os
import tempfile
import time

import drive
import fio
import host
import ring
from badblocks import BadBlocks
from faulty import Faulty
from hosttrace import Trace
from jail_group import full_only
from mapper import Mapped
from nvme_group import NvmeGroup

KIB = 1 << 10
MIB = 1 << 20
SIZE = 64 * MIB         # of the disks
GROWN = 96 * MIB
BAD = 16 * MIB, 17 * MIB
SMALL = 192 * MIB       # where the small file system begins on the drive
ROOM = 4 * MIB          # what it has left
SLOW_MS = 500
# How much longer than its slowest request a drain may take, on a machine that
# has other things to do.
DRAIN_SECONDS = 3
# In order, but with gaps, as the guest makes one of what touches.
GAPS = "write:12k"
# What a disk may say, other than EIO
SAID = (errno.ETIMEDOUT, errno.ENOSPC, errno.ENODATA, errno.EREMOTEIO,
        errno.EILSEQ, errno.ENOLINK, errno.EIO)


class ErrorGroup(NvmeGroup):
    """A guest whose disks are made for the test, and removed after it."""

    def __init__(self, config, name):
        super().__init__(config, name)
        self.host = contextlib.ExitStack()

    def own(self, thing):
        """Have it closed when QEMU has ended."""
        self.host.callback(thing.close)
        return thing

    def drop(self):
        super().drop()
        self.host.close()

    def ways(self):
        """Whether polled: by interrupt, and by an IOPOLL ring if there is."""
        path = ring.wait_state(self.vm, "ring")
        if not any(each["iopoll"] for each in path["rings"]):
            print(f"# not polled: {path['iopoll-error']}")
            return (False,)
        return False, True

    def by_virtqueue(self, disk="vbu0"):
        """Reads and writes that QEMU has done, or tried to."""
        stats = ring.block_stats(self.vm, disk)
        return sum(stats[f"{what}_operations"] for what in
                   ("rd", "wr", "failed_rd", "failed_wr"))

    @contextlib.contextmanager
    def ring_only(self, polled, disk="vbu0"):
        """Nothing takes a virtqueue meanwhile, and the path stays RING."""
        activations = ring.wait_state(self.vm, "ring", disk)["activations"]
        strays = self.by_virtqueue(disk)
        before = ring.counters(self.vm, disk)
        yield
        strays = self.by_virtqueue(disk) - strays
        assert strays == 0, f"{strays} requests took the slow path"
        went = ring.counters(self.vm, disk) - before
        assert (went.polled if polled else went.ring) > 0, went
        path = self.path(disk)
        assert path["state"] == "ring", path
        assert path["activations"] == activations, \
            f"the rings were given up meanwhile: {path}"

    def fails(self, rw, polled, wanted, **options):
        """fio, which goes on after errors: how many there were, all alike."""
        options.setdefault("filename", "/dev/" + self.disk)
        # Without being told, it goes on after EIO only.
        status, output = self.vm.sh_status(fio.command(
            rw=rw, polled=polled, continue_on_error="all",
            ignore_error=f"{wanted},{wanted},{wanted}", **options))
        assert status == 0, f"fio ended with status {status}: {output}"
        errors, first = fio.Result(output, failing=True).errors()
        assert not errors or first == wanted, \
            f"{os.strerror(first)}, not {os.strerror(wanted)}"
        return errors

    def verified(self, polled, **options):
        """A little data, written and read back."""
        self.fio("randwrite", "4k", 8, polled=polled, verify="crc32c",
                 verify_fatal=1, **options)


class Mapper(ErrorGroup):
    """A disk of the device mapper on the drive."""

    mapped = None

    def ways(self):
        for polled in super().ways():
            self.rebase(nowait=not polled)
            yield polled

    def rebase(self, nowait):
        """Have rings that stay what they are when the table changes."""
        if self.mapped.nowait == nowait:
            return
        self.mapped.nowait = nowait
        self.mapped.change(self.mapped.good())
        ring.set_passthrough(self.vm, False)
        ring.wait_state(self.vm, "virtqueue")
        ring.set_passthrough(self.vm, True)
        ring.wait_state(self.vm, "ring")

    def disks(self):
        self.mapped = self.own(Mapped("vbu-errors", drive.PATH, SIZE))
        return [{"image": self.mapped.path, "props": self.props,
                 "drive": self.drive}]

    @contextlib.contextmanager
    def table(self, table):
        """Another table for a while."""
        self.mapped.change(table)
        try:
            yield
        finally:
            self.mapped.change(self.mapped.good())

    def test_eio(self):
        """EIO where the disk has a bad range, and nowhere else, path RING"""
        start, end = BAD
        bad = {"bs": "64k", "iodepth": 4, "offset": start, "size": end - start}
        # A write from the good into the bad fails as a whole.
        across = {"bs": "64k", "offset": start - 32 * KIB, "size": 64 * KIB}
        for polled in self.ways():
            with self.table(self.mapped.bad(start, end)), \
                 self.ring_only(polled):
                for rw in "read", "write":
                    errors = self.fails(rw, polled, errno.EIO, **bad)
                    assert errors == (end - start) // (64 * KIB), errors
                    errors = self.fails(rw, polled, errno.EIO, **across)
                    assert errors == 1, errors
                for offset in start - 64 * KIB, end:
                    self.verified(polled, offset=offset, size="64k")
        with self.ring_only(False):
            self.verified(False, offset=start, size=end - start)

    @full_only
    def test_down(self):
        """a disk that is gone for a while: each error arrives, no more"""
        for polled in self.ways():
            with self.ring_only(polled):
                self.down(polled)

    def down(self, polled):
        kind = "polled" if polled else "ring"
        job = {"bs": "4k", "iodepth": 8, "polled": polled, "size": "4m",
               "verify": "crc32c", "verify_fatal": 1}
        # Reads of a mix are verified too, so there must be something.
        self.fio("write", **dict(job, do_verify=0))
        # EAGAIN is said of what comes while the table is changed, and would
        # have to wait: io_uring has a worker thread do it again.
        with Trace("block/block_bio_complete", f"error == -{errno.EIO} && "
                   f"dev == {self.mapped.device()}") as trace:
            self.vm.sh("start load '" + fio.command(
                "/dev/" + self.disk, "randrw", continue_on_error="io",
                time_based=True, runtime=300, **job) + "'")
            self.wait_growth(kind, self.counters())
            with self.table(self.mapped.down()):
                self.wait_growth(kind, self.counters())
            self.wait_growth(kind, self.counters())
            status, output = self.vm.sh_status(
                "killall -TERM fio; finish load", timeout=400)
            failed = len(trace.read())
        assert status in (0, 128), f"fio ended with status {status}: {output}"
        seen, first = fio.Result(output, failing=True).errors()
        print(f"# {kind}: {failed} requests failed")
        assert failed > 0 and seen == failed, \
            f"{failed} requests of the disk failed, and {seen} in the guest"
        assert first == errno.EIO, os.strerror(first)
        self.fio("randwrite", **job)

    def wait_some(self, kind):
        """Wait until a slow disk has been given another few requests."""
        before = self.counters()
        self.wait_until(lambda: getattr(self.counters(), kind)
                        - getattr(before, kind) >= 8, "I/O goes on")

    @full_only
    def test_slow(self):
        """a suspend and a stop of a slow disk take as long as it, no longer"""
        for polled in self.ways():
            kind = "polled" if polled else "ring"
            with self.table(self.mapped.slow(SLOW_MS)):
                with self.ring_only(polled):
                    self.start_load(polled)
                    self.wait_some(kind)
                started = time.monotonic()
                ring.set_passthrough(self.vm, False)
                path = ring.wait_state(self.vm, "virtqueue")
                suspended = time.monotonic() - started
                assert path["reason"] == "administrator", path
                self.wait_some("virtqueue")
                ring.set_passthrough(self.vm, True)
                ring.wait_state(self.vm, "ring")
                self.wait_some(kind)
                started = time.monotonic()
                self.vm.qmp("stop")
                stopped = time.monotonic() - started
                self.vm.qmp("cont")
                ring.wait_state(self.vm, "ring")
                self.wait_some(kind)
            print(f"# {kind}: a suspend took {suspended:.2f} s and a stop "
                  f"{stopped:.2f} s, of requests that take {SLOW_MS / 1000} s")
            self.finish_load()
            for taken in suspended, stopped:
                assert taken < SLOW_MS / 1000 + DRAIN_SECONDS, taken

    def reload(self, parameters):
        """The driver anew, with parameters."""
        self.vm.sh(f"rmmod {self.config.driver()}; "
                   f"load {self.config.driver()} {parameters}")
        self.disk = self.disk_of(self.config.driver())
        ring.wait_state(self.vm, "ring")

    def driver_count(self, name):
        text = self.vm.sh(f"cat /sys/block/{self.disk}/uring/counters")
        return int(dict(line.split() for line in text.splitlines())[name])

    @full_only
    def test_late(self):
        """what takes longer than the guest's patience is done once, RING"""
        self.reload("io_timeout=1 give_up=0")
        for polled in self.ways():
            with self.table(self.mapped.slow(3500)), self.ring_only(polled):
                before = self.mapped.writes()
                self.fio(GAPS, "4k", 8, polled=polled, number_ios=8)
                writes = self.mapped.writes() - before
                assert writes == 8, writes
            assert "the host has had request" in self.vm.sh("dmesg")
            self.fio("read", "4k", 8, number_ios=8)
        self.reload("")

    @full_only
    def test_too_late(self):
        """what the driver gives up waiting for is neither lost nor doubled"""
        for polled in self.ways():
            self.reload("io_timeout=1 give_up=2")
            with self.table(self.mapped.slow(5000)):
                before = self.mapped.writes()
                self.fio(GAPS, "4k", 8, polled=polled, number_ios=8,
                         verify="crc32c", verify_fatal=1)
                writes = self.mapped.writes() - before
            again = self.driver_count("replayed")
            print(f"# {again} requests were done again")
            assert writes == 8 + again, f"{writes} writes, {again} again"
            path = ring.wait_state(self.vm, "virtqueue")
            assert path["reason"] == "driver", path
            # The driver would refrain from rings for a minute.
            self.reload("")

    def test_grow(self):
        """the disk grows under load: the guest sees it, and rings reach it"""
        sectors = f"cat /sys/block/{self.disk}/size"
        old = self.mapped.size
        activations = self.path()["activations"]
        self.start_load(False)
        self.wait_growth("ring", self.counters())
        self.mapped.grow(GROWN)
        self.wait_growth("ring", self.counters())
        # Nobody has told QEMU yet.
        assert int(self.vm.sh(sectors)) * 512 == old
        self.vm.qmp("block_resize", device="d-vbu0", size=GROWN)
        self.wait_until(lambda: int(self.vm.sh(sectors)) * 512 == GROWN,
                        "the guest sees the new size")
        path = ring.wait_state(self.vm, "ring")
        assert path["activations"] == activations + 1, path
        self.wait_growth("ring", self.counters())
        self.finish_load()
        for polled in self.ways():
            with self.ring_only(polled):
                self.verified(polled, offset=old, size=GROWN - old,
                              number_ios=256)


class Told(ErrorGroup):
    """An image on a file system without room, and a disk with any error."""

    mount = faulty = None

    def disks(self):
        small = self.own(Mapped("vbu-small", drive.PATH, 64 * MIB, SMALL))
        host.run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", small.path)
        self.mount = tempfile.mkdtemp()
        self.host.callback(os.rmdir, self.mount)
        host.run("mount", "-t", "ext4", small.path, self.mount)
        self.host.callback(host.run_until, "umount", self.mount)
        image = os.path.join(self.mount, "image")
        with open(image, "wb") as file:
            # With data: only a read of that tells whether it can be polled.
            file.write(b"\x5a" * MIB)
            file.truncate(SIZE)
        self.fill()
        self.faulty = self.own(Faulty(SIZE))
        bad = self.own(BadBlocks("vbubad", SIZE, *BAD))
        report = ",rerror=report,werror=report"
        return [{"image": image, "props": self.props,
                 "drive": self.drive + report},
                {"image": self.faulty.path, "props": self.props,
                 "drive": self.drive + report},
                {"image": bad.path, "props": self.props, "drive": self.drive}]

    @property
    def ballast(self):
        return os.path.join(self.mount, "ballast")

    def fill(self):
        """Leave hardly any room beside the image."""
        left = os.statvfs(self.mount)
        with open(self.ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0,
                               left.f_bavail * left.f_frsize - ROOM)

    def test_enospc(self):
        """ENOSPC from a full file system, until there is room, path RING"""
        job = {"bs": "64k", "iodepth": 4, "offset": 2 * MIB,
               "size": 4 * ROOM}
        for polled in self.ways():
            with self.ring_only(polled):
                errors = self.fails("write", polled, errno.ENOSPC, **job)
                assert errors > 0, "all of it was written"
                # What is there is not touched by that.
                self.fio("read", "64k", polled=polled, size=MIB)
        os.unlink(self.ballast)
        for polled in self.ways():
            with self.ring_only(polled):
                self.fio("write", **job, polled=polled, verify="crc32c",
                         verify_fatal=1)

    def node(self, number):
        """The guest's name of a disk, in QEMU's order."""
        disks = sorted(line.split()[0] for line in
                       self.vm.sh("disks").splitlines())
        return "/dev/" + disks[number]

    @full_only
    def test_bad_blocks(self):
        """EIO of a disk with bad blocks that is polled: there only, RING"""
        start, end = BAD
        job = {"filename": self.node(2), "bs": "64k", "iodepth": 4}
        for polled in False, True:
            with self.ring_only(polled, "vbu2"):
                for rw in "read", "write":
                    errors = self.fails(rw, polled, errno.EIO, offset=start,
                                        size=end - start, **job)
                    assert errors == (end - start) // (64 * KIB), errors
                for offset in start - 64 * KIB, end:
                    self.verified(polled, filename=job["filename"],
                                  offset=offset, size="64k")

    def test_any(self):
        """whatever the disk says, ETIMEDOUT too, the guest hears, path RING"""
        disk = self.node(1)
        job = {"filename": disk, "bs": "4k", "iodepth": 2,
               "size": "8k"}
        for error in SAID:
            with self.ring_only(False, "vbu1"):
                self.faulty.fail(error)
                for rw in "read", "write":
                    errors = self.fails(rw, False, error, **job)
                    assert errors == 2, (os.strerror(error), rw, errors)
                self.faulty.fail(0)
                self.fio("read", **job)
        with self.ring_only(False, "vbu1"):
            self.verified(False, filename=disk, size=MIB)


GROUPS = {"mapper": Mapper, "told": Told}
