#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps a virtual machine that never runs, for as long as this host is up.

With the first machine KVM has the scheduler call it at each switch of tasks,
and with the last one's end it no longer does: code that is changed, and that all
CPUs run all the time.  See vm.ONE_CPU for what TCG can make of that; a CPU that
does not call KVM leaves a guest's registers in the host, and the other way
round.  As long as there is one machine, others change nothing.
"""

import fcntl
import os
import signal

KVM_CREATE_VM = 0xae01


def main():
    kvm = os.open("/dev/kvm", os.O_RDWR)
    fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    if os.fork() == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        signal.pause()


if __name__ == "__main__":
    main()
