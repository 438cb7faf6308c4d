# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a migration loses, tears or doubles what the rings are doing."""

import hashlib
import os

import migrate
import ring
from load_group import LoadGroup
from tap import MIB
from vm import HERE, QMPError

CROWDED = {"max-bandwidth": 4 * MIB, "downtime-limit": 1}
FREE = {"max-bandwidth": 1 << 40, "downtime-limit": 2000}


class Migrating(LoadGroup):
    """The group's guest lives in one QEMU after the other."""

    lives = 0

    def start(self):
        if self.vm is None:
            self.lives = 0
        super().start()

    def next_directory(self):
        self.lives += 1
        return f"{self.directory}/life{self.lives}"

    def attempt(self, **options):
        return migrate.Attempt(self.vm, self.next_directory(), **options)

    def move(self, **options):
        self.vm = migrate.move(self.vm, self.next_directory(), **options)

    def start_load(self, polled, bs="4k", iodepth=8):
        """Nothing migrates before the rings are at work."""
        super().start_load(polled, bs, iodepth)
        self.wait_growth("polled" if polled else "ring", self.counters())

    def end_in_ring(self, kind):
        """The guest is back in its rings, and nothing was wrong meanwhile."""
        ring.wait_state(self.vm, "ring")
        self.expect_way(kind)
        self.finish_load()


class Live(Migrating):
    """Between two QEMUs with the same image, fio verifying all the time."""

    known_warnings = Migrating.known_warnings + (
        "the incoming guest will go on over the virtqueues",)

    def test_interrupt(self):
        """over a socket under load by interrupt: arrives in RING, verified"""
        self.need_ring()
        self.start_load(polled=False)
        self.move()
        self.end_in_ring("ring")

    def test_polled_multifd(self):
        """by multifd under polled load, there and back: the same"""
        self.need_ring()
        self.start_load(polled=True)
        for _ in range(2):
            self.move(capabilities=["multifd"])
            ring.wait_state(self.vm, "ring")
            self.wait_growth("polled", self.counters())
        self.end_in_ring("polled")

    def test_file(self):
        """to a file and from there, under load: the same"""
        self.need_ring()
        for polled in (False, True):
            self.start_load(polled)
            self.vm = migrate.move_by_file(
                self.vm, self.next_directory(), self.directory + ".vm",
                capabilities=["mapped-ram"] if polled else ())
            self.end_in_ring("polled" if polled else "ring")

    def nothing_left(self):
        return self.vm.qmp("query-migrate")["ram"]["remaining"] == 0

    def test_postcopy(self):
        """postcopy under load: virtqueues until all memory is there, then RING"""
        self.need_ring()
        self.start_load(polled=False)
        with self.attempt(capabilities=["postcopy-ram"],
                          parameters={"max-bandwidth": MIB,
                                      "max-postcopy-bandwidth": 64 * MIB}) \
                as attempt:
            migrate.wait_status(self.vm, "active")
            self.vm.qmp("migrate-start-postcopy")
            migrate.wait_status(attempt.heir, "postcopy-active")
            seen = 0
            while True:
                state = ring.path(attempt.heir)
                if attempt.heir.qmp("query-migrate")["status"] == "completed":
                    break
                seen += 1
                # The source knows it before the destination says "completed".
                assert state["state"] != "ring" or self.nothing_left(), \
                    f"a ring while memory is still to come: {state}"
            assert seen, "memory was there too early for this to see anything"
            self.vm = attempt.arrive()
        self.end_in_ring("ring")

    def test_cancelled(self):
        """a migration that is cancelled: the source goes back to RING"""
        self.need_ring()
        self.start_load(polled=False)
        with self.attempt(parameters=CROWDED):
            migrate.wait_status(self.vm, "active")
            path = ring.wait_state(self.vm, "virtqueue")
            assert path["reason"] == "migration", path
            assert "migrated" in path["error"], path
            self.expect_way("virtqueue")
            self.vm.qmp("migrate_cancel")
            migrate.wait_status(self.vm, "cancelled")
        self.end_in_ring("ring")
        self.vm.qmp("migrate-set-parameters", **FREE)

    def test_failed(self):
        """a migration whose destination dies: the source goes back to RING"""
        self.need_ring()
        self.known_warnings = self.known_warnings + (
            "Unable to write to socket", "failed to save SaveStateEntry")
        self.start_load(polled=True)
        with self.attempt(parameters=CROWDED):
            migrate.wait_status(self.vm, "active")
        migrate.wait_status(self.vm, "failed")
        self.end_in_ring("polled")
        self.vm.qmp("migrate-set-parameters", **FREE)

    def test_destination_off(self):
        """to passthrough=off: virtqueues, until the administrator says on"""
        self.need_ring()
        disks = self.vm.disks
        self.start_load(polled=False)
        self.move(disks=[dict(disk, props=disk["props"] + ",passthrough=off")
                         for disk in disks])
        self.vm.disks = disks
        self.expect_way("virtqueue")
        assert ring.path(self.vm)["state"] == "virtqueue"
        ring.set_passthrough(self.vm, True)
        self.end_in_ring("ring")

    def test_destination_without_io_uring(self):
        """to a host without io_uring: virtqueues, and back again RING"""
        self.need_ring()
        self.start_load(polled=False)
        self.move(wrap=(os.path.join(HERE, "nouring.py"),))
        self.expect_way("virtqueue")
        path = ring.path(self.vm)
        assert "io_uring" in path["error"], path
        ring.set_passthrough(self.vm, False)
        try:
            ring.set_passthrough(self.vm, True)
            raise AssertionError("passthrough can be had without io_uring")
        except QMPError as sentence:
            assert "io_uring" in str(sentence), sentence
        self.move(wrap=())
        self.end_in_ring("ring")


class StockDriver(Migrating):
    """A guest that knows no rings."""

    def prepare(self):
        self.load("virtio_blk")

    def start_load(self, polled, bs="4k", iodepth=8):
        LoadGroup.start_load(self, polled, bs, iodepth)
        self.wait_growth("virtqueue", self.counters())

    def test_stock_driver(self):
        """a guest with virtio_blk migrates under load as any virtio-blk"""
        self.need_ring()
        self.start_load(polled=False)
        self.move()
        self.expect_way("virtqueue")
        self.finish_load()


class Memory(Migrating):
    """What is read into memory after that was sent has to be sent again."""

    size = 16
    image_fill = 0xa5

    def guest_options(self):
        # A guest that clears memory before it reads into it makes it dirty.
        return {"append": "init_on_alloc=0"}

    def read_into_cache(self, path):
        """Migrates, and reads the disk into the page cache meanwhile."""
        # The cache of a disk is there for as long as it is open; and while
        # memory is written to faster than it is sent (zeroes are sent in no
        # time), a migration does not end.
        self.vm.sh(f"sleep 1000 <{path} & echo $! >/run/holder\n"
                   "while dd if=/bin/busybox of=/tmp/dirty bs=64k "
                   "conv=notrunc; do :; done >/dev/null 2>&1 & "
                   "echo $! >/run/writer")
        with self.attempt(parameters={"max-bandwidth": 16 * MIB,
                                      "downtime-limit": 1}) as attempt:
            # From here on what is sent are memory's changes.
            self.wait_until(lambda: self.vm.qmp("query-migrate")
                            .get("ram", {}).get("dirty-sync-count", 0) >= 2,
                            "the first round of the migration is over", 120)
            self.vm.sh(f"dd if={path} of=/dev/null bs=1M count={self.size}",
                       timeout=400)
            assert self.vm.qmp("query-status")["running"], \
                "the migration was over too early"
            self.vm.qmp("migrate-set-parameters", **FREE)
            self.vm = attempt.arrive()

    def cached_sum(self, path):
        """Of what the page cache holds, as nothing of it is read again."""
        before = self.vm.sh(f"cut -d' ' -f1-8 /sys/block/{self.disk}/stat")
        found = self.vm.sh(f"dd if={path} bs=1M count={self.size} 2>/dev/null "
                           "| md5sum; kill $(cat /run/holder /run/writer)",
                           timeout=400).split()[0]
        assert self.vm.sh(f"cut -d' ' -f1-8 /sys/block/{self.disk}/stat") == \
            before, "the cache has not lasted"
        return found

    def right_sum(self):
        with open(self.image, "rb") as image:
            return hashlib.md5(image.read(self.size * MIB)).hexdigest()

    def arrives(self):
        self.need_ring()
        path = "/dev/" + self.disk
        self.read_into_cache(path)
        return self.cached_sum(path) == self.right_sum()

    def test_arrives(self):
        """what is read during a migration arrives"""
        assert self.arrives()


class WithRings(Memory):
    """Shows that the test above can fail."""

    props = Memory.props + ",x-migrate-with-rings=on"

    def test_arrives(self):
        """did rings go on during it, what they read would not arrive"""
        assert not self.arrives(), "what rings write is tracked after all"


GROUPS = {"migration": Live, "migration-stock-driver": StockDriver,
          "migration-memory": Memory, "migration-with-rings": WithRings}
