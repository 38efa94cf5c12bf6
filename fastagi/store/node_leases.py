# SPDX-License-Identifier: MIT
"""The leases on Asterisks, if several processes run the service on one database.

Exactly one of them holds an Asterisk: it alone follows the calls there and places new
ones. It has a row of the table ``lease``, which :mod:`fastagi.store.leases` renews,
compares and releases like that of the whole service. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, select

from fastagi.store import schema
from fastagi.store.leases import (
    Held,
    assert_held,
    held_of,
    is_free,
    name_of_node,
    write,
)

_lease: Final = schema.lease
_ROWS: Final = select(_lease).where(
    _lease.c.name.in_(bindparam("names", expanding=True))
)
#: A row that another transaction has locked is looked at again soon: the thread of the
#: database must not wait for it.
_LOCK_ROW: Final = (
    select(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .with_for_update(skip_locked=True)
)
#: The leases of the processes that hold Asterisks.
_INSTANCES: Final = select(_lease).where(
    _lease.c.token.in_(bindparam("tokens", expanding=True)),
    _lease.c.name.not_in(bindparam("names", expanding=True)),
)


@frozen
class NodeLeases:
    """What came of trying to take Asterisks."""

    #: The leases that were taken, by Asterisk.
    taken: Mapping[str, Held]
    #: Who holds the others, by Asterisk: the name of the instance, and its lease.
    others: Mapping[str, tuple[str, Held]]


def take_free(
    conn: sa.Connection, ours: Held, wanted: Mapping[str, float]
) -> NodeLeases:
    """Take the leases of Asterisks that are free.

    Args:
        conn: in a transaction.
        ours: the lease of this process.
        wanted: for each Asterisk how many seconds ago its lease must have run out. One
            that was released, or whose holder has certainly ended, is taken at once.

    Raises:
        LeaseLost: this process may not run the service any more.
    """
    assert_held(conn, ours)
    names = {name_of_node(node): node for node in wanted}
    rows = {row.name: row for row in conn.execute(_ROWS, {"names": list(names)})}
    taken: dict[str, Held] = {}
    held: dict[str, Held] = {}
    for name, node in names.items():
        row = rows.get(name)
        if row is None and wanted[node] > 0:
            # Whoever prefers it may be about to take it.
            write(conn, ours.process, "", name, None, ours.runs_out)
        elif row is None:
            taken[node] = write(
                conn, ours.process, ours.token, name, None, ours.runs_out
            )
        elif not _may_take(conn, row, ours, wanted[node]):
            if row.token:
                held[node] = held_of(conn, row)
        else:
            locked = conn.execute(_LOCK_ROW, {"lease_name": name}).first()
            if locked is not None and _may_take(conn, locked, ours, wanted[node]):
                taken[node] = write(
                    conn, ours.process, ours.token, name, locked, ours.runs_out
                )
    return NodeLeases(taken, _with_instances(conn, held, names))


def _may_take(conn: sa.Connection, row: sa.Row[Any], ours: Held, wait_s: float) -> bool:
    """Whether a process may take the lease in a row."""
    if row.token == ours.token:
        # It was taken by a COMMIT whose answer was lost.
        return True
    held = held_of(conn, row)
    if row.token and ours.process.knows_ended(held.process):
        return True
    return is_free(conn, row, ours.process) and held.left_s <= -wait_s


def _with_instances(
    conn: sa.Connection, held: Mapping[str, Held], names: Iterable[str]
) -> dict[str, tuple[str, Held]]:
    """Return the leases with the names of their holders."""
    if not held:
        return {}
    tokens = sorted({one.token for one in held.values()})
    rows = conn.execute(_INSTANCES, {"tokens": tokens, "names": list(names)})
    instances = {row.token: held_of(conn, row).instance for row in rows}
    return {node: (instances.get(one.token, ""), one) for node, one in held.items()}
