# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves a guest from one QEMU to another on this host."""

import os

ENDS = ("completed", "failed", "cancelled")
CAPABILITIES = ("multifd", "mapped-ram", "postcopy-ram")


def announce(vm, capabilities=(), parameters=None):
    """Capabilities and parameters, which both sides have to know."""
    states = {name: name in capabilities for name in CAPABILITIES}
    vm.qmp("migrate-set-capabilities",
           capabilities=[{"capability": name, "state": state}
                         for name, state in (states | {"events": True}).items()
                         ])
    if parameters:
        vm.qmp("migrate-set-parameters", **parameters)


def listen(heir, uri, capabilities=(), parameters=None):
    announce(heir, capabilities, parameters)
    heir.qmp("migrate-incoming", uri=uri)


def begin(vm, uri, capabilities=(), parameters=None):
    announce(vm, capabilities, parameters)
    # Those of the migration that brought the guest here
    vm.events = [event for event in vm.events
                 if event["event"] != "MIGRATION"]
    vm.qmp("migrate", uri=uri)


def wait_status(vm, *wanted, timeout=120):
    """Wait for an event of migration; which of those it was."""
    while True:
        event = vm.wait_event("MIGRATION", timeout)
        status = event["data"]["status"]
        if status in wanted:
            return status
        if status in ENDS:
            raise AssertionError(f"migration has {status}: "
                                 f"{vm.qmp('query-migrate')}")


class Attempt:
    """A migration under way, to the heir that entering it returns.

    The heir lives on only if the guest has arrived.
    """

    def __init__(self, vm, logdir, uri=None, capabilities=(), parameters=None,
                 **changes):
        self.vm = vm
        self.arrived = False
        self.figures = None     # what QEMU says of it, once it has arrived
        self.heir = vm.heir(logdir, **changes)
        try:
            uri = uri or f"unix:{self.heir.logdir}/migration.sock"
            listen(self.heir, uri, capabilities, parameters)
            begin(vm, uri, capabilities, parameters)
        except BaseException:
            self.heir.close()
            raise

    def __enter__(self):
        return self

    def arrive(self):
        """Wait for the end; the source has ended, too, then."""
        wait_status(self.vm, "completed")
        self.heir.wait_event("RESUME")
        self.figures = self.vm.qmp("query-migrate")
        self.arrived = True
        self.vm.quit()
        return self.heir

    def __exit__(self, *_):
        if not self.arrived:
            self.heir.close()


def move(vm, logdir, **options):
    """Live, and the guest goes on at once.  The heir; `vm` has ended."""
    with Attempt(vm, logdir, **options) as attempt:
        return attempt.arrive()


def move_by_file(vm, logdir, path, capabilities=(), **changes):
    """The same with a file in between, in which the guest rests."""
    begin(vm, "file:" + path, capabilities)
    wait_status(vm, "completed")
    heir = vm.heir(logdir, **changes)
    try:
        vm.quit()
        listen(heir, "file:" + path, capabilities)
        heir.wait_event("RESUME")
    except BaseException:
        heir.close()
        raise
    finally:
        os.unlink(path)
    return heir
