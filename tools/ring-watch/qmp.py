# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU tells by its monitor of the devices and their jails."""

import json
import os
import socket

from refusal import Refusal

CONTAINERS = ("/machine/peripheral", "/machine/peripheral-anon")
TYPE = "child<virtio-blk-uring"
SECONDS = 10


class Monitor:
    """A QMP connection."""

    def __init__(self, address):
        self.address = address
        self._welcome = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        try:
            self._socket.connect(address)
            self._lines = self._socket.makefile("r", encoding="utf-8",
                                                errors="replace")
            greeting = self._answer("QMP")
            if greeting is None:
                raise Refusal(f"{address} is no QMP monitor of a QEMU: use "
                              "the socket of -qmp unix:PATH,server=on,wait=off")
            self.command("qmp_capabilities")
            self._welcome = True
        except OSError as error:
            self.close()
            raise Refusal(self._why(error)) from None
        except Refusal:
            self.close()
            raise

    def _why(self, error):
        if isinstance(error, TimeoutError):
            return (f"the monitor {self.address} does not answer: it serves "
                    "one connection at a time; give QEMU one more -qmp")
        if isinstance(error, ConnectionError) and self._welcome:
            return f"QEMU, or its monitor {self.address}, has ended"
        return (f"the monitor {self.address} cannot be used "
                f"({error.strerror or error}): use the socket of a running "
                "QEMU's -qmp unix:PATH,server=on,wait=off")

    def close(self):
        self._socket.close()

    def _answer(self, *keys):
        """The next message with one of these; None: something else, the end."""
        while True:
            line = self._lines.readline()
            try:
                message = json.loads(line)
            except ValueError:
                return None
            if not isinstance(message, dict):
                return None
            if any(key in message for key in keys):
                return message
            if "event" not in message:
                return None

    def command(self, name, **arguments):
        """What a command returns; None if QEMU refuses it."""
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        answer = self._answer("return", "error")
        if answer is None:
            raise ConnectionError("it ended the connection")
        return answer.get("return")

    def _devices(self):
        """{id: QOM path} of the devices."""
        found = {}
        for container in CONTAINERS:
            for each in self.command("qom-list", path=container) or ():
                if each["type"].startswith(TYPE):
                    found[each["name"]] = os.path.join(container, each["name"])
        return found

    def jails(self, wanted=None):
        """{device id: process id of its jail, 0: none now}, or of one device.

        Refuses devices that have no jail, and those that are not there.
        """
        try:
            devices = self._devices()
            if wanted is not None and wanted not in devices:
                there = ", ".join(sorted(devices)) or "none"
                raise Refusal(f"QEMU has no virtio-blk-uring device "
                              f"'{wanted}': use one of those it has ({there})")
            found = {}
            for name, place in devices.items():
                if wanted in (None, name):
                    path = self.command("qom-get", path=place, property="path")
                    if not path:
                        continue        # unplugged meanwhile
                    if path["isolation"] == "none" and wanted:
                        raise Refusal(
                            f"device '{name}' has isolation=none, and its "
                            "rings are QEMU's, as those of others: use --pid, "
                            "which shows all rings of QEMU")
                    found[name] = path["jail-pid"]
            return found
        except OSError as error:
            raise Refusal(self._why(error)) from None
