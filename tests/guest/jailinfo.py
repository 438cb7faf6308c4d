# SPDX-License-Identifier: GPL-2.0-or-later
"""The jail as the host's /proc shows it, and what is wrong with it."""

import collections
import os
import re
import select
import signal
import time

from tap import Skip

COMM = "qemu-ring-jail"
BASE = 0x100000000000           # guest RAM lies at BASE + physical address
ALL_BLOCKED = (1 << 64) - 1 & ~(1 << (signal.SIGKILL - 1) |
                                1 << (signal.SIGSTOP - 1))

Mapping = collections.namedtuple(
    "Mapping", "start end mode offset device inode name")
# Guest RAM: where it is, how much, and where in the file of its backend.
Window = collections.namedtuple("Window", "address size offset")

# QEMU's "info mtree -f"
RAM_RANGE = re.compile(r"^ *([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\):"
                       r" (\S+)(?: @([0-9a-f]+))?")


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8",
                  errors="replace") as file:
            return file.read()
    except PermissionError:
        raise Skip(f"/proc/PID/{name} of the jail is for root") from None


def _table(pid, name):
    """A file of lines "Name: value"."""
    return {key: value.strip() for key, _, value in
            (line.partition(":") for line in _read(pid, name).splitlines())}


def comm(pid):
    return _read(pid, "comm").strip()


def status(pid):
    return _table(pid, "status")


def limits(pid):
    """{name: (soft, hard)}, as words."""
    found = {}
    for line in _read(pid, "limits").splitlines()[1:]:
        name, soft, hard = re.match(r"(.{25}) (\S+) +(\S+)", line).groups()
        found[name.strip()] = (soft, hard)
    return found


def threads(pid):
    """{thread id: name}"""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found[int(task)] = comm(f"{pid}/task/{task}")
        except (FileNotFoundError, ProcessLookupError):
            pass                # an io-wq worker that has just gone
    return found


def own_threads(pid):
    return [task for task, name in threads(pid).items() if name == COMM]


def fds(pid):
    """{fd: what it is}"""
    found = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                pass            # just closed
    except PermissionError:
        raise Skip("/proc/PID/fd of the jail is for root") from None
    return found


def mappings(pid):
    found = []
    for line in _read(pid, "maps").splitlines():
        words = line.split(None, 5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        found.append(Mapping(start, end, words[1], int(words[2], 16), words[3],
                             int(words[4]), words[5] if words[5:] else ""))
    return found


def touched(pid):
    """{start of a window: bytes of it that the jail has used so far}"""
    found, start = {}, None
    for line in _read(pid, "smaps").splitlines():
        head = re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line)
        if head:
            start = int(head[1], 16)
        elif line.startswith("Rss:"):
            found[start] = int(line.split()[1]) << 10
    return {start: size for start, size in found.items()
            if BASE <= start < 1 << 47}


def children(pid):
    """{process id: name} of all children, those that nobody waited for too."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = _read(entry, "stat")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if int(rest.split()[1]) == pid:
            found[int(entry)] = name
    return found


def cpu_seconds(pid):
    """CPU time of a process, all of its threads together."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Life:
    """Knows when a process has ended, whatever else gets its number."""

    def __init__(self, pid):
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    def kill(self):
        signal.pidfd_send_signal(self.fd, signal.SIGKILL)

    def ended(self, seconds=0):
        """Whether it has ended, or does within so many seconds."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def expect_end(self, seconds):
        started = time.monotonic()
        assert self.ended(seconds), \
            f"process {self.pid} is still there after {seconds} s"
        return time.monotonic() - started

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ram_of_guest(vm, backend="mem"):
    """The RAM that the machine shows to the guest, as windows.

    QEMU's "info mtree -f" forgets to put references back, so that no device
    that is there now can be unplugged for good any more.
    """
    windows, wanted = [], False
    for line in vm.hmp("info mtree -f").splitlines():
        if line.startswith("FlatView"):
            wanted = False
        elif line.strip().startswith('AS "memory"'):
            wanted = True
        match = wanted and RAM_RANGE.match(line)
        if match and match[3] == backend:
            start, last = int(match[1], 16), int(match[2], 16)
            windows.append(Window(start, last + 1 - start,
                                  int(match[4] or "0", 16)))
    return merged(windows)


def merged(windows):
    result = []
    for window in sorted(windows):
        if result:
            last = result[-1]
            if last.address + last.size == window.address and \
                    last.offset + last.size == window.offset:
                result[-1] = last._replace(size=last.size + window.size)
                continue
        result.append(window)
    return result


def describe(pid):
    """Lines for whoever wants to see with their own eyes."""
    yield f"the jail, process {pid}:"
    yield from ("  " + line for line in _read(pid, "maps").splitlines())
    for fd, what in sorted(fds(pid).items()):
        yield f"  fd {fd}: {what}"
    wanted = re.compile("Uid|Gid|Groups|Threads|VmSize|VmRSS|Cap|NoNewPrivs"
                        "|Seccomp|SigBlk")
    yield from ("  " + " ".join(line.split())
                for line in _read(pid, "status").splitlines()
                if wanted.match(line))
    yield from ("  " + " ".join(line.split())
                for line in _read(pid, "limits").splitlines()
                if line.startswith(("Max file size", "Max core")))
    for task, name in sorted(threads(pid).items()):
        yield f"  thread {task}: {name}"


def _complain_maps(pid, ram, backends):
    files = set()
    code = 0
    seen = []
    for each in mappings(pid):
        if each.name == "[vsyscall]":
            continue
        if each.mode == "r-xp" and each.end - each.start == os.sysconf(
                "SC_PAGE_SIZE"):
            code += 1
        elif each.mode == "rw-s":
            files.add((each.device, each.inode, each.name))
            seen.append(Window(each.start - BASE, each.end - each.start,
                               each.offset))
        else:
            yield f"it has the mapping {each}"
    if code != 1:
        yield f"{code} pages of code are mapped"
    if len(files) != backends or any(
            not name.startswith("/memfd:") for _, _, name in files):
        yield f"shared mappings are of {files}, not of {backends} memfd"
    if merged(seen) != ram:
        yield f"it sees {merged(seen)}, but the guest's RAM is {ram}"


def _complain_fds(pid, rings):
    kinds = collections.Counter()
    for fd, what in fds(pid).items():
        if fd == 3 and what.startswith("socket:"):
            continue
        if what not in ("anon_inode:[eventfd]", "anon_inode:[io_uring]"):
            yield f"fd {fd} is open: {what}"
        kinds[what] += 1
    if kinds["anon_inode:[io_uring]"] != rings:
        yield f"{rings} rings, but {kinds['anon_inode:[io_uring]']} fds"
    if kinds["anon_inode:[eventfd]"] > 1:
        yield f"{kinds['anon_inode:[eventfd]']} eventfds are open"


def _complain_threads(pid):
    known = re.compile(rf"{COMM}|iou-sqp-{pid}|iou-wrk-\d+")
    all_threads = threads(pid)
    for task, name in all_threads.items():
        if not known.fullmatch(name):
            yield f"thread {task} is named {name}"
    own = [task for task, name in all_threads.items() if name == COMM]
    if len(own) != 2:
        yield f"{len(own)} threads of its own, not 2"
    for task in all_threads:
        try:
            now = status(f"{pid}/task/{task}")
        except (FileNotFoundError, ProcessLookupError):
            continue            # an io-wq worker
        for key, value in now.items():
            if key.startswith("Cap") and int(value, 16):
                yield f"thread {task} has {key} {value}"
        if now["NoNewPrivs"] != "1":
            yield f"thread {task} has NoNewPrivs {now['NoNewPrivs']}"
        if now["Seccomp"] != "2":
            yield f"thread {task} has Seccomp {now['Seccomp']}"
        if task in own and int(now["SigBlk"], 16) != ALL_BLOCKED:
            yield f"thread {task} blocks the signals {now['SigBlk']} only"


def complaints(pid, qemu, ram, rings, disk_size, backends=1):
    """All that is not as it should be with the jail `pid` of `qemu`.

    ram: windows, in so many memory backends; rings: how many it owns.
    """
    yield from _complain_maps(pid, ram, backends)
    yield from _complain_fds(pid, rings)
    yield from _complain_threads(pid)
    bounds = limits(pid)
    if bounds["Max file size"][0] != str(disk_size):
        yield f"files may have {bounds['Max file size'][0]} bytes, the disk " \
              f"has {disk_size}"
    if bounds["Max core file size"][0] != "0":
        yield f"it may dump core: {bounds['Max core file size']}"
    for ids in ("Uid", "Gid"):
        # Its user is QEMU's, or one with less to say.
        mine, theirs = status(pid)[ids].split(), status(qemu)[ids].split()
        if len(set(mine)) != 1 or (mine != theirs and "0" in mine):
            yield f"it has {ids} {' '.join(mine)}, QEMU {' '.join(theirs)}"
    if os.getsid(pid) != os.getsid(qemu):
        yield "it has left QEMU's session, and its CPU time is weighed apart"
