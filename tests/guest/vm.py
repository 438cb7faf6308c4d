#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU with a Linux guest in it, and the two lines to talk to them.

Guest.qmp() talks to QEMU, Guest.sh() runs a shell script in the guest as root
and returns what it printed.  Both lines are socket pairs made before QEMU
starts, so there is nothing to wait for but answers, and the death of QEMU
shows at once as end of file.  Time limits are guards against hangs only.

Run as a program it boots a guest with one disk and passes on to the guest what
is typed:

    tests/guest/vm.py [--stock] [--accel=kvm] [--image=FILE]
"""

import argparse
import base64
import ctypes
import gzip
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("VBU_BUILD", os.path.join(TOP, "build"))

DEVICE = "virtio-blk-uring"
DRIVER = "virtio_blk_uring"
STOCK_DEVICE = "virtio-blk-pci"
STOCK_DRIVER = "virtio_blk"

PR_SET_PDEATHSIG = 1
BOOT_SECONDS = 400
# A kernel changes its own code at boot, some thousand places of it.  TCG can
# miss such a change if another CPU comes by at that moment, and that CPU has
# the old code for ever, whatever it was: seen are a breakpoint that had been
# taken out, and a CPU whose timer did not tick.  So the others are started
# when that is over, by start_cpus in the guest.
ONE_CPU = "maxcpus=1 "
FIRMWARE = ("/usr/share/seabios", "/usr/share/qemu", "/usr/lib/ipxe/qemu")


class GuestError(Exception):
    """A script failed in the guest, or the guest or QEMU did not live on."""


class QMPError(Exception):
    """QEMU refused a command; its text is QEMU's own sentence."""


class Config:
    """What to run: made once, from the command line and build/."""

    def __init__(self, accel="tcg", stock=False, qemu=None, kernel=None,
                 initrd=None, isolation="process"):
        self.accel = accel
        self.stock = stock
        self.isolation = isolation
        self.qemu = qemu or os.environ.get("VBU_QEMU") or \
            os.path.join(BUILD, "qemu", "qemu-system-x86_64")
        self.kernel = kernel or os.environ.get("VBU_KERNEL") or \
            os.path.join(BUILD, "guest", "vmlinuz")
        self.initrd = initrd or os.environ.get("VBU_INITRD") or \
            os.path.join(BUILD, "guest", "initramfs.cpio.gz")
        # For the kernel of each guest, before what the test itself wants
        self.append = os.environ.get("VBU_APPEND", "")
        if self.append:
            self.append += " "

    def missing(self):
        """A sentence about the first file that is not there, or None."""
        for path in (self.qemu, self.kernel, self.initrd):
            if not os.path.exists(path):
                return f"{path} is missing: run ./configure and make first"
        return None

    @staticmethod
    def add_options(parser):
        parser.add_argument("--accel", default="tcg", choices=("tcg", "kvm"),
                            help="accelerator of the guest (default tcg)")
        parser.add_argument("--isolation", default="process",
                            choices=("process", "none"),
                            help="who owns the rings (default process)")

    def device(self):
        return STOCK_DEVICE if self.stock else DEVICE

    def driver(self):
        return STOCK_DRIVER if self.stock else DRIVER


def die_with_parent():
    # Runs between fork and exec: a killed harness must not leave QEMU behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def unpacked(initrd):
    """The same root file system without its compression.

    Unpacking is most of the boot of an emulated CPU, and none of a host's.
    """
    if not initrd.endswith(".gz"):
        return initrd
    plain = os.path.join(BUILD, "tests", "guest", "initramfs.cpio")
    if not os.path.exists(plain) or \
            os.path.getmtime(plain) != os.path.getmtime(initrd):
        os.makedirs(os.path.dirname(plain), exist_ok=True)
        part = f"{plain}.{os.getpid()}"
        with gzip.open(initrd) as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        shutil.copystat(initrd, part)
        os.replace(part, plain)
    return plain


def make_image(path, size, fill=None):
    """A raw disk of `size` bytes; `fill` is a byte that it is filled with."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as image:
        if fill is None:
            image.truncate(size)
        else:
            chunk = bytes([fill]) * (1 << 20)
            for start in range(0, size, len(chunk)):
                image.write(chunk[:size - start])
    return path


class Line:
    """Newline-separated text over one end of a socket pair."""

    def __init__(self, sock, log):
        self.sock = sock
        self.log = log
        self.buffer = b""

    def send(self, text):
        self.log.write(f">> {text}\n")
        self.log.flush()
        self.sock.sendall(text.encode() + b"\n")

    def receive(self, deadline):
        """The next line; EOFError when the other end is gone, TimeoutError."""
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self.buffer += data
        raw, self.buffer = self.buffer.split(b"\n", 1)
        text = raw.decode(errors="replace").rstrip("\r")
        self.log.write(text + "\n")
        return text


class Guest:
    """A started QEMU; use it as a context manager.

    disks: dictionaries with "image" and optionally "id" (vbu0, vbu1...),
    "device" (a QEMU device name), "props" (its properties, text), "drive"
    (properties of the drive, text), "bus".
    wrap: words before the command, for a program that executes the rest.
    """

    last_words = 12     # lines of each log, in the message about its death

    def __init__(self, config, logdir, disks=(), smp=1, mem="512M",
                 args=(), append="", wrap=()):
        self.config = config
        self.logdir = logdir
        self.options = {"smp": smp, "mem": mem, "args": tuple(args),
                        "append": append, "wrap": tuple(wrap)}
        self.disks = [dict(disk) for disk in disks]
        self.events = []
        self.kernel_release = None
        self._log_read = 0
        self._ids = itertools.count(1)
        shutil.rmtree(logdir, ignore_errors=True)
        os.makedirs(logdir)

        qmp_here, qmp_qemu = socket.socketpair()
        sh_here, sh_qemu = socket.socketpair()
        self._logs = [open(self._log(name), "w", encoding="utf-8")
                      for name in ("qmp.log", "shell.log", "qemu.log")]
        self._qmp = Line(qmp_here, self._logs[0])
        self._shell = Line(sh_here, self._logs[1])

        command = self._command(qmp_qemu.fileno(), sh_qemu.fileno(), smp, mem,
                                args, append)
        command = list(wrap) + command
        with open(self._log("command"), "w", encoding="utf-8") as out:
            out.write(" ".join(f"'{word}'" if set(word) & set(" ;&$") else word
                               for word in command) + "\n")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._logs[2],
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
            pass_fds=(qmp_qemu.fileno(), sh_qemu.fileno()))
        qmp_qemu.close()
        sh_qemu.close()
        try:
            self._qmp_greeting()
        except BaseException:
            self.close()
            raise

    def _log(self, name):
        return os.path.join(self.logdir, name)

    def _command(self, qmp_fd, sh_fd, smp, mem, args, append):
        tcg = self.config.accel == "tcg"
        words = [self.config.qemu, "-nodefaults", "-no-user-config",
                 "-display", "none", "-vga", "none",
                 "-accel", self.config.accel,
                 "-cpu", "max" if tcg else "host", "-smp", str(smp),
                 "-object", "memory-backend-memfd,id=mem,share=on,size=" + mem,
                 # Under KVM Linux has better timers, and the HPET's ticks
                 # would be system calls of QEMU's.
                 "-machine", "q35,memory-backend=mem"
                             + ("" if tcg else ",hpet=off"), "-m", mem,
                 # A panic or a reset that no test asked for ends QEMU, and
                 # with it every wait for the guest.
                 "-action", "reboot=shutdown,panic=shutdown",
                 "-kernel", self.config.kernel,
                 "-initrd", unpacked(self.config.initrd),
                 # Under TCG the kernel trusts no TSC, and the other clocks
                 # are devices: every look at one would stop the vCPU.
                 "-append", "console=ttyS0 loglevel=5 oops=panic panic=-1 "
                            "clocksource=tsc tsc=reliable "
                            # Nor is a timer late because it is broken.
                            "no_timer_check "
                            + (ONE_CPU if tcg and smp > 1 else "")
                            + self.config.append + append,
                 "-chardev", f"socket,id=qmp,fd={qmp_fd}",
                 "-mon", "chardev=qmp,mode=control",
                 "-serial", "file:" + self._log("console.log"),
                 "-device", "virtio-serial-pci",
                 "-chardev", f"socket,id=shell,fd={sh_fd}",
                 "-device", "virtserialport,chardev=shell,name=vbu.shell",
                 # An empty slot, for tests that plug.
                 "-device", "pcie-root-port,id=slot0,chassis=1"]
        for path in FIRMWARE:
            if os.path.isdir(path):
                words += ["-L", path]
        for number, disk in enumerate(self.disks):
            disk.setdefault("id", f"vbu{number}")
            words += ["-drive", self.drive_text(disk),
                      "-device", self.device_text(disk)]
        return words + list(args)

    def drive_text(self, disk):
        return (f"if=none,id=d-{disk['id']},file={disk['image']},format=raw,"
                + disk.get("drive", "cache=writeback"))

    def device_text(self, disk):
        device = disk.get("device", self.config.device())
        text = f"{device},id={disk['id']},drive=d-{disk['id']}"
        if disk.get("bus"):
            text += f",bus={disk['bus']}"
        if device == DEVICE:
            text += ",isolation=" + disk.get("isolation",
                                             self.config.isolation)
        if disk.get("props"):
            text += "," + disk["props"]
        if device == STOCK_DEVICE:
            text = ",".join(prop for prop in text.split(",")
                            if not prop.startswith(("poll-queues=",
                                                    "sqpoll-")))
        return text

    def heir(self, logdir, disks=None, config=None, **options):
        """A QEMU that waits for this one's guest to migrate to it.

        disks: others than this one's, where the same would not do.
        """
        options = dict(self.options, **options)
        options["args"] = tuple(options["args"]) + ("-incoming", "defer")
        heir = Guest(config or self.config, logdir, disks or self.disks,
                     **options)
        heir.options["args"] = self.options["args"]
        heir.kernel_release = self.kernel_release
        return heir

    # -- QMP ---------------------------------------------------------------

    def _qmp_greeting(self):
        self._qmp_message(120)
        self.qmp("qmp_capabilities")

    def _qmp_message(self, seconds):
        try:
            return json.loads(self._qmp.receive(time.monotonic() + seconds))
        except EOFError:
            raise GuestError(self._epitaph("QEMU ended")) from None
        except TimeoutError:
            raise GuestError(self._epitaph(
                f"QEMU's monitor said nothing for {seconds} s")) from None

    def qmp(self, command, timeout=180, **arguments):
        """Run a QMP command; what it returns.  '_' in names stands for '-'."""
        message = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value
                                    for key, value in arguments.items()}
        self._qmp.send(json.dumps(message))
        while True:
            answer = self._qmp_message(timeout)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QMPError(answer["error"]["desc"])
            elif "return" in answer:
                return answer["return"]

    def hmp(self, line):
        return self.qmp("human-monitor-command", command_line=line)

    def wait_event(self, name, timeout=180, **data):
        """Wait for an event with these data; older ones are looked at first."""
        while True:
            for event in self.events:
                if event["event"] == name and all(
                        event.get("data", {}).get(key) == value
                        for key, value in data.items()):
                    self.events.remove(event)
                    return event
            message = self._qmp_message(timeout)
            if "event" in message:
                self.events.append(message)

    # -- the guest's shell ---------------------------------------------------

    def wait_boot(self, seconds=BOOT_SECONDS):
        """Wait until the guest takes commands, after start or a reset."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._shell_line(deadline, "the boot of the guest")
            if line.startswith("VBU-HELLO "):
                self.kernel_release = line.split()[1]
                return self

    def _shell_line(self, deadline, what):
        try:
            return self._shell.receive(deadline)
        except EOFError:
            raise GuestError(self._epitaph(f"QEMU ended during {what}")) \
                from None
        except TimeoutError:
            raise GuestError(self._epitaph(f"time is up for {what}")) from None

    def sh_status(self, script, timeout=180):
        """Run a script in the guest; its exit status and its output."""
        return self.sh_begin(script)(timeout)

    def _sh_send(self, script):
        tag = f"{os.getpid()}.{next(self._ids)}"
        encoded = base64.b64encode(script.encode()).decode()
        self._shell.log.write(f"-- {script}\n")
        self._shell.send(f"{tag} {encoded}")
        return tag

    def _sh_answer(self, tag, script, timeout):
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            line = self._shell_line(deadline, f"this in the guest: {script}")
            if line.startswith(f"VBU-END {tag} "):
                if lines and not lines[-1]:
                    lines.pop()
                return int(line.split()[2]), "\n".join(lines)
            if line.startswith("VBU-HELLO "):
                raise GuestError(self._epitaph(
                    f"the guest started anew during this: {script}"))
            lines.append(line)

    def sh(self, script, timeout=180):
        """As sh_status, for scripts that must succeed; ends at an error."""
        status, output = self.sh_status("set -e\n" + script, timeout)
        if status:
            raise GuestError(f"exit status {status} in the guest of:\n{script}"
                             f"\n{output}")
        return output

    def sh_restart(self, script, seconds=BOOT_SECONDS):
        """Run a script that makes the guest start anew; wait for that."""
        self._sh_send(script)
        return self.wait_boot(seconds)

    def sh_begin(self, script):
        """Run a script in the guest that ends after what the host does next.

        What is returned waits for it: its exit status and its output.
        """
        tag = self._sh_send(script)
        return lambda timeout=180: self._sh_answer(tag, script, timeout)

    def new_log_lines(self):
        """What QEMU wrote to standard error since this was last asked."""
        with open(self._log("qemu.log"), encoding="utf-8",
                  errors="replace") as log:
            log.seek(self._log_read)
            lines = log.read().splitlines()
            self._log_read = log.tell()
        return lines

    # -- the end -------------------------------------------------------------

    def _epitaph(self, text):
        tails = []
        for name in ("qemu.log", "console.log"):
            try:
                with open(self._log(name), encoding="utf-8",
                          errors="replace") as log:
                    last = log.read().splitlines()[-self.last_words:]
            except OSError:
                continue
            if last:
                tails.append(f"last lines of {self._log(name)}:")
                tails += ["  " + line for line in last]
        return "\n".join([text] + tails)

    def close(self):
        """End QEMU at once; nothing of it is left when this returns."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._qmp.sock.close()
        self._shell.sock.close()
        for log in self._logs:
            log.close()

    def quit(self):
        """Let QEMU end by itself, so that its own way out is tested too.

        What its monitor says until then, the answer and events.
        """
        self._qmp.send('{"execute": "quit"}')
        messages, deadline = [], time.monotonic() + 120
        try:
            while True:
                messages.append(json.loads(self._qmp.receive(deadline)))
        except (EOFError, TimeoutError):
            pass
        try:
            status = self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.close()
            raise GuestError("QEMU did not end within 120 s of 'quit'") from None
        self.close()
        if status:
            raise GuestError(self._epitaph(f"QEMU ended with status {status}"))
        return messages

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    parser = argparse.ArgumentParser(
        description="Boot a test guest and pass it what is typed.")
    Config.add_options(parser)
    parser.add_argument("--stock", action="store_true",
                        help="stock virtio-blk instead of " + DEVICE)
    parser.add_argument("--image", help="raw image (default: a new one)")
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--props", default="num-queues=1,poll-queues=1",
                        help="properties of the disk")
    options = parser.parse_args()
    config = Config(accel=options.accel, stock=options.stock,
                    isolation=options.isolation)
    if config.missing():
        sys.exit(config.missing())
    logdir = os.path.join(BUILD, "tests", "guest", "shell")
    image = options.image or make_image(logdir + ".img", 64 << 20)
    disk = {"image": image, "props": options.props}
    with Guest(config, logdir, [disk], smp=options.smp) as guest:
        print(f"booting; logs in {logdir}", file=sys.stderr)
        guest.wait_boot()
        print(guest.sh(f"load {config.driver()}; disks"))
        print("The guest runs each line you type. 'qmp COMMAND' asks QEMU; "
              "end with Ctrl-D.", file=sys.stderr)
        while True:
            print("guest# ", end="", flush=True)
            line = sys.stdin.readline()
            if not line:
                break
            try:
                if line.startswith("qmp "):
                    print(json.dumps(guest.qmp(line.split()[1]), indent=1))
                elif line.strip():
                    print(guest.sh_status(line, timeout=3600)[1])
            except QMPError as error:
                print(error)
    print()


if __name__ == "__main__":
    main()
