# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: the jail sees more RAM, or less, or other RAM, than the guest."""

import jailinfo
import ring
from jail_group import JailGroup
from tap import MIB
from vm import Guest, QMPError

GIB = 1 << 30


class HighRam(JailGroup):
    """RAM in two nodes, most of it above 4 GiB, and a DIMM plugged in."""

    BACKENDS = ("node0", "node1")
    known_warnings = JailGroup.known_warnings + ("is private to QEMU",)

    class Nodes(Guest):
        def _command(self, *args):
            words = super()._command(*args)
            return ["q35" if word == "q35,memory-backend=mem" else word
                    for word in words]

    guest = Nodes

    def guest_options(self):
        args = ["-m", "5G,slots=2,maxmem=6G"]
        for name in self.BACKENDS:
            args += ["-object", f"memory-backend-memfd,id={name},share=on,"
                                "size=2560M",
                     "-numa", f"node,memdev={name}"]
        return {"args": args}

    def ram(self, *more):
        found = []
        for name in self.BACKENDS + more:
            found += jailinfo.ram_of_guest(self.vm, name)
        return jailinfo.merged(found)

    def expect_windows(self, *more):
        backends = len(self.BACKENDS) + len(more)
        wrong = list(jailinfo.complaints(
            self.jail(), self.vm.process.pid, self.ram(*more), rings=2,
            disk_size=self.image_size, backends=backends))
        assert not wrong, "; ".join(wrong)

    def test_high(self):
        """RAM of two nodes: buffers above 4 GiB are read and written"""
        self.expect_windows()
        self.fio("randrw", "1m", 16, size="32m", verify="crc32c",
                 verify_fatal=1)
        touched = {start: size for start, size in
                   jailinfo.touched(self.jail()).items()
                   if start >= jailinfo.BASE + 4 * GIB}
        print("# above 4 GiB the jail touched " + ", ".join(
            f"{size >> 20} MiB of the window at {start:#x}"
            for start, size in touched.items()), flush=True)
        assert sum(touched.values()) >= 8 * MIB, touched

    def test_dimm(self):
        """a DIMM plugged in under load: RING again, with its window"""
        before = self.ram()
        activations = self.path()["activations"]
        self.start_load(polled=False)
        self.wait_growth("ring", self.counters())
        self.vm.qmp("object-add", **{"qom_type": "memory-backend-memfd"},
                    id="dimm", size=256 * MIB, share=True)
        self.vm.qmp("device_add", driver="pc-dimm", id="dimm0", memdev="dimm",
                    node=0)
        self.wait_until(lambda: self.path()["activations"] > activations,
                        "the driver has new rings")
        self.wait_growth("ring", self.counters())
        self.finish_load()
        assert len(self.ram("dimm")) == len(before) + 1
        self.expect_windows("dimm")

    def test_private(self):
        """RAM that is not shared is refused, by a sentence with share=on"""
        said = self.refusal("private", self.props, mem="256M", args=[
            "-object", "memory-backend-ram,id=plain,size=256M",
            "-machine", "memory-backend=plain"])
        assert "share=on" in said, said

    def test_private_dimm(self):
        """a DIMM that is not shared: the virtqueues, with that sentence"""
        self.vm.qmp("object-add", **{"qom_type": "memory-backend-ram"},
                    id="private", size=128 * MIB)
        try:
            self.vm.qmp("device_add", driver="pc-dimm", id="dimm1",
                        memdev="private", node=0)
        except QMPError as error:
            assert "slots" not in str(error), error
            return
        ring.wait_state(self.vm, "virtqueue")
        # The driver asks for other rings once the old ones have ended.
        self.wait_until(lambda: "share=on" in self.path()["error"],
                        "QEMU says why there are no rings")
        assert self.path()["state"] == "virtqueue"


GROUPS = {"jail-ram": HighRam}
