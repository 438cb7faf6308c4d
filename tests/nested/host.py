# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and modules of the host, as a rule the emulated machine."""

import shutil
import subprocess
import time

from tap import Skip


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
