# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest moves to another QEMU, or nearly so."""

import os

import migrate
from operation import Operation
from test_migration import CROWDED, FREE


class Move(Operation):
    """Live, as it comes or by several connections."""

    name = "live migration"
    # QEMU says so of a disk whose rings are to come when the guest has.
    warnings = ("the incoming guest will go on over the virtqueues",)

    def run(self):
        capabilities = self.rng.choice(((), ("multifd",)))
        old = self.soak.arrived(migrate.move(
            self.vm, self.soak.next_directory(),
            disks=self.soak.described(), capabilities=capabilities))
        self.soak.check_warnings(self.warnings, old)


class MoveByFile(Operation):
    """Into a file, and out of it."""

    name = "migration to a file"
    warnings = Move.warnings

    def run(self):
        capabilities = self.rng.choice(((), ("mapped-ram",)))
        old = self.soak.arrived(migrate.move_by_file(
            self.vm, self.soak.next_directory(),
            os.path.join(self.soak.directory, "guest.vm"), capabilities,
            disks=self.soak.described()))
        self.soak.check_warnings(self.warnings, old)


class Abandoned(Operation):
    """One that does not arrive; the source goes on."""

    warnings = ("Unable to write to socket", "failed to save SaveStateEntry")

    def attempt(self):
        return migrate.Attempt(self.vm, self.soak.next_directory(),
                               disks=self.soak.described(),
                               parameters=CROWDED)

    def under_way(self):
        migrate.wait_status(self.vm, "active")
        for disk in self.soak.all_disks:
            self.expect_virtqueue(disk, "migration")


class Cancelled(Abandoned):
    """The administrator thinks better of it."""

    name = "migration, cancelled"

    def run(self):
        with self.attempt():
            self.under_way()
            self.vm.qmp("migrate_cancel")
            migrate.wait_status(self.vm, "cancelled")
        self.vm.qmp("migrate-set-parameters", **FREE)


class Failed(Abandoned):
    """The destination dies."""

    name = "migration, failed"

    def run(self):
        with self.attempt():
            self.under_way()
        migrate.wait_status(self.vm, "failed")
        self.vm.qmp("migrate-set-parameters", **FREE)


OPERATIONS = (Move, MoveByFile, Cancelled, Failed)
