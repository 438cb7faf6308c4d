# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter on system calls, for the process and all that it starts."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, ERRNO = 0x7fff0000, 0x00050000
LOAD, EQUAL, MASKED, RETURN = 0x20, 0x15, 0x45, 0x06    # classic BPF, 32 bit
NUMBER, ARGUMENT_0 = 0, 16                              # struct seccomp_data


def install(program):
    """program: (code, jump if true, jump if false, operand) of each step."""
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(
        struct.pack("HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def execute(program, usage):
    """Execute the command line under such a filter."""
    if len(sys.argv) < 2:
        sys.exit(usage)
    install(program)
    os.execv(sys.argv[1], sys.argv[1:])
