# SPDX-License-Identifier: GPL-2.0-or-later
"""Risk: storage that does not answer some other program stops our guests.

Linux ends at most 64 rings of a host at a time, and takes for each as long as
the requests in it.  Another program's rings that cannot end keep all rings of
the host from being freed, those of our guests too.  Who waits for that waits
for somebody else's storage.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import ring
from disk_group import DiskGroup
from faulty import Faulty
from jail_group import FULL
from plug import Plugged
from tap import MIB, Group, Skip
from vm import BUILD, HERE, Guest, make_image

ENOUGH = 64             # stuck rings, for none of the host's to be freed
# How much longer than without stuck rings anything may take, in seconds, on a
# host that has other things to do.  100 ms are what is wanted; who waits for
# the storage waits for ever.
SLACK = 2
# For what is a matter of moments, such as the end of a program
GUARD = 20


class StuckRings:
    """Rings of a program that has ended, which the kernel cannot free.

    As a context manager: storage that answers, until stick() leaves rings
    behind that wait for it, and again after release() or at the end.
    """

    def __init__(self, number):
        self.number = number
        self.program = os.path.join(BUILD, "tests", "guest", "bin",
                                    "stuck-rings")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise Skip("the host has no C compiler")
        os.makedirs(os.path.dirname(self.program), exist_ok=True)
        subprocess.run([compiler, "-O2", "-Wall", "-o", self.program,
                        os.path.join(HERE, "stuck-rings.c")], check=True)

    def __enter__(self):
        if os.geteuid():
            raise Skip("root is needed for a loop device over FUSE")
        try:
            self.storage = Faulty(MIB)
        except OSError as error:
            raise Skip(f"the host has no loop device to spare: {error}") \
                from None
        return self

    def __exit__(self, *_):
        self.storage.close()

    def _answered(self):
        """The storage has nothing to do any more."""
        path = f"/sys/block/{os.path.basename(self.storage.path)}/inflight"
        with open(path, encoding="ascii") as inflight:
            return not any(map(int, inflight.read().split()))

    def stick(self):
        # Not only the first of the last program's reads, but all of them.
        Group.wait_until(self._answered, "the storage answers", GUARD)
        self.storage.hold()
        try:
            with subprocess.Popen(
                    [self.program, self.storage.path, str(self.number)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
                said = select.select([program.stdout], [], [], GUARD)[0] \
                    and program.stdout.readline()
                program.stdin.close()
                if not said:
                    program.kill()
                try:
                    status = program.wait(GUARD)
                except subprocess.TimeoutExpired:
                    # Otherwise nobody ever gets out of here.
                    self.release()
                    raise
            assert said and status == 0, \
                f"{self.number} reads cannot be in flight at a time"
        except BaseException:
            self.release()
            raise

    def release(self):
        self.storage.release()


class Watch:
    """Asks a monitor of its own all the time; the slowest answer, in seconds.

    It ends with the monitor, if that does.
    """

    def __init__(self, path):
        self.slowest = 0
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(path)
        self._lines = self._sock.makefile("r", encoding="utf-8")
        self._lines.readline()
        self._ask("qmp_capabilities")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _ask(self, command):
        """False: there is nobody left to answer."""
        try:
            self._sock.sendall(json.dumps({"execute": command}).encode()
                               + b"\n")
            for line in self._lines:
                if '"return"' in line:
                    return True
        except OSError:
            pass
        return False

    def _watch(self):
        while not self._end.is_set():
            started = time.monotonic()
            if not self._ask("query-status"):
                return
            self.slowest = max(self.slowest, time.monotonic() - started)
            self._end.wait(0.002)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()
        self._lines.close()
        self._sock.close()


class Stuck(DiskGroup):
    """A guest, and another QEMU, beside rings that the kernel cannot free."""

    image_size = 16 * MIB

    def __init__(self, config, name):
        super().__init__(config, name)
        self.stack = contextlib.ExitStack()
        self.watch_path = None

    def disks(self):
        self.stack.close()
        self.watch_path = os.path.join(
            self.stack.enter_context(tempfile.TemporaryDirectory()), "watch")
        return super().disks()

    def guest_options(self):
        return {"args": ("-chardev", "socket,id=watch,server=on,wait=off,path="
                         + self.watch_path,
                         "-mon", "chardev=watch,mode=control")}

    def drop(self):
        super().drop()
        self.stack.close()

    def stop(self):
        super().stop()
        self.stack.close()

    # -- what is done, in this order; what comes after "yield" is not measured

    def do_unbind(self):
        """the guest's driver resets the device"""
        device = self.vm.sh("disks").split()[2]
        self.driver = "/sys/bus/virtio/drivers/" + self.config.driver()
        yield
        self.vm.sh(f"echo {device} >{self.driver}/unbind")
        self.device = device

    def do_bind(self):
        """the guest's driver starts anew, until RING"""
        yield
        self.vm.sh(f"echo {self.device} >{self.driver}/bind")
        ring.wait_state(self.vm, "ring")

    def do_off(self):
        """passthrough off"""
        yield
        ring.set_passthrough(self.vm, False)
        ring.wait_state(self.vm, "virtqueue")

    def do_on(self):
        """passthrough on, until RING"""
        yield
        ring.set_passthrough(self.vm, True)
        ring.wait_state(self.vm, "ring")

    def do_stop(self):
        """stop"""
        yield
        self.vm.qmp("stop")

    def do_cont(self):
        """cont, until RING"""
        yield
        self.vm.qmp("cont")
        ring.wait_state(self.vm, "ring")

    def do_resize(self):
        """block_resize, until RING"""
        yield
        self.vm.qmp("block_resize", device="d-vbu0",
                    size=self.image_size + MIB)
        ring.wait_state(self.vm, "ring")

    def do_add(self):
        """device_add of another disk, until RING"""
        self.other = Plugged(self, "other", make_image(
            self.directory + "-other.img", MIB))
        yield
        self.other.put()

    def do_del(self):
        """device_del of it"""
        yield
        self.other.pull()

    def do_start(self):
        """start of another QEMU"""
        disk = {"image": make_image(self.directory + "-new.img", MIB),
                "props": self.props}
        yield
        self.new = Guest(self.config, self.directory + "-new", [disk])

    def do_end(self):
        """its end"""
        yield
        self.new.quit()

    def do_reset(self):
        """system_reset"""
        self.vm.qmp("set-action", reboot="reset")
        yield
        self.vm.qmp("system_reset")
        self.vm.wait_event("RESET")
        yield
        self.vm.wait_boot()
        self.load()
        ring.wait_state(self.vm, "ring")

    def do_quit(self):
        """quit"""
        self.check_kernel()
        self.check_qemu()
        yield
        self.stop()

    def measure(self, operation, before=lambda: None, after=lambda: None):
        """Seconds, and the monitor's slowest answer meanwhile."""
        steps = operation()
        next(steps)
        with Watch(self.watch_path) as watch:
            before()
            started = time.monotonic()
            try:
                again = next(steps, "ended")
            finally:
                took = time.monotonic() - started
                after()
        if again != "ended":
            next(steps, None)
        return took, watch.slowest

    def operations(self):
        return [self.do_unbind, self.do_bind, self.do_off, self.do_on,
                self.do_stop, self.do_cont, self.do_resize, self.do_add,
                self.do_del, self.do_start, self.do_end, self.do_reset,
                self.do_quit]

    def measure_stuck(self, operation, stuck, most):
        """As measure(), with stuck rings; at `most` the storage answers."""
        timer = threading.Timer(most, stuck.release)

        def before():
            stuck.stick()
            timer.start()

        def after():
            timer.cancel()
            timer.join()
            stuck.release()
        return self.measure(operation, before, after)

    def beside(self, number):
        """All operations, each with and without stuck rings beside it."""
        self.need_ring()
        with StuckRings(number) as stuck:
            normal = [self.measure(each) for each in self.operations()]
            self.start()
            late = []
            for each, (usual, usual_answer) in zip(self.operations(), normal):
                most = usual + SLACK
                took, answer = self.measure_stuck(each, stuck, most)
                what = each.__doc__
                print(f"# {what}: {usual * 1e3:.0f} ms, beside {number} stuck "
                      f"rings {took * 1e3:.0f} ms; the monitor's slowest "
                      f"answer {usual_answer * 1e3:.0f} and "
                      f"{answer * 1e3:.0f} ms"
                      + (", WAITED FOR THE STORAGE" if took >= most else ""),
                      flush=True)
                if max(took, answer) >= most:
                    late.append(what)
        assert not late, "these wait for somebody else's storage: " \
            + "; ".join(late)

    def test_stuck(self):
        """resets, stops, plugs, starts and ends do not wait for others' rings"""
        self.beside(ENOUGH)

    def test_more_stuck(self):
        """nor if there are twice as many"""
        self.beside(2 * ENOUGH)

    def tests(self):
        wanted = [self.test_stuck]
        if FULL:
            wanted.append(self.test_more_stuck)
        return [(each.__doc__, each) for each in wanted]


GROUPS = {"stuck-rings": Stuck}
