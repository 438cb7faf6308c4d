#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The tests on an NVMe drive under KVM, as TAP on standard output; see
# run.py --help.
exec python3 -B "$(dirname "$0")/run.py" "$@"
