# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attack would harm on the host: QEMU as /proc shows it, the kernel."""

import collections
import os
import re

from tap import KERNEL_TROUBLE

Mapping = collections.namedtuple("Mapping", "start end mode name")
MAPS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
RAMBLOCK = re.compile(r"^ *(\S*) +\d+ \S+ +0x\w+ +0x\w+ +0x(\w+) +0x(\w+)")


def mappings(pid):
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            start, end, mode, name = MAPS.match(line).groups()
            found.append(Mapping(int(start, 16), int(end, 16), mode, name))
    return found


def some_addresses(pid, most):
    """Where something of a process lies: a few pages of each of its things."""
    kinds = collections.defaultdict(list)
    for mapping in mappings(pid):
        if "r" in mapping.mode:
            kinds[mapping.name, mapping.mode].append(mapping)
    # Large ones first, since libraries have a lot of small ones.
    chosen = []
    for same in kinds.values():
        same.sort(key=lambda m: m.start - m.end)
        chosen += [(mapping.end - mapping.start, place)
                   for mapping in same[:2]
                   for place in (mapping.start, mapping.end - 4096)]
    named = [place for _, place in sorted(chosen, reverse=True)]
    return list(dict.fromkeys(named))[:most]


def read_memory(pid, address, size):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, address)


def write_memory(pid, address, data):
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        assert os.pwrite(memory.fileno(), data, address) == len(data)


def ram_block(vm, size, name=None):
    """Where QEMU has mapped a memory backend of so many bytes."""
    for line in vm.hmp("info ramblock").splitlines():
        match = RAMBLOCK.match(line)
        if match and int(match[2], 16) == size and name in (None, match[1]):
            return int(match[3], 16)
    raise AssertionError(f"QEMU has no RAM block of {size} bytes: "
                         + vm.hmp("info ramblock"))


class Secret:
    """Bytes in QEMU's memory that are neither to change nor to get out."""

    def __init__(self, pid, address, size):
        self.pid = pid
        self.address = address
        self.token = os.urandom(16)
        self.content = self.token * (size // len(self.token))
        write_memory(pid, address, self.content)

    def check(self, images):
        now = read_memory(self.pid, self.address, len(self.content))
        if now != self.content:
            at = next(i for i, byte in enumerate(now)
                      if byte != self.content[i])
            raise AssertionError(
                f"QEMU's memory at {self.address + at:#x} was overwritten, it "
                f"holds {now[at:at + 16].hex()}")
        for path in images:
            with open(path, "rb") as image:
                assert self.token not in image.read(), \
                    f"what QEMU has at {self.address:#x} is on the disk {path}"


class Belongings:
    """What a process has: compare with what it had."""

    def __init__(self, pid):
        self.descriptors = collections.Counter()
        self.threads = collections.Counter()
        self.children = collections.Counter()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                continue
            self.descriptors[re.sub(r":\[\d+\]", "", target)] += 1
        for task in os.listdir(f"/proc/{pid}/task"):
            name = self._read(f"/proc/{pid}/task/{task}/comm")
            # QEMU's pool has as many as there is work, and for a while more.
            if name and name != "worker":
                self.threads[re.sub(r"\d+$", "", name)] += 1
        for other in os.listdir("/proc"):
            if other.isdigit():
                stat = self._read(f"/proc/{other}/stat")
                name, _, rest = stat.partition("(")[2].rpartition(") ")
                if rest and int(rest.split()[1]) == pid:
                    self.children[name] += 1

    @staticmethod
    def _read(path):
        try:
            with open(path, encoding="utf-8", errors="replace") as source:
                return source.read().strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def more_than(self, older):
        """What is there now and was not; empty if nothing."""
        return [f"{count} {name}"
                for now, then in ((self.descriptors, older.descriptors),
                                  (self.threads, older.threads),
                                  (self.children, older.children))
                for name, count in (now - then).items()]


class HostLog:
    """The host kernel's log from here on."""

    def __init__(self):
        self.fd = None
        try:
            self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            pass        # unprivileged; what it would say is seen elsewhere

    def check(self):
        while self.fd is not None:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue        # overwritten before it could be read
            assert not KERNEL_TROUBLE.search(record), \
                "the host's kernel says: " + record

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
