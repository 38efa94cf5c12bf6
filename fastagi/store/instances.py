# SPDX-License-Identifier: MIT
"""What each of several services on one database tells the others.

It has a row of the table ``instance`` with its version and its settings in force.
Whether it runs, where, since when, and which Asterisks it holds is in the table
``lease``. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, delete, insert, select, update

from fastagi.store import leases, schema
from fastagi.store.errors import TryAgain
from fastagi.store.lease_rows import SHOWN_S, name_of_instance
from fastagi.store.leases import Held, assert_held, is_free
from fastagi.store.node_leases import node_held_of

_instance: Final = schema.instance
_lease: Final = schema.lease
_ADD: Final = insert(_instance)
_CHANGE: Final = (
    update(_instance)
    .where(_instance.c.name == bindparam("of_name"))
    .values(
        version=bindparam("new_version"),
        settings=bindparam("new_settings"),
        digest=bindparam("new_digest"),
        seen_at=bindparam("at"),
    )
)
_SEE: Final = (
    update(_instance)
    .where(_instance.c.name == bindparam("of_name"))
    .values(seen_at=bindparam("at"))
)
_FORGET: Final = delete(_instance).where(_instance.c.seen_at < bindparam("before"))
#: Without the settings, which are long.
_ALL: Final = select(
    _instance.c.name, _instance.c.version, _instance.c.digest, _instance.c.seen_at
).order_by(_instance.c.name)
_LEASES: Final = select(_lease).order_by(_lease.c.name)
_SETTINGS: Final = select(_instance.c.settings).where(
    _instance.c.name == bindparam("of_name"),
    _instance.c.digest == bindparam("of_digest"),
)


@frozen(kw_only=True)
class Told:
    """What a service tells the others.

    Attributes:
        version: of the program.
        settings: those that all should have alike, as JSON.
        digest: of the settings.
    """

    version: str
    settings: str
    digest: str


@frozen(kw_only=True)
class Seen:
    """One of several services, as the database knows it.

    Attributes:
        name: ``instance.name`` of its settings.
        version: of its program.
        digest: of its settings.
        seen_s: how many seconds ago it certainly ran.
        lease: its lease; None: it does not run.
        nodes: since when it holds each Asterisk.
        lost_links: since when it has had no link to some of them.
    """

    name: str
    version: str
    digest: str
    seen_s: float
    lease: Held | None
    nodes: tuple[tuple[str, datetime], ...]
    lost_links: Mapping[str, datetime]


def tell(conn: sa.Connection, ours: Held, told: Told | None) -> None:
    """Store what a service tells the others, and that it runs.

    Args:
        conn: in a transaction.
        ours: its lease.
        told: what it tells; None: nothing has changed.

    Raises:
        LeaseLost: it may not run any more.
    """
    assert_held(conn, ours)
    at = leases.now(conn)
    if told is None:
        conn.execute(_SEE, {"of_name": ours.instance, "at": at})
    else:
        new = {
            "of_name": ours.instance,
            "new_version": told.version,
            "new_settings": told.settings,
            "new_digest": told.digest,
            "at": at,
        }
        if not conn.execute(_CHANGE, new).rowcount:
            _add(conn, ours.instance, told, at)
    conn.execute(_FORGET, {"before": at - SHOWN_S})


def _add(conn: sa.Connection, name: str, told: Told, at: float) -> None:
    row = {
        "name": name,
        "version": told.version,
        "settings": told.settings,
        "digest": told.digest,
        "seen_at": at,
    }
    try:
        conn.execute(_ADD, row)
    except sa.exc.IntegrityError:
        raise TryAgain from None


def others(conn: sa.Connection, ours: Held) -> list[Seen]:
    """Return the other services that run, or ran not long ago, by name."""
    at = leases.now(conn)
    held = [
        node_held_of(conn, row)
        for row in conn.execute(_LEASES).all()
        if row.token and not is_free(conn, row, ours.process)
    ]
    running = {one.name: one for one in held if one.instance}
    found = []
    for row in conn.execute(_ALL):
        if row.name == ours.instance or row.seen_at < at - SHOWN_S:
            continue
        lease = running.get(name_of_instance(row.name))
        own = [
            one
            for one in held
            if one.node and lease is not None and one.token == lease.token
        ]
        found.append(
            Seen(
                name=row.name,
                version=row.version,
                digest=row.digest,
                seen_s=0.0 if lease is not None else max(0.0, at - row.seen_at),
                lease=lease,
                nodes=tuple((one.node, one.since.astimezone(UTC)) for one in own),
                lost_links={
                    one.node: one.link_lost_at
                    for one in own
                    if one.link_lost_at is not None
                },
            )
        )
    return found


def settings_of(conn: sa.Connection, seen: Seen) -> str | None:
    """Return the settings of a service, as JSON; None: they have changed meanwhile."""
    wanted = {"of_name": seen.name, "of_digest": seen.digest}
    found: str | None = conn.execute(_SETTINGS, wanted).scalar()
    return found
