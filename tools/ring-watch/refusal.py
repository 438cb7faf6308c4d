# SPDX-License-Identifier: GPL-2.0-or-later
"""Why there is nothing to watch: one sentence for the administrator."""


class Refusal(Exception):
    """Says what cannot be done, why, and what to do instead."""
