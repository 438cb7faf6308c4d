# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the soak finds the building blocks of the guest tests; import first."""

import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "guest"))
