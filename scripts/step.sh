#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# step.sh NAME COMMAND...: a long step of the Makefile; see step in lib.sh.

. "$(dirname "$0")/lib.sh"
step "$@"
