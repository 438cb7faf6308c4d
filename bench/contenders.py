# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: each contender runs one fio job and says who served it."""

from host import Host
from passthrough import Passthrough, PassthroughUnjailed
from rivals import EmulatedNVMe, NullBlk, Stock, StockIOThread, \
    StockIOThreadPerQueue, StockNative, VhostUser

IN_GUESTS = {
    "passthrough": Passthrough,
    "passthrough-none": PassthroughUnjailed,
    "virtio-blk": Stock,
    "virtio-blk-native": StockNative,
    "virtio-blk-iothread": StockIOThread,
    "virtio-blk-iothread-vq": StockIOThreadPerQueue,
    "vhost-user-blk": VhostUser,
    "nvme-emulated": EmulatedNVMe,
    "guest-null": NullBlk,
}


class Setting:
    """What is the same for all contenders."""

    def __init__(self, config, logdir, disk, arrangement, memory):
        self.config = config            # of vm.py
        self.logdir = logdir
        self.disk = disk
        self.arrangement = arrangement
        self.memory = memory            # of a guest, as QEMU takes it


def all_contenders(setting):
    on_host = (("bare-metal-sqpoll", {"sqpoll": True}),
               ("bare-metal-iopoll", {"iopoll": True}), ("bare-metal", {}))
    return [Host(name, setting.disk, setting.arrangement, **how)
            for name, how in on_host] + \
        [kind(name, setting) for name, kind in IN_GUESTS.items()]


def chosen(setting, names):
    """All of these names (None: all), and sentences about those left out."""
    contenders = all_contenders(setting)
    known = [contender.name for contender in contenders]
    for name in names or ():
        if name not in known:
            raise SystemExit(f"error: --only={name} is not one of "
                             f"{', '.join(known)}")
    able, left_out = [], []
    for contender in contenders:
        if names and contender.name not in names:
            continue
        reason = contender.why_not()
        if not reason:
            able.append(contender)
        elif names:
            raise SystemExit(f"error: {contender.name}: {reason}")
        else:
            left_out.append(f"{contender.name} is left out: {reason}")
    return able, left_out
