#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""memlock.py KIB COMMAND...: execute COMMAND, which may lock KIB of memory.

The limit holds for root too, as the command loses CAP_IPC_LOCK.
"""

import ctypes
import os
import resource
import sys

PR_CAPBSET_DROP = 24
CAP_IPC_LOCK = 14


def main():
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    size = int(sys.argv[1]) << 10
    # Who may not drop it has no such capability.
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (size, size))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
