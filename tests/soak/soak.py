# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of the soak: two loads that verify, through whatever happens."""

import os
import shutil

import ring
from database import Database, check_image
from disk import Disk
from load_group import LoadGroup
from tap import MIB
from vm import BUILD, Guest

HOURS = 24 * 3600
# Of the first disk: the load has what is before the archive, which is written
# once and has to be there to the end; the rest comes and goes with resizing.
ARCHIVE, ARCHIVE_SIZE = 16 * MIB, 4 * MIB
SMALLEST = 24 * MIB
ROWS_SIZE = 40          # MiB of the second disk's file system
SETTLE_SECONDS = 90


class Soak(LoadGroup):
    """fio on one disk, SQLite on ext4 on the other."""

    # What QEMU may say whatever is done to it
    known_warnings = LoadGroup.known_warnings + ("Formatting ",)

    def __init__(self, config):
        super().__init__(config, "soak")
        self.directory = os.path.join(BUILD, "tests", "soak")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.database = Database(os.path.join(self.directory, "files"))
        self.raw = self.rows = None
        self.lives = 0
        self.boots = 1
        self.rows_seen = 0
        self.ios = 0            # that a fio has verified which ended well
        self.polled = False

    @property
    def all_disks(self):
        return self.raw, self.rows

    # -- the guest -----------------------------------------------------------

    def disks(self):
        files = os.path.join(self.directory, "files")
        self.raw = Disk("raw", files, 2 * self.image_size,
                        "num-queues=1,poll-queues=1")
        self.rows = Disk("rows", files, 64 * MIB, "num-queues=1")
        return self.described()

    def described(self):
        return [disk.described() for disk in self.all_disks]

    def guest_options(self):
        return {"args": (*self.database.guest_args(), "-device", "pvpanic")}

    def next_directory(self):
        """For the logs of the QEMU that comes next."""
        self.lives += 1
        return f"{self.directory}/life{self.lives}"

    def start(self):
        self.vm = Guest(self.config, self.next_directory(), self.disks(),
                        smp=self.smp, **self.guest_options())
        self.vm.wait_boot()
        self.meet_disks()
        self.archive()
        self.database.create(self.vm, self.rows.name(self.vm), ROWS_SIZE)

    def meet_disks(self):
        """What a kernel needs to begin with, and what it calls the disk."""
        self.vm.sh(f"load pvpanic; load pvpanic-mmio\n"
                   f"load {self.config.driver()}")
        for disk in self.all_disks:
            ring.wait_state(self.vm, "ring", disk.id, seconds=60)
        self.disk = self.raw.name(self.vm)

    def archive(self, **options):
        """Write what has to last, or with verify_only=True look for it."""
        self.fio("write", "64k", 8, offset=ARCHIVE, size=ARCHIVE_SIZE,
                 verify="crc32c", verify_fatal=1, **options)

    def archived(self, path):
        """Whether a copy of the first disk has the archive, too."""
        with open(path, "rb") as copy:
            copy.seek(ARCHIVE)
            return copy.read(ARCHIVE_SIZE) == \
                self.raw.start_bytes(ARCHIVE_SIZE, ARCHIVE)

    # -- the loads -----------------------------------------------------------

    def begin_raw(self, rng):
        self.polled = rng.random() < 0.5
        self.start_load(self.polled, runtime=HOURS)

    def begin_rows(self):
        self.rows_seen = self.database.start(self.vm,
                                             self.rows.name(self.vm))

    def begin(self, rng):
        """Both loads, after a look at what the disks have."""
        self.archive(verify_only=True)
        self.begin_rows()
        self.begin_raw(rng)

    def end_raw(self):
        self.ios += self.finish_load().ios()

    def end(self):
        """Both loads end, and none has found anything wrong."""
        self.end_raw()
        self.rows_seen = self.database.stop(self.vm)

    def begin_anew(self, rng):
        """A new kernel has come: it finds all that the last one had told."""
        self.boots += 1
        self.meet_disks()
        self.begin(rng)

    def settle(self):
        """Until the paths are RING, and both loads go on in them."""
        seen = {disk.id: ring.counters(self.vm, disk.id)
                for disk in self.all_disks}
        acked = self.database.acked()

        def grown(disk):
            went = ring.counters(self.vm, disk.id) - seen[disk.id]
            return went.ring + went.polled > 0
        for disk in self.all_disks:
            ring.wait_state(self.vm, "ring", disk.id, SETTLE_SECONDS)
            # Those of a ring begin at 0 with its activation.
            seen[disk.id] = ring.counters(self.vm, disk.id)
            try:
                self.wait_until(lambda disk=disk: grown(disk),
                                f"rings serve {disk.id}", SETTLE_SECONDS)
                self.wait_until(lambda: self.database.acked() > acked,
                                "SQLite commits", SETTLE_SECONDS)
            except AssertionError as error:
                raise AssertionError(f"{error}; {self.loads()}") from None

    def loads(self):
        """What the loads have said, for whoever looks for what went wrong."""
        return self.vm.sh("cat /run/load.out /run/rows.out 2>&1 || true")

    # -- QEMU ------------------------------------------------------------------

    def check_warnings(self, warnings, *others):
        """No QEMU has said what was not to be expected; nor have others."""
        for vm in (self.vm, *others):
            for line in vm.new_log_lines():
                if not any(known in line for known in
                           (*self.known_warnings, *warnings)):
                    raise AssertionError("QEMU says: " + line)

    def arrived(self, vm):
        """The guest is in another QEMU now."""
        old, self.vm = self.vm, vm
        for disk in self.all_disks:
            disk.moved_away()
        return old

    def finish(self):
        """The end: everything is there, and the file system is clean."""
        self.settle()
        self.end()
        self.archive(verify_only=True)
        disk = self.rows.name(self.vm)
        self.vm.sh(f"real e2fsck -f -n /dev/{disk}", timeout=120)
        for each in self.all_disks:
            ring.wait_state(self.vm, "ring", each.id)
        self.check_kernel()
        self.stop()
        return check_image(self.rows.image, self.database.acked())
