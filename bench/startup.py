#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the jail costs at start: isolation=process beside isolation=none.

    bench/startup.py [--repeat=N]

Two times of each, interleaved, medians with the range: device_add, which tries
a ring on the disk, and the activation of rings by a guest's driver, from its
command to the state RING by QEMU's trace.
"""

import argparse
import os
import re
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests", "guest"))

import ring                                     # noqa: E402
from vm import BUILD, Config, Guest, make_image  # noqa: E402

RESULTS = os.path.join(BUILD, "bench", "startup")
MODES = ("process", "none")
# A log line of QEMU's trace: "PID@SECONDS:EVENT TEXT".
TRACE = re.compile(r"\d+@(?P<time>\d+\.\d+):virtio_blk_uring_(?P<what>\w+) "
                   r".*?(?P<text>command 1 in state virtqueue|-> ring)")


def device_add(config, image, mode):
    """Milliseconds that a QEMU without a running guest takes for it."""
    with Guest(config, os.path.join(RESULTS, "add"), args=["-S"]) as vm:
        vm.qmp("blockdev-add", driver="raw", node_name="disk",
               file={"driver": "file", "filename": image})
        start = time.monotonic()
        vm.qmp("device_add", driver=config.device(), id="vbu0", bus="slot0",
               drive="disk", isolation=mode, num_queues=1, poll_queues=1)
        return (time.monotonic() - start) * 1000


def activations(config, image, mode, repeat):
    """Milliseconds of each of so many activations."""
    logdir = os.path.join(RESULTS, mode)
    disk = {"image": image, "isolation": mode,
            "props": "num-queues=1,poll-queues=1"}
    with Guest(config, logdir, [disk],
               args=["-msg", "timestamp=on", "-trace",
                     "virtio_blk_uring_*"]) as vm:
        vm.wait_boot()
        vm.sh("load virtio_blk_uring")
        for _ in range(repeat):
            ring.wait_state(vm, "ring")
            ring.set_passthrough(vm, False)
            ring.wait_state(vm, "virtqueue")
            ring.set_passthrough(vm, True)
        ring.wait_state(vm, "ring")
    begun, times = None, []
    with open(os.path.join(logdir, "qemu.log"), encoding="utf-8") as log:
        for line in log:
            match = TRACE.match(line)
            if match and match["what"] == "command":
                begun = float(match["time"])
            elif match and begun is not None:
                times.append((float(match["time"]) - begun) * 1000)
                begun = None
    return times


def show(what, times):
    for mode in MODES:
        some = times[mode]
        print(f"{what + ', ' + mode:<24}{statistics.median(some):8.2f} ms "
              f"({min(some):.2f} to {max(some):.2f}, {len(some)} times)")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Config.add_options(parser)
    parser.add_argument("--repeat", type=int, default=20,
                        help="repetitions (default 20)")
    options = parser.parse_args()
    config = Config(accel=options.accel)
    if config.missing():
        sys.exit("error: " + config.missing())
    os.makedirs(RESULTS, exist_ok=True)
    image = make_image(os.path.join(RESULTS, "disk.img"), 16 << 20)
    added = {mode: [] for mode in MODES}
    activated = {mode: [] for mode in MODES}
    for _ in range(options.repeat):
        for mode in MODES:
            added[mode].append(device_add(config, image, mode))
    for _ in range(2):
        for mode in MODES:
            activated[mode] += activations(config, image, mode,
                                           max(options.repeat // 2, 1))
    show("device_add", added)
    show("activation", activated)


if __name__ == "__main__":
    main()
