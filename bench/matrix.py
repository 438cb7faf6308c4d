# SPDX-License-Identifier: GPL-2.0-or-later
"""Which jobs are run: the points of the matrix, in named sets."""

import dataclasses

import fio

WAYS = ("randread", "randwrite", "randrw", "read", "write")
# The proposal's own, see docs: what it measured, and we beside it.
DEPTHS = (1, 8, 16, 32)
ALL_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Job:
    """One point of the matrix."""

    rw: str
    qd: int
    polled: bool
    bs: str = "4k"
    jobs: int = 1
    queues: int = 1         # and vCPUs
    # Timed runs; not part of what the job is.
    repeat: int = dataclasses.field(default=3, compare=False)

    def __str__(self):
        how = "polled" if self.polled else "interrupt"
        more = (f", {self.jobs} jobs" if self.jobs > 1 else "") + \
            (f", {self.queues} queues" if self.queues > 1 else "")
        return f"{self.rw} {self.bs} QD {self.qd} {how}{more}"

    def writes(self):
        return self.rw not in ("randread", "read")

    def command(self, filename, size, seconds, **options):
        if self.rw == "randrw":
            # One percentile for both directions.
            options |= {"rwmixread": 70, "unified_rw_reporting": 1}
        if self.jobs > 1 and self.rw in ("read", "write"):
            options["offset_increment"] = f"{100 // self.jobs}%"
        return fio.command(
            filename, self.rw, self.bs, self.qd, numjobs=self.jobs, size=size,
            time_based=True, runtime=f"{int(seconds * 1000)}ms",
            norandommap=True, randrepeat=0, invalidate=0, registerfiles=True,
            # From submission on: a read from the page cache is complete
            # when its submission returns.
            clat_percentiles=0, lat_percentiles=1,
            percentile_list="50:99:99.9",
            **options)


def idle_command(seconds):
    """A fio that keeps a CPU busy for so long and touches no disk.

    What it costs is what a run costs besides its I/O; 0 seconds: a start of
    fio and its end.
    """
    if seconds:
        length = {"time_based": True, "runtime": f"{int(seconds * 1000)}ms"}
    else:
        length = {"number_ios": 1}
    return fio.command("none", "randread", "4k", 1, engine="null", size="1m",
                       **length)


def cross(ways, depths, polled=(True, False), sizes=("4k",), jobs=(1,),
          queues=(1,), repeat=3):
    return [Job(rw, qd, how, bs, count, wide, repeat)
            for wide in queues for count in jobs for how in polled
            for bs in sizes for rw in ways for qd in depths]


def scaling(repeat):
    """More queues, each with a vCPU and a job of its own."""
    return [job for count in (2, 4)
            for job in cross(("randread",), (1, 32), jobs=(count,),
                             queues=(count,), repeat=repeat)]


SETS = {
    "quick": ("randread QD 1 and 32", lambda:
              cross(WAYS[:1], (1, 32))),
    "proposal": ("randread polled QD 1 to 32, and a few of the rest", lambda:
                 cross(WAYS[:1], DEPTHS, (True,))
                 + cross(WAYS[1:2], (1, 32), (True,), repeat=2)
                 + cross(WAYS[:1], (1, 32), (False,), repeat=2)),
    "default": ("random reads and writes QD 1 to 32", lambda:
                cross(WAYS[:2], DEPTHS, repeat=4)),
    "full": ("QD 1 to 128, mixed, sequential 64k and 1M, jobs and queues "
             "1 to 4: hours", lambda:
             cross(WAYS[:1], ALL_DEPTHS)
             + cross(WAYS[1:3], (1, 8, 32, 128), repeat=2)
             + cross(WAYS[3:], (1, 8, 32), sizes=("64k", "1M"), repeat=2)
             + cross(WAYS[:1], (1, 32), (True,), jobs=(2, 4), repeat=2)
             + scaling(repeat=2)),
}


def _numbers(text):
    return [int(word) for word in text.split(",")]


def add_options(parser):
    group = parser.add_argument_group(
        "jobs", "a set, or what is named instead; lists with commas")
    group.add_argument("--set", default=None, choices=SETS,
                       help="\n".join(f"{name}: {text}" for name, (text, _)
                                      in SETS.items()))
    for name in ("quick", "full"):
        group.add_argument("--" + name, action="store_const", const=name,
                           dest="set", help=f"short for --set={name}")
    group.add_argument("--rw", metavar="WAYS", help=", ".join(WAYS))
    group.add_argument("--bs", metavar="SIZES", help="4k, 64k, 1M, ...")
    group.add_argument("--qd", type=_numbers, metavar="DEPTHS")
    group.add_argument("--jobs", type=_numbers, metavar="NUMBERS",
                       help="fio's threads")
    group.add_argument("--queues", type=_numbers, metavar="NUMBERS",
                       help="of the disk, as many of each kind, and of vCPUs")
    group.add_argument("--polled", action="store_true",
                       help="only jobs that poll for completions")
    group.add_argument("--interrupt", action="store_true",
                       help="only jobs that wait for interrupts")
    group.add_argument("--repeat", type=int,
                       help="timed runs of each job (default 2 to 4)")


def selected(options, may_write):
    """The jobs that the command line wants."""
    named = [options.rw, options.bs, options.qd, options.jobs, options.queues]
    if any(named):
        ways = options.rw.split(",") if options.rw else WAYS[:1]
        for rw in ways:
            if rw not in WAYS:
                raise SystemExit(f"error: --rw={rw} is not one of "
                                 f"{', '.join(WAYS)}")
        jobs = cross(ways, options.qd or DEPTHS,
                     sizes=options.bs.split(",") if options.bs else ("4k",),
                     jobs=options.jobs or (1,), queues=options.queues or (1,))
    else:
        jobs = SETS[options.set or "default"][1]()
    if options.polled != options.interrupt:
        jobs = [job for job in jobs if job.polled == options.polled]
    if not may_write:
        jobs = [job for job in jobs if not job.writes()]
    if options.repeat:
        jobs = [dataclasses.replace(job, repeat=options.repeat)
                for job in jobs]
    # A point may be in two parts of a set.
    return list(dict.fromkeys(jobs))
