# SPDX-License-Identifier: MIT
"""What the rows of the tables ``lease`` and ``instance`` are called, and their time.

The web process reads these tables, too; it loads nothing of Twisted.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

#: The name of the lease on the whole database, and what the names of the others begin
#: with: of a service that is one of several, and of an Asterisk.
ALONE: Final = "service"
INSTANCE: Final = "instance:"
NODE: Final = "node:"
#: How long a service is shown that does not run any more, and how long its settings are
#: compared with those of others (it may only be started again), in seconds.
SHOWN_S: Final = 86_400.0
COUNTS_S: Final = 600.0


def name_of_instance(instance: str) -> str:
    """Return the name of the lease of an instance; empty: of the only service."""
    return f"{INSTANCE}{instance}" if instance else ALONE


def name_of_node(node: str) -> str:
    """Return the name of the lease on an Asterisk."""
    return f"{NODE}{node}"


def rest(name: str, prefix: str) -> str:
    """Return what follows a prefix; empty if the name has another one."""
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def now(conn: sa.Connection) -> float:
    """Return the database's time, which is the same for all of its clients."""
    if conn.dialect.name == "postgresql":
        # Not now(), the start of the transaction, which may have waited for a lock.
        asked = "SELECT extract(epoch FROM clock_timestamp())"
        return float(conn.exec_driver_sql(asked).scalar_one())
    # A SQLite database is on this machine.
    return time.time()
