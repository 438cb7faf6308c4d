#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Turn results of the benchmark into a report: report.html and report.md.

    bench/make_report.py build/bench/nested.json build/bench/flat.json -o DIRECTORY

Each file becomes a chapter.  A file is a list of rows, or a dictionary with
"rows" and, as far as known, "machine" (names and values), "notes" (sentences),
"commands" (as they were typed) and "reasons" (why a rival wins).  Beside
NAME.json with a list, machine-NAME.json may hold those other parts.
"""

import argparse
import json
import sys

from page import write_report
from results import Results


def reasons_in(path):
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as source:
            found = json.load(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be used for reasons ({error}): give "
                         "a JSON file") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no dictionary of reasons: see "
                         "bench/results.py for how one looks")
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="FILE.json")
    parser.add_argument("-o", "--output", required=True, metavar="DIRECTORY")
    parser.add_argument("--reasons", metavar="FILE",
                        help="a JSON dictionary of why a rival wins, such as\n"
                             '{"virtio-blk cpu": "it sleeps while it waits"}')
    options = parser.parse_args()
    try:
        reasons = reasons_in(options.reasons)
        every = [Results.load(path, reasons) for path in options.results]
    except ValueError as error:
        sys.exit(f"error: {error}")
    for path in write_report(every, options.output):
        print(path)


if __name__ == "__main__":
    main()
