# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: an operation of the block layer misses what rings write, or they it."""

import os
import subprocess

import ring
from load_group import LoadGroup
from tap import MIB
from vm import BUILD, make_image

DISK = "d-vbu0"
NODE = "disk0"          # node names of the drive, format and protocol
FILE = "file0"


class BlockOps(LoadGroup):
    """fio verifies in the guest, in rings, while the operator operates."""

    # What qemu-img would say of a new overlay
    known_warnings = LoadGroup.known_warnings + ("Formatting ",)
    drive = f"cache=writeback,node-name={NODE},file.node-name={FILE}"

    def start_load(self, polled=False, bs="4k", iodepth=8):
        self.need_ring()
        super().start_load(polled, bs, iodepth)
        self.wait_growth("polled" if polled else "ring", self.counters())
        self.activations = ring.path(self.vm)["activations"]

    def extra(self, name):
        """A file beside the image, which is not there yet."""
        path = f"{self.directory}-{name}"
        if os.path.exists(path):
            os.unlink(path)
        return path

    def wait_job(self, job, ready=False):
        """Until a job is over, or ready to be completed; the guest goes on."""
        event = "BLOCK_JOB_READY" if ready else "BLOCK_JOB_COMPLETED"
        data = self.vm.wait_event(event, device=job)["data"]
        assert not data.get("error"), data

    def expect_virtqueue(self, word):
        """Requests go on, and QEMU says why not through rings."""
        path = ring.wait_state(self.vm, "virtqueue")
        assert path["reason"] == "backend", path
        self.wait_until(lambda: word in ring.path(self.vm)["error"],
                        f"the error of the path says '{word}'")
        self.wait_growth("virtqueue", self.counters())

    def end_in_ring(self):
        """It has had the disk, all is as before, and nothing was wrong."""
        path = ring.wait_state(self.vm, "ring")
        assert path["activations"] > self.activations, \
            "the rings were not given up"
        assert path["error"] == "", path
        self.wait_growth("ring", self.counters())
        self.finish_load()

    def test_backup(self):
        """blockdev-backup: virtqueues while it works, RING after it"""
        target = make_image(self.extra("backup"), self.image_size)
        self.start_load()
        self.vm.qmp("blockdev-add", driver="raw", node_name="target",
                    file={"driver": "file", "filename": target})
        self.vm.qmp("blockdev-backup", job_id="job", device=NODE,
                    target="target", sync="full", speed=MIB // 4)
        self.expect_virtqueue("copy-before-write")
        self.vm.qmp("block-job-set-speed", device="job", speed=0)
        self.wait_job("job")
        self.vm.qmp("blockdev-del", node_name="target")
        self.end_in_ring()

    def test_snapshot(self):
        """a snapshot: virtqueues over its overlay, RING when it is committed"""
        overlay = self.extra("overlay")
        self.start_load()
        device = self.vm.qmp("query-block")
        node = [each["inserted"]["node-name"] for each in device
                if each["device"] == DISK][0]
        self.vm.qmp("blockdev-snapshot-sync", node_name=node,
                    snapshot_file=overlay, snapshot_node_name="overlay")
        self.expect_virtqueue("qcow2")
        self.vm.qmp("block-commit", job_id="job", device="overlay")
        self.wait_job("job", ready=True)
        self.vm.qmp("block-job-complete", device="job")
        self.wait_job("job")
        self.end_in_ring()
        os.unlink(overlay)

    def test_resize(self):
        """block_resize up and down: the guest's capacity follows, RING"""
        sectors = f"cat /sys/block/{self.disk}/size"
        for size in (2 * self.image_size, self.image_size):
            self.start_load()
            self.vm.qmp("block_resize", device=DISK, size=size)
            self.wait_until(lambda: int(self.vm.sh(sectors)) * 512 == size,
                            "the guest sees the new size")
            self.end_in_ring()
            if size > self.image_size:
                # The jail has learnt the new limit, too.
                before = self.counters()
                self.fio("write", "64k", 4, offset=self.image_size,
                         size="4m", verify="crc32c", verify_fatal=1)
                self.expect_ring_served(before, at_least=64)

    def throttle(self, iops):
        said = self.vm.hmp(f"block_set_io_throttle {DISK} 0 0 0 {iops} 0 0")
        assert not said, said

    def test_throttle(self):
        """throttling: no ring escapes it, RING when it is lifted"""
        self.start_load()
        self.throttle(200)
        self.expect_virtqueue("throttled")
        self.throttle(0)
        self.end_in_ring()

    def reopen(self, **options):
        self.vm.qmp("blockdev-reopen", options=[dict(
            {"driver": "raw", "node-name": NODE, "file": FILE}, **options)])

    def test_reopen(self):
        """blockdev-reopen with what a ring cannot do: as long as it is so"""
        self.start_load()
        self.reopen(**{"detect-zeroes": "on"})
        self.expect_virtqueue("detect-zeroes")
        self.reopen()
        self.end_in_ring()

    def test_filter(self):
        """a filter put over the node: no ring escapes it, RING without it"""
        self.start_load()
        drive = "/machine/peripheral/vbu0"
        self.vm.qmp("blockdev-add", driver="copy-on-read", node_name="filter",
                    file=NODE)
        self.vm.qmp("qom-set", path=drive, property="drive", value="filter")
        self.expect_virtqueue("filter")
        self.vm.qmp("qom-set", path=drive, property="drive", value=NODE)
        self.vm.qmp("blockdev-del", node_name="filter")
        self.end_in_ring()

    def test_export(self):
        """an NBD export reads what rings have written, in RING"""
        self.need_ring()
        self.fio("randwrite", "4k", 8, size="4m", verify="crc32c",
                 verify_fatal=1)
        socket, copy = self.extra("nbd"), self.extra("copy")
        self.vm.qmp("nbd-server-start", addr={
            "type": "unix", "data": {"path": socket}})
        self.vm.qmp("block-export-add", type="nbd", id="export", name="disk",
                    node_name=NODE)
        # To attach it drains the drive.
        ring.wait_state(self.vm, "ring")
        subprocess.run([os.path.join(BUILD, "qemu", "qemu-img"), "convert",
                        "-O", "raw", f"nbd+unix:///disk?socket={socket}",
                        copy], check=True, timeout=180)
        self.vm.qmp("nbd-server-stop")
        with open(self.image, "rb") as one, open(copy, "rb") as other:
            assert one.read(4 * MIB) == other.read(4 * MIB)
        os.unlink(copy)
        ring.wait_state(self.vm, "ring")

    def test_mirror(self):
        """a mirror that is completed: RING goes on, on the other file"""
        # The last test, as the image is another one then.
        target = make_image(self.extra("mirror"), self.image_size)
        self.start_load()
        self.vm.qmp("blockdev-add", driver="raw", node_name="target",
                    file={"driver": "file", "filename": target})
        self.vm.qmp("blockdev-mirror", job_id="job", device=NODE,
                    target="target", sync="full")
        self.expect_virtqueue("mirror")
        self.wait_job("job", ready=True)
        self.vm.qmp("block-job-complete", device="job")
        self.wait_job("job")
        ring.wait_state(self.vm, "ring")
        old = os.stat(self.image).st_mtime_ns
        self.wait_growth("ring", self.counters())
        assert os.stat(self.image).st_mtime_ns == old, \
            "rings still write to the old file"
        self.end_in_ring()

    def test_drive_del(self):
        """drive_del: the guest gets I/O errors, QEMU lives, and is reset"""
        # The very last one: there is no disk any more.
        self.start_load()
        said = self.vm.hmp(f"drive_del {DISK}")
        assert not said, said
        status, output = self.vm.sh_status("finish load")
        assert status, f"fio saw no error: {output}"
        read = f"dd if=/dev/{self.disk} of=/dev/null bs=4k count=1 " \
               "iflag=direct"
        assert self.vm.sh_status(read)[0], "the guest reads a disk that is gone"
        device = self.vm.sh("disks").split()[2]
        driver = "/sys/bus/virtio/drivers/" + self.config.driver()
        self.vm.sh(f"echo {device} >{driver}/unbind")
        self.vm.sh_status(f"echo {device} >{driver}/bind")
        self.vm.qmp("set-action", reboot="reset")
        self.vm.qmp("system_reset")
        self.vm.wait_event("RESET")
        self.vm.wait_boot()
        self.vm.sh_status(f"load {self.config.driver()}")
        assert self.vm.qmp("query-status")["running"]
        path = ring.path(self.vm)
        assert path["state"] == "virtqueue", path
        self.drop()


GROUPS = {"blockops": BlockOps}
