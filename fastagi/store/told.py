# SPDX-License-Identifier: MIT
"""What the holder of each Asterisk tells the other services on the database.

They need it for what concerns all Asterisks: who is called from where an agent is free,
and since when a caller waits who asks a service that does not hold the Asterisk.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, insert, literal, select

from fastagi.store import schema
from fastagi.store.lease_rows import name_of_node
from fastagi.store.leases import Held, assert_held, now

_told: Final = schema.told
_lease: Final = schema.lease


class What(enum.StrEnum):
    """Of what something is told."""

    #: The agents of a queue, as JSON; of :class:`fastagi.node.elsewhere.Agents`.
    AGENTS = "agents"
    #: When a caller joined a queue, in epoch seconds.
    JOINED = "joined"


#: What is told of, and about which queue or caller.
Key: TypeAlias = tuple[What, str]

_AGENTS: Final = (
    select(_told.c.about, _told.c.value)
    .join(_lease, _lease.c.name == literal(name_of_node("")) + _told.c.node)
    .where(
        _told.c.what == What.AGENTS.value,
        _told.c.node.not_in(bindparam("own", expanding=True)),
        _lease.c.token != "",
        _lease.c.valid_until > bindparam("now"),
    )
    .order_by(_told.c.about, _told.c.node)
)
_JOINED: Final = select(_told.c.value).where(
    _told.c.node == bindparam("of_node"),
    _told.c.what == What.JOINED.value,
    _told.c.about == bindparam("of_caller"),
)
_WIPE: Final = delete(_told).where(_told.c.node == bindparam("of_node"))
_REMOVE: Final = _WIPE.where(
    _told.c.what == bindparam("of_what"), _told.c.about == bindparam("of_about")
)
_FORGET_AGENTS: Final = _WIPE.where(_told.c.what == What.AGENTS.value)
_ADD: Final = insert(_told)


def caller(uniqueid: str, queue: str) -> str:
    """Return what a caller in a queue is called here; the queue is folded."""
    return f"{uniqueid} {queue}"


def put(
    conn: sa.Connection,
    held: Held,
    changed: Mapping[Key, str],
    removed: Collection[Key] | None,
) -> None:
    """Store what has changed of what is told of an Asterisk.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk.
        changed: the new values.
        removed: what is not told any more; None: everything but ``changed``.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    if removed is None:
        conn.execute(_WIPE, {"of_node": held.node})
    elif keys := sorted({*changed, *removed}):
        conn.execute(
            _REMOVE,
            [
                {"of_node": held.node, "of_what": what.value, "of_about": about}
                for what, about in keys
            ],
        )
    if changed:
        rows: list[dict[str, Any]] = [
            {"node": held.node, "what": what.value, "about": about, "value": value}
            for (what, about), value in sorted(changed.items())
        ]
        conn.execute(_ADD, rows)


def forget_agents(conn: sa.Connection, node: str) -> None:
    """Tell nothing of the agents on an Asterisk until its new holder does.

    That one may not reach the Asterisk. What is told of callers stays until then.
    """
    conn.execute(_FORGET_AGENTS, {"of_node": node})


def agents(conn: sa.Connection, own: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return what is told of the agents of each queue on other Asterisks than these."""
    found: dict[str, tuple[str, ...]] = {}
    rows = conn.execute(_AGENTS, {"own": list(own), "now": now(conn)})
    for row in rows:
        found[row.about] = (*found.get(row.about, ()), row.value)
    return found


def joined_at(
    conn: sa.Connection, node: str, uniqueid: str, queue: str
) -> float | None:
    """Return when a caller joined a queue, as the holder of the Asterisk tells it."""
    whose = {"of_node": node, "of_caller": caller(uniqueid, queue)}
    value = conn.execute(_JOINED, whose).scalar()
    return None if value is None else float(value)
