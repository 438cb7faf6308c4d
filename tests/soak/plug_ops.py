# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that come and go while the others work."""

from operation import Operation
from plug import Plugged
from tap import MIB
from vm import make_image


class Plug(Operation):
    """A third disk is pulled in the middle of its own load."""

    name = "device_add, device_del"

    def run(self):
        image = make_image(f"{self.soak.directory}/files/extra.img", 32 * MIB)
        for _ in range(self.rng.randint(1, 4)):
            disk = Plugged(self.soak, "extra", image)
            disk.put()
            disk.load(polled=self.rng.random() < 0.5)
            disk.pull(loaded=True)


OPERATIONS = (Plug,)
