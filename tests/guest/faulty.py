# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk whose requests fail with any error a test wants, or are not answered.

The device mapper knows EIO only.  This is a loop device with direct I/O, whose
file is served by FUSE: the kernel passes on as the disk's what we answer.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess
import tempfile
import threading

from tap import Skip

LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_DIRECT_IO = 0x4c00, 0x4c01, 0x4c08
LOOP_CTL_GET_FREE = 0x4c82

# The FUSE protocol, as far as one open file needs it
FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, \
    BATCH_FORGET = 2, 3, 14, 15, 16, 18, 20, 25, 26, 36, 42
MNT_DETACH = 2
FOPEN_DIRECT_IO = 1
VERSION = 7, 31
LARGEST = 1 << 20       # bytes of a write
HEADER = struct.Struct("=IIQQIIIHH")


class File:
    """A file in memory, of which reads and writes fail with `error` if set.

    silent: what comes is not answered before release().
    """

    def __init__(self, size):
        self.data = bytearray(size)
        self.error = 0
        self.silent = False
        self._held = []         # requests that wait for release()
        self._lock = threading.Lock()
        self.path = tempfile.mkstemp(prefix="vbu-faulty-")[1]
        try:
            self._fd = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            os.unlink(self.path)
            raise Skip(f"the host has no FUSE: {error.strerror}") from None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        # The file system is nothing but this file.
        options = f"fd={self._fd},rootmode={stat.S_IFREG | 0o600:o}," \
                  "user_id=0,group_id=0"
        self._libc = ctypes.CDLL(None, use_errno=True)
        if self._libc.mount(b"vbu", self.path.encode(), b"fuse", 0,
                            options.encode()):
            why = os.strerror(ctypes.get_errno())
            os.close(self._fd)
            os.unlink(self.path)
            raise Skip("the host mounts no FUSE: " + why)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                request = os.read(self._fd, LARGEST + (8 << 10))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return          # unmounted
            _, opcode, *_ = HEADER.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            with self._lock:
                if self.silent and opcode in (READ, WRITE):
                    self._held.append(request)
                    continue
            self._reply(request)

    def _reply(self, request):
        _, opcode, unique, *_ = HEADER.unpack_from(request)
        code, body = self._answer(opcode, request[HEADER.size:])
        os.write(self._fd, struct.pack("=IiQ", 16 + len(body), -code,
                                       unique) + body)

    def hold(self):
        """Reads and writes are not answered from now on."""
        with self._lock:
            self.silent = True

    def release(self):
        """They are again, and so are those that came meanwhile."""
        with self._lock:
            self.silent = False
            held, self._held = self._held, []
        for request in held:
            self._reply(request)

    def _answer(self, opcode, body):
        """An error and what comes with it if it is 0."""
        if opcode == INIT:
            return 0, struct.pack("=IIIIHHIIHHII24x", *VERSION, 0, 0, 12, 9,
                                  LARGEST, 1, 0, 0, 0, 0)
        if opcode == GETATTR:
            size = len(self.data)
            return 0, struct.pack("=QII6Q3I7I", 3600, 0, 0, 1, size,
                                  size // 512, 0, 0, 0, 0, 0, 0,
                                  stat.S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0)
        if opcode == OPEN:
            return 0, struct.pack("=QII", 0, FOPEN_DIRECT_IO, 0)
        if opcode in (RELEASE, FLUSH, FSYNC):
            return 0, b""
        if opcode not in (READ, WRITE):
            return errno.ENOSYS, b""
        if self.error:
            return self.error, b""
        _, offset, size = struct.unpack_from("=QQI", body)
        if opcode == READ:
            return 0, self.data[offset:offset + size]
        self.data[offset:offset + size] = body[40:40 + size]
        return 0, struct.pack("=II", size, 0)

    def close(self):
        self.release()
        # Who still has it open may be about to let go.
        if self._libc.umount2(self.path.encode(), MNT_DETACH):
            raise OSError(ctypes.get_errno(), "umount " + self.path)
        self._thread.join(10)
        os.close(self._fd)
        os.unlink(self.path)


def _need_loop():
    """Most kernels have it as a module, which the first user loads."""
    if os.path.exists("/dev/loop-control"):
        return
    try:
        subprocess.run(["modprobe", "loop"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        raise Skip("the host has no loop devices") from None


class Faulty:
    """The loop device; fail() changes what its requests end with."""

    def __init__(self, size):
        _need_loop()
        self.file = File(size)
        self._loop = None
        try:
            control = os.open("/dev/loop-control", os.O_RDWR)
            self.path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            os.close(control)
            self._loop = os.open(self.path, os.O_RDWR)
            backing = os.open(self.file.path, os.O_RDWR)
            # The kernel has not asked for the size yet, a loop device doesn't.
            os.fstat(backing)
            fcntl.ioctl(self._loop, LOOP_SET_FD, backing)
            os.close(backing)
            # Without it the loop device knows no error but EIO.
            fcntl.ioctl(self._loop, LOOP_SET_DIRECT_IO, 1)
        except BaseException:
            self.close()
            raise

    def fail(self, error):
        """An errno for all reads and writes from now on; 0: they succeed."""
        self.file.error = error

    def hold(self):
        """No request is answered from now on."""
        self.file.hold()

    def release(self):
        """All are, also those that wait."""
        self.file.release()

    def close(self):
        self.release()
        if self._loop is not None:
            self.fail(0)
            fcntl.ioctl(self._loop, LOOP_CLR_FD)
            os.close(self._loop)
            self._loop = None
        self.file.close()
