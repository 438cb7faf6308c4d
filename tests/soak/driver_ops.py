# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's driver leaves a disk, or the guest, and comes back."""

import ring
from operation import Operation


class Unbind(Operation):
    """The driver leaves the raw disk, with its load in flight or not."""

    name = "driver unbind, bind"

    def run(self):
        soak = self.soak
        loaded = self.rng.random() < 0.5
        if not loaded:
            soak.end_raw()
        device = self.vm.sh("basename $(readlink -f "
                            f"/sys/block/{soak.disk}/device)").strip()
        driver = "/sys/bus/virtio/drivers/" + soak.config.driver()
        self.vm.sh(f"echo {device} >{driver}/unbind")
        if loaded:
            status, output = self.vm.sh_status("finish load")
            assert status, f"fio saw no error: {output}"
        path = ring.wait_state(self.vm, "virtqueue", soak.raw.id)
        assert all(each["in-flight"] == 0 for each in path["rings"]), path
        self.vm.sh(f"echo {device} >{driver}/bind")
        soak.meet_disks()
        soak.archive(verify_only=True)
        soak.begin_raw(self.rng)


class Reload(Operation):
    """The module goes when nobody uses it, and another one comes."""

    name = "rmmod, insmod"

    def run(self):
        self.soak.end()
        self.vm.sh(f"rmmod {self.soak.config.driver()}")
        assert not self.vm.sh("disks"), "there still are disks"
        self.soak.meet_disks()
        self.soak.begin(self.rng)


OPERATIONS = (Unbind, Reload)
