# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio device's PCI configuration space, as the guest's root writes it.

Registers in the device's BARs are reached too, by the capability
VIRTIO_PCI_CAP_PCI_CFG, which works while the BARs are not decoded.
"""

COMMAND, COMMAND_MASTER = 0x04, 1 << 2
CAPABILITIES = 0x34
CAP_PM, CAP_VENDOR = 0x01, 0x09
PM_CONTROL, PM_STATE_MASK, PM_D3HOT = 4, 3, 3
COMMON_CFG, DEVICE_CFG, PCI_CFG = 1, 4, 5       # types of virtio's capabilities
COMMON_STATUS = 20


class PciConfig:
    """device: the virtio device's name in the guest, "virtio3"."""

    def __init__(self, vm, device):
        self.vm = vm
        self.file = vm.sh(f"readlink -f /sys/bus/virtio/devices/{device}/.."
                          ).strip() + "/config"
        self.power = None
        self.virtio = {}
        self._find_capabilities()

    def read(self, offset, size):
        text = self.vm.sh(f"dd if={self.file} bs={size} count=1 "
                          f"skip={offset // size} 2>/dev/null | "
                          "hexdump -v -e '/1 \"%02x\"'")
        return int.from_bytes(bytes.fromhex(text.strip()), "little")

    def write(self, offset, size, value):
        octal = "".join(f"\\{byte:03o}"
                        for byte in value.to_bytes(size, "little"))
        self.vm.sh(f"printf '{octal}' | dd of={self.file} bs={size} count=1 "
                   f"seek={offset // size} conv=notrunc 2>/dev/null")

    def _find_capabilities(self):
        at = self.read(CAPABILITIES, 1)
        while at:
            kind = self.read(at, 1)
            if kind == CAP_PM:
                self.power = at + PM_CONTROL
            elif kind == CAP_VENDOR:
                self.virtio.setdefault(self.read(at + 3, 1), at)
            at = self.read(at + 1, 1)

    def _select(self, structure, offset, size):
        """Where a register of one of virtio's structures can be had then."""
        place, window = self.virtio[structure], self.virtio[PCI_CFG]
        self.write(window + 4, 1, self.read(place + 4, 1))
        self.write(window + 8, 4, self.read(place + 8, 4) + offset)
        self.write(window + 12, 4, size)
        return window + 16

    def get(self, structure, offset, size):
        return self.read(self._select(structure, offset, size), size)

    def put(self, structure, offset, size, value):
        self.write(self._select(structure, offset, size), size, value)

    def set_master(self, on):
        old = self.read(COMMAND, 2) & ~COMMAND_MASTER
        self.write(COMMAND, 2, old | (COMMAND_MASTER if on else 0))

    def set_power(self, state):
        old = self.read(self.power, 2) & ~PM_STATE_MASK
        self.write(self.power, 2, old | state)
