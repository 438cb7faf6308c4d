#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""nospawn.py COMMAND...: execute COMMAND, which can start threads only.

For a QEMU that was built without seccomp: what -sandbox on,spawn=deny forbids,
save that a program may still execute another one in its own place.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, ERRNO = 0x7fff0000, 0x00050000
LOAD, EQUAL, MASKED, RETURN = 0x20, 0x15, 0x45, 0x06    # classic BPF, 32 bit
NUMBER, ARGUMENT_0 = 0, 16                              # struct seccomp_data
CLONE_THREAD = 0x00010000
# x86-64
CLONE, FORK, VFORK, CLONE3 = 56, 57, 58, 435

PROGRAM = (
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 7, 0, FORK),
    (EQUAL, 6, 0, VFORK),
    (EQUAL, 3, 0, CLONE3),      # its flags are out of a filter's reach
    (EQUAL, 0, 3, CLONE),
    (LOAD, 0, 0, ARGUMENT_0),
    (MASKED, 1, 2, CLONE_THREAD),
    (RETURN, 0, 0, ERRNO | errno.ENOSYS),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, ERRNO | errno.EPERM),
)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *step) for step in PROGRAM))
    program = ctypes.create_string_buffer(
        struct.pack("HP", len(PROGRAM), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program):
        sys.exit("nospawn.py: " + os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
