# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations of the block layer on the disk's nodes."""

import os
import subprocess

import jailinfo
import ring
from database import check_image
from operation import Operation
from soak import SMALLEST
from tap import MIB
from vm import BUILD

# Slow enough to see the path while a job runs
SPEED = 32 * MIB


class BlockOperation(Operation):
    """One that is done to one of the disks, which is self.disk."""

    def __init__(self, soak, rng):
        super().__init__(soak, rng)
        self.disk = self.any_disk()

    def wait_job(self, job, event="BLOCK_JOB_COMPLETED"):
        data = self.vm.wait_event(event, timeout=120, device=job)["data"]
        assert not data.get("error"), data

    def complete(self, job):
        """Of a job that has all, and now keeps up with the guest."""
        self.wait_job(job, "BLOCK_JOB_READY")
        self.vm.qmp("block-job-complete", device=job)
        self.wait_job(job)

    def expect_backend(self):
        self.expect_virtqueue(self.disk, "backend")

    def check_copy(self, path, acked):
        """A copy of some moment has what was there before it was begun."""
        if self.disk is self.soak.raw:
            assert self.soak.archived(path), f"{path} has other bytes"
        else:
            check_image(path, acked)


class Backup(BlockOperation):
    """The copy is of the moment when the job began."""

    name = "backup"

    def run(self):
        acked = self.soak.database.acked()
        image, node, _ = self.disk.add_copy(self.vm)
        self.vm.qmp("blockdev-backup", job_id="job", device=self.disk.node,
                    target=node, sync="full", speed=SPEED)
        self.expect_backend()
        self.vm.qmp("block-job-set-speed", device="job", speed=0)
        self.wait_job("job")
        self.vm.qmp("blockdev-del", node_name=node)
        self.check_copy(image, acked)
        os.unlink(image)


class Mirror(BlockOperation):
    """Begins a mirror; what becomes of it is of those below."""

    def begin(self):
        copy = self.disk.add_copy(self.vm)
        self.vm.qmp("blockdev-mirror", job_id="job", device=self.disk.node,
                    target=copy[1], sync="full", speed=SPEED)
        self.expect_backend()
        self.vm.qmp("block-job-set-speed", device="job", speed=0)
        return copy


class MirrorCancelled(Mirror):
    """A mirror that keeps up and is then left leaves a good copy."""

    name = "mirror, cancelled"

    def run(self):
        image, node, _ = self.begin()
        self.wait_job("job", "BLOCK_JOB_READY")
        acked = self.soak.database.acked()
        self.vm.qmp("block-job-cancel", device="job")
        self.wait_job("job")
        self.vm.qmp("blockdev-del", node_name=node)
        self.check_copy(image, acked)
        os.unlink(image)


class MirrorCompleted(Mirror):
    """The disk goes on on the copy."""

    name = "mirror, completed"

    def run(self):
        copy = self.begin()
        self.complete("job")
        self.disk.moved_to(self.vm, *copy)


class Snapshot(BlockOperation):
    """An overlay takes the writes, and is committed."""

    name = "snapshot, commit"
    depth = 1

    def run(self):
        nodes = [self.disk.node]
        files = []
        for _ in range(self.depth):
            files.append(self.disk.file("overlay"))
            node, _ = self.disk.new_nodes()
            self.vm.qmp("blockdev-snapshot-sync", node_name=nodes[-1],
                        snapshot_file=files[-1], snapshot_node_name=node)
            nodes.append(node)
            self.expect_backend()
        self.between(nodes)
        self.vm.qmp("block-commit", job_id="job", device=nodes[-1])
        self.complete("job")
        for file in files:
            os.unlink(file)

    def between(self, nodes):
        """What else is done to the overlays."""


class Stream(Snapshot):
    """Of two overlays the upper one takes over what the lower one has."""

    name = "two snapshots, stream, commit"
    depth = 2

    def between(self, nodes):
        self.vm.qmp("block-stream", job_id="stream", device=nodes[-1],
                    base_node=nodes[0])
        self.wait_job("stream")


class Resize(BlockOperation):
    """The end of the disk, which no load uses, comes and goes."""

    name = "block_resize"

    def run(self):
        smallest = SMALLEST if self.disk is self.soak.raw else 48 * MIB
        for _ in range(2):
            size = smallest + self.rng.randrange(1, 64) * MIB
            self.vm.qmp("block_resize", node_name=self.disk.node, size=size)
            self.disk.size = size
            name = self.disk.name(self.vm)
            self.soak.wait_until(
                lambda: int(self.vm.sh(f"cat /sys/block/{name}/size")) * 512
                == size, f"the guest sees {size} bytes", seconds=60)
            # The ring reaches the new end, and nothing beyond it.
            path = ring.wait_state(self.vm, "ring", self.disk.id, seconds=60)
            limit = jailinfo.limits(path["jail-pid"])["Max file size"][0]
            assert limit == str(size), \
                f"the jail may write {limit} bytes, the disk has {size}"
            self.soak.fio("write", "64k", 4, filename="/dev/" + name,
                          offset=size - MIB, size=MIB, verify="crc32c",
                          verify_fatal=1)


class Throttle(BlockOperation):
    """A limit is put on the drive, and lifted."""

    name = "throttling on, off"

    def limit(self, iops):
        said = self.vm.hmp(f"block_set_io_throttle {self.disk.drive} "
                           f"0 0 0 {iops} 0 0")
        assert not said, said

    def run(self):
        self.limit(self.rng.randrange(200, 1000))
        self.expect_backend()
        self.limit(0)


class Reopen(BlockOperation):
    """The node is given an option that no ring can honour, and loses it."""

    name = "blockdev-reopen"

    def reopen(self, **options):
        self.vm.qmp("blockdev-reopen", options=[dict(
            {"driver": "raw", "node-name": self.disk.node,
             "file": self.disk.protocol}, **options)])

    def run(self):
        self.reopen(**{"detect-zeroes": "on"})
        self.expect_backend()
        self.reopen()


class Filter(BlockOperation):
    """A filter is put between drive and node, and taken out."""

    name = "filter in, out"

    def run(self):
        drive = ring.DEVICE_PATH + self.disk.id
        node, _ = self.disk.new_nodes()
        self.vm.qmp("blockdev-add", driver="copy-on-read", node_name=node,
                    file=self.disk.node)
        self.vm.qmp("qom-set", path=drive, property="drive", value=node)
        self.expect_backend()
        self.vm.qmp("qom-set", path=drive, property="drive",
                    value=self.disk.node)
        self.vm.qmp("blockdev-del", node_name=node)


class Export(BlockOperation):
    """Another program reads the disk while the guest writes."""

    name = "NBD export"

    def run(self):
        socket, copy = self.disk.file("nbd"), self.disk.file("copy")
        self.vm.qmp("nbd-server-start", addr={
            "type": "unix", "data": {"path": socket}})
        self.vm.qmp("block-export-add", type="nbd", id="export", name="disk",
                    node_name=self.disk.node)
        subprocess.run([os.path.join(BUILD, "qemu", "qemu-img"), "convert",
                        "-O", "raw", f"nbd+unix:///disk?socket={socket}",
                        copy], check=True, timeout=120)
        self.vm.qmp("nbd-server-stop")
        # A moving target is no file system; the archive does not move.
        if self.disk is self.soak.raw:
            assert self.soak.archived(copy), "NBD reads other bytes"
        os.unlink(copy)


class Bitmap(BlockOperation):
    """A dirty bitmap comes, sees each write, and goes."""

    name = "dirty bitmap added, removed"

    def run(self):
        bitmap = {"node": self.disk.node, "name": "bitmap"}
        self.vm.qmp("block-dirty-bitmap-add", **bitmap)
        self.expect_backend()
        self.soak.wait_until(self.dirty, "the bitmap sees writes", seconds=60)
        self.vm.qmp("block-dirty-bitmap-remove", **bitmap)

    def dirty(self):
        for node in self.vm.qmp("query-named-block-nodes"):
            if node["node-name"] == self.disk.node:
                return node["dirty-bitmaps"][0]["count"] > 0
        raise AssertionError(f"there is no node {self.disk.node}")


OPERATIONS = (Backup, MirrorCancelled, MirrorCompleted, Snapshot, Stream,
              Resize, Throttle, Reopen, Filter, Export, Bitmap)
