# SPDX-License-Identifier: GPL-2.0-or-later
"""Just enough SVG, to be put into a page: elements, text, markers, scales."""

import math

# A character of the charts' 12 pixel text is about this wide.
CHARACTER = 6.7


def escape(text):
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"),
                              ('"', "&quot;")):
        text = str(text).replace(character, entity)
    return text


def element(tag, content="", **attributes):
    """content is markup; class_ and stroke_width stand for class and so on."""
    text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for name, value in attributes.items() if value not in (None, ""))
    return f"<{tag}{text}>{content}</{tag}>" if content or tag == "g" \
        else f"<{tag}{text}/>"


def _short(value):
    return f"{value:.1f}".rstrip("0").rstrip(".") \
        if isinstance(value, float) else value


def label(x, y, text, class_="", anchor=None):
    return element("text", escape(text), x=x, y=y, class_=class_,
                   text_anchor=anchor)


def line(x1, y1, x2, y2, class_):
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def hint(text):
    """What a pointing device shows; also read aloud."""
    return element("title", escape(text))


MARKERS = {
    "circle": None,
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "diamond": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    "up": ((0, -1.25), (1.2, 0.95), (-1.2, 0.95)),
    "down": ((0, 1.25), (1.2, -0.95), (-1.2, -0.95)),
}


def marker(kind, x, y, size=4.0, title="", class_="mark"):
    title = hint(title) if title else ""
    if kind == "cross":
        return element("path", title, class_="cross", d=(
            f"M{x - size:.1f} {y - size:.1f}l{2 * size:.1f} {2 * size:.1f}"
            f"m0 {-2 * size:.1f}l{-2 * size:.1f} {2 * size:.1f}"))
    shape = MARKERS[kind]
    if shape is None:
        return element("circle", title, cx=x, cy=y, r=size, class_=class_)
    return element("polygon", title, class_=class_, points=" ".join(
        f"{x + dx * size * .9:.1f},{y + dy * size * .9:.1f}"
        for dx, dy in shape))


def series(style, content, ours=False):
    """A group in the colour of a style."""
    return element("g", content, class_="series ours" if ours else "series",
                   style=f"--c:var(--{style.colour})")


def image(width, height, title, content):
    # Narrower than this its text would be too small: the page scrolls it.
    return element("svg", hint(title) + content,
                   viewBox=f"0 0 {width} {height:.0f}", role="img",
                   style=f"min-width:{width * .85:.0f}px;"
                         f"max-width:{width * 1.15:.0f}px",
                   aria_label=title)


def nice_ticks(top, most=8):
    """Round numbers from 0 to at least top."""
    if top <= 0:
        return [0, 1]
    power = 10 ** math.floor(math.log10(top / most))
    step = next(power * n for n in (1, 2, 2.5, 5, 10, 20)
                if top / (power * n) <= most)
    return [step * n for n in range(math.ceil(top / step - 1e-9) + 1)]


def log_ticks(low, high, steps):
    """Of steps times a power of ten, those from low to high."""
    return [tick for tick in (step * 10.0 ** power for power in range(-4, 10)
                              for step in steps)
            if low * .999 <= tick <= high * 1.001]


def log_ends(low, high):
    """Round numbers below and above."""
    ticks = log_ticks(1e-4, 1e9, (1, 2, 5))
    return (max(tick for tick in ticks if tick <= max(low, 1e-4)),
            min(tick for tick in ticks if tick >= high))


def number(value):
    """Three digits where there are some: 585, 58.5, 5.85, 0.585."""
    if value >= 99.95 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def tick_label(value):
    return f"{value:,.10g}"


def apart(places, gap, low, high):
    """Move labels down, or up where the room ends: none covers another."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    floor = low
    for i in order:
        moved[i] = max(moved[i], floor)
        floor = moved[i] + gap
    ceiling = high
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved
