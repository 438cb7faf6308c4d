# SPDX-License-Identifier: GPL-2.0-or-later
"""What takes the rings of a disk away, and nothing else."""

import ring
from jail_group import KILLED
from jailinfo import Life
from operation import Operation


class Passthrough(Operation):
    """The administrator says off, and on."""

    name = "passthrough off, on"

    def run(self):
        disk = self.any_disk()
        for _ in range(self.rng.randint(1, 3)):
            ring.set_passthrough(self.vm, False, disk.id)
            self.expect_virtqueue(disk, "administrator")
            ring.set_passthrough(self.vm, True, disk.id)
            ring.wait_state(self.vm, "ring", disk.id, seconds=60)


class StopCont(Operation):
    """Nothing may happen while the machine is stopped."""

    name = "stop, cont"

    def run(self):
        for _ in range(self.rng.randint(1, 3)):
            self.vm.qmp("stop")
            stopped = [str(ring.counters(self.vm, disk.id))
                       for disk in self.soak.all_disks]
            for _ in range(20):
                assert stopped == [str(ring.counters(self.vm, disk.id))
                                   for disk in self.soak.all_disks], \
                    "I/O went on in a stopped machine"
            self.vm.qmp("cont")


class KillJail(Operation):
    """Somebody kills the process that has the rings."""

    name = "kill -9 of the jail"
    warnings = (KILLED,)

    def run(self):
        disk = self.any_disk()
        pid = ring.wait_state(self.vm, "ring", disk.id)["jail-pid"]
        with Life(pid) as life:
            life.kill()
            life.expect_end(30)

        def again():
            path = ring.path(self.vm, disk.id)
            return path["state"] == "ring" and path["jail-pid"] != pid
        self.soak.wait_until(again, "there is a new jail", seconds=60)


OPERATIONS = (Passthrough, StopCont, KillJail)
