# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours, markers and dashes: told apart without seeing colours, too.

The colours are those of Okabe and Ito, which colour-blind readers can tell
apart, somewhat lighter on a dark page.  Relatives share a colour and differ in
marker and dash; ours is the heavy line.
"""

from collections import namedtuple

Style = namedtuple("Style", "colour marker dash")

LIGHT = {"bg": "#ffffff", "panel": "#f6f7f9", "ink": "#1b1f24",
         "muted": "#59626d", "grid": "#e1e5ea", "rule": "#b9c0c9",
         "vermilion": "#d55e00", "blue": "#0072b2", "sky": "#56b4e9",
         "green": "#009e73", "purple": "#cc79a7", "orange": "#e69f00",
         "grey": "#7d858f", "pale": "#c3c8ce",
         "tint": "#fdf1e8", "good": "#00714f", "bad": "#b03a00"}
DARK = {"bg": "#14171b", "panel": "#1c2026", "ink": "#e7eaed",
        "muted": "#a0a9b4", "grid": "#2b3037", "rule": "#4a525c",
        "vermilion": "#ff7f24", "blue": "#4a9fe0", "sky": "#8fd0f7",
        "green": "#2fc79c", "purple": "#e29bc3", "orange": "#f2b53c",
        "grey": "#8a939d", "pale": "#59616b",
        "tint": "#33241a", "good": "#4ad3a8", "bad": "#ff9b63"}

CONFIGS = {
    "passthrough": Style("vermilion", "circle", ""),
    "passthrough-none": Style("vermilion", "square", "6 3"),
    "passthrough-fixed": Style("vermilion", "diamond", "2 3"),
    "bare-metal-sqpoll": Style("ink", "square", ""),
    "bare-metal-iopoll": Style("ink", "up", "6 3"),
    "bare-metal": Style("ink", "diamond", "2 3"),
    "guest-null": Style("grey", "cross", "2 3"),
    "virtio-blk": Style("blue", "up", ""),
    "virtio-blk-native": Style("blue", "down", "6 3"),
    "virtio-blk-iothread": Style("sky", "square", ""),
    "virtio-blk-iothread-vq": Style("sky", "diamond", "6 3"),
    "vhost-user-blk": Style("green", "circle", ""),
    "nvme-emulated": Style("purple", "down", ""),
}
UNKNOWN = Style("orange", "cross", "")

# Whose CPU time it is, in the order of the stack.
THREADS = {"vcpu": "blue", "sqpoll": "vermilion", "io-wq": "orange",
           "qemu": "sky", "iothread": "green", "jail": "purple",
           "daemon": "ink", "fio": "grey", "other": "pale"}


def style(config):
    return CONFIGS.get(config, UNKNOWN)


def variables(colours):
    return "".join(f"--{name}:{value};" for name, value in colours.items())
