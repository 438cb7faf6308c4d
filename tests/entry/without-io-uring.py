#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""without-io-uring.py COMMAND...: run COMMAND where a seccomp filter answers
EPERM to io_uring_setup, as container runtimes do."""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
IO_URING_SETUP = 425  # on every architecture

BPF_LOAD_WORD = 0x20
BPF_JUMP_EQUAL = 0x15
BPF_RETURN = 0x06

PROGRAM = (
    (BPF_LOAD_WORD, 0, 0, 0),  # the system call's number
    (BPF_JUMP_EQUAL, 0, 1, IO_URING_SETUP),
    (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM),
    (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
)


class SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main():
    code = b"".join(struct.pack("=HBBI", *step) for step in PROGRAM)
    program = SockFprog(len(PROGRAM), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
       libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


main()
