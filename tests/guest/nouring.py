#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""nouring.py [--forbidden] COMMAND...: execute COMMAND without io_uring.

As on a kernel that has none; with --forbidden as on one whose
kernel.io_uring_disabled forbids it.
"""

import errno
import sys

from seccomp import ALLOW, EQUAL, ERRNO, LOAD, NUMBER, RETURN, execute

IO_URING_SETUP = 425


def program(error):
    return (
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, ERRNO | error),
        (RETURN, 0, 0, ALLOW),
    )


def main():
    forbidden = sys.argv[1:2] == ["--forbidden"]
    if forbidden:
        del sys.argv[1]
    execute(program(errno.EPERM if forbidden else errno.ENOSYS), __doc__)


if __name__ == "__main__":
    main()
