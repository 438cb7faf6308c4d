#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
exec python3 -B "$(dirname "$0")/nested.py" "$@"
