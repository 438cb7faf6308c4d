#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an administrator lets start jails where QEMU may start no process.

    launcher.py listen SOCKET JAIL
        A jail for each connection to SOCKET, with the connection as fd 3 and
        nothing else open.  Says "ready" when it listens.

    launcher.py with FD JAIL COMMAND...
        Starts JAIL, which starts others of its kind when it is asked to, and
        executes COMMAND with the line to it as FD.

The first stands for a socket-activated service (Accept=yes), the second for
a management program that starts QEMU.
"""

import os
import signal
import socket
import sys

JAIL_FD = 3


def start(jail, line):
    """Execute `jail` with `line` as its only open file; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(line.fileno(), JAIL_FD)
        os.closerange(0, JAIL_FD)
        os.closerange(JAIL_FD + 1, os.sysconf("SC_OPEN_MAX"))
        os.execve(jail, [jail], {})
    finally:
        os._exit(127)


def listen(path, jail):
    # Jails that end are nobody's concern here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        line, _ = listener.accept()
        with line:
            start(jail, line)


def execute_with(fd, jail, command):
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The program that this becomes does not expect children.
    child = os.fork()
    if not child:
        start(jail, there)
        os._exit(0)
    os.waitpid(child, 0)
    os.dup2(here.fileno(), fd, inheritable=True)
    os.execv(command[0], command)


def main():
    if sys.argv[1:2] == ["listen"] and len(sys.argv) == 4:
        listen(*sys.argv[2:])
    elif sys.argv[1:2] == ["with"] and len(sys.argv) > 4:
        execute_with(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
