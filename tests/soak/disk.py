# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of the soak: its file and nodes, which operations exchange."""

import itertools
import os

from vm import make_image

_numbers = itertools.count(1)


class Disk:
    """id: the device's in QEMU, and what the guest knows it by (serial)."""

    def __init__(self, name, directory, size, props):
        self.id = name
        self.directory = directory
        self.size = size
        self.props = f"{props},serial={name}"
        self.drive = f"d-{name}"        # QEMU's name of the backend
        self.image = make_image(self.file("img"), size)
        self.node, self.protocol = self.new_nodes()
        self.added = False      # the node is the monitor's, not the drive's

    def file(self, kind):
        """A path for a file that is not there yet."""
        path = f"{self.directory}/{self.id}-{next(_numbers)}.{kind}"
        if os.path.exists(path):
            os.unlink(path)
        return path

    def new_nodes(self):
        """Names for a node and the one of its file."""
        number = next(_numbers)
        return f"{self.id}-{number}", f"{self.id}-{number}-file"

    def described(self):
        """As Guest takes it, which a migration's destination does again."""
        return {"id": self.id, "image": self.image, "props": self.props,
                "drive": f"cache=writeback,node-name={self.node},"
                         f"file.node-name={self.protocol}"}

    def name(self, vm):
        """The guest's name of it, which a new kernel may change."""
        return vm.sh(f"disk_of {self.id}").strip()

    def start_bytes(self, count, offset=0):
        with open(self.image, "rb") as image:
            image.seek(offset)
            return image.read(count)

    # -- its node -----------------------------------------------------------

    def add_copy(self, vm):
        """A new file and node as large as it: the file, node and protocol."""
        image = make_image(self.file("img"), self.size)
        node, protocol = self.new_nodes()
        vm.qmp("blockdev-add", driver="raw", node_name=node,
               file={"driver": "file", "node-name": protocol,
                     "filename": image})
        return image, node, protocol

    @staticmethod
    def drop_copy(vm, image, node):
        vm.qmp("blockdev-del", node_name=node)
        os.unlink(image)

    def moved_to(self, vm, image, node, protocol):
        """It lies on another file now; the old one goes."""
        if self.added:
            vm.qmp("blockdev-del", node_name=self.node)
        os.unlink(self.image)
        self.image, self.node, self.protocol = image, node, protocol
        self.added = True

    def moved_away(self):
        """Another QEMU has it, which was started with all of its nodes."""
        self.added = False
