# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: bytes that are not the ones that were written."""

from disk_group import DiskGroup
from tap import MIB

KIB = 1 << 10

# (way, block size, queue depth, bytes per job): each way, size and depth with
# several of the others, sizes small enough for an emulated CPU.
SINGLE = (
    ("write", "512", 1, 256 * KIB),
    ("write", "4k", 16, 8 * MIB),
    ("write", "1m", 16, 16 * MIB),
    ("randwrite", "512", 256, 1 * MIB),
    ("randwrite", "4k", 256, 8 * MIB),
    ("randwrite", "64k", 1, 16 * MIB),
    ("randrw", "512", 16, 1 * MIB),
    ("randrw", "4k", 1, 4 * MIB),
    ("randrw", "64k", 256, 20 * MIB),
    ("randrw", "1m", 1, 16 * MIB),
)
MULTI = (
    ("write", "1m", 16, 16 * MIB),
    ("randwrite", "4k", 1, 1 * MIB),
    ("randwrite", "512", 256, 512 * KIB),
    ("randrw", "64k", 16, 8 * MIB),
)


class Integrity(DiskGroup):
    """fio writes, reads back and compares checksums, each job on its part."""

    cases = SINGLE
    jobs = 1

    def tests(self):
        for polled in (False, True):
            for case in self.cases:
                way, bs, depth, _ = case
                yield (f"fio --verify {way} {bs} QD {depth}, {self.jobs} "
                       f"queue{'s' if self.jobs > 1 else ''}, "
                       + ("polled" if polled else "by interrupt"),
                       lambda case=case, polled=polled:
                       self.verify(*case, polled))

    def verify(self, way, bs, depth, size, polled):
        if self.config.stock and polled and self.jobs == 1:
            polled = False          # 1 vCPU: stock has no queue to poll
        job = {"bs": bs, "iodepth": depth, "polled": polled, "size": size,
               "numjobs": self.jobs, "verify": "crc32c", "verify_fatal": 1}
        if self.jobs > 1:
            job.update(offset_increment=size, cpus_allowed="0-3",
                       cpus_allowed_policy="split")
        if way == "randrw":
            # Reads of a mix are verified too, so there must be something.
            self.fio("write", **dict(job, do_verify=0))
        before = self.counters()
        result = self.fio(way, **job)
        blocks = self.jobs * size // {"512": 512, "4k": 4 * KIB,
                                      "64k": 64 * KIB, "1m": MIB}[bs]
        assert result.ios() >= blocks, f"fio did {result.ios()} I/Os"
        # The block layer polls for no bio that it had to split, as it has to
        # split those of 1 MiB whose pages lie scattered: few, or all of them.
        split = polled and bs == "1m"
        went = self.expect_ring_served(before, None if split else polled,
                                       at_least=blocks)
        if self.jobs > 1 and not self.config.stock:
            used = went.by_queue[4:] if polled else went.by_queue[:4]
            if split:
                used = map(sum, zip(went.by_queue[:4], used))
            assert min(used) > 0, f"a ring was not used: {went}"


class IntegrityManyQueues(Integrity):
    cases = MULTI
    jobs = 4
    smp = 4
    props = "num-queues=4,poll-queues=4"


GROUPS = {"integrity": Integrity, "integrity-queues": IntegrityManyQueues}
