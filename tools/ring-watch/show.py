# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines and a table for the administrator."""

import collections
import errno
import os
import time

import pairing


# Where Python's name is another than the kernel's
NAMES = {95: "EOPNOTSUPP"}
LARGE = 1 << 32


def error_name(result):
    number = -result
    return NAMES.get(number) or errno.errorcode.get(number, str(number))


class Clock:
    """The kernel's monotonic time as the time of day."""

    def __init__(self):
        self._offset = time.time_ns() - time.monotonic_ns()

    def text(self, monotonic):
        now = monotonic + self._offset
        seconds, rest = divmod(now, 10 ** 9)
        return time.strftime("%H:%M:%S", time.localtime(seconds)) + \
            f".{rest // 1000:06d}"


def request_line(request):
    """What is after the ring's name."""
    tag = request.user_data
    words = [f"{request.opcode or '?':<6} tag "
             + (f"{tag:<4}" if tag < LARGE else f"{tag:#x}")]
    if request.refusal:
        words.append(f"flags {request.flags:#x}")
        words += [f"{name} {request.refusal[name]}" for name in ("off", "len")
                  if request.refusal[name] is not None]
        words += [f"{name} {request.refusal[name]:#x}"
                  for name in ("addr", "rw_flags") if request.refusal[name]]
    if request.result is None:
        words.append("= ? (no completion was seen)")
        return " ".join(words)
    words.append(f"= {request.result}")
    if request.result < 0:
        words.append(f"{error_name(request.result)} "
                     f"({request.reason() or os.strerror(-request.result)})")
    taken = request.microseconds()
    if taken is not None:
        words.append(f"<{taken:.1f} us>")
    if request.worker:
        words.append("[worker]")
    if request.overflow:
        words.append("[no room in the CQ]")
    if request.opcode is None:
        words.append("[submission not seen]")
    return " ".join(words)


class Lines:
    """A line for each request."""

    def __init__(self, out, names):
        self._out = out
        self._names = names         # function: ring's context -> its name
        self._clock = Clock()
        self._lost = None           # events, so far without a line on it

    def note(self, text):
        self._out.write(f"-- {text}\n")

    def _note_lost(self):
        if self._lost is not None:
            many = f"{self._lost} events" if self._lost else "events"
            self.note(f"{many} were lost here: a larger --buffer, or a "
                      "slower guest, loses none")
            self._lost = None

    def show(self, item):
        if isinstance(item, pairing.Lost):
            self._lost = (self._lost or 0) + max(item.count, 0)
            return
        self._note_lost()
        when = self._clock.text(item.ended) if item.ended else " " * 15
        ring = self._names(item.context)
        if isinstance(item, pairing.ShortWrite):
            self._out.write(
                f"{when} {ring} short write: at {item.offset} "
                f"{item.got} of {item.wanted} bytes, the rest follows\n")
            return
        self._out.write(f"{when} {ring} {request_line(item)}\n")


class Table:
    """Counts by opcode."""

    class Row:
        """Of one opcode."""

        def __init__(self):
            self.calls = 0
            self.workers = 0
            self.timed = 0
            self.total = 0
            self.most = 0
            self.errors = collections.Counter()

    def __init__(self):
        self._rows = collections.defaultdict(self.Row)

    def show(self, item):
        if not isinstance(item, pairing.Request):
            return
        row = self._rows[item.opcode or "?"]
        row.calls += 1
        row.workers += item.worker
        if item.result is None:
            row.errors["no completion"] += 1
        elif item.result < 0:
            row.errors[error_name(item.result)] += 1
        taken = item.microseconds()
        if taken is not None:
            row.timed += 1
            row.total += taken
            row.most = max(row.most, taken)

    def print(self, out):
        out.write(f"{'opcode':<16} {'calls':>9} {'errors':>9} {'mean us':>10} "
                  f"{'max us':>10} {'worker':>9}  errors by name\n")
        rows = sorted(self._rows.items(), key=lambda row: -row[1].calls)
        for opcode, row in rows:
            mean = f"{row.total / row.timed:.1f}" if row.timed else "-"
            most = f"{row.most:.1f}" if row.timed else "-"
            errors = ", ".join(f"{name} {count}" for name, count
                               in row.errors.most_common())
            out.write(f"{opcode:<16} {row.calls:>9} "
                      f"{row.errors.total():>9} {mean:>10} {most:>10} "
                      f"{row.workers:>9}  {errors}".rstrip() + "\n")
        out.write(f"{'total':<16} {sum(row.calls for _, row in rows):>9} "
                  f"{sum(row.errors.total() for _, row in rows):>9}\n")
