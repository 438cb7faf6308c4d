# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a guest's I/O stood still, by this host's clock.

A guest whose clock stands still with it cannot tell.  So fio in the guest
writes one block again and again, each time with other bytes, and a thread here
looks at that block of the image through the page cache.
"""

import os
import threading
import time

import fio

BLOCK = 4096
LOOK_S = 0.0005


def command(disk, offset, polled):
    """The fio that makes the beats: one write at a time, for ever."""
    return fio.command("/dev/" + disk, "write", "4k", polled=polled,
                       offset=offset, size=BLOCK, refill_buffers=True,
                       time_based=True, runtime=24 * 3600)


class Heartbeat:
    """Watches from start() to stop(); times are time.monotonic()'s, seconds."""

    def __init__(self, image, offset):
        self._fd = os.open(image, os.O_RDONLY)
        self._offset = offset
        self._beats = [time.monotonic()]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        last = None
        while not self._over.wait(LOOK_S):
            block = os.pread(self._fd, 64, self._offset)
            if block != last:
                self._beats.append(time.monotonic())
                last = block

    def wait_beat(self, since, seconds=60):
        """Wait until there was a beat after `since`."""
        deadline = time.monotonic() + seconds
        while self._beats[-1] <= since:
            if time.monotonic() > deadline:
                raise AssertionError(f"no I/O for {seconds} s")
            time.sleep(LOOK_S)

    def pause(self, begin, end):
        """The longest time without a beat that overlaps begin..end."""
        longest = 0
        # What happens between two appends is none of ours.
        beats = self._beats[:]
        for before, after in zip(beats, beats[1:]):
            if after > begin and before < end:
                longest = max(longest, after - before)
        return longest

    def forget(self):
        """What was until now."""
        del self._beats[:-1]

    def start(self):
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join()
        os.close(self._fd)
