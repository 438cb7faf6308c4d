#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated machine that has what this host may lack: KVM and an NVMe drive.

QEMU's TCG emulates a CPU with hardware virtualisation and a drive whose queues
Linux can poll.  The Linux in it runs our QEMU under KVM, so that the real NVMe
driver, IOPOLL, SQPOLL, the jail, KVM, ioeventfd and irqfd do the work; all of
it slower than on a real machine, and the drive more so than the CPUs.

The machine boots the initramfs of the guest tests, and runs programs in the
root file system that scripts/nested-image.sh made.
"""

import base64
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "guest"))

# pylint: disable=wrong-import-position
from vm import BUILD, TOP, Config, Guest, GuestError, Line, make_image  # noqa: E402

ROOT_IMAGE = os.path.join(BUILD, "nested", "root.img")
# Where the project is in the machine's root file system.
PROJECT = "/vbu"
CARRIED = ("tests/guest", "tests/nested", "bench", "tools/ring-watch")
MIB = 1 << 20
PANIC_SECONDS = 60      # for a kernel to print all that it knows


def _carried(path):
    """Our scripts as a tar file, which is carried in as a disk."""
    def plain(info):
        info.uid = info.gid = 0
        return None if "__pycache__" in info.name else info

    with tarfile.open(path, "w") as out:
        for directory in CARRIED:
            if os.path.isdir(os.path.join(TOP, directory)):
                out.add(os.path.join(TOP, directory), directory, filter=plain)


class Machine:
    """A context manager; run() runs a program in the machine.

    cpus: of the machine.  drive_size: of its NVMe drive, in bytes, which
    starts as zeroes and lies in this host's memory; null_drive: it has no
    contents, and takes only what its emulation does.
    """

    def __init__(self, logdir, cpus=2, memory="6G", drive_size=512 * MIB,
                 poll_queues=2, null_drive=False, append=""):
        self.logdir = logdir
        # Beside the logs, so that several machines can run.
        os.makedirs(os.path.dirname(logdir), exist_ok=True)
        scripts = logdir + "-scripts.tar"
        _carried(scripts)
        if null_drive:
            drive = f"driver=null-co,read-zeroes=on,size={drive_size}"
        else:
            drive = "driver=raw,file.driver=file,file.filename=" \
                + make_image(logdir + "-nvme.img", drive_size)
        self._listener = socket.socket(socket.AF_UNIX)
        # The path of a socket must be short, and the build tree's may not be.
        self._address = f"\0vbu-nested-{os.getpid()}"
        self._listener.bind(self._address)
        self._listener.listen(1)
        config = Config(accel="tcg")
        self.vm = Guest(
            config, logdir, smp=cpus, mem=memory,
            disks=[{"id": "root", "image": ROOT_IMAGE, "device":
                    "virtio-blk-pci", "drive": "snapshot=on"},
                   {"id": "scripts", "image": scripts, "device":
                    "virtio-blk-pci", "drive": "readonly=on"}],
            args=["-blockdev", "node-name=nvme," + drive,
                  "-device", "nvme,serial=vbu-nested,drive=nvme",
                  "-chardev", "socket,id=out,abstract=on,path="
                  + self._address[1:],
                  "-device", "virtserialport,chardev=out,name=vbu.out"],
            append=f"nvme.poll_queues={poll_queues} mitigations=off nokaslr "
                   # Of who monitors it, when it does not answer any more.
                   "unknown_nmi_panic vbu.cpus=later "
                   + append)
        self._out_log = open(logdir + "-out.log", "w", encoding="utf-8")
        self._out = Line(self._listener.accept()[0], self._out_log)

    def boot(self):
        self._favour_devices()
        self.vm.wait_boot()
        self.vm.sh("load virtio_blk && mount -t ext4 -o noatime /dev/vda /mnt\n"
                   f"tar -C /mnt{PROJECT} -xf /dev/vdb\n"
                   "mount -t tracefs tracefs /sys/kernel/tracing\n"
                   "load configfs\n"
                   "mount -t configfs configfs /sys/kernel/config\n"
                   "for fs in proc sys dev tmp; do\n"
                   "    mount --rbind /$fs /mnt/$fs\n"
                   "done\n"
                   "chroot /mnt modprobe kvm-amd\n"
                   f"chroot /mnt python3 -B {PROJECT}/tests/nested/keep_vm.py\n"
                   "start_cpus", timeout=400)

    def _favour_devices(self):
        """The thread that emulates the drive must not wait for CPUs that spin.

        A real drive has its own processor.  Here it shares one with the
        machine's last CPU, where benchmarks have what serves the drive: a
        thread that polls it, as a rule, and has nothing else to do meanwhile.
        """
        host = sorted(os.sched_getaffinity(0))
        main = self.vm.process.pid
        vcpus = [cpu["thread-id"] for cpu in self.vm.qmp("query-cpus-fast")]
        if len(host) >= len(vcpus):
            for number, thread in enumerate(vcpus):
                os.sched_setaffinity(thread, {host[number]})
            os.sched_setaffinity(main, set(host[len(vcpus) - 1:]))
        try:
            # At once: a fair share comes some ms late, and so would I/O.
            os.sched_setscheduler(main, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            print("note: the drive's emulation has no priority over busy CPUs,"
                  " which takes root; expect it to be slow", file=sys.stderr)

    def run(self, command, timeout, output=sys.stdout, patience=None):
        """Run a shell command in the machine, in the project's directory.

        What it prints goes to `output` as it comes.  Returns its exit status.
        patience: after so many seconds of silence the machine is made to say
        what it does, on its console, and ended: GuestError.
        """
        end = "VBU-NESTED-END"
        script = (f"out=$(find_port vbu.out)\n"
                  "chroot /mnt /bin/sh -c "
                  + shlex.quote(f"cd {PROJECT} && {command}")
                  + ' >"$out" 2>&1 </dev/null\n'
                  "status=$?\n"
                  f'echo {end} >"$out"\nexit $status\n')

        def copy():
            while True:
                try:
                    line = self._out.receive(
                        time.monotonic() + (patience or timeout))
                except TimeoutError:
                    self._end_with_a_panic()
                    return
                except EOFError:
                    return
                if line == end:
                    return
                output.write(line + "\n")
                output.flush()

        reader = threading.Thread(target=copy, daemon=True)
        reader.start()
        try:
            status, said = self.vm.sh_status(script, timeout)
        finally:
            # At a GuestError there may be more to read of how it came.
            reader.join(10)
        if said.strip():
            print(said, file=sys.stderr)
        return status

    def _end_with_a_panic(self):
        """The kernel's panic says where it is; GuestError in run()."""
        self.vm.last_words = 200
        try:
            self.vm.qmp("inject-nmi")
            self.vm.process.wait(PANIC_SECONDS)
        except (GuestError, subprocess.TimeoutExpired):
            self.vm.process.kill()

    def fetch(self, path):
        """The bytes of a file of the project in the machine; None: not there."""
        status, text = self.vm.sh_status(
            f"cat /mnt{PROJECT}/{path} 2>/dev/null | base64; "
            f"[ -e /mnt{PROJECT}/{path} ]", timeout=400)
        return None if status else base64.b64decode(text)

    def close(self):
        self.vm.close()
        self._out.sock.close()
        self._out_log.close()
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: tests/nested/emulated.py COMMAND\n"
                 "runs a shell command in the emulated machine, in the "
                 "project's directory")
    with Machine(os.path.join(BUILD, "nested", f"shell-{os.getpid()}")) as machine:
        machine.boot()
        sys.exit(machine.run(
            f"export VBU_INITRD={PROJECT}/build/guest/initramfs.cpio; "
            + " ".join(sys.argv[1:]), 24 * 3600))


if __name__ == "__main__":
    main()
