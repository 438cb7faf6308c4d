# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events in the kernel's binary form, as its format files describe it.

Binary, since text would be made by the kernel at a cost, has microseconds only,
and shows addresses as hashes.
"""

import re
import struct

FIELD = re.compile(r"\s*field:\s*(?P<what>[^;]+);\s*offset:(?P<offset>\d+);"
                   r"\s*size:(?P<size>\d+);\s*signed:(?P<signed>[01]);")
LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}

# A record starts with a word of 5 bits of type and 27 of time since the last.
TYPE_BITS, TYPE_MASK = 5, 31
DELTA_BITS = 27
LENGTH_FOLLOWS = 0                  # 1 to 28: so many words of data
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
# Of an absolute time there is room for so many bits.
STAMP_MASK = (1 << 59) - 1
WORD = struct.Struct("=I")
LONG = struct.Struct("=Q")

# In a page's field "commit", beside the number of bytes
MISSED, MISSED_COUNTED = 1 << 31, 1 << 30
COMMIT_MASK = (1 << 20) - 1


def fields(text):
    """{name: (offset, size, signed, declaration)} of a format file."""
    found = {}
    for line in text.splitlines():
        match = FIELD.match(line)
        if match:
            words = re.sub(r"\[.*?\]$", "", match["what"]).split()
            found[words[-1].lstrip("*")] = (
                int(match["offset"]), int(match["size"]),
                match["signed"] == "1", match["what"])
    return found


class Format:
    """Reads some fields of one kind of event.

    What this kernel's event does not have is None.  A string is read only by
    string(), from what values() has in its place.
    """

    def __init__(self, text, wanted):
        self.id = int(re.search(r"^ID: (\d+)$", text, re.MULTILINE)[1])
        there = fields(text)
        self.missing = [name for name in wanted if name not in there]
        parts, at, order = ["="], 0, []
        for name in sorted((name for name in wanted if name in there),
                           key=lambda name: there[name][0]):
            offset, size, signed, _ = there[name]
            letter = LETTERS[size]
            parts.append(f"{offset - at}x" + (letter.lower() if signed
                                              else letter))
            at = offset + size
            order.append(name)
        self._struct = struct.Struct("".join(parts))
        # One more value, the last, stands for those that are missing.
        self._order = [order.index(name) if name in order else -1
                       for name in wanted]

    def values(self, page, at):
        found = self._struct.unpack_from(page, at) + (None,)
        return [found[index] for index in self._order]

    @staticmethod
    def string(page, at, place):
        start, size = at + (place & 0xffff), place >> 16
        return page[start:start + size].split(b"\0")[0].decode(
            errors="replace")


class Pages:
    """Takes the pages apart that a ring buffer's trace_pipe_raw gives."""

    def __init__(self, header):
        there = fields(header)
        self._time = there["timestamp"][0]
        self._commit = there["commit"][0]
        self._data, size = there["data"][:2]
        self.size = self._data + size

    def missed(self, page):
        """How many events were lost before this page; -1: some."""
        commit, = LONG.unpack_from(page, self._commit)
        if not commit & MISSED:
            return 0
        if not commit & MISSED_COUNTED:
            return -1
        return LONG.unpack_from(page, self._data + (commit & COMMIT_MASK))[0]

    def records(self, page):
        """(time in ns, where it starts) of each event in a page."""
        time, = LONG.unpack_from(page, self._time)
        commit, = LONG.unpack_from(page, self._commit)
        at = self._data
        end = at + (commit & COMMIT_MASK)
        while at + 4 <= end:
            word, = WORD.unpack_from(page, at)
            kind, delta = word & TYPE_MASK, word >> TYPE_BITS
            at += 4
            if kind < PADDING:
                size = kind * 4
                time += delta
                if kind == LENGTH_FOLLOWS:
                    # Which counts itself.
                    size = WORD.unpack_from(page, at)[0] - 4
                    at += 4
                yield time, at
                at += (size + 3) & ~3
            elif kind == PADDING:
                if not delta:
                    return          # nothing more in this page
                time += delta
                at += WORD.unpack_from(page, at)[0]
            else:
                high, = WORD.unpack_from(page, at)
                at += 4
                delta += high << DELTA_BITS
                if kind == TIME_EXTEND:
                    time += delta
                else:
                    time = (time & ~STAMP_MASK) | delta
