# SPDX-License-Identifier: GPL-2.0-or-later
"""What was to be reached and whether it was; where a rival does better."""

import math
from collections import namedtuple

from results import HEADLINE, SUBJECT, is_rival, is_virtqueue

OF_BARE_METAL = 0.87
OF_THE_CEILING = 0.95
# 0.00, as printed
NOTHING = 0.005
NO_REASON = "no reason found yet"

# holds is None when there is no figure.
Goal = namedtuple("Goal", "text where figure wanted holds")
Loss = namedtuple("Loss", "measure rival ours theirs ratio")
# The smallest ratio, and to whom and where.
Least = namedtuple("Least", "ratio config qd")


def of_bare_metal(results, combination, qd):
    ours = results.simple(combination).get((SUBJECT, qd))
    return ours and ours.ratio(results.beside(ours, "bare-metal-sqpoll"))


def of_the_ceiling(results, combination, qd):
    """Our share of what bare metal or an empty guest reach, whichever is less.

    None unless both were measured.
    """
    ours = results.simple(combination).get((SUBJECT, qd))
    limits = [ours and results.beside(ours, config)
              for config in ("bare-metal-sqpoll", "guest-null")]
    if not all(limits):
        return None, None
    lower = min(limits, key=lambda row: row.iops)
    return ours.ratio(lower), lower.config


def least_over(results, combination, qd, wanted=is_virtqueue):
    """The rival that comes closest to us at a depth, or passes us."""
    ours = results.simple(combination).get((SUBJECT, qd))
    ratios = []
    for config in results.configs:
        theirs = ours and wanted(config) and results.beside(ours, config)
        if theirs and theirs.iops:
            ratios.append(Least(ours.ratio(theirs), config, qd))
    return min(ratios, default=None)


def cut(ratio):
    """Three digits, rounded down: 0.9499 must not look like 0.95."""
    return f"{math.floor(ratio * 1000) / 1000:.3f}"


def _goal(text, where, ratio, wanted, against=""):
    figure = "not measured" if ratio is None else cut(ratio) + against
    return Goal(text, where, figure, wanted,
                None if ratio is None else ratio >= float(wanted.split()[-1]))


def goals(results, combination=HEADLINE):
    depths = results.depths(combination) or (1, 8, 16, 32)
    yield _goal("passthrough / bare-metal-sqpoll", "QD 1",
                of_bare_metal(results, combination, 1),
                f"at least {OF_BARE_METAL}")
    for qd in depths:
        ratio, lower = of_the_ceiling(results, combination, qd)
        yield _goal("passthrough / the lower of bare-metal-sqpoll and "
                    "guest-null", f"QD {qd}", ratio,
                    f"at least {OF_THE_CEILING}", f" of {lower}")
    for qd in depths:
        least = least_over(results, combination, qd)
        yield Goal("passthrough / the best virtqueue rival", f"QD {qd}",
                   f"{cut(least.ratio)} times {least.config}" if least
                   else "not measured", "above 1",
                   least and least.ratio > 1)
    for key, what in (("exits_per_io", "VM exits per I/O"),
                      ("syscalls_per_io", "QEMU system calls per I/O")):
        for qd in depths:
            row = results.simple(combination).get((SUBJECT, qd))
            count = row and row.get(key)
            yield Goal(f"{what} of passthrough", f"QD {qd}",
                       "not measured" if count is None else f"{count:.3f}",
                       "0.00", None if count is None else count < NOTHING)


MEASURES = {"iops": "more IOPS", "cpu": "less host CPU per I/O"}


def compared(results, measure):
    """Pairs of rows, ours and a rival's, that have this measure."""
    for ours in results.rows:
        if ours.config != SUBJECT:
            continue
        for config in filter(is_rival, results.configs):
            theirs = results.beside(ours, config)
            if theirs and (measure == "iops" or None not in (
                    ours.get("cpu_s_per_mio"), theirs.get("cpu_s_per_mio"))):
                yield ours, theirs


def losses(results):
    """Every point where a rival has more IOPS, or takes less CPU per I/O."""
    for ours, theirs in compared(results, "iops"):
        if theirs.iops > ours.iops:
            yield Loss("iops", theirs.config, ours, theirs, theirs.ratio(ours))
    for ours, theirs in compared(results, "cpu"):
        mine, other = (row.get("cpu_s_per_mio") for row in (ours, theirs))
        if other < mine:
            yield Loss("cpu", theirs.config, ours, theirs, other / mine)


def reason(results, loss):
    """The reason that was given for a loss, the closest one first."""
    combination = loss.ours.combination
    how = "polled" if combination.polled else "interrupt"
    words = [loss.rival, loss.measure,
             f"{combination.rw} {combination.bs} {how}", f"QD {loss.ours.qd}"]
    while words:
        found = results.reasons.get(" ".join(words))
        if found:
            return found
        words.pop()
    return NO_REASON
