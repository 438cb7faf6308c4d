# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: QEMU does not start where it could, or starts with rings that fail.

No guest is booted for it: QEMU's own words at start are enough.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import ring
from blockdev import filesystem
from tap import MIB, Group, Skip
from vm import BUILD, HERE, Guest, GuestError, make_image

NOBODY = 65534
TMPFS = "tmpfs"
GOES_ON = "passthrough=auto goes on without rings"


class Start(Group):
    """A machine that is started, and asked what became of its rings."""

    RAM = "128M"
    props = "num-queues=1"

    def start(self):
        if self.config.stock:
            raise Skip("stock virtio-blk has no rings to refuse")
        if self.config.isolation != "process":
            raise Skip("what is refused depends on the jail")

    @contextlib.contextmanager
    def machine(self, props="", drive="cache=writeback", image=None,
                ram=None, more=(), args=(), wrap=()):
        """Starts; ram: the backend of guest RAM, called "other".

        more: further disks.
        """
        image = image or make_image(self.image, MIB, 0)
        words = ["-S", *args]
        if ram:
            words += ["-object", f"{ram},id=other,size={self.RAM}",
                      "-machine", "memory-backend=other"]
        disk = {"image": image, "drive": drive, "props": ",".join(
            each for each in (self.props, props) if each)}
        with Guest(self.config, self.directory, [disk, *more], mem=self.RAM,
                   args=words, wrap=wrap) as vm:
            yield vm

    def said(self):
        with open(os.path.join(self.directory, "qemu.log"), encoding="utf-8",
                  errors="replace") as log:
            return log.read()

    def warnings(self, vm):
        return [line for line in vm.new_log_lines()
                if not any(known in line for known in self.known_warnings)]

    def starts(self, **options):
        """It starts, offers rings to the guest, and has nothing to say."""
        with self.machine(**options) as vm:
            found = ring.path(vm)
            said = self.warnings(vm)
        assert found["offered"], found
        assert not said, f"QEMU says: {said}"
        return found

    def refused(self, *words, **options):
        """It does not start, and its sentence has these words."""
        try:
            with self.machine(**options) as vm:
                found = ring.path(vm)
        except GuestError:
            said = self.said()
        else:
            raise AssertionError(f"QEMU starts: {found}")
        for word in words:
            assert re.search(word, said), f"'{said}' does not say '{word}'"
        return said

    def goes_on(self, *words, **options):
        """With passthrough=auto it starts, and says once why without rings."""
        with self.machine(props="passthrough=auto," + options.pop("props", ""),
                          **options) as vm:
            found, = vm.qmp("query-virtio-blk-uring")
            said = self.warnings(vm)
        assert found["state"] == "virtqueue" and not found["offered"], found
        assert len(said) == 1 and GOES_ON in said[0], said
        for word in words:
            assert re.search(word, found["error"]), found
            assert re.search(word, said[0]), said

    def both(self, *words, **options):
        """passthrough=on is refused, for what passthrough=auto warns of."""
        self.refused("passthrough=auto", *words, **options)
        self.goes_on(*words, **options)

    def test_auto(self):
        """passthrough=auto offers rings where they are possible"""
        self.starts(props="passthrough=auto")

    def test_tiny(self):
        """an image without a whole sector starts"""
        for size in (1, 511):
            make_image(self.image, size, 0)
            with self.machine(image=self.image) as vm:
                ring.path(vm)

    def test_snapshot(self):
        """a raw disk with snapshot=on is refused by that name"""
        self.both("snapshot=on", drive="cache=writeback,snapshot=on")

    @contextlib.contextmanager
    def mounted_xfs(self):
        """A directory on XFS that can share blocks between files."""
        if os.geteuid():
            raise Skip("to mount a file system is for root")
        for program in ("mkfs.xfs", "mount"):
            if not shutil.which(program):
                raise Skip(f"there is no {program} to make an XFS with")
        volume = make_image(f"{self.directory}-xfs.img", 512 * MIB)
        with tempfile.TemporaryDirectory(prefix="vbu-") as place:
            subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", volume],
                           check=True)
            done = subprocess.run(["mount", "-o", "loop", volume, place],
                                  capture_output=True, text=True, check=False)
            if done.returncode:
                raise Skip("no XFS can be mounted: " + done.stderr.strip())
            try:
                yield place
            finally:
                # The kernel lets go of rings some time after their process.
                self.wait_until(lambda: not subprocess.run(
                    ["umount", place], stderr=subprocess.DEVNULL,
                    check=False).returncode, f"{place} is unmounted", 30)
                os.unlink(volume)

    def test_reflink(self):
        """an image that shares blocks on XFS starts, with blocks of 512"""
        with self.mounted_xfs() as place:
            original = make_image(os.path.join(place, "original"), MIB, 1)
            image = os.path.join(place, "image")
            subprocess.run(["cp", "--reflink=always", original, image],
                           check=True)
            self.starts(image=image, drive="cache=none")

    def test_memory_file(self):
        """RAM in a file of a disk's file system is refused, of tmpfs not"""
        if filesystem(BUILD) == TMPFS:
            raise Skip("the build directory lies on a tmpfs")
        for directory, good in (("/dev/shm", True), (BUILD, False)):
            if good and filesystem(directory) != TMPFS:
                continue
            ram = f"memory-backend-file,share=on,mem-path={directory}"
            if good:
                self.starts(ram=ram)
            else:
                self.both("'other'", "pin|file system", ram=ram)

    def test_memory_locked(self):
        """a limit for one ring, and not for 64, is told at start, in KiB"""
        allowed = 256
        options = {"props": "num-queues=64", "wrap": [
            sys.executable, os.path.join(HERE, "memlock.py"), str(allowed)]}
        said = self.refused("RLIMIT_MEMLOCK", "passthrough=auto", **options)
        figures = [int(each) for each in re.findall(r"(\d+) KiB", said)]
        assert allowed in figures and max(figures) > allowed, said
        # The figure is enough, and not twice what is needed.
        options["wrap"][-1] = str(max(figures))
        self.starts(**options)
        options["wrap"][-1] = str(max(figures) // 2)
        self.goes_on("RLIMIT_MEMLOCK", **options)

    def test_no_io_uring(self):
        """a kernel without io_uring, or that forbids it: auto goes on"""
        nouring = [sys.executable, os.path.join(HERE, "nouring.py")]
        self.both("io_uring|Function not implemented", wrap=nouring)
        self.both("io_uring_disabled", "io_uring_group",
                  wrap=nouring + ["--forbidden"])

    def test_usual(self):
        """what management programs write by themselves starts with auto"""
        self.both("private to QEMU|detect-zeroes", ram="memory-backend-ram",
                  drive="cache=none,discard=unmap,detect-zeroes=unmap")
        self.both("detect-zeroes",
                  drive="cache=none,discard=unmap,detect-zeroes=unmap")
        self.both("rerror|werror", props="rerror=stop,werror=stop")

    @contextlib.contextmanager
    def listener_of(self, user):
        """Where somebody listens, who never answers; a path."""
        with tempfile.TemporaryDirectory(prefix="vbu-") as place, \
                socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            os.chown(place, user, -1)
            path = os.path.join(place, "jail.sock")
            os.seteuid(user)
            try:
                line.bind(path)
                line.listen()
            finally:
                os.seteuid(0)
            yield path

    def test_impostor(self):
        """a launcher that is another user's gets neither RAM nor disk"""
        if os.geteuid():
            raise Skip("to listen as another user is for root")
        with self.listener_of(NOBODY) as path:
            started = time.monotonic()
            self.refused(re.escape(f"jail='{path}'"), r"\buser\b|\buid\b",
                         str(NOBODY), props="jail=" + path)
            took = time.monotonic() - started
        assert took < 5, f"the impostor was talked to for {took:.0f} s"

    def test_quit(self):
        """quit tells of no change of the path, as each disk is closed"""
        second = make_image(self.image + "-2", MIB, 0)
        with self.machine(more=[{"image": second, "props": self.props}]) as vm:
            self.warnings(vm)
            told = [each for each in vm.quit()
                    if each.get("event") == ring.PATH_CHANGE]
            said = self.warnings(vm)
        assert not told and not said, (told, said)


GROUPS = {"start": Start}
