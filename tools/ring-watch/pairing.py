# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests, put together from the events that the kernel has on their way."""

import os

from tracing import LOST

# What the rings of the device allow (docs/specs/virtio-blk-uring.rst)
ALLOWED = ("READV", "WRITEV", "FSYNC")
FIXED_FILE = 1
EACCES = 13


class Request:
    """An SQE and what became of it."""

    __slots__ = ("context", "user_data", "opcode", "flags", "begun", "ended",
                 "result", "refusal", "worker", "overflow")

    def __init__(self, context, user_data):
        self.context = context
        self.user_data = user_data
        self.opcode = None          # its name; None: not seen
        self.flags = 0
        self.begun = None           # times in ns; None: not seen
        self.ended = None
        self.result = None          # None: no completion was seen
        self.refusal = None         # {field of the SQE: value}, and "error"
        self.worker = False         # a worker thread of the kernel did it
        self.overflow = False       # the completion found no room

    def microseconds(self):
        """From the submission to the completion; None: not known."""
        if self.begun is None or self.ended is None:
            return None
        return (self.ended - self.begun) / 1000

    def reason(self):
        """Why the kernel refused it, as far as that can be told."""
        if not self.refusal:
            return None
        if self.result != -EACCES:
            return os.strerror(-self.result) + ", refused"
        if self.opcode not in ALLOWED:
            return "refused, the ring does not allow this opcode"
        if self.flags != FIXED_FILE:
            return f"refused, the ring does not allow flags {self.flags:#x}"
        return "refused, the ring does not allow this opcode (read-only disk)"


class Lost:
    """Here events are missing; count -1: the kernel does not say how many."""

    def __init__(self, count, when):
        self.count = count
        self.ended = when


class ShortWrite:
    """The kernel goes on with the rest of a write."""

    def __init__(self, when, values):
        self.ended = when
        self.context, self.offset, self.wanted, self.got = values


class Pairing:
    """Events in; requests that have ended out, and what else is to be told."""

    def __init__(self, opcodes):
        self._opcodes = opcodes     # {number: name}
        self._pending = {}          # {(context, address of it): Request}
        self._by_tag = {}           # {(context, user_data): such keys}

    def in_flight(self):
        return len(self._pending)

    def drop(self, contexts):
        """Rings that have ended; the requests that have not."""
        keys = [key for key in self._pending if key[0] in contexts]
        return [self._remove(key, None) for key in keys]

    def feed(self, event):
        """A list, mostly empty, of what this event brings to an end."""
        return getattr(self, "_" + event.kind)(event)

    def _add(self, key, request):
        """The same memory for another request: the old one has ended."""
        old = self._remove(key, None)
        self._pending[key] = request
        self._by_tag.setdefault((request.context, request.user_data),
                                []).append(key)
        return [old] if old else []

    def _remove(self, key, user_data):
        """user_data: that it has, or it is another one; None: any."""
        request = self._pending.get(key)
        if request is None or user_data not in (None, request.user_data):
            return None
        del self._pending[key]
        tag = (request.context, request.user_data)
        same = self._by_tag[tag]
        same.remove(key)
        if not same:
            del self._by_tag[tag]
        return request

    def _submit_req(self, event):
        context, address, user_data, opcode, flags, _ = event.values
        request = Request(context, user_data)
        request.opcode = self._opcodes[opcode]
        request.flags = (flags or 0) & 0xff
        request.begun = event.time
        return self._add((context, address), request)

    def _req_failed(self, event):
        context, address, user_data, opcode, flags, _, error, *rest = \
            event.values
        key = (context, address)
        ended = []
        if key not in self._pending:
            request = Request(context, user_data)
            ended = self._add(key, request)
        request = self._pending[key]
        request.opcode = self._opcodes[opcode]
        request.flags = flags or 0
        request.refusal = dict(zip(("off", "addr", "len", "rw_flags"), rest),
                               error=error)
        return ended

    def _complete(self, event):
        context, address, user_data, result = event.values
        request = self._remove((context, address), user_data)
        return [self._end(request, context, user_data, result, event.time)]

    def _cqe_overflow(self, event):
        context, user_data, result = event.values
        # Which of them, if a guest has several of a name, is not told.
        keys = self._by_tag.get((context, user_data))
        request = self._remove(keys[0], None) if keys else None
        request = self._end(request, context, user_data, result, event.time)
        request.overflow = True
        return [request]

    @staticmethod
    def _end(request, context, user_data, result, when):
        if request is None:
            request = Request(context, user_data)
        request.result = result
        request.ended = when
        return request

    def _queue_async_work(self, event):
        request = self._pending.get(tuple(event.values))
        if request:
            request.worker = True
        return []

    @staticmethod
    def _short_write(event):
        return [ShortWrite(event.time, event.values)]

    def _lost(self, event):
        """What ends from here on may be another one than that which began."""
        self._pending.clear()
        self._by_tag.clear()
        return [Lost(event.values[0], event.time)]


assert LOST == "lost"               # as the method is named
