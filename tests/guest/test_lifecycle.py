# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: something of the old life of disk, driver or machine is left over."""

import json

import fio
import pciconfig
import ring
from disk_group import DiskGroup
from pciconfig import PciConfig
from tap import MIB, Skip
from vm import STOCK_DEVICE

# struct virtio_blk_uring_config in the device's configuration
URING_COMMAND = 0x200 + 0x7c
ACTIVATE, BURIED = 1, 3


class Lifecycle(DiskGroup):
    image_size = 32 * MIB

    def part_a(self, **options):
        """The first 8 MiB hold checksums that later tests look for."""
        return self.fio("write", "64k", 8, size="8m", verify="crc32c",
                        verify_fatal=1, **options)

    def check_part_a(self):
        self.part_a(verify_only=True)

    def start_load(self, polled):
        """Reads and writes behind part A, without an end."""
        polled = polled and not self.config.stock
        self.vm.sh("start load '" + fio.command(
            "/dev/" + self.disk, "randrw", "4k", 16, polled=polled,
            offset="8m", size="16m", time_based=True, runtime=300) + "'")
        kind = "virtqueue" if self.config.stock else \
            "polled" if polled else "ring"
        start = self.counters()
        self.wait_until(lambda: getattr(self.counters() - start, kind) > 100,
                        "fio's I/O goes through the ring")

    def expect_ring(self):
        if not self.config.stock:
            ring.wait_state(self.vm, "ring")

    def verify(self, polled=False):
        before = self.counters()
        self.fio("randwrite", "4k", 16, size="2m", offset="24m",
                 polled=polled and not self.config.stock,
                 verify="crc32c", verify_fatal=1)
        self.expect_ring_served(before, polled, at_least=512)

    def reset(self, polled):
        self.part_a()
        self.vm.qmp("set-action", reboot="reset")
        self.start_load(polled)
        self.vm.qmp("system_reset")
        self.vm.wait_event("RESET")
        self.vm.wait_boot()
        self.vm.qmp("set-action", reboot="shutdown")
        self.load()
        self.expect_ring()
        self.check_part_a()
        self.verify(polled)

    def test_reset_interrupt(self):
        """system_reset in the middle of I/O: boots again, path RING, no loss"""
        self.reset(polled=False)

    def test_reset_polled(self):
        """system_reset in the middle of polled I/O: the same"""
        self.reset(polled=True)

    def test_unbind_bind(self):
        """unbind and bind: the disk goes and comes, with ring and contents"""
        self.part_a()
        device = self.vm.sh("disks").split()[2]
        driver = "/sys/bus/virtio/drivers/" + self.config.driver()
        for _ in range(3):
            self.vm.sh(f"echo {device} >{driver}/unbind")
            assert not self.vm.sh("disks"), "the disk is still there"
            if not self.config.stock:
                path = ring.wait_state(self.vm, "virtqueue")
                assert all(r["in-flight"] == 0 for r in path["rings"]), path
            self.vm.sh(f"echo {device} >{driver}/bind")
            self.disk = self.disk_of(self.config.driver())
            self.expect_ring()
        self.check_part_a()
        self.verify()

    def test_unbind_under_load(self):
        """unbind in the middle of I/O ends it; bound again the disk works"""
        device = self.vm.sh("disks").split()[2]
        driver = "/sys/bus/virtio/drivers/" + self.config.driver()
        for polled in (False, True):
            self.start_load(polled)
            self.vm.sh(f"echo {device} >{driver}/unbind")
            status, output = self.vm.sh_status("finish load")
            assert status != 0, f"fio saw no error: {output}"
            self.vm.sh(f"echo {device} >{driver}/bind")
            self.disk = self.disk_of(self.config.driver())
            self.expect_ring()
            self.verify(polled)

    def test_reload_module(self):
        """rmmod and insmod, three times: ring again, contents unharmed"""
        self.part_a()
        for _ in range(3):
            self.vm.sh(f"rmmod {self.config.driver()}")
            assert not self.vm.sh("disks"), "the disk is still there"
            self.load()
            self.expect_ring()
        self.check_part_a()
        self.verify(polled=True)

    def test_quit(self):
        """quit in the middle of I/O: QEMU has no word of a medium that is gone
        """
        self.start_load(polled=False)
        vm, self.vm = self.vm, None
        vm.new_log_lines()
        try:
            messages = vm.quit()
            said = vm.new_log_lines()
        finally:
            vm.close()
        wrong = [each for each in messages if "medium" in json.dumps(each)]
        wrong += [line for line in said
                  if not any(known in line for known in self.known_warnings)]
        assert not wrong, wrong


class HotPlug(Lifecycle):
    """The disk sits in a slot, from which it can be pulled."""

    bus = "slot0"

    def tests(self):
        return [(function.__doc__.splitlines()[0], function)
                for function in (self.unplug, self.plug, self.unplug_loaded,
                                 self.no_master, self.asleep)]

    def prepare(self):
        super().prepare()
        self.replug = 0

    def pull(self):
        self.vm.qmp("device_del", id="vbu0")
        self.vm.wait_event("DEVICE_DELETED", device="vbu0")
        assert not self.vm.sh("disks"), "the guest still has the disk"

    def put(self):
        """Plug a disk with the same image; the guest finds it by itself."""
        self.replug += 1
        node = f"again{self.replug}"
        self.vm.qmp("blockdev-add", driver="raw", node_name=node,
                    file={"driver": "file", "filename": self.image})
        properties = {"driver": self.config.device(), "id": "vbu0",
                      "bus": "slot0", "drive": node, "num_queues": 1}
        if self.config.device() != STOCK_DEVICE:
            properties.update(isolation=self.config.isolation,
                              poll_queues=1)
        self.vm.qmp("device_add", **properties)
        # There is no udev in the guest that would tell.
        self.vm.sh("until [ -n \"$(disks)\" ]; do usleep 20000; done")
        self.disk = self.disk_of(self.config.driver())
        self.vm.sh(f"until [ -b /dev/{self.disk} ]; do usleep 20000; done")
        self.expect_ring()

    def unplug(self):
        """device_del: the guest lets the disk go, QEMU the image"""
        self.part_a()
        self.pull()
        # Whoever still held the image would hold its lock too.
        self.vm.qmp("blockdev-add", driver="file", node_name="probe",
                    filename=self.image, locking="on")
        self.vm.qmp("blockdev-del", node_name="probe")
        self.put()
        self.check_part_a()

    def plug(self):
        """device_add, five times: a ring each time, contents unharmed"""
        self.part_a()
        for round_ in range(5):
            self.pull()
            self.put()
            self.verify(polled=bool(round_ % 2))
        self.check_part_a()

    def unplug_loaded(self):
        """device_del in the middle of I/O: fio ends, a new disk works"""
        self.part_a()
        for polled in (False, True):
            self.start_load(polled)
            self.pull()
            status, output = self.vm.sh_status("finish load")
            assert status != 0, f"fio saw no error: {output}"
            self.put()
            self.check_part_a()
            self.verify(polled)

    def without_rings(self, config, what):
        """The rings have ended, and the guest can start none by hand."""
        self.wait_until(lambda: ring.path(self.vm)["state"] in
                        ("virtqueue", "dead"), f"rings end with {what}", 10)
        before = ring.path(self.vm)["activations"]
        # The driver says this when it starts; the PCI code may have undone it.
        config.put(pciconfig.COMMON_CFG, pciconfig.COMMON_STATUS, 1, 0xf)
        for command in (BURIED, ACTIVATE):
            config.put(pciconfig.DEVICE_CFG, URING_COMMAND, 4, command)
        path = ring.path(self.vm)
        assert path["state"] == "virtqueue" and \
            path["activations"] == before, f"{what}, and rings run: {path}"

    def rebind(self, device):
        driver = "/sys/bus/virtio/drivers/" + self.config.driver()
        self.vm.sh(f"echo {device} >{driver}/unbind")
        self.vm.sh(f"echo {device} >{driver}/bind")
        self.disk = self.disk_of(self.config.driver())
        self.expect_ring()

    def no_master(self):
        """no rings without PCI bus mastering, and again with it"""
        self.need_ring()
        device = self.vm.sh("disks").split()[2]
        config = PciConfig(self.vm, device)
        self.expect_ring()
        config.set_master(False)
        self.without_rings(config, "no bus mastering")
        config.set_master(True)
        self.rebind(device)
        self.verify()

    def asleep(self):
        """no rings in D3hot, and again in D0"""
        self.need_ring()
        device = self.vm.sh("disks").split()[2]
        config = PciConfig(self.vm, device)
        if not config.power:
            raise Skip("the device has no power management")
        self.expect_ring()
        config.set_power(pciconfig.PM_D3HOT)
        self.without_rings(config, "in D3hot")
        config.set_power(0)
        self.rebind(device)
        self.verify()


GROUPS = {"lifecycle": Lifecycle, "hotplug": HotPlug}
