# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and modules of the host, as a rule the emulated machine."""

import re
import shutil
import subprocess
import time

from tap import KERNEL_TROUBLE, Skip

_MARK = re.compile(r"\[ *\d+\.\d+\] ")


def run(*words, text=None):
    """Run a program that must succeed, with `text` as input; its output."""
    if not shutil.which(words[0]):
        raise Skip(f"the host has no {words[0]}")
    done = subprocess.run(words, input=text, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.strip()
    assert done.returncode == 0, f"'{' '.join(words)}' fails: {said}"
    return said


def run_until(*words, seconds=60):
    """As run(); who has just ended may be about to let go."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return run(*words)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def need_modules(*names):
    for name in names:
        done = subprocess.run(["modprobe", name], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Skip(f"the host has no {name}: {done.stdout.strip()}")


class KernelLog:
    """The host's kernel log; trouble() is what it complains of since."""

    def __init__(self):
        self._seen = set(self._lines())

    @staticmethod
    def _lines():
        try:
            done = subprocess.run(["dmesg"], text=True, errors="replace",
                                  stdout=subprocess.PIPE, check=False,
                                  stderr=subprocess.DEVNULL)
        except OSError:
            return []
        return done.stdout.splitlines()

    def trouble(self):
        """Lines, each with the one before, which often is the reason."""
        lines = [line for line in self._lines() if line not in self._seen]
        self._seen.update(lines)
        for before, line in zip([""] + lines, lines):
            if KERNEL_TROUBLE.search(line):
                yield " ".join(_MARK.sub("", part) for part in (before, line))
