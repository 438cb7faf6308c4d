#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""nouring.py COMMAND...: execute COMMAND as on a kernel without io_uring."""

import errno

from seccomp import ALLOW, EQUAL, ERRNO, LOAD, NUMBER, RETURN, execute

IO_URING_SETUP = 425

PROGRAM = (
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 0, 1, IO_URING_SETUP),
    (RETURN, 0, 0, ERRNO | errno.ENOSYS),
    (RETURN, 0, 0, ALLOW),
)


if __name__ == "__main__":
    execute(PROGRAM, __doc__)
