# SPDX-License-Identifier: GPL-2.0-or-later
"""What a report is made of, before it becomes HTML or Markdown.

Each block gives itself as html() and as markdown(); of charts the latter has
only the names.
"""

from svg import element, escape


def fold(brief, content, opened):
    """Printed in any case."""
    return element("details", element("summary", escape(brief)) + content,
                   open="open" if opened else None)


class Heading:
    """level is 1 to 6; name is what a link refers to."""

    def __init__(self, level, text, name=None):
        self.level, self.text, self.name = level, text, name

    def html(self):
        return element(f"h{self.level}", escape(self.text), id=self.name)

    def markdown(self):
        return "#" * self.level + " " + self.text


class Text:
    """A paragraph."""

    def __init__(self, text, class_=None):
        self.text, self.class_ = text, class_

    def html(self):
        return element("p", escape(self.text), class_=self.class_)

    def markdown(self):
        return _plain(self.text)


class Items:
    """A list."""

    def __init__(self, items):
        self.items = list(items)

    def html(self):
        return element("ul", "".join(element("li", escape(item))
                                     for item in self.items))

    def markdown(self):
        return "\n".join("- " + _plain(item) for item in self.items)


class Code:
    """Lines as they are typed.  brief: these lines are too many for the
    Markdown, and on the page folded away under this heading."""

    def __init__(self, lines, brief=None):
        self.lines, self.brief = list(lines), brief

    def html(self):
        lines = element("pre", escape("\n".join(self.lines)))
        return fold(self.brief, lines, opened=False) if self.brief else lines

    def markdown(self):
        return None if self.brief else \
            "\n".join("    " + line for line in self.lines)


class Facts:
    """Names and values."""

    def __init__(self, facts):
        self.facts = facts

    def html(self):
        return element("dl", "".join(
            element("dt", escape(name)) + element("dd", escape(value) or "-")
            for name, value in self.facts.items()))

    def markdown(self):
        return "\n".join(f"- {name}: {_plain(str(value))}"
                         for name, value in self.facts.items())


class Cell:
    """Text with a second, smaller line, and how it is to look."""

    def __init__(self, text, small="", look=""):
        self.text, self.small, self.look = str(text), small, look

    def html(self, tag, left):
        content = escape(self.text)
        if self.small:
            content += element("small", escape(self.small))
        look = " ".join(filter(None, ("left" if left else "", self.look)))
        return f"<{tag}" + (f' class="{look}"' if look else "") + \
            f">{content}</{tag}>"

    def markdown(self):
        text = " ".join(filter(None, (self.text, self.small)))
        text = _plain(text).replace("|", "\\|")
        return f"**{text}**" if "strong" in self.look else text


def cells(values):
    return [value if isinstance(value, Cell) else Cell(value)
            for value in values]


class Table:
    """left: which columns hold words; the others hold figures.

    Rows whose first cell looks "strong" are ours.  brief: a heading under
    which a reader of the page can fold it away.  page_only: too much for the
    Markdown.  folded: folded away at first.
    """

    def __init__(self, head, rows, left=(0,), brief=None, page_only=False,
                 folded=False):
        self.head, self.left, self.brief = cells(head), left, brief
        self.page_only, self.folded = page_only, folded
        self.rows = [cells(row) for row in rows]

    def html(self):
        def line(tag, row):
            return "".join(cell.html(tag, i in self.left)
                           for i, cell in enumerate(row))

        body = "".join(
            element("tr", line("td", row),
                    class_="ours" if "strong" in row[0].look else None)
            for row in self.rows)
        table = element("div", element(
            "table", element("thead", element("tr", line("th", self.head)))
            + element("tbody", body)), class_="scroll")
        if not self.brief:
            return table
        return fold(self.brief, table, not self.folded)

    def markdown(self):
        if self.page_only:
            return None
        lines = ["| " + " | ".join(cell.markdown() for cell in self.head)
                 + " |",
                 "|" + "|".join("---" if i in self.left else "--:"
                                for i in range(len(self.head))) + "|"]
        lines += ["| " + " | ".join(cell.markdown() for cell in row) + " |"
                  for row in self.rows]
        return "\n".join(([_plain(self.brief), ""] if self.brief else [])
                         + lines)


class Charts:
    """Pictures side by side where there is room: (caption, SVG) each."""

    def __init__(self, charts, wide=False):
        self.charts, self.wide = charts, wide

    def html(self):
        return element("div", "".join(
            element("figure", element("figcaption", escape(caption))
                    + element("div", image, class_="scroll"))
            for caption, image in self.charts),
            class_="charts wide" if self.wide else "charts")

    def markdown(self):
        return "\n".join("- in report.html: " + _plain(caption)
                         for caption, _ in self.charts)


def _plain(text):
    """Markdown would take these for its own."""
    for character in "\\`*_<":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def to_markdown(blocks):
    texts = [block.markdown() for block in blocks]
    return "\n\n".join(text for text in texts if text) + "\n"
