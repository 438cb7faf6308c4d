#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-ring-watch: what a guest submits to its rings and the kernel answers.

As strace shows system calls: a line for each request that has ended, or with
-c a table.  For the host's administrator; it takes root.  Nothing is stopped
or changed for it, and when it has ended nothing of it is left.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
import time

import rings
from pairing import Pairing, Request
from processes import name_of
from qmp import Monitor
from refusal import Refusal
from rings import Watched
from show import Lines, Table
from tracing import LOST, Trace

# So often is looked, at least, for new rings and for events.
ROUND_SECONDS = 0.1
SETTLE_SECONDS = 0.003

EXAMPLES = """\
  qemu-ring-watch --pid $(pgrep -f vm1)            all rings of a QEMU
  qemu-ring-watch --qmp vm1.sock --device disk0    those of one device
  qemu-ring-watch --pid 4711 -c --seconds 10       a table after 10 seconds
"""


def arguments():
    parser = argparse.ArgumentParser(
        prog="qemu-ring-watch", description="Shows "
        + __doc__.partition(": ")[2],
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, help="a QEMU: its rings, and those "
                        "of the jails that it has started")
    parser.add_argument("--jail", type=int, metavar="PID", help="a process "
                        "qemu-ring-jail, whoever started it")
    parser.add_argument("--qmp", metavar="SOCKET", help="a monitor of QEMU: "
                        "the jails of its devices, by name")
    parser.add_argument("--device", metavar="ID", help="with --qmp: this "
                        "device only")
    parser.add_argument("-c", dest="table", action="store_true",
                        help="a table at the end instead of lines")
    parser.add_argument("-C", dest="both", action="store_true",
                        help="a table at the end after the lines")
    parser.add_argument("-n", type=int, metavar="N",
                        help="end after N requests")
    parser.add_argument("--seconds", type=float, metavar="N",
                        help="end after N seconds")
    parser.add_argument("--buffer", type=int, default=4096, metavar="KIB",
                        help="for events, for each CPU (default %(default)s)")
    options = parser.parse_args()
    if sum(way is not None for way in
           (options.pid, options.jail, options.qmp)) != 1:
        parser.error("say whose rings: one of --pid, --jail and --qmp")
    if options.device and not options.qmp:
        parser.error("which rings are a device's is known to QEMU only: use "
                     "--qmp with --device, or --jail with the device's "
                     "jail-pid")
    for name in ("pid", "jail", "n", "seconds", "buffer"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"{name} is {value}: use a number above 0")
    return options


class Watch:
    """Everything from the events to the output."""

    def __init__(self, options, trace, watched, out, stop):
        self._options = options
        self._trace = trace
        self._watched = watched
        self._out = out
        self._stop = stop           # to be polled: told to end
        self._pairing = Pairing(trace.opcodes)
        self._lines = Lines(out, watched.name)
        self._table = Table()
        self._count = 0
        self._can_ask = True        # whose rings there are

    def _show(self, item):
        if isinstance(item, Request):
            if self._done():
                return
            self._count += 1
        if not self._options.table:
            self._lines.show(item)
        self._table.show(item)

    def _take(self, everything=False):
        """Read and show what has happened."""
        events = self._trace.read(everything)
        # Before it is asked whose they are.
        if self._can_ask:
            for text in self._watched.refresh():
                self._lines.note(text)
        if self._watched.learn(events):
            self._watched.look()
            # What was counted in that look has to be among the events.
            time.sleep(SETTLE_SECONDS)
            later = self._trace.read(everything)
            self._watched.learn(later)
            self._watched.decide()
            events += later
        for event in events:
            if event.kind == LOST or self._watched.is_ours(event):
                for item in self._pairing.feed(event):
                    self._show(item)
        unclear = self._watched.unclear(events)
        if unclear:
            self._lines.note(f"{unclear} requests were of rings that ended "
                             "before it was seen whose they were")
        said, contexts = self._watched.forget_ended()
        for item in self._pairing.drop(contexts):
            self._show(item)
        for text in said:
            self._lines.note(text)
        self._out.flush()

    def _done(self):
        return self._options.n is not None and self._count >= self._options.n

    def run(self, alive):
        """alive: to be polled, readable when nothing can come any more."""
        end = self._options.seconds and \
            time.monotonic() + self._options.seconds
        always = self._trace.pipes() + [self._stop]
        if alive is not None:
            always.append(alive)
        while True:
            poll = select.poll()
            for fd in always + self._watched.pidfds():
                poll.register(fd, select.POLLIN)
            wait = ROUND_SECONDS
            if end:
                wait = min(wait, max(end - time.monotonic(), 0))
            ready = [fd for fd, _ in poll.poll(wait * 1000)]
            if self._stop in ready or alive in ready or \
                    end and time.monotonic() >= end:
                break
            if not self._try_take() or self._done():
                break
        self._trace.stop()
        if not self._done():
            self._try_take(everything=True)
        self._finish()

    def _try_take(self, everything=False):
        try:
            self._take(everything)
            return True
        except Refusal as reason:
            self._lines.note(f"the watch ends: {reason}")
            self._can_ask = False
            return False

    def _finish(self):
        if self._pairing.in_flight() and not self._done():
            self._lines.note(f"{self._pairing.in_flight()} requests had not "
                             "ended when the watch did")
        lost = self._trace.lost()
        if lost:
            self._lines.note(f"{lost} events were lost in all, so that "
                             "requests are missing here")
        if self._options.table or self._options.both:
            self._table.print(self._out)
        self._out.flush()


def find_rings(options, stack):
    """(a function that finds the owners, a process that must be alive)"""
    if options.jail:
        return rings.of_jail(options.jail), options.jail
    if options.pid:
        return rings.of_qemu(options.pid), options.pid
    monitor = Monitor(options.qmp)
    stack.callback(monitor.close)
    return rings.of_monitor(monitor, options.device), None


def watch(options):
    with contextlib.ExitStack() as stack:
        stop, stop_in = os.pipe()
        os.set_blocking(stop_in, False)
        signal.set_wakeup_fd(stop_in)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        find, pid = find_rings(options, stack)
        alive = None
        if pid:
            alive = os.pidfd_open(pid)
            stack.callback(os.close, alive)
        trace = stack.enter_context(Trace(options.buffer))
        watched = Watched(trace, find)
        stack.callback(watched.close)
        said = watched.refresh()
        out = sys.stdout
        runner = Watch(options, trace, watched, out, stop)
        for text in said or [nothing_yet(options)]:
            Lines(out, None).note(text)
        out.flush()
        runner.run(alive)


def nothing_yet(options):
    if options.pid:
        return (f"process {options.pid} ({name_of(options.pid)}) has no rings "
                "now; waiting for its guest to start some")
    return "there are no rings now; waiting for the guest to start some"


def main():
    options = arguments()
    try:
        watch(options)
    except Refusal as reason:
        sys.exit(f"qemu-ring-watch: {reason}")
    except BrokenPipeError:
        # Whoever read has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
