# SPDX-License-Identifier: MIT
"""The services on one database: which run, who holds which Asterisk, what differs.

All of it is read from the database, so it is also known while the service of this web
process does not answer. `callback-queue status` shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from fastagi.config.agreement import Shared, compare
from fastagi.domain.difference import Difference
from fastagi.doors.codec import links
from fastagi.store import lease_rows, schema
from fastagi.store.lease_rows import rest

_instance: Final = schema.instance
_lease: Final = schema.lease
#: Without the settings, which are long.
_ALL: Final = sa.select(
    _instance.c.name, _instance.c.version, _instance.c.seen_at
).order_by(_instance.c.name)
_LEASES: Final = (
    sa.select(
        _lease.c.name,
        _lease.c.token,
        _lease.c.host,
        _lease.c.pid,
        _lease.c.since,
        _lease.c.link_lost_at,
    )
    .where(_lease.c.token != "", _lease.c.valid_until > sa.bindparam("now"))
    .order_by(_lease.c.name)
)
_SETTINGS: Final = sa.select(_instance.c.name, _instance.c.settings).where(
    _instance.c.name.in_(sa.bindparam("names", expanding=True))
)

Json = Mapping[str, Any]


@frozen
class HeldAsterisk:
    """An Asterisk that a service holds.

    Attributes:
        name: its name in the settings.
        since: since when it is held; None: since the service runs.
        link_lost_since: since when the service has had no link to it; None: it has one,
            or not been without for long.
    """

    name: str
    since: datetime | None = None
    link_lost_since: datetime | None = None


@frozen(kw_only=True)
class Service:
    """One service.

    Attributes:
        name: ``instance.name`` of its settings; empty: it has none.
        version: of its program.
        seen_at: when it certainly ran.
        host: the name of its machine; None: it does not run.
        pid: of its process; None: it does not run.
        since: when its process began to run it; None: it does not run.
        asterisks: those that it holds.
        is_asked: whether this web process asks it.
        differences: the settings that it has otherwise than the one that is asked.
    """

    name: str
    version: str
    seen_at: datetime
    host: str | None = None
    pid: int | None = None
    since: datetime | None = None
    asterisks: tuple[HeldAsterisk, ...] = ()
    is_asked: bool = False
    differences: tuple[Difference, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    @property
    def where(self) -> str:
        """Its name, in words."""
        where = f" ({self.host})" if self.host else ""
        return f"instance {self.name}{where}"


@frozen(kw_only=True)
class Services:
    """All services on one database.

    Attributes:
        all: by name; empty if there is one service with one Asterisk.
        not_held: the Asterisks that no service holds.
        compared_with: the name of the service whose settings those of the others are
            compared with; empty: none are.
    """

    all: tuple[Service, ...] = ()
    not_held: tuple[str, ...] = ()
    compared_with: str = ""


def read(conn: sa.Connection) -> tuple[Service, ...]:
    """Return the services with a name that run, or ran not long ago, by name.

    Args:
        conn: in a transaction.
    """
    rows = conn.execute(_ALL).all()
    if not rows:
        return ()
    now = lease_rows.now(conn)
    leases = conn.execute(_LEASES, {"now": now}).all()
    if any(one.name == lease_rows.ALONE for one in leases):
        # The others were there before.
        return ()
    running = {
        name: one for one in leases if (name := rest(one.name, lease_rows.INSTANCE))
    }
    found = []
    for row in rows:
        lease = running.get(row.name)
        if lease is None:
            if row.seen_at >= now - lease_rows.SHOWN_S:
                seen_at = _time(row.seen_at)
                found.append(
                    Service(name=row.name, version=row.version, seen_at=seen_at)
                )
            continue
        found.append(
            Service(
                name=row.name,
                version=row.version,
                seen_at=_time(now),
                host=lease.host,
                pid=lease.pid,
                since=_time(lease.since),
                asterisks=tuple(
                    HeldAsterisk(
                        rest(one.name, lease_rows.NODE),
                        _time(one.since),
                        None if one.link_lost_at is None else _time(one.link_lost_at),
                    )
                    for one in leases
                    if rest(one.name, lease_rows.NODE) and one.token == lease.token
                ),
            )
        )
    return tuple(found)


def read_all(conn: sa.Connection, service: Json | None) -> Services:
    """Return all services, with the settings that differ, if there are several.

    Args:
        conn: in a transaction.
        service: the service that is asked, as the live state has it; None: it does not
            answer.
    """
    found = read(conn)
    if not found:
        return only(service)
    if service is not None:
        found = tuple(evolve(one, is_asked=_is(one, service)) for one in found)
    base = next((one for one in found if one.is_asked), None) or next(
        (one for one in found if one.runs), found[0]
    )
    counts_from = _time(lease_rows.now(conn) - lease_rows.COUNTS_S)
    names = [one.name for one in found if one.seen_at >= counts_from]
    settings = {
        row.name: Shared.from_json(row.settings)
        for row in conn.execute(_SETTINGS, {"names": names})
    }
    held = {asterisk.name for one in found for asterisk in one.asterisks}
    nodes = dict.fromkeys(
        str(name)
        for shared in settings.values()
        for name in _list(shared.general.get("nodes"))
    )
    if len(found) < 2 and len(nodes) < 2:
        return Services()
    here = settings.pop(base.name, None)
    if here is not None:
        found = tuple(
            evolve(one, differences=tuple(compare(here, settings[one.name])))
            if one.name in settings
            else one
            for one in found
        )
    return Services(
        all=found,
        not_held=tuple(name for name in nodes if name not in held),
        compared_with=base.name if here is not None and settings else "",
    )


def only(service: Json | None) -> Services:
    """Return the only service, if it has several Asterisks; else nothing."""
    if service is None or len(links(service)) < 2:
        return Services()
    holder, since = service["holder"], datetime.fromisoformat(service["started_at"])
    one = Service(
        name="",
        version=service["version"],
        seen_at=datetime.now(UTC),
        host=holder["host"],
        pid=holder["pid"],
        since=since,
        asterisks=tuple(HeldAsterisk(link["name"]) for link in links(service)),
        is_asked=True,
    )
    return Services(all=(one,))


def _is(one: Service, service: Json) -> bool:
    """Whether a service is the one that answers."""
    holder = service["holder"]
    return one.runs and (one.host, one.pid) == (holder["host"], holder["pid"])


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
