# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of the proposal of June 2020, and which of ours answer them.

kIOPS of fio, randread 4k, on one NVMe drive; all polled.
"""

from results import HEADLINE, SUBJECT

DEPTHS = (1, 8, 16, 32)
ROWS = (
    ("bare metal, SQPOLL + IOPOLL", "bare-metal-sqpoll", (119, 550, 581, 585)),
    ("bare metal, IOPOLL", "bare-metal-iopoll", (122, 502, 519, 538)),
    ("guest, virtqueues", "virtio-blk", (27, 144, 209, 266)),
    ("guest, virtqueues + iothread", "virtio-blk-iothread",
     (73, 264, 306, 312)),
    ("guest, io_uring passthrough", SUBJECT, (104, 532, 577, 585)),
)
# What passthrough is divided by.
RATIOS = ("bare-metal-sqpoll", "virtio-blk", "virtio-blk-iothread")
# The two of which it speaks.
CHARTED = ("bare-metal-sqpoll", "virtio-blk-iothread")


def theirs(config):
    """kIOPS by depth."""
    return next(dict(zip(DEPTHS, figures)) for _, name, figures in ROWS
                if name == config)


def label(config):
    return next(text for text, name, _ in ROWS if name == config)


def their_ratio(config, qd):
    return theirs(SUBJECT)[qd] / theirs(config)[qd]


def our_ratio(results, config, qd):
    ours = results.simple(HEADLINE).get((SUBJECT, qd))
    return ours and ours.ratio(results.beside(ours, config))
