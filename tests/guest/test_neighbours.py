# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a write is undone by another one that has no byte in common with it.

A host that writes less than a block of its storage reads the block, changes it
and writes it back. What a ring writes to that block meanwhile would be lost.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time

import blockdev
import ring
from disk_group import DiskGroup
from tap import MIB, Skip
from vm import BUILD, make_image

SECONDS = 60 if os.environ.get("VBU_FULL") else 4
# What an emulated guest does in a second on a slow host, and some less.
TRIES = 25
# How long passthrough stays on, and off
PERIOD = 0.3
XFS_SIZE = 512 * MIB


def run(*words):
    """Run a program of the host; what it printed, without white space."""
    if not shutil.which(words[0]):
        raise Skip(f"there is no {words[0]}")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Neighbours(DiskGroup):
    """Threads in the guest that write different sectors of the same blocks."""

    smp = 2
    props = "num-queues=1,poll-queues=1,logical_block_size=512"
    drive = "cache=none"
    # Blocks of 512 bytes, as the guest has them, can go through rings.
    small = True

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()

    def make_disk(self):
        """A path to the disk's image; what it needs goes with self.stack."""
        raise NotImplementedError

    def disks(self):
        self.stack.close()
        if os.geteuid() and not self.small:
            raise Skip("loop devices need root")
        image = self.make_disk()
        try:
            os.close(os.open(image, os.O_RDWR | os.O_DIRECT))
        except OSError as error:
            raise Skip(f"{image} cannot be opened with O_DIRECT: "
                       f"{error.strerror}") from None
        return [{"image": image, "props": self.props, "drive": self.drive}]

    def drop(self):
        super().drop()
        self.stack.close()

    # -- the tests -----------------------------------------------------------

    def expect_none_lost(self, program, output, status):
        said = re.search(r"tries (\d+) lost (\d+)", output)
        assert said, f"{program} ended with status {status}: {output}"
        tries, lost = map(int, said.groups())
        assert lost == 0 and status == 0, \
            f"{program}: {lost} of {tries} tries lost data"
        assert tries >= TRIES * SECONDS, f"{program} made {tries} tries only"
        return tries

    def exercise(self, program):
        """Run a program in the guest to its end; how often it tried."""
        status, output = self.vm.sh_status(
            f"{program} /dev/{self.disk} {SECONDS}", timeout=SECONDS + 180)
        return self.expect_none_lost(program, output, status)

    def expect_rings_used(self, before, at_least):
        if self.small and not self.config.stock:
            went = self.counters() - before
            assert went.ring >= at_least, f"too few took a ring: {went}"

    def test_split(self):
        """rings take what the host's alignment allows, virtqueues the rest"""
        self.need_ring()
        before = self.counters()
        self.fio("randread", "4k", 4, size="1m", loops=2)
        self.expect_ring_served(before, polled=False, at_least=256)
        before = self.counters()
        self.fio("randread", "512", 4, size="128k")
        went = self.counters() - before
        if self.small:
            assert went.virtqueue == 0 and went.ring >= 256, went
        else:
            assert went.ring == 0 and went.virtqueue >= 256, went

    def test_neighbours(self):
        """a sector that a ring writes stays when its neighbours are zeroed"""
        before = self.counters()
        tries = self.exercise("lost-neighbours")
        # A write and a read each; the first may be before the rings are back.
        self.expect_rings_used(before, tries)

    def test_overlap(self):
        """a block that a ring writes stays when a sector of it is zeroed"""
        before = self.counters()
        tries = self.exercise("overlapping-writes")
        self.expect_rings_used(before, tries)

    def test_switch(self):
        """eight writers of sectors of the same blocks while the path changes"""
        before = self.counters()
        finish = self.vm.sh_begin(
            f"neighbour-writers /dev/{self.disk} {SECONDS}")
        end = time.monotonic() + SECONDS
        on = True
        # It is a load like the other one, and no event tells when to go on.
        while not self.config.stock and time.monotonic() < end:
            time.sleep(PERIOD)
            on = not on
            ring.set_passthrough(self.vm, on)
        if not on:
            ring.set_passthrough(self.vm, True)
        status, output = finish(SECONDS + 180)
        tries = self.expect_none_lost("neighbour-writers", output, status)
        self.expect_rings_used(before, tries // 10)
        went = self.counters() - before
        assert went.virtqueue >= tries // 10, f"the path did not change: {went}"
        if not self.config.stock:
            ring.wait_state(self.vm, "ring", seconds=90)


class SparseOnExt4(Neighbours):
    """Nothing is in the image, so that reads of any alignment succeed there."""

    def make_disk(self):
        image = make_image(self.image, self.image_size)
        found = blockdev.filesystem(image)
        if found != "ext4":
            raise Skip(f"{BUILD} is on {found or 'an unknown file system'}, "
                       "not on ext4")
        return image


class Tmpfs(Neighbours):
    """A file system without a disk, and so without any alignment."""

    def make_disk(self):
        directory = "/dev/shm"
        found = os.path.isdir(directory) and blockdev.filesystem(directory)
        if found != "tmpfs":
            raise Skip(f"{directory} is no tmpfs")
        directory = self.stack.enter_context(
            tempfile.TemporaryDirectory(prefix="vbu-", dir=directory))
        return make_image(os.path.join(directory, "disk.img"), self.image_size)


class LargeBlocks(Neighbours):
    """Blocks of 512 bytes take virtqueues, and end the rings when written."""

    small = False
    known_warnings = Neighbours.known_warnings + (
        "goes on over the virtqueues: a request",)


class Reflink(LargeBlocks):
    """The image shares its blocks with another one, which XFS has to copy."""

    def make_disk(self):
        # The file system of the mount that nobody but this program can reach;
        # it goes, with its loop device, when the directory is closed.
        image = make_image(self.image + ".xfs", XFS_SIZE)
        mount = self.image + ".mount"
        os.makedirs(mount, exist_ok=True)
        run("mkfs.xfs", "-q", "-f", "-m", "reflink=1", image)
        run("mount", "-o", "loop,noatime", image, mount)
        try:
            directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
            self.stack.callback(os.close, directory)
            original = make_image(os.path.join(mount, "original.img"),
                                  self.image_size, 0x5a)
            run("cp", "--reflink=always", original,
                os.path.join(mount, "disk.img"))
        finally:
            run("umount", "--lazy", mount)
        return f"/proc/{os.getpid()}/fd/{directory}/disk.img"


class LargeSectors(LargeBlocks):
    """The disk of the host has sectors of 4096 bytes, the guest's has 512."""

    def make_disk(self):
        make_image(self.image, self.image_size, 0x5a)
        loop = run("losetup", "--find", "--show", "--sector-size", "4096",
                   "--direct-io=on", self.image)
        try:
            self.stack.callback(os.close, os.open(loop, os.O_RDONLY))
        finally:
            # In effect when nobody has it open any more.
            run("losetup", "--detach", loop)
        return loop


GROUPS = {"neighbours-sparse": SparseOnExt4, "neighbours-tmpfs": Tmpfs,
          "neighbours-reflink": Reflink, "neighbours-4096": LargeSectors}
