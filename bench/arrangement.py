# SPDX-License-Identifier: GPL-2.0-or-later
"""Which CPUs of the host a contender may use: the same rule for all.

Left to the scheduler, or (pinned) whoever makes requests, vCPUs or fio, on the
first CPUs, and whatever serves them, SQPOLL, IOThreads, QEMU's main loop, the
daemon, on one that is theirs.
"""

import os


class Arrangement:
    def __init__(self, pinned=False, service=None):
        cpus = sorted(os.sched_getaffinity(0))
        self.pinned = pinned or service is not None
        self.service = cpus[-1] if service is None else service
        self.requesting = [cpu for cpu in cpus if cpu != self.service]
        if self.pinned and self.service not in cpus:
            raise SystemExit(
                f"error: --sqpoll-cpu={service} is not among the CPUs that "
                f"this process may use ({', '.join(map(str, cpus))})")
        if self.pinned and not self.requesting:
            raise SystemExit("error: --pin needs two CPUs, and there is one; "
                             "leave it out")

    def pin_request(self, thread, number):
        """The thread of vCPU `number`."""
        if self.pinned:
            os.sched_setaffinity(thread, {
                self.requesting[number % len(self.requesting)]})

    def pin_service(self, thread):
        if self.pinned:
            os.sched_setaffinity(thread, {self.service})

    def fio_options(self, sqpoll):
        """For a fio on bare metal."""
        if not self.pinned:
            return {}
        options = {"cpus_allowed": ",".join(map(str, self.requesting)),
                   "cpus_allowed_policy": "shared"}
        if sqpoll:
            options["sqthread_poll_cpu"] = self.service
        return options

    def __str__(self):
        if not self.pinned:
            return "CPUs as the scheduler likes"
        return (f"who requests on CPU {','.join(map(str, self.requesting))}, "
                f"who serves on CPU {self.service}")
