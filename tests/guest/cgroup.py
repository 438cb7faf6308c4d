# SPDX-License-Identifier: GPL-2.0-or-later
"""Control groups to put the jail in, of either version.

They are made below our own, so that what bounds us bounds them too.
"""

import errno
import os
import time

from tap import Skip


def _mounts():
    """(mount point, version, controllers) of each hierarchy."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            place = before.split()[4]
            if kind == "cgroup2":
                yield place, 2, set()
            elif kind == "cgroup":
                yield place, 1, set(options.split(","))


def _own(controller):
    """Our own group's path in the hierarchy of a controller ('': version 2)."""
    with open("/proc/self/cgroup", encoding="utf-8") as table:
        for line in table:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                return path.lstrip("/")
    return ""


def _read(*path):
    with open(os.path.join(*path), encoding="ascii") as file:
        return file.read()


def _parent_v1(controller):
    for place, version, controllers in _mounts():
        if version == 1 and controller in controllers:
            path = os.path.join(place, _own(controller))
            return path if os.path.isdir(path) else place
    return None


def _parent_v2(controllers):
    for place, version, _ in _mounts():
        if version != 2:
            continue
        path = os.path.join(place, _own(""))
        # A group with processes in it hands no controller down, so this is
        # one above ours.
        while len(path) >= len(place):
            try:
                if controllers <= set(
                        _read(path, "cgroup.subtree_control").split()):
                    return path
            except OSError:
                pass
            path = os.path.dirname(path.rstrip("/"))
    return None


class Cgroup:
    """A group with these controllers, to put processes in; a context manager.

    Controllers have the names of version 2: "memory", "cpu", "io", "cpuset";
    and "freezer", which every group of version 2 has.  In version 1 each has a
    directory of its own.
    """

    V1_NAMES = {"io": "blkio"}
    CORE = {"freezer"}

    def __init__(self, name, *controllers):
        self.version = 1
        parents = {each: _parent_v1(self.V1_NAMES.get(each, each))
                   for each in controllers}
        if None in parents.values():
            self.version = 2
            parent = _parent_v2(set(controllers) - self.CORE)
            if not parent:
                raise Skip("no cgroup hierarchy has the controllers "
                           + " and ".join(controllers))
            parents = dict.fromkeys(controllers, parent)
        self.paths = {each: os.path.join(parent, f"vbu-{os.getpid()}-{name}")
                      for each, parent in parents.items()}
        try:
            for path in self.directories():
                os.mkdir(path)
        except OSError as error:
            self.close()
            raise Skip(f"no cgroup can be made: {error}") from None

    def directories(self):
        return sorted(set(self.paths.values()))

    def read(self, controller, name):
        return _read(self.paths[controller], name)

    def write(self, controller, name, text):
        path = os.path.join(self.paths[controller], name)
        if not os.path.exists(path):
            raise Skip(f"this host's cgroups have no {name}")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def processes(self):
        """The processes in each directory."""
        return [[int(pid) for pid in _read(path, "cgroup.procs").split()]
                for path in self.directories()]

    def move(self, pid):
        """Put a process here, with all of its threads."""
        for controller in self.paths:
            self.write(controller, "cgroup.procs", str(pid))

    def move_thread(self, thread):
        """Put one thread here, and leave its process where it is."""
        if self.version == 2:
            raise Skip("threads of a process share their cgroups of version 2")
        for controller in self.paths:
            self.write(controller, "tasks", str(thread))

    def has(self, pid):
        """Whether a process is here, with regard to all of our controllers."""
        return all(pid in found for found in self.processes())

    def freeze(self, frozen=True, seconds=10):
        """Stop what is in it, or let it go on; done when this returns."""
        if self.version == 1:
            name, wanted = "freezer.state", "FROZEN" if frozen else "THAWED"
            self.write("freezer", name, wanted)
        else:
            name, wanted = "cgroup.events", f"frozen {int(frozen)}"
            self.write("freezer", "cgroup.freeze", str(int(frozen)))
        deadline = time.monotonic() + seconds
        while wanted not in self.read("freezer", name):
            assert time.monotonic() < deadline, f"it is not {wanted}"
            time.sleep(0.01)

    def bind_cpus(self, cpus):
        """The CPUs, as text, and the memory nodes of the group above."""
        above = os.path.dirname(self.paths["cpuset"])
        self.write("cpuset", "cpuset.mems", _read(above, "cpuset.mems" if
                   self.version == 1 else "cpuset.mems.effective"))
        self.write("cpuset", "cpuset.cpus", cpus)

    def bound_memory(self, size):
        self.write("memory", "memory.limit_in_bytes" if self.version == 1 else
                   "memory.max", str(size))

    def memory_used(self):
        return int(self.read("memory", "memory.usage_in_bytes"
                             if self.version == 1 else "memory.current"))

    def memory_peak(self):
        return int(self.read("memory", "memory.max_usage_in_bytes"
                             if self.version == 1 else "memory.peak"))

    def _count(self, controller, name, key):
        for line in self.read(controller, name).splitlines():
            if line.startswith(key + " "):
                return int(line.split()[1])
        return 0

    def memory_refused(self):
        """How often the bound of the memory was reached so far."""
        if self.version == 1:
            return int(self.read("memory", "memory.failcnt"))
        return self._count("memory", "memory.events", "max")

    def memory_kills(self):
        """How many processes that has cost."""
        return self._count("memory", "memory.oom_control" if
                           self.version == 1 else "memory.events", "oom_kill")

    def bound_cpu(self, percent):
        """Of one CPU."""
        period = 20000
        quota = period * percent // 100
        if self.version == 2:
            self.write("cpu", "cpu.max", f"{quota} {period}")
        else:
            self.write("cpu", "cpu.cfs_period_us", str(period))
            self.write("cpu", "cpu.cfs_quota_us", str(quota))

    def cpu_throttled(self):
        """How often the bound of CPU time was reached."""
        return self._count("cpu", "cpu.stat", "nr_throttled")

    def bound_disk(self, device, rate):
        """Bytes a second, each way, of a block device."""
        number = os.stat(device).st_rdev
        disk = f"{os.major(number)}:{os.minor(number)}"
        if self.version == 2:
            self.write("io", "io.max", f"{disk} rbps={rate} wbps={rate}")
        else:
            for way in ("read", "write"):
                self.write("io", f"blkio.throttle.{way}_bps_device",
                           f"{disk} {rate}")

    def close(self, seconds=10):
        """Remove it; what is left in it has that long to go."""
        deadline = time.monotonic() + seconds
        for path in self.directories():
            while os.path.isdir(path):
                try:
                    os.rmdir(path)
                except OSError as error:
                    if error.errno != errno.EBUSY or \
                            time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
