#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# rows.sh DATABASE PORT: one transaction after the other by one SQLite, until
# /run/rows.stop is there. The number of each goes to PORT once it has been
# committed. tests/soak/database.py is the other end, and has the schema.

db=$1 port=$2
rm -f /run/sqlite.in /run/sqlite.out /run/rows.stop
mkfifo /run/sqlite.in /run/sqlite.out || exit 1

next=$(sqlite3 "$db" 'SELECT coalesce(max(id), 0) + 1 FROM rows') || exit 1
sqlite3 -bail "$db" </run/sqlite.in >/run/sqlite.out &
sqlite=$!
exec 7>/run/sqlite.in 8</run/sqlite.out 9>"$port"

# What a pragma answers would be taken for a commit.
cat >&7 <<'END'
.output /dev/null
.timeout 10000
PRAGMA synchronous=FULL;
PRAGMA wal_autocheckpoint=64;
END
while [ ! -e /run/rows.stop ]; do
    # A shell of SQLite's that echoes comes after COMMIT, or (-bail) never.
    cat >&7 <<END
BEGIN;
INSERT INTO rows VALUES($next, printf('%0*d', 100 + $next * 37 % 3000, $next * 7919));
UPDATE total SET rows = rows + 1;
COMMIT;
.system echo $next
END
    read -r done <&8 || { echo "SQLite ended at row $next" >&2; exit 1; }
    echo "$done" >&9
    next=$((next + 1))
done
exec 7>&-
wait "$sqlite"
