# SPDX-License-Identifier: MIT
"""The leases on Asterisks, if several processes run the service on one database.

Exactly one of them holds an Asterisk: it alone follows the calls there and places new
ones. It has a row of the table ``lease``, which :mod:`fastagi.store.leases` renews,
compares and releases like that of the whole service. All times are the database's.

An instance may ask the holder for an Asterisk. Then the holder passes the lease on: it
is never free in between, so what belongs to it (who is in a call, the systemname)
counts all the time.

A holder whose link to an Asterisk is lost tells that in the lease. As long as it does,
any instance may ask it for that Asterisk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen
from sqlalchemy import bindparam, select, update

from fastagi.store import leases, schema, told
from fastagi.store.errors import TryAgain
from fastagi.store.lease_rows import INSTANCE, name_of_node
from fastagi.store.leases import (
    RELEASED_S,
    Held,
    assert_held,
    held_of,
    is_free,
    write,
)

#: How long the systemname of an Asterisk counts that nobody holds any more, in seconds.
_NAME_COUNTS_S: Final = 300.0

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
#: The lease of the process with a token, if it is an instance.
_INSTANCE: Final = select(_lease).where(
    _lease.c.token == bindparam("token"),
    _lease.c.name.startswith(INSTANCE, autoescape=True),
)
_WANT: Final = (
    update(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .values(wanted_by=bindparam("by"))
)
#: Stores that the link is lost, or that it is back: then nobody needs to have it.
_LINK_LOST: Final = (
    update(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .values(link_lost_at=bindparam("lost_at"))
)
_LINK_IS_BACK: Final = (
    update(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .values(link_lost_at=None, wanted_by=None)
)
#: Another Asterisk with a systemname.
_NAMESAKE: Final = select(_lease).where(
    _lease.c.system_name == bindparam("wanted_name"),
    _lease.c.name != bindparam("own"),
)
_SET_NAME: Final = (
    update(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .values(system_name=bindparam("new_name"))
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
                held[node] = node_held_of(conn, row)
        else:
            locked = conn.execute(_LOCK_ROW, {"lease_name": name}).first()
            if locked is not None and _may_take(conn, locked, ours, wanted[node]):
                taken[node] = write(
                    conn, ours.process, ours.token, name, locked, ours.runs_out
                )
    for node in taken:
        told.forget_agents(conn, node)
    return NodeLeases(taken, _with_instances(conn, held, names))


def _may_take(conn: sa.Connection, row: sa.Row[Any], ours: Held, wait_s: float) -> bool:
    """Whether a process may take the lease in a row."""
    if row.token == ours.token:
        # It was taken by a COMMIT whose answer was lost.
        return True
    held = held_of(conn, row)
    if row.token and ours.process.knows_ended(held.process):
        return True
    if not row.token and held.left_s <= -RELEASED_S:
        # It was given back.
        return True
    return is_free(conn, row, ours.process) and held.left_s <= -wait_s


def node_held_of(conn: sa.Connection, row: sa.Row[Any]) -> Held:
    """Return the lease on an Asterisk, with what only such a lease has."""
    at = row.link_lost_at
    return evolve(
        held_of(conn, row),
        wanted_by=row.wanted_by or "",
        link_lost_at=None if at is None else datetime.fromtimestamp(at, UTC),
    )


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


# -- passing an Asterisk on ------------------------------------------------------


def ask_for(conn: sa.Connection, ours: Held, of: Held) -> bool:
    """Ask the holder of an Asterisk to pass it on to this process.

    Args:
        conn: in a transaction.
        ours: the lease of this process.
        of: the lease of the holder. If it was without a link, it is asked only if it
            still is, and nobody else has asked for the Asterisk.

    Returns:
        Whether that is stored; otherwise another one holds it, or has just locked it,
        or there is no reason any more.

    Raises:
        LeaseLost: this process may not run the service any more.
    """
    assert_held(conn, ours)
    row = conn.execute(_LOCK_ROW, {"lease_name": of.name}).first()
    if row is None or (row.token, row.epoch) != (of.token, of.epoch):
        return False
    if of.link_lost_at is not None and (row.link_lost_at is None or row.wanted_by):
        return False
    conn.execute(_WANT, {"lease_name": of.name, "by": ours.token})
    return True


def tell_link(conn: sa.Connection, held: Held, lost_s: float | None) -> None:
    """Tell the others that the link to an Asterisk is lost, or that it is back.

    When it is back, nobody asks for the Asterisk any more: a service that is to take it
    first asks again.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk.
        lost_s: how many seconds ago it was lost; None: there is a link.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    if lost_s is None:
        conn.execute(_LINK_IS_BACK, {"lease_name": held.name})
    else:
        lost_at = leases.now(conn) - lost_s
        conn.execute(_LINK_LOST, {"lease_name": held.name, "lost_at": lost_at})


def is_wanted(conn: sa.Connection, held: Held) -> bool:
    """Whether the process that has asked for an Asterisk still runs.

    If it does not, its wish is deleted.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    if _heir(conn, held) is not None:
        return True
    conn.execute(_WANT, {"lease_name": held.name, "by": None})
    return False


def pass_on(conn: sa.Connection, held: Held) -> str:
    """Give an Asterisk to the process that has asked for it.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk; its holder has left it.

    Returns:
        The name of the instance that holds it now; empty: the one that asked has ended,
        and nothing was changed.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    row = conn.execute(_ROWS, {"names": [held.name]}).one()
    heir = _heir(conn, held)
    if heir is None:
        return ""
    write(conn, heir.process, heir.token, held.name, row, held.runs_out)
    return heir.instance


def _heir(conn: sa.Connection, held: Held) -> Held | None:
    """Return the lease of the process that asks for an Asterisk; None: it has ended."""
    if not held.wanted_by:
        return None
    row = conn.execute(_INSTANCE, {"token": held.wanted_by}).first()
    if row is None or is_free(conn, row, held.process):
        return None
    return held_of(conn, row)


# -- the systemname --------------------------------------------------------------


def claim_name(conn: sa.Connection, held: Held, name: str | None) -> str:
    """Store the systemname of an Asterisk, unless another Asterisk has it.

    The other one has it as long as it is held, and a while longer.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk.
        name: its systemname, which may be empty; None: not known, or it is gone.

    Returns:
        The node of the other Asterisk; empty: there is none.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    row = conn.execute(_ROWS, {"names": [held.name]}).one()
    if row.system_name == name:
        return ""
    other = None
    if name is not None:
        wanted = {"wanted_name": name, "own": held.name}
        other = conn.execute(_NAMESAKE, wanted).first()
    if other is not None:
        if other.valid_until is not None and (
            other.valid_until > leases.now(conn) - _NAME_COUNTS_S
        ):
            _set_name(conn, held.name, None)
            return held_of(conn, other).node
        _set_name(conn, other.name, None)
    _set_name(conn, held.name, name)
    return ""


def _set_name(conn: sa.Connection, lease_name: str, name: str | None) -> None:
    try:
        conn.execute(_SET_NAME, {"lease_name": lease_name, "new_name": name})
    except sa.exc.IntegrityError:
        # Another Asterisk has got it just now.
        raise TryAgain from None
