#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""nospawn.py COMMAND...: execute COMMAND, which can start threads only.

For a QEMU that was built without seccomp: what -sandbox on,spawn=deny forbids,
save that a program may still execute another one in its own place.
"""

import errno

from seccomp import (ALLOW, ARGUMENT_0, EQUAL, ERRNO, LOAD, MASKED, NUMBER,
                     RETURN, execute)

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


if __name__ == "__main__":
    execute(PROGRAM, __doc__)
