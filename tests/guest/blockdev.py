# SPDX-License-Identifier: GPL-2.0-or-later
"""Block devices of the host: what they are, and who uses them."""

import errno
import glob
import os
import re


def read(path):
    """What is in a file of sysfs or proc; nothing if there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def sysfs(number):
    """The directory of a block device in sysfs, or None."""
    path = os.path.realpath(
        f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return path if os.path.isdir(path) else None


def whole(directory):
    """The disk that a partition lies on; of a disk itself."""
    return os.path.dirname(directory) \
        if os.path.exists(os.path.join(directory, "partition")) else directory


def can_poll(directory):
    """Whether completions of it can be polled for."""
    return read(os.path.join(whole(directory), "queue", "io_poll")) == "1"


def interrupts(directory):
    """What names of an NVMe drive's interrupts for I/O match; None: no NVMe."""
    match = re.match(r"(nvme\d+)", os.path.basename(whole(directory)))
    # Queue 0 is the administrative one.
    return re.compile(rf"{match[1]}q[1-9]\d*$") if match else None


def in_use(path):
    """Who uses a block device, as the middle of a sentence; or None."""
    directory = sysfs(os.stat(path).st_rdev)
    mounts = {}
    for line in read("/proc/self/mountinfo").splitlines():
        words = line.split()
        mounts.setdefault(words[2], words[4])
    swaps = {os.path.realpath(line.split()[0])
             for line in read("/proc/swaps").splitlines()[1:]}
    parts = [] if directory is None else [directory] + [
        os.path.dirname(found) for found in
        glob.glob(os.path.join(glob.escape(directory), "*", "partition"))]
    for part in parts:
        name = os.path.basename(part)
        where = mounts.get(read(os.path.join(part, "dev")))
        if where:
            return f"{name} is mounted at {where}"
        if "/dev/" + name in swaps:
            return f"{name} is swap space"
        holders = os.path.join(part, "holders")
        if os.path.isdir(holders) and os.listdir(holders):
            return f"{name} is part of {', '.join(os.listdir(holders))}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return "the kernel says that it is busy"
        return f"it cannot be opened for writing ({error.strerror})"
    return None


def filesystem(path):
    """The type of the file system that a path lies on, as mount calls it."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in read("/proc/self/mountinfo").splitlines():
        if line.split()[2] == number:
            return line.partition(" - ")[2].split()[0]
    return ""
