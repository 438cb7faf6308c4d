# SPDX-License-Identifier: GPL-2.0-or-later
"""The NVMe drive, or partition of one, that the tests may destroy."""

import os
import stat

import blockdev
import counters

# Set once, by the program's options.
PATH = None


def add_options(parser):
    parser.add_argument("--disk", metavar="DEVICE",
                        help="a block device of this host, which has KVM too; "
                             "without it, a machine that has both is emulated")
    parser.add_argument("--i-own-this-disk", action="store_true",
                        help="what is on it may be destroyed")


def _sysfs(path):
    return blockdev.sysfs(os.stat(path).st_rdev)


def can_poll(path):
    return blockdev.can_poll(_sysfs(path))


def interrupts(path):
    """Interrupts of the drive's queues so far, on all CPUs; None: no NVMe."""
    names = blockdev.interrupts(_sysfs(path))
    return counters.host_interrupts(names) if names else None


def refusal(path, owned):
    """A sentence about why its contents must not be destroyed, or None."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"{path}: {error.strerror}; name an NVMe drive or a partition"
    if not stat.S_ISBLK(mode):
        return f"{path} is no block device; name an NVMe drive or a partition"
    user = blockdev.in_use(path)
    if user:
        return (f"{path} is not for destroying: {user}; name a disk or a "
                "partition that nothing uses")
    if not owned:
        return (f"what is on {path} would be destroyed; say --i-own-this-disk "
                "if that may be")
    return None
