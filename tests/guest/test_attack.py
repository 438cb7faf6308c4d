# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: a guest whose driver means harm reaches more than its disk and RAM.

The driver is hostile/, which makes its requests without looking at what an
honest one may.  VBU_HOSTILE_SQES (default 3000) scales all attacks, and
VBU_ATTACK_SEED (default 1) makes them other ones.
"""

import os

import fio
import ring
import victim
from disk_group import DiskGroup
from tap import MIB, Skip
from vm import make_image

SQES = int(os.environ.get("VBU_HOSTILE_SQES", "3000"))
SEED = int(os.environ.get("VBU_ATTACK_SEED", "1"))

GUEST_RAM = 512 * MIB
CANARY = 2 * MIB
HIDDEN = 0xb0000        # of system management mode, and of nobody else
VSYSCALL = 0xffffffffff600000
MOST_ADDRESSES = 80     # what the hostile driver has room for, and some less


class Attack(DiskGroup):
    """A hostile driver on one disk, fio on another, QEMU and host watched."""

    image_size = 16 * MIB
    image_fill = 0x5a
    smp = 2
    known_warnings = DiskGroup.known_warnings + (
        # Rings at addresses and with vectors that do not exist.
        "the driver is at fault", "which the device does not have")

    def disks(self):
        # New files: the last guest's may be in use for a moment more when it
        # was killed.
        for old in (self.image, self.directory + "-bystander.img"):
            if os.path.exists(old):
                os.unlink(old)
        self.bystander = make_image(self.directory + "-bystander.img",
                                    self.image_size)
        hostile, = super().disks()
        return [dict(hostile, bus="slot0",
                     props=self.props + ",serial=hostile"),
                {"image": self.bystander,
                 "props": self.props + ",serial=bystander"}]

    def guest_options(self):
        return {"args": ("-object", "memory-backend-ram,id=canary,share=off,"
                         f"prealloc=on,size={CANARY}",
                         # Without one, there is nothing over HIDDEN, and the
                         # guest sees it.
                         "-device", "VGA,romfile=",
                         # So that threads can be told from one another.
                         "-name", "attack,debug-threads=on")}

    def disk_by_serial(self, serial):
        """(disk, virtio device) of the honest driver's disk."""
        for line in self.vm.sh("disks").splitlines():
            disk, _, device = line.split()
            if self.vm.sh(f"cat /sys/block/{disk}/serial").strip() == serial:
                return disk, device
        raise AssertionError(f"no disk has the serial number {serial}")

    def prepare(self):
        if self.config.stock:
            return
        super().prepare()
        self.isolation = ring.path(self.vm).get("isolation", "none")
        self.disk, self.device = self.disk_by_serial("hostile")
        self.other, _ = self.disk_by_serial("bystander")
        ring.wait_state(self.vm, "ring", "vbu1")
        self.pid = self.vm.process.pid
        ram = victim.ram_block(self.vm, GUEST_RAM)
        self.secrets = [
            victim.Secret(self.pid, victim.ram_block(self.vm, CANARY), CANARY),
            victim.Secret(self.pid, ram + HIDDEN, 4096)]
        self.sizes = [os.path.getsize(image)
                      for image in (self.image, self.bystander)]
        self.log = victim.HostLog()
        self.start_load()

    def drop(self):
        super().drop()
        if getattr(self, "log", None):
            self.log.close()

    # -- the bystander -----------------------------------------------------

    def start_load(self):
        """fio on the other disk for as long as the guest lives.

        It ends at the first byte that is wrong, or at an error.
        """
        job = fio.command("/dev/" + self.other, "randwrite", "4k", iodepth=8,
                          size="8m", verify="crc32c", verify_fatal=1,
                          verify_backlog=64, time_based=True, runtime="10h",
                          # It is there to be disturbed, not to disturb.
                          rate_iops=400)
        self.vm.sh(f"start load '{job}'")
        self.wait_growth()

    def wait_growth(self):
        """Its requests go on, through its ring."""
        before = ring.counters(self.vm, "vbu1")
        self.wait_until(
            lambda: (ring.counters(self.vm, "vbu1") - before).ring > 40,
            "I/O on the other disk goes on, without an error")
        went = ring.counters(self.vm, "vbu1") - before
        assert went.virtqueue == 0, f"the other disk lost its ring: {went}"

    # -- the attacker --------------------------------------------------------

    def bind(self, driver, how):
        self.vm.sh(f"echo {self.device}"
                   f" >/sys/bus/virtio/drivers/{driver}/{how}")

    def be_hostile(self):
        """Give the disk to the hostile driver."""
        self.bind(self.config.driver(), "unbind")
        # The first time it finds it by itself.
        self.vm.sh(f"load vbu_hostile; cd /sys/bus/virtio/drivers/vbu_hostile;"
                   f"[ -e {self.device} ] || echo {self.device} >bind")

    def be_honest(self):
        """Take it away from there; the disk works, through its ring."""
        self.bind("vbu_hostile", "unbind")
        self.bind(self.config.driver(), "bind")
        ring.wait_state(self.vm, "ring")
        self.disk, _ = self.disk_by_serial("hostile")
        before = self.counters()
        self.fio("randwrite", "4k", 16, size="512k", verify="crc32c",
                 verify_fatal=1)
        self.expect_ring_served(before, at_least=128)

    def script(self, name, count):
        return (f"cd /sys/bus/virtio/devices/{self.device}/hostile\n"
                f"echo {name} {SEED} {count} >attack\n")

    @staticmethod
    def results(text):
        found = {"reports": []}
        for line in text.splitlines():
            key, _, value = line.partition(" ")
            if key == "report":
                found["reports"].append(value)
            elif key:
                found[key] = int(value)
        return found

    def name_addresses(self, addresses):
        self.vm.sh("echo " + " ".join(f"{address:x}" for address in addresses)
                   + f" >/sys/bus/virtio/devices/{self.device}"
                   "/hostile/addresses")

    def check_host(self):
        """QEMU, its memory, the images and the host's kernel are unharmed."""
        assert self.vm.qmp("query-status")["status"] == "running"
        images = (self.image, self.bystander)
        sizes = [os.path.getsize(image) for image in images]
        assert sizes == self.sizes, \
            f"the images have {sizes} bytes now, and had {self.sizes}"
        for secret in self.secrets:
            secret.check(images)
        self.log.check()

    def attack(self, *runs, addresses=None, during=None):
        """Run attacks (name, count); their results, and all is well after.

        during: called instead, and returns the text of the results.
        """
        if self.config.stock:
            raise Skip("stock virtio-blk has no ring")
        if self.isolation == "none":
            raise Skip("isolation=none gives a guest all of QEMU's memory")
        self.be_hostile()
        if addresses is not None:
            self.name_addresses(addresses)
        found = [self.results(text) for text in (
            [during()] if during else
            [self.vm.sh(self.script(*run) + "cat results",
                        timeout=300 + SQES // 50) for run in runs])]
        self.wait_growth()
        self.check_host()
        for run, result in zip(runs or [("commands",)], found):
            print(f"# attack: from the guest's kernel, {run[0]}: " +
                  ", ".join(f"{value} {key}" for key, value in result.items()
                            if value and key != "reports"), flush=True)
            assert result["escaped"] == 0, \
                "what must not succeed did: " + "; ".join(result["reports"])
            assert result["late"] == 0, "memory changed after the rings' end"
        self.be_honest()
        self.check_host()
        return found

    @staticmethod
    def expect_answers(result):
        """Of rings that were left in order nothing is missing or too much."""
        assert result["overflows"] == 0, \
            f"a CQ has overflowed, and says nothing any more: {result}"
        assert result["unanswered"] == 0 and result["stray"] == 0, result
        answers = sum(result[kind] for kind in ("ok", "efault", "eacces",
                                                "einval", "ebadf", "other"))
        assert answers == result["submitted"], result

    # -- requests ------------------------------------------------------------

    def qemu_addresses(self):
        return [secret.address for secret in self.secrets] + \
            [self.secrets[0].address + CANARY // 2, VSYSCALL] + \
            victim.some_addresses(self.pid, MOST_ADDRESSES - 4)

    def test_random_sqes(self):
        """SQEs of all opcodes and flags, and of random fields, get nowhere"""
        result, = self.attack(("sqes", SQES), addresses=self.qemu_addresses())
        if result["drain_stalls"]:
            print("# attack: with this host's kernel a guest can stop a ring "
                  "of its own by a drain in a chain that is refused (Linux "
                  "6.12 does so, 6.18 does not); IOSQE_IO_DRAIN was left out",
                  flush=True)
        self.expect_answers(result)
        for kind in ("ok", "efault", "eacces", "einval"):
            assert result[kind] > 0, f"no request ended so, {kind}: {result}"

    def test_chains(self):
        """links, drains and skipped CQEs in any combination harm nobody"""
        result, = self.attack(("chains", SQES // 300))
        assert result["eacces"] > 0, result

    def test_qemu_memory(self):
        """QEMU's heap, stacks, code and RAM are neither read nor written"""
        found = self.attack(("peek", 2), ("poke", 2),
                            addresses=self.qemu_addresses())
        for result in found:
            self.expect_answers(result)
            assert result["efault"] == result["submitted"] > 0, result

    def test_jail_memory(self):
        """the code of the process that owns the rings cannot be written"""
        def code():
            owner = ring.path(self.vm, "vbu1")["jail-pid"]
            return [mapping.start for mapping in victim.mappings(owner)
                    if "x" in mapping.mode]
        if not self.config.stock and self.isolation == "none":
            raise Skip("isolation=none has no such process")
        result, = self.attack(("poke", 4),
                              addresses=[] if self.config.stock else code())
        self.expect_answers(result)
        assert result["efault"] == result["submitted"] > 0, result

    def test_hidden_memory(self):
        """RAM that the machine hides, and beyond its RAM, is out of reach"""
        result, = self.attack(("hidden", 200))
        self.expect_answers(result)
        assert result["efault"] == result["submitted"] > 0, result

    def test_iovecs(self):
        """arrays of iovecs anywhere, of any length, give no other memory"""
        result, = self.attack(("iovecs", SQES // 10),
                              addresses=self.qemu_addresses())
        self.expect_answers(result)
        assert result["ok"] > 0 and result["efault"] > 0, result

    def test_changing_requests(self):
        """SQEs and iovecs that change while they are read change nothing"""
        result, = self.attack(("flip", SQES // 10),
                              addresses=self.qemu_addresses())
        self.expect_answers(result)

    def test_offsets(self):
        """writes at and beyond the disk's end do not make the image larger"""
        result, = self.attack(("offsets", SQES // 5))
        self.expect_answers(result)
        assert result["ok"] > 0 and result["other"] > 0, result

    # -- shared memory, doorbells ----------------------------------------------

    def test_indices(self):
        """indices, masks and flags that are scribbled over harm nobody"""
        result, = self.attack(("indices", SQES // 300))
        assert result["activations"] >= SQES // 300, result

    def test_overflow(self):
        """a million requests at once, whose CQEs nobody takes, harm nobody"""
        result, = self.attack(("overflow", max(1, SQES // 3000)))
        assert result["submitted"] > 10000, result

    def test_doorbells(self):
        """doorbells without end, and of queues that are not there"""
        result, = self.attack(("doorbells", SQES * 2))
        self.expect_answers(result)

    # -- registers and states --------------------------------------------------

    def test_places(self):
        """rings that are not in RAM, overlap or have no vector are refused"""
        self.attack(("places", SQES // 50))

    def test_config(self):
        """the config space written at random, with requests in flight"""
        result, = self.attack(("config", SQES // 3))
        assert result["activations"] > 1, result

    def test_states(self):
        """commands and resets in any order, while the host suspends as well"""
        def suspend_and_resume():
            self.vm.sh("rm -f /run/enough; start hostile 'seed=%d\n"
                       "cd /sys/bus/virtio/devices/%s/hostile\n"
                       "until [ -e /run/enough ]; do\n"
                       "    echo states $seed 100 >attack || exit\n"
                       "    seed=$((seed + 1))\n"
                       "done\ncat results'" % (SEED, self.device))
            for _ in range(max(2, SQES // 600)):
                before = ring.path(self.vm)["activations"]
                self.wait_until(
                    lambda: ring.path(self.vm)["activations"] > before + 2,
                    "the hostile driver activates its rings")
                ring.set_passthrough(self.vm, False)
                self.wait_until(
                    lambda: ring.path(self.vm)["state"] == "virtqueue",
                    "the hostile driver lets the rings go")
                ring.set_passthrough(self.vm, True)
            return self.vm.sh("touch /run/enough; finish hostile", timeout=400)
        self.attack(during=suspend_and_resume)

    # -- the end -------------------------------------------------------------

    def pull(self, node=None):
        self.vm.qmp("device_del", id="vbu0")
        self.vm.wait_event("DEVICE_DELETED", device="vbu0")
        if node:
            self.vm.qmp("blockdev-del", node_name=node)

    def put(self, node):
        self.vm.qmp("blockdev-add", driver="raw", node_name=node,
                    file={"driver": "file", "filename": self.image})
        self.vm.qmp("device_add", driver=self.config.device(), id="vbu0",
                    bus="slot0", drive=node, num_queues=1, poll_queues=1,
                    serial="hostile", isolation=self.isolation)
        ring.wait_state(self.vm, "ring")
        self.disk, self.device = self.disk_by_serial("hostile")

    def test_leftovers(self):
        """nothing of an attacked device is left when it has been unplugged"""
        if self.config.stock:
            raise Skip("stock virtio-blk has no ring")
        self.pull()
        before = victim.Belongings(self.pid)
        for round_ in range(2):
            self.put(f"again{round_}")
            self.be_hostile()
            self.vm.sh(self.script("indices", 4)
                       + self.script("doorbells", 100))
            self.pull(f"again{round_}")
        left = []

        def nothing_left():
            left[:] = victim.Belongings(self.pid).more_than(before)
            return not left
        try:
            self.wait_until(nothing_left, "QEMU has no more than before")
        except AssertionError as error:
            raise AssertionError(f"{error}: {left}") from None
        self.vm.sh("rmmod vbu_hostile")
        self.put("last")
        self.finish_load()
        self.check_host()


GROUPS = {"attack": Attack}
