# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system for the benchmark's image.

io_uring hands buffered writes to a worker thread on file systems that do not
take them without waiting, ext4 among them.  That would measure worker threads
instead of rings, on bare metal as in the guest.  XFS takes them, so the image
lies on an XFS of its own, in a file below build/.
"""

import ctypes
import os
import shutil
import subprocess

CLONE_NEWNS = 0x00020000
# The smallest that mkfs.xfs makes is 300 MiB; the file is sparse.
SIZE = 1 << 30


def _run(*words):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise OSError(done.stdout.strip().splitlines()[-1:] or words[0])


def mount_xfs(directory):
    """Mount a fresh XFS below `directory`; the path, or None and a reason.

    It is mounted for this process and its children alone, and so goes with
    them, however they end.
    """
    if os.geteuid():
        return None, "mounting a file system needs root"
    if not shutil.which("mkfs.xfs"):
        return None, "mkfs.xfs is missing (package xfsprogs)"
    image = os.path.join(directory, "xfs.img")
    mount = os.path.join(directory, "xfs")
    try:
        os.makedirs(mount, exist_ok=True)
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(os.strerror(ctypes.get_errno()))
        _run("mount", "--make-rprivate", "/")
        with open(image, "wb") as out:
            out.truncate(SIZE)
        _run("mkfs.xfs", "-q", "-f", image)
        _run("mount", "-o", "loop,noatime", image, mount)
    except OSError as error:
        return None, f"XFS cannot be mounted here ({error})"
    return mount, None
