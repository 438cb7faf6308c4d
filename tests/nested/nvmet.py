# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's NVMe/TCP target on this host, and a connection to it."""

import glob
import os
import subprocess
import time

from tap import Skip

CONFIG = "/sys/kernel/config/nvmet"
NQN = "nqn.2026-11.org.example:vbu-test"
PORT = "4420"


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _run(*words):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise Skip(f"'{' '.join(words)}' fails: {done.stdout.strip()}")


class Target:
    """Serves a block device on the loopback interface until close()."""

    def __init__(self, device):
        for module in ("nvmet-tcp", "nvme-tcp"):
            _run("modprobe", module)
        _run("ip", "link", "set", "lo", "up")
        self.subsystem = f"{CONFIG}/subsystems/{NQN}"
        self.namespace = f"{self.subsystem}/namespaces/1"
        self.port = f"{CONFIG}/ports/1"
        self.controller = None
        os.mkdir(self.subsystem)
        _write(f"{self.subsystem}/attr_allow_any_host", "1")
        os.mkdir(self.namespace)
        _write(f"{self.namespace}/device_path", device)
        _write(f"{self.namespace}/enable", "1")
        os.mkdir(self.port)
        for key, value in (("addr_trtype", "tcp"), ("addr_adrfam", "ipv4"),
                           ("addr_traddr", "127.0.0.1"),
                           ("addr_trsvcid", PORT)):
            _write(f"{self.port}/{key}", value)
        os.symlink(self.subsystem, f"{self.port}/subsystems/{NQN}")

    def connect(self, poll_queues):
        """The block device of a new connection."""
        fd = os.open("/dev/nvme-fabrics", os.O_RDWR)
        try:
            os.write(fd, (f"transport=tcp,traddr=127.0.0.1,trsvcid={PORT},"
                          f"nqn={NQN},nr_io_queues=1,"
                          f"nr_poll_queues={poll_queues}").encode())
            answer = dict(word.partition("=")[::2] for word in
                          os.read(fd, 4096).decode().strip().split(","))
        finally:
            os.close(fd)
        self.controller = f"/sys/class/nvme/nvme{answer['instance']}"
        deadline = time.monotonic() + 20
        while True:
            # Its namespace appears later than the connection.
            for path in glob.glob(f"{self.controller}/nvme*n*") + \
                    glob.glob(f"{self.controller}/nvme-subsystem/nvme*n*") + \
                    glob.glob("/sys/class/nvme-subsystem/*/"
                              f"nvme{answer['instance']}n*"):
                node = "/dev/" + os.path.basename(path)
                if os.path.exists(node):
                    return node
            if time.monotonic() > deadline:
                raise AssertionError(f"no disk at {self.controller}")
            time.sleep(0.05)

    def close(self):
        if self.controller:
            _write(f"{self.controller}/delete_controller", "1")
        os.unlink(f"{self.port}/subsystems/{NQN}")
        os.rmdir(self.port)
        _write(f"{self.namespace}/enable", "0")
        os.rmdir(self.namespace)
        os.rmdir(self.subsystem)
