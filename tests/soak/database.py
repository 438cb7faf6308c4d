# SPDX-License-Identifier: GPL-2.0-or-later
"""An SQLite database in the guest whose commits the host hears of.

The guest's rows.sh commits one row after the other, and writes the number of
each to a virtio-serial port behind which is a file of the host's.  Whatever
becomes of the guest, a row whose number is in that file has to be there.
"""

import contextlib
import os
import re
import sqlite3
import subprocess

PLACE = "/mnt/rows"
NAME = "rows.db"
PORT = "vbu.rows"
SCHEMA = ("PRAGMA journal_mode=wal;"
          "CREATE TABLE rows(id INTEGER PRIMARY KEY, body TEXT NOT NULL);"
          "CREATE TABLE total(rows INTEGER NOT NULL);"
          "INSERT INTO total VALUES(0);")
# One line; all of them are about what a row is in rows.sh.
LOOK = ("SELECT (SELECT count(*) FROM rows), "
        "(SELECT coalesce(max(id), 0) FROM rows), (SELECT rows FROM total), "
        "(SELECT count(*) FROM rows WHERE body IS NOT "
        "printf('%0*d', 100 + id * 37 % 3000, id * 7919))")


class Wrong(AssertionError):
    """The database is not what it has to be."""


def judge(answer, integrity, acked):
    """What LOOK and integrity_check say of a database; the rows it has."""
    if integrity != "ok":
        raise Wrong(f"PRAGMA integrity_check says: {integrity}")
    count, last, total, torn = answer
    if torn:
        raise Wrong(f"{torn} of {count} rows hold other bytes")
    if not count == last == total:
        raise Wrong(f"{count} rows, the last of which is {last}, and a sum "
                    f"that says {total}")
    if last < acked:
        raise Wrong(f"row {acked} had been committed, and the last is {last}")
    return count


class Database:
    """The host's side of it."""

    def __init__(self, directory):
        self.commits = os.path.join(directory, "commits")
        os.makedirs(directory, exist_ok=True)
        with open(self.commits, "w", encoding="ascii"):
            pass

    def guest_args(self):
        # Two QEMUs have it open in a migration; each adds to its end.
        return ("-chardev", f"file,id=rows,path={self.commits},append=on",
                "-device", f"virtserialport,chardev=rows,name={PORT}")

    def acked(self):
        """The highest row whose commit the guest has told of."""
        with open(self.commits, "rb") as commits:
            lines = re.findall(rb"^(\d+)\r?\n", commits.read(), re.MULTILINE)
        return max(map(int, lines), default=0)

    @staticmethod
    def create(vm, disk, size):
        """A file system of `size` MiB on a disk, and an empty database."""
        vm.sh(f"real mke2fs -q -t ext4 -E nodiscard /dev/{disk} {size}M\n"
              f"mkdir -p {PLACE}; mount -t ext4 /dev/{disk} {PLACE}\n"
              f"sqlite3 {PLACE}/{NAME} '{SCHEMA}'\numount {PLACE}")

    def start(self, vm, disk):
        """Mount, recover whatever has to be, look, and go on."""
        vm.sh(f"mkdir -p {PLACE}; mount -t ext4 /dev/{disk} {PLACE}")
        rows = self.check(vm)
        vm.sh(f"port=$(find_port {PORT}); start rows "
              f"'sh /lib/rows.sh {PLACE}/{NAME} '$port")
        return rows

    def check(self, vm):
        acked = self.acked()
        said = vm.sh(f"sqlite3 {PLACE}/{NAME} 'PRAGMA integrity_check' "
                     f"\"{LOOK}\"", timeout=120).splitlines()
        return judge([int(word) for word in said[-1].split("|")],
                     "; ".join(said[:-1]), acked)

    def stop(self, vm):
        """The last commit, and the file system is let go."""
        status, output = vm.sh_status("touch /run/rows.stop; finish rows", 120)
        if status:
            raise Wrong(f"SQLite ended with status {status}: {output}")
        rows = self.check(vm)
        vm.sh(f"umount {PLACE}")
        return rows


def check_image(image, acked):
    """The same of an image of the disk, with this machine's own programs.

    The image is changed: the journal is replayed.  Rows that it has.
    """
    run = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT,
           "encoding": "utf-8", "timeout": 120, "check": False,
           "env": dict(os.environ, PATH="/usr/sbin:/sbin:/usr/bin:/bin")}
    # By -p what is not the journal is repaired only if that loses nothing;
    # then a second look must find it clean.
    first = subprocess.run(["e2fsck", "-p", image], **run)
    second = subprocess.run(["e2fsck", "-f", "-n", image], **run)
    if first.returncode > 1 or second.returncode:
        raise Wrong(f"e2fsck says of {image}: {first.stdout}{second.stdout}")
    copy = image + ".db"
    names = {copy: NAME, copy + "-wal": NAME + "-wal"}
    for target, name in names.items():
        subprocess.run(["debugfs", "-R", f"dump /{name} {target}", image],
                       **run)
    # What is no file in the image is none here, or an empty one.
    with contextlib.closing(sqlite3.connect(copy)) as database:
        integrity = database.execute("PRAGMA integrity_check").fetchone()[0]
        rows = judge(database.execute(LOOK).fetchone(), integrity, acked)
    for target in [*names, copy + "-shm"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
    return rows
