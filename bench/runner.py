# SPDX-License-Identifier: GPL-2.0-or-later
"""Every contender runs every job: in turns, so that noise hits all alike."""

import sys
import time

from report import Row
from vm import GuestError, QMPError

# What a contender can come to grief by; all else is a bug of ours.
BREAKAGE = (GuestError, QMPError, RuntimeError, AssertionError, OSError)


class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def spent(self):
        return time.monotonic() - self.started

    def step(self, what):
        self.done += 1
        left = self.spent() / self.done * (self.total - self.done)
        text = (f"{self.done}/{self.total} {what}; "
                f"{span(left)} to go")
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif self.done % 25 == 0 or self.done == self.total:
            print(text, file=sys.stderr, flush=True)


def span(seconds):
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def say(text):
    """On a line of its own, even after progress."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(text, file=sys.stderr, flush=True)


class Runner:
    """counting: a first run of each job counts exits and system calls, and
    warms up."""

    def __init__(self, contenders, jobs, seconds, counting):
        self.contenders = contenders
        self.jobs = jobs
        self.seconds = seconds
        self.counting = counting
        self.samples = {}           # (contender, job): samples
        self.counted = {}           # (contender, job): sample
        self.broken = {}            # contender: sentence
        self.trouble = []           # sentences about what went on after all
        self.notes = {}             # contender: what it said of itself
        self.commands = {}          # contender: lines
        self.progress = None

    def _rounds(self, job, contender):
        return job.repeat + (self.counting and contender.guest)

    def run(self):
        self.progress = Progress(sum(
            self._rounds(job, contender) for contender in self.contenders
            for job in self.jobs if contender.takes(job)))
        for queues in sorted({job.queues for job in self.jobs}):
            self._stage(queues, [job for job in self.jobs
                                 if job.queues == queues])

    def _try(self, contender, action, again=None):
        """What `action` returns; None from a contender that broke down.

        Such a one takes no further part, unless it has another chance:
        `again` starts it anew.
        """
        if contender in self.broken:
            return None
        try:
            return action()
        except BREAKAGE as error:
            contender.close()
            if again and contender.chances > 1:
                contender.chances -= 1
                note = f"{contender.name} broke down and was started " \
                    f"anew: {error}"
                self.trouble.append(note.partition("\n")[0])
                say("note: " + note)
                return self._try(contender, lambda: (again(), action())[1])
            self.broken[contender] = f"{contender.name}: {error}"
            say("error: " + self.broken[contender])
            return None

    def _stage(self, queues, jobs):
        """All jobs with so many queues; guests live that long."""
        try:
            for contender in self.contenders:
                if any(contender.takes(job) for job in jobs):
                    say(f"starting {contender.name}"
                        + (f", {queues} queues" if queues > 1 else ""))
                    self._try(contender, lambda c=contender:
                              self._start(c, queues, jobs))
            if self.counting:
                for job in jobs:
                    self._turn(job, [c for c in self.contenders
                                     if c.guest and c.takes(job)], "counting")
            for repetition in range(max(job.repeat for job in jobs)):
                for job in jobs:
                    if repetition < job.repeat:
                        self._repetition(job, repetition)
        finally:
            for contender in self.contenders:
                contender.close()

    def _start(self, contender, queues, jobs):
        contender.start(queues)
        contender.calibrate(self.seconds, self.counting)
        self.notes.setdefault(contender, contender.note())
        able = [job for job in jobs if contender.takes(job)]
        self.commands.setdefault(contender, contender.commands()
                                 + [contender.command(able[0], self.seconds)])

    def _repetition(self, job, number):
        able = [c for c in self.contenders if c.takes(job)]
        if able:
            turn = number % len(able)
            self._turn(job, able[turn:] + able[:turn],
                       f"run {number + 1} of {job.repeat}")

    def _turn(self, job, contenders, what):
        counting = what == "counting"
        for contender in contenders:
            sample = self._try(
                contender,
                lambda c=contender: c.run(job, self.seconds, counting),
                lambda c=contender: self._start(c, job.queues, [job]))
            if sample and counting:
                self.counted[contender, job] = sample
            elif sample:
                self.samples.setdefault((contender, job), []).append(sample)
            self.progress.step(f"{contender.name}, {job}, {what}")

    def rows(self):
        """Of contenders that did all; the others are errors."""
        return [Row(contender, job, self.samples[contender, job],
                    self.counted.get((contender, job)))
                for job in self.jobs for contender in self.contenders
                if contender not in self.broken
                and (contender, job) in self.samples]
