# SPDX-License-Identifier: MIT
"""Pauses after failed logins, which grow with each failure: functions on the database.

Failures are counted for the name and for the address. During a pause no password is
checked, so a right one does not show either. Names that no user has are treated in the
same way. The pause for a name is short, so that an attacker can not keep a user out for
long; the one for an address is long.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.web.people.users import folded
from fastagi.web.state.schema import FAILED_LOGINS

#: After this many seconds without a failure the count begins anew.
_FORGET_S: Final = 24 * 3600.0


@frozen
class _Rule:
    """How many failures are free, and how the pause grows after them."""

    free: int
    longest_s: float

    def pause_s(self, failures: int) -> float:
        """Return the pause after a number of failures, in seconds."""
        if failures < self.free:
            return 0.0
        return min(2.0 ** min(failures - self.free + 1, 20), self.longest_s)


_NAME: Final = _Rule(free=5, longest_s=60.0)
_ADDRESS: Final = _Rule(free=20, longest_s=15 * 60.0)


def keys_of(name: str, address: str) -> tuple[str, ...]:
    """Return the keys under which a failed login is counted."""
    keys = [f"name:{folded(name)[:100]}"]
    if address:
        keys.append(f"address:{_network(address)}")
    return tuple(keys)


def begin_try(conn: sa.Connection, now_s: float, keys: Iterable[str]) -> float:
    """Begin a try, and count it as a failure until it succeeds.

    It is counted before the password is checked, so that many tries at the same time
    are not all free.

    Returns:
        How long the try has to wait, in seconds; then it is not counted. 0: not at all.
    """
    keys = list(keys)
    forget_old(conn, now_s)
    query = sa.select(sa.func.max(FAILED_LOGINS.c.locked_until)).where(
        FAILED_LOGINS.c.key.in_(keys)
    )
    until: float | None = conn.execute(query).scalar()
    if until is not None and until > now_s:
        return until - now_s
    for key in keys:
        rule = _NAME if key.startswith("name:") else _ADDRESS
        found = sa.select(FAILED_LOGINS.c.failures).where(FAILED_LOGINS.c.key == key)
        before: int | None = conn.execute(found).scalar()
        failures = (before or 0) + 1
        values = {
            "failures": failures,
            "failed_at": now_s,
            "locked_until": now_s + rule.pause_s(failures),
        }
        if before is None:
            conn.execute(FAILED_LOGINS.insert().values(key=key, **values))
        else:
            conn.execute(
                FAILED_LOGINS.update()
                .where(FAILED_LOGINS.c.key == key)
                .values(**values)
            )
    return 0.0


def succeeded(conn: sa.Connection, keys: Iterable[str]) -> None:
    """Forget the failures of a name; of its address only this try."""
    for key in keys:
        mine = FAILED_LOGINS.c.key == key
        if key.startswith("name:"):
            conn.execute(FAILED_LOGINS.delete().where(mine))
        else:
            conn.execute(
                FAILED_LOGINS.update()
                .where(mine)
                .values(failures=FAILED_LOGINS.c.failures - 1, locked_until=0.0)
            )


def forget_old(conn: sa.Connection, now_s: float) -> None:
    """Delete failures of which nothing follows any more."""
    conn.execute(
        FAILED_LOGINS.delete().where(FAILED_LOGINS.c.failed_at < now_s - _FORGET_S)
    )


def _network(address: str) -> str:
    """Return an IPv4 address, or the network of an IPv6 address that one person has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
