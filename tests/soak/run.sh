#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The soak test; see run.py --help.
exec python3 -B "$(dirname "$0")/run.py" "$@"
