# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of charts of the report, each a function that gives SVG."""

import math

import palette
import svg
from results import SUBJECT, is_ours, is_reference

HALF, FULL = 550, 1120
# References so far above the rest are named and not drawn, or the rest
# would be a line along the bottom.
FAR_ABOVE = 3
LINE = 15       # pixels from one line of text to the next
ROW = 22
WHISKER = 2.5


def text_width(texts):
    return max((len(text) for text in texts), default=0) * svg.CHARACTER


def name_class(config):
    return "name strong" if config == SUBJECT else "name"


class Scale:
    """From a value to a pixel; linear from zero, or logarithmic."""

    def __init__(self, ticks, start, end, log=None):
        """log: the lowest and the highest value of a logarithmic scale."""
        self.ticks = ticks
        self.start, self.end, self.log = start, end, log

    def __call__(self, value):
        low, high = self.log or (0, self.ticks[-1])
        share = math.log(max(value, low) / low) / math.log(high / low) \
            if self.log else value / high
        return self.start + share * (self.end - self.start)


# IOPS over the queue depth

def drawable(rows):
    """The rows for which there is room, and the configs that are far above."""
    bound = FAR_ABOVE * max((row.iops for row in rows
                             if not is_reference(row.config)),
                            default=math.inf)
    far = {row.config for row in rows
           if is_reference(row.config) and row.iops > bound}
    return [row for row in rows if row.config not in far], sorted(far)


def iops_over_depth(title, rows, configs, width=HALF):
    """rows of one combination; gives SVG and the configs left out of it."""
    rows, far = drawable(rows)
    names = [config for config in configs
             if any(row.config == config for row in rows)]
    depths = sorted({row.qd for row in rows})
    left, top = 52, 26
    right = width - text_width(names) - 82
    bottom = top + max(290 if width == HALF else 340, len(names) * LINE)
    up = Scale(svg.nice_ticks(max(row.high for row in rows) / 1000),
               bottom, top)
    inset = 14
    span = math.log2(depths[-1] / depths[0]) or 1

    def across(qd):
        return left + inset + (right - left - 2 * inset) * (
            math.log2(qd / depths[0]) / span if len(depths) > 1 else .5)

    parts = [svg.label(left - 8, 12, "kIOPS", "axis", "end")]
    for tick in up.ticks:
        parts += [svg.line(left, up(tick), right, up(tick),
                           "grid" if tick else "rule"),
                  svg.label(left - 8, up(tick) + 4, svg.tick_label(tick),
                            "axis", "end")]
    for qd in depths:
        parts += [svg.line(across(qd), bottom, across(qd), bottom + 5, "rule"),
                  svg.label(across(qd), bottom + 19, qd, "axis", "middle")]
    parts.append(svg.label((left + right) / 2, bottom + 37,
                           "queue depth (each step doubles)", "axis",
                           "middle"))
    ends = [max((row for row in rows if row.config == name),
                key=lambda row: row.qd) for name in names]
    places = svg.apart([up(row.iops / 1000) for row in ends], LINE, top,
                       bottom)
    # Ours last: on top of the others.
    for i in sorted(range(len(names)),
                    key=lambda i: (names[i] == SUBJECT, is_ours(names[i]))):
        # Side by side, or the whiskers of one depth would be one line.
        aside = (i - (len(names) - 1) / 2) * min(2.2, 20 / len(names))
        parts.append(_curve([row for row in rows if row.config == names[i]],
                            lambda row, aside=aside: (
                                across(row.qd) + aside, up(row.iops / 1000)),
                            up, places[i], right))
    return svg.image(width, bottom + 46, title, "".join(parts)), far


def _curve(rows, place, up, label_y, right):
    rows.sort(key=lambda row: row.qd)
    config = rows[0].config
    style = palette.style(config)
    points = [place(row) for row in rows]
    last_x, last_y = points[-1]
    parts = [svg.element(
        "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        stroke_dasharray=style.dash, class_="curve")]
    for row, (x, y) in zip(rows, points):
        if len(row.runs) > 1:
            parts += [svg.line(x, up(row.low / 1000), x, up(row.high / 1000),
                               "whisker")]
            parts += [svg.line(x - WHISKER, up(end / 1000), x + WHISKER,
                               up(end / 1000), "whisker")
                      for end in (row.low, row.high)]
        parts.append(svg.marker(
            style.marker, x, y, 5 if config == SUBJECT else 3.5,
            f"{config}, QD {row.qd}: {svg.number(row.iops / 1000)} kIOPS "
            f"({svg.number(row.low / 1000)} to "
            f"{svg.number(row.high / 1000)})"))
    parts += [svg.element("path", class_="leader", d=(
                  f"M{last_x + 7:.1f} {last_y:.1f}L{right + 2:.1f} "
                  f"{label_y:.1f}h6")),
              svg.marker(style.marker, right + 16, label_y, 4),
              svg.label(right + 26, label_y + 4,
                        f"{config} {svg.number(rows[-1].iops / 1000)}",
                        name_class(config))]
    return svg.series(style, "".join(parts), config == SUBJECT)


# Percentiles of the latency

PERCENTILES = (("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9"))
COLUMN = 56
HEAD = palette.Style("muted", "", "")


def latencies(title, rows, width=HALF):
    """A dot for each percentile of each row."""
    shown = [(key, name) for key, name in PERCENTILES
             if any(row.get(key) is not None for row in rows)]
    left = text_width(row.config for row in rows) + 20
    right = width - 14 - COLUMN * len(shown)
    top, bottom = 28, 28 + ROW * len(rows)
    values = [row.get(key) for row in rows for key, _ in shown
              if row.get(key)] or [1]
    log = max(values) > 8 * min(values)
    across = _log_scale(min(values), max(values), left + 6, right - 6) \
        if log else Scale(svg.nice_ticks(max(values)), left + 6, right - 6)
    parts = _vertical_grid(across, top, bottom,
                           "µs, logarithmic" if log else "µs")
    for i, (_, name) in enumerate(shown):
        x = right + COLUMN * (i + 1) - 8
        parts += [svg.series(HEAD, _percentile_mark(
                      i, x - text_width([name]) - 11, 12)),
                  svg.label(x, 16, name, "axis", "end")]
    for number, row in enumerate(rows):
        y = top + ROW * (number + .5)
        style = palette.style(row.config)
        if row.config == SUBJECT:
            parts.append(_tint(y, width))
        parts.append(svg.label(left - 8, y + 4, row.config,
                               name_class(row.config), "end"))
        dots = [(i, row.get(key), name) for i, (key, name)
                in enumerate(shown) if row.get(key) is not None]
        drawn = [svg.line(across(dots[0][1]), y, across(dots[-1][1]), y,
                          "whisker")] if dots else []
        for i, value, name in dots:
            drawn.append(_percentile_mark(
                i, across(value), y,
                f"{row.config} {name}: {svg.number(value)} µs"))
        parts.append(svg.series(style, "".join(drawn),
                                row.config == SUBJECT))
        parts += [svg.label(right + COLUMN * (i + 1) - 8, y + 4,
                            svg.number(value), name_class(row.config), "end")
                  for i, value, _ in dots]
    return svg.image(width, bottom + 40, title, "".join(parts))


def _log_scale(low, high, start, end):
    """With as many ticks as have room for their labels."""
    ends = svg.log_ends(low, high)
    for steps in ((1, 2, 5), (1, 5), (1,)):
        across = Scale(svg.log_ticks(*ends, steps), start, end, ends)
        if all(across(b) - across(a) > text_width([svg.tick_label(b)]) + 6
               for a, b in zip(across.ticks, across.ticks[1:])):
            break
    return across


def _percentile_mark(i, x, y, title=""):
    return svg.marker(("circle", "circle", "diamond")[i], x, y, 4.5, title,
                      ("mark", "mark hollow", "mark")[i])


def _vertical_grid(across, top, bottom, unit):
    parts = [svg.label((across.start + across.end) / 2, bottom + 34, unit,
                       "axis", "middle")]
    end = -math.inf
    for tick in across.ticks:
        x = across(tick)
        parts.append(svg.line(x, top, x, bottom, "rule" if tick == 0
                              else "grid"))
        half = text_width([svg.tick_label(tick)]) / 2
        if x - half > end:      # where two labels would touch, the first
            parts.append(svg.label(x, bottom + 17, svg.tick_label(tick),
                                   "axis", "middle"))
            end = x + half + 4
    return parts


def _tint(y, width):
    return svg.element("rect", x=0, y=y - ROW / 2, width=width, height=ROW,
                       class_="tint")


# CPU time, stacked

def thread_kinds(rows):
    """Those that occur, in the order of the stack."""
    found = {kind for row in rows for kind in row.get("cpu_by") or {}}
    return sorted(found, key=lambda kind: (
        list(palette.THREADS).index(kind) if kind in palette.THREADS
        else len(palette.THREADS), kind))


def cpu_stacks(title, rows, width=HALF):
    """A bar for each row; what cpu_by does not explain is other."""
    kinds = thread_kinds(rows)
    left = text_width(row.config for row in rows) + 20
    right = width - 60
    legend, top = _legend(kinds, left, width)
    bottom = top + ROW * len(rows)
    across = Scale(svg.nice_ticks(max(row.get("cpu_s_per_mio")
                                      for row in rows)), left, right)
    parts = legend + _vertical_grid(across, top, bottom,
                                    "seconds of host CPU per million I/Os")
    for i, row in enumerate(rows):
        y = top + ROW * (i + .5)
        total = row.get("cpu_s_per_mio")
        if row.config == SUBJECT:
            parts.append(_tint(y, width))
        parts.append(svg.label(left - 8, y + 4, row.config,
                               name_class(row.config), "end"))
        spent = dict(row.get("cpu_by") or {})
        rest = total - sum(spent.values())
        if rest > total * .005:
            spent["other"] = spent.get("other", 0) + rest
        x = 0
        for kind in [*kinds, *(() if "other" in kinds else ("other",))]:
            seconds = spent.get(kind, 0)
            if seconds > 0:
                parts.append(_segment(
                    kind, across(x), across(x + seconds), y,
                    f"{row.config}, {kind}: {svg.number(seconds)} s"))
                x += seconds
        parts.append(svg.label(across(x) + 6, y + 4, svg.number(total),
                               name_class(row.config)))
    return svg.image(width, bottom + 42, title, "".join(parts))


def _segment(kind, start, end, y, title):
    # A pixel of the page between neighbours.
    return svg.element("rect", svg.hint(title), x=start, y=y - 7,
                       width=max(end - start - 1, .6), height=14,
                       style="fill:var(--"
                             f"{palette.THREADS.get(kind, 'pale')})")


def _legend(kinds, left, width):
    """Squares with names, in as many lines as it takes; and where it ends."""
    parts, x, y = [], left, 14
    for kind in kinds:
        needs = text_width([kind]) + 34
        if x + needs > width:
            x, y = left, y + 18
        parts += [svg.element("rect", x=x, y=y - 9, width=10, height=10,
                              style="fill:var(--"
                                    f"{palette.THREADS.get(kind, 'pale')})"),
                  svg.label(x + 15, y, kind, "axis")]
        x += needs
    return parts, (y + 14 if kinds else 8)


# Bars in groups

class Bar:
    """value in the chart's unit; low and high are the ends of its whisker."""

    def __init__(self, label, value, style, title, low=None, high=None):
        self.label, self.value, self.style = label, value, style
        self.title, self.low, self.high = title, low, high


def grouped_bars(title, groups, unit, width=HALF, mark=None):
    """groups: (name, bars) one below the other; mark: a line to compare with.
    """
    thick, between = 14, 10
    within = text_width(bar.label for _, bars in groups for bar in bars)
    left = text_width(name for name, _ in groups) + within + 30
    right = width - 56
    top = 8
    bottom = top + sum(thick * len(bars) + between for _, bars in groups)
    most = max(bar.high or bar.value for _, bars in groups for bar in bars)
    across = Scale(svg.nice_ticks(max(most, mark or 0)), left, right)
    parts = _vertical_grid(across, top, bottom, unit)
    y = top + between / 2
    if mark:
        parts.append(svg.line(across(mark), top, across(mark), bottom,
                              "compare"))
    for name, bars in groups:
        strong = name_class(name)
        middle = y + thick * len(bars) / 2
        if name == SUBJECT:
            parts.append(svg.element(
                "rect", x=0, y=y - between / 2, width=width,
                height=thick * len(bars) + between, class_="tint"))
        parts.append(svg.label(left - within - 20, middle + 4, name, strong,
                               "end"))
        for bar in bars:
            parts.append(_bar(bar, across, left, y, thick,
                              "value" if mark else "name"))
            y += thick
        y += between
    return svg.image(width, bottom + 42, title, "".join(parts))


def _bar(bar, across, left, y, thick, label_class):
    middle = y + thick / 2
    end = across(bar.value)
    parts = [svg.element("rect", svg.hint(bar.title), x=left, y=y + 1,
                         width=max(end - left, .6), height=thick - 2,
                         class_="bar")]
    if bar.low is not None:
        parts.append(svg.line(across(bar.low), middle, across(bar.high),
                              middle, "error"))
        parts += [svg.line(across(x), middle - 3, across(x), middle + 3,
                           "error") for x in (bar.low, bar.high)]
        end = max(end, across(bar.high))
    if bar.label:
        parts.append(svg.label(left - 8, middle + 4, bar.label, "axis",
                               "end"))
    parts.append(svg.label(end + 6, middle + 4, svg.number(bar.value),
                           label_class))
    return svg.series(bar.style, "".join(parts))
