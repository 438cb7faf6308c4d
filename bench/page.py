# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as one HTML page that needs nothing else, and as Markdown."""

import os

import palette
import sections
from document import Heading, Items, Text, to_markdown
from svg import element, escape

TITLE = "virtio-blk-uring: the benchmark"
LEAD = ("passthrough is a guest that submits to the host's io_uring by "
        "itself; bare-metal is fio on the host; guest-null a guest's own "
        "null_blk, which is as fast as this guest can be; the others are "
        "the ways to a disk that QEMU has.")

CSS = """
:root{color-scheme:light dark;LIGHT}
@media (prefers-color-scheme:dark){:root{DARK}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:24px 20px 60px;
 background:var(--bg);color:var(--ink);
 font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:28px;line-height:1.2;margin:0 0 8px}
h2{font-size:23px;margin:44px 0 10px;padding-top:12px;
 border-top:3px solid var(--vermilion)}
h3{font-size:19px;margin:36px 0 8px}
h4{font-size:16px;margin:26px 0 6px}
p,ul{max-width:76ch;margin:8px 0 12px}
nav{margin:14px 0;line-height:1.9}
nav a{margin-right:16px;white-space:nowrap}
a{color:var(--blue)}
pre{background:var(--panel);padding:10px 14px;overflow-x:auto;font-size:13px;
 border-radius:6px}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px 18px;
 background:var(--panel);padding:12px 16px;border-radius:6px;font-size:14px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.missing{color:var(--muted);font-style:italic}
.lead{font-size:16px}
.verdict{border-left:4px solid var(--vermilion);background:var(--panel);
 padding:8px 16px;max-width:none}
.verdict ul{margin:0;max-width:none;padding-left:18px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;margin:10px 0 18px;
 font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;text-align:right;vertical-align:top;
 border-bottom:1px solid var(--grid);white-space:nowrap}
th{vertical-align:bottom;white-space:normal;border-bottom:2px solid var(--rule);
 font-weight:600}
thead th{background:var(--panel)}
.left{text-align:left}
td.left:not(:first-child){white-space:normal}
small{display:block;color:var(--muted);font-size:11.5px;font-weight:400}
tr.ours td{background:var(--tint)}
.strong{font-weight:700}
details{margin-bottom:10px}
.yes{color:var(--good);font-weight:700}
.no{color:var(--bad);font-weight:700}
summary{cursor:pointer;color:var(--muted);font-size:14px}
.charts{display:grid;gap:18px 20px;
 grid-template-columns:repeat(auto-fill,minmax(min(100%,530px),1fr));
 margin:12px 0 18px}
.charts.wide{grid-template-columns:minmax(0,1fr)}
figure{margin:0;padding:12px 12px 8px;border:1px solid var(--grid);
 border-radius:8px;min-width:0;break-inside:avoid}
figcaption{font-weight:600;font-size:14px;margin-bottom:8px}
svg{display:block;width:100%;height:auto;
 font:12px system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
svg text{fill:var(--ink);font-variant-numeric:tabular-nums}
svg .axis{fill:var(--muted)}
svg .strong{font-weight:700}
svg .value{paint-order:stroke;stroke:var(--bg);stroke-width:4px}
.grid{stroke:var(--grid)}
.rule{stroke:var(--rule)}
.compare{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}
.tint{fill:var(--tint)}
.curve{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.ours .curve{stroke-width:3.6}
.mark{fill:var(--c);stroke:var(--bg);stroke-width:.8}
.mark.hollow{fill:var(--bg);stroke:var(--c);stroke-width:2}
.cross{fill:none;stroke:var(--c);stroke-width:2}
.whisker{stroke:var(--c);stroke-width:1.2;opacity:.65}
.leader{fill:none;stroke:var(--c);stroke-width:1;opacity:.5}
.bar{fill:var(--c)}
.error{stroke:var(--ink);stroke-width:1.1;opacity:.8}
@media print{
 :root{color-scheme:light;LIGHT}
 body{max-width:none;padding:0;font-size:10.5pt}
 h2,h3,h4,figcaption,summary{break-after:avoid}
 tr,figure,dl{break-inside:avoid}
 thead{display:table-header-group}
 table{font-size:8.5pt}
 th,td{padding:2px 6px;white-space:normal}
 .scroll{overflow:visible}
 .charts{grid-template-columns:1fr 1fr;gap:10px}
 figure{padding:6px}
 svg{min-width:0!important}
 nav{display:none}
 details::details-content{content-visibility:visible;block-size:auto}
 *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""


def css():
    return CSS.replace("LIGHT", palette.variables(palette.LIGHT)).replace(
        "DARK", palette.variables(palette.DARK))


def _navigation(every):
    links = [(f"{results.name}-{section}", f"{results.name}: {text}"
              if len(every) > 1 else text)
             for results in every for section, text in (
                 ("proposal", "the proposal"), ("charts", "charts"),
                 ("rows", "all rows"), ("rivals", "where a rival wins"),
                 ("goals", "goals"))]
    return element("nav", " ".join(
        element("a", escape(text), href="#" + name) for name, text in links))


def to_html(every):
    """every: a list of Results, of which each is a chapter."""
    verdict = Items(sections.summary(results) for results in every)
    body = [element("h1", escape(TITLE)), Text(LEAD, "lead").html(),
            element("div", verdict.html(), class_="verdict"),
            _navigation(every)]
    body += [block.html() for results in every
             for block in sections.chapter(results)]
    # Also well-formed XML, so that it can be checked as such.
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n'
            '<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width"/>\n'
            f"<title>{escape(TITLE)}</title>\n<style>{css()}</style>\n"
            "</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n")


def markdown(every):
    blocks = [Heading(1, TITLE), Text(LEAD),
              Items(sections.summary(results) for results in every)]
    return to_markdown(blocks + [block for results in every
                                 for block in sections.chapter(results)])


def write_report(every, directory):
    """report.html and report.md of all results; gives their paths."""
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, text in (("report.html", to_html(every)),
                       ("report.md", markdown(every))):
        paths.append(os.path.join(directory, name))
        with open(paths[-1], "w", encoding="utf-8") as out:
            out.write(text)
    return paths
