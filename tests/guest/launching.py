# SPDX-License-Identifier: GPL-2.0-or-later
"""A launcher of jails behind a socket, which can hang, go away and be back."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

import jailinfo
from vm import HERE


class Launcher:
    """launcher.py in a process of its own, which listens at `address`.

    wrap: words before its command, for a program that executes the rest.
    """

    def __init__(self, jail, wrap=()):
        self.jail = jail
        self.wrap = list(wrap)
        self.place = tempfile.mkdtemp(prefix="vbu-")
        self.address = os.path.join(self.place, "jail.sock")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.wrap + [sys.executable, os.path.join(HERE, "launcher.py"),
                         "listen", self.address, self.jail],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        """Nobody listens any more; the jails that run go on."""
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        os.unlink(self.address)

    def hang(self):
        """Who connects is not refused, and not answered either."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def jails(self):
        return jailinfo.children(self.process.pid)

    def close(self):
        if self.place:
            self.end()
            shutil.rmtree(self.place)
            self.place = None
