# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rings are watched, and which of them an event is about.

The kernel's events name a ring by the address of its context, and /proc names
it by its owner's fd; nothing that the kernel tells has both.  But how many SQEs
each ring has consumed is in both.
"""

import bisect
import collections
import time

from processes import (JAIL, JAIL_FD_RING0, Owner, SQPOLL, WORKER, jails_of,
                       name_of, ring_name)
from refusal import Refusal
from tracing import LOST

# What a filter may be long.
MOST_FILTER = 4000
ANY_WORKER = f'COMM ~ "{WORKER}*"'
EVERYBODY = f'COMM ~ "{SQPOLL}*" || {ANY_WORKER}'
# QEMU is asked so often for new jails, if none has ended.
ASK_SECONDS = 1
# An SQE is counted a moment before its event is there.
SETTLE_NS = 2000000
# After so many SQEs without a decision it begins anew.
MOST_SQES = 50000


class Candidates:
    """The rings of one owner that are not yet known by their contexts."""

    def __init__(self, owner):
        self.owner = owner
        self.names = {}             # {context: name of the ring}
        self._sqes = {}             # {context: times of its SQEs}
        self._rings = {}
        self._looks = {}
        self._start = {}
        self._base = (0, 0)
        self.begin()

    def begin(self):
        """Count from now on."""
        self._sqes.clear()
        before = time.monotonic_ns()
        known = set(self.names.values())
        self._rings = {fd: ring for fd, ring in self.owner.rings().items()
                       if ring.name not in known}
        self._base = (before, time.monotonic_ns())
        self._start = {fd: ring.consumed for fd, ring in self._rings.items()}

    def consumed(self):
        """SQEs until now, as far as the kernel says."""
        return sum(consumed or 0 for consumed in self._start.values())

    def sqe(self, context, thread, when):
        """A ring has consumed an SQE."""
        if self._rings and context not in self.names:
            self._sqes.setdefault(context, (thread, []))[1].append(when)

    def named(self, context, created):
        """A jail creates its rings in their order; these are all, if so many.
        """
        if context not in self.names and \
                len(created) >= len(self._rings) + len(self.names):
            fd = JAIL_FD_RING0 + created.index(context)
            self.names[context] = ring_name(fd)
            self._rings.pop(fd, None)

    def undecided(self):
        return [context for context in self._sqes
                if context not in self.names]

    def look(self):
        """Ask the kernel for counters, before the next events are read."""
        self._looks = {}
        for fd, ring in self._rings.items():
            before = time.monotonic_ns()
            if self.owner.update(ring):
                self._looks[fd] = (before, time.monotonic_ns())

    def _agrees(self, fd, times):
        """Whether a ring has consumed as many SQEs as there were events."""
        if fd not in self._looks or self._start[fd] is None:
            return True             # the kernel did not say
        before, after = self._looks[fd]
        started, counting = self._base

        def count(since, until):
            return bisect.bisect_right(times, until) - \
                bisect.bisect_right(times, since)
        least = count(counting + SETTLE_NS, before)
        most = count(started, after + SETTLE_NS)
        there = (self._rings[fd].consumed - self._start[fd]) & 0xffffffff
        return least <= there <= most

    def decide(self):
        """Name the contexts that can be one ring only."""
        for context in self.undecided():
            thread, times = self._sqes[context]
            fits = [fd for fd, ring in self._rings.items()
                    if ring.thread in (thread, None)]
            if len(fits) > 1:
                fits = [fd for fd in fits if self._agrees(fd, times)]
            if len(fits) == 1:
                self.names[context] = self._rings.pop(fits[0]).name
                del self._sqes[context]
            elif not fits or len(times) > MOST_SQES:
                # Events were lost, or rings have come.
                self.begin()
                return


class Watched:
    """The owners as they come and go; find() returns {process id: label}.

    trace: whose filter follows them.
    """

    def __init__(self, trace, find):
        self._trace = trace
        self._find = find
        self._condition = None
        self.owners = {}            # {process id: Owner}
        self._candidates = {}       # {process id: Candidates}
        self._threads = {}          # {SQPOLL thread: process id}
        self._names = {}            # {SQPOLL thread: name}
        self._contexts = {}         # {context: process id}
        self._created = {}          # {process id: contexts in their order}
        self._over = set()          # process ids whose rings have ended
        self._expected = True       # rings may start at any moment
        self._leaving = set()       # those that had a round ago
        trace.announce(f'COMM == "{JAIL}"')

    def close(self):
        for owner in self.owners.values():
            owner.close()

    def refresh(self):
        """Look for owners and their threads; sentences on what has changed.

        Rings that have ended are known for one round more, until all of their
        events have been read: see forget_ended().
        """
        self._leaving = self._over
        for pid, context in self._trace.created():
            self._created.setdefault(pid, []).append(context)
        for pid in [pid for pid in self._created
                    if pid not in self.owners and not name_of(pid)]:
            del self._created[pid]      # another one's, which has ended
        self._add_owners()
        fresh = self._follow_threads()
        if self._over:
            self._expected = True
        elif fresh:
            self._expected = False
        # In that case all that they did is among the events.
        recorded = self._condition == EVERYBODY
        self._set_filter()
        said = []
        for pid in fresh:
            # What is counted from now on is recorded.
            self._candidates[pid] = Candidates(self.owners[pid])
            before = self._candidates[pid].consumed()
            said.append(f"watching the rings of {self._title(pid)}"
                        + (f", after {before} requests"
                           if before and not recorded else ""))
        return said

    def pidfds(self):
        """To be polled: readable when an owner has ended."""
        return [owner.fileno() for owner in self.owners.values()]

    def forget_ended(self):
        """Sentences as well, and the contexts of those rings."""
        said = [f"the rings of {self._title(pid)} have ended"
                for pid in sorted(self._leaving)]
        contexts = set()
        for pid in self._leaving:
            contexts |= self._forget(pid)
        self._over -= self._leaving
        self._leaving = set()
        return said, contexts

    def _add_owners(self):
        for pid, label in self._find().items():
            if pid not in self.owners:
                try:
                    owner = Owner(pid, label)
                except ProcessLookupError:
                    continue
                if owner.ended():
                    owner.close()
                    continue
                self.owners[pid] = owner
            self.owners[pid].label = label

    def _title(self, pid):
        owner = self.owners[pid]
        kind = "jail" if owner.is_jail else "process"
        return f"{owner.label}, {kind} {pid}" if owner.label \
            else f"{kind} {pid}"

    def _forget(self, pid):
        if self.owners[pid].ended():
            self.owners.pop(pid).close()
            self._created.pop(pid, None)
        self._candidates.pop(pid, None)
        ended = {context for context, of in self._contexts.items()
                 if of == pid}
        for table in (self._threads, self._contexts):
            for key in [key for key, value in table.items() if value == pid]:
                del table[key]
        return ended

    def _follow_threads(self):
        """Owners that have SQPOLL threads now, and had none."""
        fresh, self._over, self._names = [], set(), {}
        for pid, owner in self.owners.items():
            there = owner.threads()
            self._names.update(there)
            if pid in self._candidates:
                if any(of == pid and thread not in there
                       for thread, of in self._threads.items()):
                    self._over.add(pid)
            elif there:
                fresh.append(pid)
            for thread in there:
                self._threads[thread] = pid
        return fresh

    def _set_filter(self):
        """By name, since a worker thread may be started at any moment.

        While rings may start, those of others are recorded as well; or the
        first requests would have gone before it is known whose they are.
        """
        names = [f'COMM == "{name}"' for name in
                 sorted(set(self._names.values()))]
        workers = [f'COMM == "{WORKER}{thread}"'
                   for thread in sorted(self._names)]
        condition = " || ".join(names + workers)
        if len(condition) > MOST_FILTER:
            condition = " || ".join(names + [ANY_WORKER])
        if self._expected or len(condition) > MOST_FILTER:
            condition = EVERYBODY
        if condition != self._condition:
            self._trace.filter(condition)
            self._condition = condition

    # -- events --------------------------------------------------------------

    def learn(self, events):
        """Whose contexts these are; whether to look() for which rings."""
        for event in events:
            if event.kind == LOST:
                for candidates in self._candidates.values():
                    candidates.begin()
            elif event.kind in ("submit_req", "req_failed"):
                self._learn_context(event)
        return any(each.undecided() for each in self._candidates.values())

    def _learn_context(self, event):
        context = event.values[0]
        pid = self._threads.get(event.thread)
        if pid is None:
            return
        candidates = self._candidates[pid]
        # It may have been another's, which has ended.
        self._contexts[context] = pid
        created = self._created.get(pid, ())
        if context in created and self.owners[pid].is_jail:
            candidates.named(context, created)
        candidates.sqe(context, event.thread, event.time)

    def look(self):
        """What the kernel says of the rings; decide() wants later events."""
        for each in self._candidates.values():
            if each.undecided():
                each.look()

    def decide(self):
        for each in self._candidates.values():
            each.decide()

    def unclear(self, events):
        """Requests of threads that ended before they could be looked at."""
        unknown = collections.Counter(
            event.thread for event in events
            if event.kind in ("submit_req", "req_failed")
            and not self.is_ours(event))
        return sum(count for thread, count in unknown.items()
                   if not name_of(thread))

    def is_ours(self, event):
        return event.values[0] in self._contexts or \
            event.thread in self._threads

    def name(self, context):
        """Of the ring: its label and queue; "q?" if that is not known."""
        pid = self._contexts.get(context)
        if pid is None:
            return "q?"
        names = self._candidates[pid].names
        label = self.owners[pid].label
        return (label + "/" if label else "") + names.get(context, "q?")


def of_jail(pid):
    """A function as Watched wants it, for one jail."""
    what = name_of(pid)
    if not what:
        raise Refusal(f"there is no process {pid}: use the jail-pid in the "
                      "device's property path, which changes with each start "
                      "of the rings")
    if what != JAIL:
        raise Refusal(f"process {pid} ({what}) is no jail: use the jail-pid "
                      "in the device's property path, or --pid with QEMU's "
                      "process number")
    return lambda: {pid: ""}


def of_qemu(pid):
    """The same for all rings of a QEMU that are its own or its children's."""
    if not name_of(pid):
        raise Refusal(f"there is no process {pid}: use the process number of "
                      "a running QEMU")

    def find():
        jails = jails_of(pid)
        if not jails:
            return {pid: ""}
        return {pid: "", **{jail: str(jail) if len(jails) > 1 else ""
                            for jail in jails}}
    return find


def of_monitor(monitor, device):
    """The same for one device, or all, of the QEMU behind a monitor."""
    known, asked = {}, 0

    def find():
        nonlocal known, asked
        now = time.monotonic()
        # QEMU has other things to do than to answer us ten times a second.
        if now - asked > ASK_SECONDS or not known or not all(
                name_of(pid) for pid in known):
            jails = monitor.jails(device)
            known = {pid: name if len(jails) > 1 else ""
                     for name, pid in jails.items() if pid}
            asked = now
        return known
    return find
