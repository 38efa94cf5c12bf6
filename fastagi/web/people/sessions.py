# SPDX-License-Identifier: MIT
"""Sessions in the database: functions that run in a transaction.

A session begins with each login, with a new random id, so that an id that an attacker
planted before is worth nothing. Only the hash of the id is stored.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.web.people import keys
from fastagi.web.people.access import RIGHTS, Kind, Principal
from fastagi.web.people.users import User, note_login, user_of
from fastagi.web.state.schema import SESSIONS, USERS

#: How often the time of the last request is stored, in seconds.
_SEEN_S: Final = 60.0
#: Maximum number of sessions of one user; the oldest ones end.
MOST: Final = 50
_LONGEST_BROWSER: Final = 200


@frozen(kw_only=True)
class Lifetime:
    """How long a session lasts, in seconds: without a request, and at most."""

    idle_s: float
    most_s: float


@frozen(kw_only=True)
class Session:
    """One login of a user."""

    id: int
    login: str
    created_at: float
    seen_at: float
    address: str
    browser: str


@frozen
class Found:
    """A session with its user."""

    session: Session
    user: User

    @property
    def principal(self) -> Principal:
        """The user as the one who makes a request."""
        return Principal(
            kind=Kind.PERSON,
            name=self.user.name,
            rights=RIGHTS[self.user.role],
            queues=self.user.queues,
            role=self.user.role,
            id=self.user.id,
            session_id=self.session.id,
        )


def begin(
    conn: sa.Connection,
    now_s: float,
    user: User,
    *,
    login: str,
    address: str,
    browser: str,
) -> str:
    """Return the id of a new session."""
    key = keys.new_key()
    conn.execute(
        SESSIONS.insert().values(
            hash=keys.hash_of(key),
            user_id=user.id,
            login=login,
            created_at=now_s,
            seen_at=now_s,
            address=address,
            browser=browser[:_LONGEST_BROWSER],
        )
    )
    newest = (
        sa.select(SESSIONS.c.id)
        .where(SESSIONS.c.user_id == user.id)
        .order_by(SESSIONS.c.id.desc())
        .limit(MOST)
    )
    kept = [row.id for row in conn.execute(newest)]
    conn.execute(
        SESSIONS.delete().where(
            SESSIONS.c.user_id == user.id, SESSIONS.c.id.not_in(kept)
        )
    )
    note_login(conn, now_s, user)
    return key


def find(
    conn: sa.Connection, now_s: float, key: str, lifetime: Lifetime
) -> Found | None:
    """Return the session of an id; None: there is none (any more)."""
    query = (
        sa.select(SESSIONS)
        .join(USERS, USERS.c.id == SESSIONS.c.user_id)
        .add_columns(*(column.label(f"user:{column.name}") for column in USERS.c))
        .where(
            SESSIONS.c.hash == keys.hash_of(key),
            SESSIONS.c.seen_at > now_s - lifetime.idle_s,
            SESSIONS.c.created_at > now_s - lifetime.most_s,
            USERS.c.disabled.is_(False),
        )
    )
    row = conn.execute(query).mappings().first()
    if row is None:
        return None
    user = {column.name: row[f"user:{column.name}"] for column in USERS.c}
    return Found(_session_of(row), user_of(user))


def is_due(found: Found, now_s: float) -> bool:
    """Whether the time of the last request has to be stored."""
    return now_s - found.session.seen_at > _SEEN_S


def touch(conn: sa.Connection, now_s: float, session_id: int) -> None:
    """Store the time of the last request."""
    conn.execute(
        SESSIONS.update().where(SESSIONS.c.id == session_id).values(seen_at=now_s)
    )


def end(conn: sa.Connection, session_id: int, user_id: int) -> bool:
    """End one session of a user; return whether it was there."""
    mine = (SESSIONS.c.id == session_id, SESSIONS.c.user_id == user_id)
    return conn.execute(SESSIONS.delete().where(*mine)).rowcount > 0


def of_user(
    conn: sa.Connection, now_s: float, user_id: int, lifetime: Lifetime
) -> list[Session]:
    """Return the sessions of a user, the latest request first."""
    rows = conn.execute(
        sa.select(SESSIONS)
        .where(
            SESSIONS.c.user_id == user_id,
            SESSIONS.c.seen_at > now_s - lifetime.idle_s,
            SESSIONS.c.created_at > now_s - lifetime.most_s,
        )
        .order_by(SESSIONS.c.seen_at.desc())
    )
    return [_session_of(row) for row in rows.mappings()]


def forget_old(conn: sa.Connection, now_s: float, lifetime: Lifetime) -> None:
    """Delete sessions that have ended by themselves."""
    conn.execute(
        SESSIONS.delete().where(
            sa.or_(
                SESSIONS.c.seen_at < now_s - lifetime.idle_s,
                SESSIONS.c.created_at < now_s - lifetime.most_s,
            )
        )
    )


def _session_of(row: Any) -> Session:
    names = ("id", "login", "created_at", "seen_at", "address", "browser")
    return Session(**{name: row[name] for name in names})
