# SPDX-License-Identifier: GPL-2.0-or-later
"""The report on one file of results, section by section."""

import charts
import palette
import proposal
import verdicts
from charts import Bar, FULL, HALF
from document import Cell, Charts, Code, Facts, Heading, Items, Table, Text
from results import (HEADLINE, SUBJECT, WAYS, block_bytes, is_ours,
                     is_rival, is_virtqueue, rank)
from svg import number

NONE = "-"


def config_cell(config):
    return Cell(config, look="strong" if config == SUBJECT else "")


def kiops(row):
    return number(row.iops / 1000)


def span(row):
    return f"{number(row.low / 1000)}\N{NO-BREAK SPACE}to" \
           f"\N{NO-BREAK SPACE}{number(row.high / 1000)}"


def spread(row):
    return f"±{row.spread() * 100:.0f}\N{NO-BREAK SPACE}%" \
        if len(row.runs) > 1 else ""


def times(ratio):
    return NONE if ratio is None else f"{ratio:.2f}"


def optional(row, key, digits=None):
    value = row.get(key)
    if value is None:
        return NONE
    return number(value) if digits is None else f"{value:.{digits}f}"


def anchor(results, section):
    return f"{results.name}-{section}"


# The head of the chapter

def measured(results):
    """How the figures came about."""
    fewest, most = results.repetitions()
    runs = f"{fewest} to {most} runs" if fewest != most else f"{most} runs"
    how = "Each figure is of a single run, without a spread. " if most == 1 \
        else (f"Each figure is the median of {runs}; ranges and whiskers "
              "reach from the slowest to the fastest run, ± is half of that, "
              "relative to the median "
              f"({results.typical_spread() * 100:.0f} % in the typical row). ")
    yield Heading(2, results.name, results.name)
    if results.machine:
        yield Facts(results.machine)
    if not set(results.machine) - {"results written"}:
        yield Text("The results say nothing about the machine that they come "
                   "from.", "missing")
    yield Text(
        f"{len(results.rows)} rows, {len(results.configs)} contenders. {how}"
        "k is a thousand. "
        "A ratio is IOPS of passthrough divided by IOPS of the other; above 1 "
        "passthrough is faster. What was not measured is a dash.")
    if results.commands:
        first, *others = results.commands
        yield Code([first])
        if others:
            yield Code(others, f"the {len(others)} commands that it ran")
    if results.notes:
        yield Items(results.notes)


def summary(results):
    """One line for the top of the page."""
    goals = list(verdicts.goals(results))
    known = [goal for goal in goals if goal.holds is not None]
    parts = [f"{sum(goal.holds for goal in known)} of {len(known)} goals hold"
             if known else "no goal was measured"]
    if known and len(goals) > len(known):
        parts[0] += f", {len(goals) - len(known)} were not measured"
    lost = list(verdicts.losses(results))
    for measure, what in verdicts.MEASURES.items():
        points = len(list(verdicts.compared(results, measure)))
        count = sum(loss.measure == measure for loss in lost)
        parts.append(f"a rival has {what} in {count} of {points} comparisons"
                     if points else f"{what}: nothing to compare")
    return f"{results.name}: " + "; ".join(parts) + "."


# 1. The proposal

def of_2020(results):
    yield Heading(3, "1. The proposal of June 2020, row by row",
                  anchor(results, "proposal"))
    ours = results.simple(HEADLINE)
    if not any(qd in proposal.DEPTHS for _, qd in ours):
        yield Text(f"No {HEADLINE} at one of its depths in these results.",
                   "missing")
        return
    yield Text("fio, randread 4k, polled: kIOPS there (on another "
               "machine) and here. What can be compared are the ratios.")
    head = ["where", "here called"] + [
        Cell(f"QD {qd}", when) for when in ("2020", "here")
        for qd in proposal.DEPTHS]
    rows = []
    for where, config, figures in proposal.ROWS:
        found = [ours.get((config, qd)) for qd in proposal.DEPTHS]
        rows.append([Cell(where, look="strong" if config == SUBJECT else ""),
                     config, *figures,
                     *(Cell(kiops(row), spread(row)) if row else NONE
                       for row in found)])
    yield Table(head, rows, left=(0, 1))
    head[:2] = ["passthrough divided by", "here called"]
    yield Table(head, [
        [proposal.label(config), config,
         *(times(proposal.their_ratio(config, qd))
           for qd in proposal.DEPTHS),
         *(Cell(times(proposal.our_ratio(results, config, qd)),
                look="strong") for qd in proposal.DEPTHS)]
        for config in proposal.RATIOS], left=(0, 1))
    drawn = [chart for config in proposal.CHARTED
             for chart in _ratio_chart(results, config)]
    if drawn:
        yield Charts(drawn)


def _ratio_chart(results, config):
    groups = []
    for qd in proposal.DEPTHS:
        here = proposal.our_ratio(results, config, qd)
        if here is not None:
            there = proposal.their_ratio(config, qd)
            groups.append((f"QD {qd}", [
                Bar("2020", there, palette.style("guest-null"),
                    f"2020, QD {qd}: {there:.2f}"),
                Bar("here", here, palette.style(SUBJECT),
                    f"here, QD {qd}: {here:.2f}")]))
    if groups:
        caption = f"passthrough / {config}: the proposal and here"
        yield caption, charts.grouped_bars(
            caption, groups, "times (the line is 1: as fast)", mark=1)


# 2. Charts

def pictures(results):
    yield Heading(3, "2. Charts", anchor(results, "charts"))
    yield Heading(4, "IOPS over the queue depth")
    first, *others = results.combinations
    yield Charts([_iops(results, first, FULL)], wide=True)
    if others:
        yield Charts([_iops(results, other, HALF) for other in others])
    yield from _latency(results)
    yield from _cpu(results)
    yield from _queues(results)
    yield from _counts(results)


def _iops(results, combination, width):
    rows = list(results.simple(combination).values())
    caption = f"{combination}: " + ("IOPS" if len(
        results.depths(combination)) > 1 else f"IOPS at QD {rows[0].qd}")
    if len(results.depths(combination)) > 1:
        image, far = charts.iops_over_depth(caption, rows, results.configs,
                                            width)
        if far:
            caption += "; far above the scale: " + ", ".join(
                f"{config} " + " / ".join(
                    kiops(row) for row in sorted(rows, key=lambda r: r.qd)
                    if row.config == config) for config in far)
    else:
        rows.sort(key=lambda row: results.configs.index(row.config))
        rows, far = charts.drawable(rows)
        image = charts.grouped_bars(
            caption, [(row.config, [_iops_bar("", row)]) for row in rows],
            "kIOPS", width)
        if far:
            caption += "; far above the scale: " + ", ".join(
                f"{row.config} {kiops(row)}"
                for row in results.simple(combination).values()
                if row.config in far)
    return caption, image


def _iops_bar(label, row):
    several = len(row.runs) > 1
    return Bar(label, row.iops / 1000, palette.style(row.config),
               f"{row.config} {label}: {kiops(row)} kIOPS ({span(row)})",
               row.low / 1000 if several else None,
               row.high / 1000 if several else None)


def _at(results, combination, qd, key):
    """Rows of all contenders at one depth that have this value."""
    found = results.simple(combination)
    return [found[config, qd] for config in results.configs
            if (config, qd) in found
            and found[config, qd].get(key) is not None]


def _latency(results):
    smallest = min(block_bytes(c.bs) for c in results.combinations)
    drawn = []
    for combination in results.combinations:
        qd = results.depths(combination)[0]
        rows = _at(results, combination, qd, "p50_us")
        if block_bytes(combination.bs) == smallest and rows:
            caption = f"{combination}, QD {qd}: latency"
            drawn.append((caption, charts.latencies(caption, rows)))
    yield Heading(4, "Latency")
    if drawn:
        yield Charts(drawn)
    else:
        yield Text("No latencies in these results.", "missing")
    if drawn and not results.has("p999_us"):
        yield Text("These results have no p99.9.", "missing")


def _typical(results, key):
    """Of each way of waiting, the combination that other figures go by."""
    for polled in (True, False):
        found = [c for c in results.combinations if c.polled == polled
                 and any(row.get(key) is not None for row in results.of(c))]
        if found:
            yield found[0]


def _ends(results, combination, key):
    depths = [qd for qd in results.depths(combination)
              if _at(results, combination, qd, key)]
    return sorted({depths[0], depths[-1]}) if depths else []


def _cpu(results):
    yield Heading(4, "Host CPU per million I/Os")
    if not results.has("cpu_s_per_mio"):
        yield Text("These results have no CPU time.", "missing")
        return
    yield Text("All threads of all processes that take part, on the host: a "
               "thread that polls counts for as long as it polls. vcpu "
               "includes the application in the guest.")
    drawn, tables = [], []
    for combination in _typical(results, "cpu_s_per_mio"):
        for qd in _ends(results, combination, "cpu_s_per_mio"):
            rows = _at(results, combination, qd, "cpu_s_per_mio")
            caption = f"{combination}, QD {qd}: host CPU"
            drawn.append((caption, charts.cpu_stacks(caption, rows)))
            kinds = charts.thread_kinds(rows)
            if kinds:
                tables.append(Table(
                    ["seconds per million I/Os", "all", *kinds],
                    [[config_cell(row.config), optional(row, "cpu_s_per_mio"),
                      *(number(row.get("cpu_by")[kind])
                        if kind in (row.get("cpu_by") or {}) else NONE
                        for kind in kinds)] for row in rows],
                    brief=f"{combination}, QD {qd}: CPU by kind of thread",
                    folded=True))
    yield Charts(drawn)
    yield from tables


def _queues(results):
    yield Heading(4, "More queues")
    drawn = []
    for combination in results.combinations:
        for qd in sorted({row.qd for row in results.of(combination)}):
            drawn += _queues_chart(results, combination, qd)
    if drawn:
        yield Charts(drawn)
    else:
        yield Text("No contender was measured with more than one number of "
                   "queues.", "missing")


def _queues_chart(results, combination, qd):
    """Queues with the same load, or with a job for each: what shows more."""
    rows = [row for row in results.of(combination) if row.qd == qd]
    point = f"{combination}, QD {qd}"
    found = [_grow(results, f"{point}, {jobs} "
                   + ("job" if jobs == 1 else "jobs") + ": IOPS by queues",
                   [row for row in rows if row.jobs == jobs],
                   lambda row: row.queues)
             for jobs in sorted({row.jobs for row in rows})]
    found.append(_grow(
        results, f"{point}: IOPS by queues, a job for each",
        [row for row in rows if row.queues in (None, row.jobs)],
        lambda row: row.jobs))
    most = max(counts for counts, _, _ in found)
    return [(caption, charts.grouped_bars(caption, groups, "kIOPS"))
            for counts, caption, groups in found if counts == most][:1] \
        if most > 1 else []


def _grow(results, caption, rows, count):
    """How many counts there are for one contender, and bars for a chart."""
    groups = []
    for config in results.configs:
        found = {count(row) or 0: row for row in rows if row.config == config}
        if found:
            groups.append((config, [_iops_bar(str(n or ""), row)
                                    for n, row in sorted(found.items())]))
    return max((len(bars) for _, bars in groups), default=0), caption, groups


COUNTS = (("exits_per_io", "VM exits"),
          ("irqs_per_io", "guest's interrupts"),
          ("host_irqs_per_io", "host's interrupts"),
          ("syscalls_per_io", "QEMU's syscalls"))


def _counts(results):
    yield Heading(4, "Exits, interrupts and system calls per I/O")
    known = [(key, name) for key, name in COUNTS if results.has(key)]
    if len(known) < len(COUNTS):
        yield Text("These results do not count " + ", ".join(
            name for key, name in COUNTS if not results.has(key)) + ".",
            "missing")
    if not known:
        return
    yield Text("VM exits are those above what a busy guest without I/O has.")
    for combination in sorted({c for key, _ in known
                               for c in _typical(results, key)},
                              key=lambda c: c.order()):
        found = results.simple(combination)
        depths = sorted({qd for key, _ in known
                         for qd in _ends(results, combination, key)})
        yield Table(
            ["per I/O", *(Cell(name, f"QD {qd}") for _, name in known
                          for qd in depths)],
            [[config_cell(config), *(
                optional(found[config, qd], key, 3)
                if (config, qd) in found else NONE
                for key, _ in known for qd in depths)]
             for config in results.configs
             if any((config, qd) in found
                    and found[config, qd].get(key) is not None
                    for qd in depths for key, _ in known)],
            brief=str(combination))


# 3. Tables

def tables(results):
    yield Heading(3, "3. All rows", anchor(results, "rows"))
    yield Text("kIOPS; the second line is the spread, and × what passthrough "
               "has, as a multiple of the row's IOPS.")
    for combination in results.combinations:
        yield _matrix(results, combination)
        yield _all_rows(results, combination)
    yield from rival_wins(results)


def _matrix(results, combination):
    found = results.simple(combination)
    depths = results.depths(combination)
    rows = []
    for config in results.configs:
        line = [found.get((config, qd)) for qd in depths]
        if any(line):
            rows.append([config_cell(config), *(
                NONE if row is None else Cell(kiops(row), " ".join(filter(
                    None, (spread(row), _multiple(found, row)))))
                for row in line)])
    return Table([str(combination), *(f"QD {qd}" for qd in depths)], rows)


def _multiple(found, row):
    ours = found.get((SUBJECT, row.qd))
    return f"×{ours.ratio(row):.2f}" \
        if ours and row.config != SUBJECT and row.iops else ""


def _all_rows(results, combination):
    rows = sorted(results.of(combination), key=lambda row: (
        results.configs.index(row.config), row.jobs, row.queues or 0, row.qd))
    optionals = [(key, name, digits) for key, name, digits in (
        ("p50_us", "p50 µs", None), ("p99_us", "p99 µs", None),
        ("p999_us", "p99.9 µs", None), ("cpu_s_per_mio", "CPU s/M", None),
        *((key, name, 3) for key, name in COUNTS))
        if any(row.get(key) is not None for row in rows)]
    queues = any(row.queues for row in rows)
    large = block_bytes(combination.bs) >= 64 << 10
    head = ["contender", "QD", "jobs", *(["queues"] if queues else ()),
            "kIOPS", "slowest to fastest", "±",
            *(["MiB/s"] if large else ()),
            *(name for _, name, _ in optionals), "passthrough / this",
            "served by"]
    lines = []
    for row in rows:
        ours = row.config != SUBJECT and results.beside(row, SUBJECT)
        lines.append([
            config_cell(row.config), row.qd, row.jobs,
            *([row.queues or NONE] if queues else ()),
            kiops(row), span(row), spread(row) or NONE,
            *([number(row.iops * block_bytes(combination.bs) / (1 << 20))]
              if large else ()),
            *(optional(row, key, digits) for key, _, digits in optionals),
            times(ours.ratio(row) if ours else None),
            row.get("served_by") or NONE])
    return Table(head, lines, left=(0, len(head) - 1), page_only=True,
                 brief=f"{combination}: every figure of its {len(lines)} "
                       "rows", folded=True)


def rival_wins(results):
    yield Heading(3, "Where a rival wins", anchor(results, "rivals"))
    yield Text("Every point at which another virtual disk has more IOPS than "
               "passthrough, or takes less host CPU per I/O. Ranges that "
               "overlap mean that another run could have it the other way.")
    if not any(is_rival(config) for config in results.configs):
        yield Text("These results have no rival.", "missing")
        return
    lost = list(verdicts.losses(results))
    for measure, what in verdicts.MEASURES.items():
        points = [theirs.config for _, theirs
                  in verdicts.compared(results, measure)]
        if not points:
            yield Text(f"{what.capitalize()}: nothing to compare.", "missing")
        elif not any(loss.measure == measure for loss in lost):
            yield Text(f"No rival has {what}, in {len(points)} comparisons.")
        for config in results.configs:
            mine = [loss for loss in lost
                    if (loss.measure, loss.rival) == (measure, config)]
            if mine:
                yield Heading(4, f"{config} has {what} at {len(mine)} of "
                              f"{points.count(config)} points")
                yield from _losses(results, measure, mine)


def _losses(results, measure, lost):
    reasons = [verdicts.reason(results, loss) for loss in lost]
    alike = len(set(reasons)) == 1
    if alike:
        yield Text("Why: " + reasons[0],
                   "missing" if reasons[0] == verdicts.NO_REASON else None)
    unit = "kIOPS" if measure == "iops" else "CPU s/M"
    head = ["point", f"rival, {unit}", f"passthrough, {unit}",
            "rival / passthrough"]
    head += ["ranges"] if measure == "iops" else []
    head += [] if alike else ["why"]
    rows = []
    for loss, why in zip(lost, reasons):
        rows.append([_point(loss), *(
            Cell(kiops(row), spread(row)) if measure == "iops"
            else optional(row, "cpu_s_per_mio")
            for row in (loss.theirs, loss.ours)), times(loss.ratio)])
        if measure == "iops":
            rows[-1].append("overlap" if loss.ours.overlaps(loss.theirs)
                            else "apart")
        rows[-1] += [] if alike else [why]
    left = {0, *(i for i, name in enumerate(head) if name in ("ranges",
                                                              "why"))}
    yield Table(head, rows, left=left)


def _point(loss):
    ours, theirs = loss.ours, loss.theirs
    text = f"{ours.combination}, QD {ours.qd}"
    if ours.jobs != 1:
        text += f", {ours.jobs} jobs"
    if ours.queues not in (None, 1) or theirs.queues not in (None, 1):
        text += f", {theirs.queues or 1} : {ours.queues or 1} queues"
    return text


# 4. Goals

def goals(results):
    yield Heading(3, "4. Goals", anchor(results, "goals"))
    yield Text(f"As they were set for {HEADLINE}.")
    looks = {True: Cell("yes", look="yes"), False: Cell("NO", look="no"),
             None: Cell("?", look="missing")}
    yield Table(["goal", "where", "figure", "wanted", "holds"],
                [[goal.text, goal.where, goal.figure, goal.wanted,
                  looks[goal.holds]] for goal in verdicts.goals(results)],
                left=(0, 1, 2, 3, 4))
    others = [c for c in results.combinations if c != HEADLINE
              and any(config == SUBJECT for config, _ in results.simple(c))]
    if others and any(not is_ours(config) for config in results.configs):
        yield Text("The same measures elsewhere, where no goal was set; "
                   "the least over all depths of each:")
        yield Table(["", "/ bare-metal-sqpoll at QD 1",
                     "/ the lower of bare-metal-sqpoll and guest-null",
                     "/ the best virtqueue rival",
                     "/ the best rival of all"],
                    [_elsewhere(results, c) for c in sorted(
                        others, key=lambda c: (not c.polled, rank(c.rw, WAYS),
                                               block_bytes(c.bs)))])


def _elsewhere(results, combination):
    depths = results.depths(combination)

    def least(figures):
        found = [(ratio, note) for ratio, note in figures if ratio is not None]
        return Cell(times(min(found)[0]), min(found)[1]) if found else NONE

    def over(wanted):
        nearest = [verdicts.least_over(results, combination, qd, wanted)
                   for qd in depths]
        return least((near.ratio, f"{near.config}, QD {near.qd}")
                     for near in nearest if near)

    return [str(combination),
            times(verdicts.of_bare_metal(results, combination, 1)),
            least((verdicts.of_the_ceiling(results, combination, qd)[0],
                   f"QD {qd}") for qd in depths),
            over(is_virtqueue), over(is_rival)]


SECTIONS = (measured, of_2020, pictures, tables, goals)


def chapter(results):
    """All blocks about one file of results."""
    for section in SECTIONS:
        yield from section(results)
