# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: each contender runs one fio job and says who served it."""

import os
import subprocess

import fio
import ring
from vm import DEVICE, STOCK_DEVICE, Guest

# Of the requests that fio counts, this share must be in the counters of the
# way that a row names.
ALMOST_ALL = 0.999
POLL_QUEUES = 1


class Job:
    """One point of the matrix."""

    def __init__(self, rw, qd, polled, bs="4k", jobs=1):
        self.rw, self.qd, self.polled = rw, qd, polled
        self.bs, self.jobs = bs, jobs

    def __str__(self):
        how = "polled" if self.polled else "interrupt"
        return f"{self.rw} {self.bs} QD {self.qd} {how}"

    def command(self, filename, size, seconds, **options):
        return fio.command(
            filename, self.rw, self.bs, self.qd, numjobs=self.jobs, size=size,
            time_based=True, runtime=f"{int(seconds * 1000)}ms",
            norandommap=True, randrepeat=0, invalidate=0, registerfiles=True,
            # From submission on: a read from the page cache is complete
            # when its submission returns.
            clat_percentiles=0, lat_percentiles=1,
            **options)


class Sample:
    """What one run of a job gave."""

    def __init__(self, result, job, served_by):
        way = "read" if job.rw == "randread" else "write"
        self.ios = result.ios()
        self.iops = result.iops()
        self.p50 = result.percentile_us(way, 50)
        self.p99 = result.percentile_us(way, 99)
        self.served_by = served_by


class Host:
    """fio on the host, on the same file: no virtual machine at all."""

    def __init__(self, name, disk, sqpoll):
        self.name = name
        self.disk = disk
        self.sqpoll = sqpoll

    def takes(self, job):
        # With SQPOLL fio looks for completions by itself; without it, it
        # sleeps in the kernel until there are some.
        return job.polled == self.sqpoll

    def start(self):
        pass

    def note(self):
        return ("fio finds completions by polling its CQ" if self.sqpoll else
                "fio sleeps until completions")

    def run(self, job, seconds):
        options = {"direct": int(self.disk.direct)}
        if self.sqpoll:
            options["sqthread_poll"] = 1
        command = job.command(self.disk.path, self.disk.size, seconds,
                              **options)
        done = subprocess.run(command.split(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RuntimeError("fio on the host failed: "
                               + fio.complaint(done.stdout))
        return Sample(fio.Result(done.stdout), job, "host")

    def close(self):
        pass


class InGuest:
    """fio in a guest, which is stopped while the others run."""

    # One vCPU at work and one that is never started: Linux then gives
    # virtio-blk a queue for polling, which it denies to a machine that can
    # only ever have one CPU.  The same for all guests.
    SMP = 2
    APPEND = "maxcpus=1"

    def __init__(self, name, config, logdir, disk=None):
        self.name = name
        self.config = config
        self.logdir = os.path.join(logdir, name)
        self.disk = disk
        self.vm = None

    def takes(self, job):
        del job
        return True

    def disks(self):
        return []

    def arguments(self):
        return []

    def start(self):
        self.vm = Guest(self.config, self.logdir, self.disks(), smp=self.SMP,
                        append=self.APPEND, args=self.arguments())
        self.vm.wait_boot()
        self.node = self.prepare()
        self.vm.qmp("stop")

    def prepare(self):
        """Make the disk appear; its device node in the guest."""
        raise NotImplementedError

    def awake(self):
        """Wait until a guest that runs again is what it was."""

    def look(self):
        """Counters of all ways to the disk."""
        return ring.counters(self.vm)

    def way(self, before, after, job):
        """The name of the way that so many requests took, and how many."""
        raise NotImplementedError

    def run(self, job, seconds):
        self.vm.qmp("cont")
        self.awake()
        before = self.look()
        command = job.command(self.node, self.size(), seconds,
                              polled=job.polled)
        status, output = self.vm.sh_status(command, timeout=seconds + 60)
        if status:
            raise RuntimeError(f"fio in {self.name} failed ({job}): "
                               + fio.complaint(output))
        result = fio.Result(output)
        served_by = self.served_by(before, self.look(), result.ios(), job)
        self.vm.qmp("stop")
        return Sample(result, job, served_by)

    def served_by(self, before, after, ios, job):
        way, count = self.way(before, after, job)
        return way if count >= ALMOST_ALL * ios else \
            f"{way} {count} of {ios}"

    def size(self):
        return self.disk.size

    def close(self):
        if self.vm:
            self.vm.close()


class Passthrough(InGuest):
    isolation = "process"

    def disks(self):
        return [{"image": self.disk.path, "device": DEVICE,
                 "isolation": self.isolation,
                 "drive": self.disk.drive,
                 "props": f"share-rw=on,num-queues=1,poll-queues={POLL_QUEUES}"
                 }]

    def prepare(self):
        self.vm.sh("load virtio_blk_uring")
        self.awake()
        return "/dev/" + self.vm.sh("disks").split()[0]

    def awake(self):
        ring.wait_state(self.vm, "ring")

    def note(self):
        return f"num-queues=1,poll-queues=1,isolation={self.isolation}"

    def way(self, before, after, job):
        went = after - before
        if went.virtqueue > went.ring + went.polled:
            return "virtqueue", went.virtqueue
        return "ring", went.polled if job.polled else went.ring


class PassthroughUnjailed(Passthrough):
    isolation = "none"


class Stock(InGuest):
    iothread = False

    def disks(self):
        more = ",iothread=io0" if self.iothread else ""
        return [{"image": self.disk.path, "device": STOCK_DEVICE,
                 "drive": self.disk.drive,
                 "props": f"share-rw=on,num-queues={1 + POLL_QUEUES}{more}"}]

    def arguments(self):
        return ["-object", "iothread,id=io0"] if self.iothread else []

    def prepare(self):
        self.vm.sh(f"load virtio_blk poll_queues={POLL_QUEUES}")
        return "/dev/" + self.vm.sh("disks").split()[0]

    def note(self):
        return "num-queues=2, the guest's virtio_blk has poll_queues=1" + \
            (", iothread" if self.iothread else "")

    def look(self):
        return ring.block_stats(self.vm)

    def way(self, before, after, job):
        kind = "rd_operations" if job.rw == "randread" else "wr_operations"
        # QEMU may have merged neighbours into one.
        merged = kind.replace("operations", "merged")
        return "virtqueue", sum(after[k] - before[k] for k in (kind, merged))


class StockIOThread(Stock):
    iothread = True


class NullBlk(InGuest):
    def prepare(self):
        self.vm.sh(f"null_disk {POLL_QUEUES}")
        return "/dev/nullb0"

    def note(self):
        return "null_blk in the guest, poll_queues=1: the guest's own ceiling"

    def size(self):
        return "256m"

    def look(self):
        stat = self.vm.sh("cat /sys/block/nullb0/stat").split()
        return int(stat[0]) + int(stat[4])

    def way(self, before, after, job):
        del job
        return "null_blk", after - before


def all_contenders(config, logdir, disk):
    return [
        Host("bare-metal-sqpoll", disk, sqpoll=True),
        Host("bare-metal", disk, sqpoll=False),
        Passthrough("passthrough", config, logdir, disk),
        PassthroughUnjailed("passthrough-none", config, logdir, disk),
        Stock("virtio-blk", config, logdir, disk),
        StockIOThread("virtio-blk-iothread", config, logdir, disk),
        NullBlk("guest-null", config, logdir),
    ]
