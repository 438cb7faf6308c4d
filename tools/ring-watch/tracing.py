# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's io_uring tracepoints, in a tracefs instance of our own.

Other users of tracefs do not notice it, and it does not notice them.
"""

import collections
import contextlib
import ctypes
import errno
import os
import re
import time

from records import Format, Pages
from refusal import Refusal

PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
NAME = "qemu-ring-watch-"
EVENTS = "events/io_uring/io_uring_"
CLOCK = "mono"
CREATION_BUFFER_KIB = 64
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
FOR_ROOT = ("the kernel's tracepoints are for root: use sudo, outside of "
            "containers")
_libc = ctypes.CDLL(None, use_errno=True)

# time in ns of CLOCK_MONOTONIC; thread: that was running.
Event = collections.namedtuple("Event", "time thread kind values")
# Between the last event of a CPU before `since`, and `time`
LOST = "lost"

# What is read of each; the first two kinds there must be.
FIELDS = {
    "submit_req": ("ctx", "req", "user_data", "opcode", "flags", "op_str"),
    "complete": ("ctx", "req", "user_data", "res"),
    "req_failed": ("ctx", "req", "user_data", "opcode", "flags", "op_str",
                   "error", "off", "addr", "len", "op_flags"),
    "cqe_overflow": ("ctx", "user_data", "res"),
    "queue_async_work": ("ctx", "req"),
    "short_write": ("ctx", "fpos", "wanted", "got"),
}
NEEDED = ("submit_req", "complete")
NEEDED_FIELDS = ("ctx", "req", "user_data", "opcode", "res")


def tracefs():
    """Where tracefs is mounted; if nowhere, mounted for this process alone."""
    for place in PLACES:
        if os.path.isdir(os.path.join(place, "instances")):
            return place
    place = PLACES[0]
    # A mount of our own namespace ends with us, however that may be.
    if _libc.unshare(CLONE_NEWNS) or \
            _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or \
            _libc.mount(b"tracefs", place.encode(), b"tracefs", 0, None):
        why = ctypes.get_errno()
        if why in (errno.EPERM, errno.EACCES):
            raise Refusal(FOR_ROOT)
        raise Refusal("tracefs, which has the kernel's tracepoints, cannot be "
                      f"mounted ({os.strerror(why)}): use a kernel with "
                      "CONFIG_FTRACE and CONFIG_EVENT_TRACING")
    return place


def read(*path):
    with open(os.path.join(*path), encoding="ascii", errors="replace") as file:
        return file.read()


def write(text, *path):
    # At once: the kernel takes each write for all there is.
    fd = os.open(os.path.join(*path), os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def remove_leftovers(instances):
    """Of a watch that was killed tracing would go on for ever."""
    for name in os.listdir(instances):
        pid = name.removeprefix(NAME).partition("-")[0]
        if name.startswith(NAME) and not os.path.exists("/proc/" + pid):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(instances, name))


class Instance:
    """An instance of tracefs; what it has goes with the stack."""

    def __init__(self, stack, root, suffix, buffer_kib, percent):
        """percent: its pipes can be read when a buffer is so full."""
        self.place = os.path.join(root, "instances",
                                  f"{NAME}{os.getpid()}{suffix}")
        os.mkdir(self.place)
        stack.callback(os.rmdir, self.place)
        self.write("0", "tracing_on")
        self.write(CLOCK, "trace_clock")
        self.write(str(buffer_kib), "buffer_size_kb")
        self.write(str(percent), "buffer_percent")
        # The oldest goes first: then the page behind it tells where and how
        # much is missing.
        self.write("1", "options", "overwrite")
        self.pages = Pages(read(self.place, "events", "header_page"))
        self.pipes = []
        self.per_cpu = os.path.join(self.place, "per_cpu")
        for cpu in sorted(os.listdir(self.per_cpu)):
            pipe = os.open(os.path.join(self.per_cpu, cpu, "trace_pipe_raw"),
                           os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, pipe)
            self.pipes.append(pipe)

    def write(self, text, *path):
        write(text, self.place, *path)

    def format(self, kind, wanted):
        return Format(read(self.place, EVENTS + kind, "format"), wanted)

    def record(self, kind, condition):
        """From now on, of this kind of event those for which this holds."""
        self.write(condition, EVENTS + kind, "filter")
        self.write("1", EVENTS + kind, "enable")

    def take(self, pipe):
        """The next page of a pipe; None: nothing was recorded."""
        try:
            return os.read(pipe, self.pages.size) or None
        except BlockingIOError:
            return None


class Trace:
    """Events of the threads that filter() names, while it is entered."""

    def __init__(self, buffer_kib):
        self._buffer_kib = buffer_kib
        self._stack = contextlib.ExitStack()
        self._kinds = {}            # {id of an event: (kind, Format)}
        self._last = {}             # {pipe: time of its last event}
        self._ahead = []            # events that are too new to be shown
        self._creations = None      # what creates rings, if the kernel tells
        self.opcodes = {}           # {number: name}

    def __enter__(self):
        try:
            with contextlib.ExitStack() as stack:
                self._open(stack, tracefs())
                self._stack = stack.pop_all()
        except PermissionError:
            raise Refusal(FOR_ROOT) from None
        except OSError as error:
            raise Refusal("the kernel's tracefs cannot be used: "
                          f"{error.filename}: {error.strerror}") from None
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _open(self, stack, root):
        for kind in NEEDED:
            if not os.path.isdir(os.path.join(root, EVENTS + kind)):
                raise Refusal(
                    f"this kernel ({os.uname().release}) has no tracepoint "
                    f"io_uring:io_uring_{kind}: use Linux 6.12 or later, with "
                    "CONFIG_IO_URING and CONFIG_EVENT_TRACING")
        remove_leftovers(os.path.join(root, "instances"))
        self._instance = Instance(stack, root, "", self._buffer_kib, 50)
        self._common = self._instance.format("complete",
                                             ("common_type", "common_pid"))
        for kind, names in FIELDS.items():
            if os.path.isdir(os.path.join(root, EVENTS + kind)):
                form = self._instance.format(kind, names)
                self._check(kind, form)
                self._kinds[form.id] = (kind, form)
        if os.path.isdir(os.path.join(root, EVENTS + "create")):
            # At once, as a ring may be gone before a buffer is half full.
            self._creations = Instance(stack, root, "-rings",
                                       CREATION_BUFFER_KIB, 0)
            self._created = self._creations.format("create", ("ctx",))

    @staticmethod
    def _check(kind, form):
        for name in form.missing:
            if kind in NEEDED and name in NEEDED_FIELDS:
                raise Refusal(
                    f"this kernel's tracepoint io_uring:io_uring_{kind} has "
                    f"no field {name}: use a release of this tool that knows "
                    f"Linux {os.uname().release}")

    def pipes(self):
        """To be polled: readable when a buffer fills, or a ring begins."""
        return self._instance.pipes + (
            self._creations.pipes if self._creations else [])

    def filter(self, condition):
        """Record the events for which this holds from now on."""
        for kind, _ in self._kinds.values():
            self._instance.record(kind, condition)
        self._instance.write("1", "tracing_on")

    def announce(self, condition):
        """Have created() tell of rings that such threads create."""
        if self._creations:
            self._creations.record("create", condition)
            self._creations.write("1", "tracing_on")

    def created(self):
        """(thread, context) of the rings that were created meanwhile."""
        found = []
        if self._creations:
            for pipe in self._creations.pipes:
                while page := self._creations.take(pipe):
                    for when, at in self._creations.pages.records(page):
                        found.append((when, self._common.values(page, at)[1],
                                      self._created.values(page, at)[0]))
        return [rest for _, *rest in sorted(found)]

    def stop(self):
        self._instance.write("0", "tracing_on")

    def read(self, everything=False):
        """The events so far, in their order in time.

        What happens on several CPUs while they are read one after the other is
        kept for the next time, unless `everything` is wanted.
        """
        now = time.monotonic_ns()
        found = self._ahead
        for pipe in self._instance.pipes:
            # More may come for as long as we read.
            while self._last.get(pipe, 0) <= now and \
                    (page := self._instance.take(pipe)):
                self._take(pipe, page, found)
        found.sort(key=lambda event: event.time)
        until = len(found)
        while not everything and until and found[until - 1].time > now:
            until -= 1
        self._ahead = found[until:]
        return found[:until]

    def _take(self, pipe, page, found):
        missed = self._instance.pages.missed(page)
        for when, at in self._instance.pages.records(page):
            number, thread = self._common.values(page, at)
            if missed:
                found.append(Event(when, thread, LOST,
                                   (missed, self._last.get(pipe, 0))))
                missed = 0
            self._last[pipe] = when
            kind, form = self._kinds.get(number, (None, None))
            if not kind:
                continue
            values = form.values(page, at)
            if kind in ("submit_req", "req_failed") and \
                    values[3] not in self.opcodes:
                self.opcodes[values[3]] = self._opcode(form, page, at, values)
            found.append(Event(when, thread, kind, values))

    @staticmethod
    def _opcode(form, page, at, values):
        """The kernel's own word for it, if it has one."""
        name = values[5] is not None and form.string(page, at, values[5])
        if not name or not re.fullmatch(r"[A-Z0-9_]+", name) or \
                name in ("INVALID", "UNKNOWN"):
            return f"opcode-{values[3]}"
        return name

    def lost(self):
        """Events that were lost in all, by the kernel's own count."""
        total = 0
        per_cpu = self._instance.per_cpu
        for cpu in os.listdir(per_cpu):
            for line in read(per_cpu, cpu, "stats").splitlines():
                name, _, value = line.partition(":")
                if name in ("overrun", "dropped events"):
                    total += int(value)
        return total
