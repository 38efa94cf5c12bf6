# SPDX-License-Identifier: MIT
"""Users in the database: functions that run in a transaction."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.errors import CallbackError
from fastagi.web.people import keys
from fastagi.web.people.access import Role
from fastagi.web.state.schema import LOGIN_LINKS, SESSIONS, USERS

#: How long a one-time link works, in seconds.
LINK_S: Final = 30 * 60.0
_NAME: Final = re.compile(r"[^\W_][\w.@+-]{0,63}")


class UserProblem(CallbackError):
    """There is no such user, or the change is not possible."""


@frozen(kw_only=True)
class User:
    """A person who may log in.

    Attributes:
        queues: the queues of a supervisor or viewer; None: all queues.
        password: the hash; None: there is no password.
        password_changed_at: when the password was set, not when its hash was renewed.
        issuer: where the account comes from; empty: from here.
        subject: the account's id there.
    """

    id: int
    name: str
    role: Role
    queues: frozenset[str] | None
    password: str | None
    password_changed_at: float | None
    issuer: str
    subject: str | None
    disabled: bool
    created_at: float
    last_login_at: float | None


def folded(name: str) -> str:
    """Return the same text for all ways to write a name."""
    return unicodedata.normalize("NFKC", name).casefold()


def check_name(name: str) -> str:
    """Return a name for a user.

    Raises:
        UserProblem: it can not be one.
    """
    if not _NAME.fullmatch(name):
        raise UserProblem(
            "a user's name has up to 64 letters, digits and . _ @ + - and begins with a"
            " letter or a digit"
        )
    return name


def add(
    conn: sa.Connection,
    now_s: float,
    *,
    name: str,
    role: Role,
    queues: Iterable[str] | None,
    password: str | None = None,
    issuer: str = "",
    subject: str | None = None,
) -> User:
    """Add a user.

    Raises:
        UserProblem: the name is taken, or can not be one.
    """
    check_name(name)
    if conn.execute(sa.select(USERS.c.id).where(_named(name))).first():
        raise UserProblem(f"there is a user {name} already")
    values: dict[str, Any] = {
        "name": name,
        "folded_name": folded(name),
        "role": role.value,
        "queues": dumped(None if role is Role.ADMIN else queues),
        "password": password,
        "password_changed_at": now_s if password else None,
        "issuer": issuer,
        "subject": subject,
        "disabled": False,
        "created_at": now_s,
    }
    conn.execute(USERS.insert().values(**values))
    return get(conn, name)


def get(conn: sa.Connection, name: str) -> User:
    """Return a user.

    Raises:
        UserProblem: there is none.
    """
    user = find(conn, name)
    if user is None:
        raise UserProblem(
            f"there is no user {name}", "callback-queue web user list shows them"
        )
    return user


def find(conn: sa.Connection, name: str) -> User | None:
    """Return a user by name; None: there is none."""
    return _one(conn, _named(name))


def find_by_id(conn: sa.Connection, user_id: int) -> User | None:
    """Return a user by id; None: there is none."""
    return _one(conn, USERS.c.id == user_id)


def find_and_lock(conn: sa.Connection, user_id: int) -> User | None:
    """Return a user whom no other transaction changes before the end of this one."""
    wanted = sa.select(USERS).where(USERS.c.id == user_id).with_for_update()
    row = conn.execute(wanted).mappings().first()
    return None if row is None else user_of(row)


def find_by_subject(conn: sa.Connection, issuer: str, subject: str) -> User | None:
    """Return the user of an account of an identity provider."""
    return _one(conn, sa.and_(USERS.c.issuer == issuer, USERS.c.subject == subject))


def everybody(conn: sa.Connection) -> list[User]:
    """Return all users by name."""
    rows = conn.execute(sa.select(USERS).order_by(USERS.c.folded_name))
    return [user_of(row) for row in rows.mappings()]


def is_empty(conn: sa.Connection) -> bool:
    """Whether there are no users."""
    return conn.execute(sa.select(USERS.c.id).limit(1)).first() is None


def set_password(
    conn: sa.Connection, now_s: float, user: User, password: str | None
) -> None:
    """Store the hash of a new password; all sessions and links of the user end."""
    _change(conn, user, password=password, password_changed_at=now_s)
    end_sessions(conn, user)
    conn.execute(LOGIN_LINKS.delete().where(LOGIN_LINKS.c.user_id == user.id))


def replace_hash(conn: sa.Connection, user: User, password: str) -> None:
    """Store a new hash of the same password."""
    same = USERS.c.password == user.password
    conn.execute(
        USERS.update().where(USERS.c.id == user.id, same).values(password=password)
    )


def set_role(
    conn: sa.Connection, user: User, role: Role, queues: Iterable[str] | None
) -> None:
    """Change what a user may do; it takes effect with the next request.

    Raises:
        UserProblem: nobody would be an administrator any more.
    """
    if role is not Role.ADMIN:
        _check_other_admin(conn, user)
    _change(
        conn,
        user,
        role=role.value,
        queues=dumped(None if role is Role.ADMIN else queues),
    )


def set_role_from_outside(
    conn: sa.Connection, user: User, role: Role, queues: Iterable[str] | None
) -> None:
    """Give a user the role that another system says, also if no admin is left."""
    queues = None if role is Role.ADMIN else queues
    _change(conn, user, role=role.value, queues=dumped(queues))


def set_disabled(conn: sa.Connection, user: User, disabled: bool) -> None:
    """Disable or enable a user; when disabled, all sessions end.

    Raises:
        UserProblem: nobody would be an administrator any more.
    """
    if disabled:
        _check_other_admin(conn, user)
        end_sessions(conn, user)
        conn.execute(LOGIN_LINKS.delete().where(LOGIN_LINKS.c.user_id == user.id))
    _change(conn, user, disabled=disabled)


def remove(conn: sa.Connection, user: User) -> None:
    """Remove a user.

    Raises:
        UserProblem: nobody would be an administrator any more.
    """
    _check_other_admin(conn, user)
    end_sessions(conn, user)
    conn.execute(LOGIN_LINKS.delete().where(LOGIN_LINKS.c.user_id == user.id))
    conn.execute(USERS.delete().where(USERS.c.id == user.id))


def note_login(conn: sa.Connection, now_s: float, user: User) -> None:
    """Store when a user has logged in."""
    _change(conn, user, last_login_at=now_s)


def end_sessions(conn: sa.Connection, user: User, *, but: int | None = None) -> int:
    """Log a user out everywhere, perhaps with the exception of one session.

    Returns:
        How many sessions ended.
    """
    query = SESSIONS.delete().where(SESSIONS.c.user_id == user.id)
    if but is not None:
        query = query.where(SESSIONS.c.id != but)
    return conn.execute(query).rowcount


# -- one-time links ---------------------------------------------------------


def make_link(conn: sa.Connection, now_s: float, user: User | None) -> str:
    """Return the key of a new link; links for the same user no longer work.

    Args:
        conn: the connection.
        now_s: the current time.
        user: who may set a password with it; None: it makes the first administrator.
    """
    owner = (
        LOGIN_LINKS.c.user_id.is_(None)
        if user is None
        else LOGIN_LINKS.c.user_id == user.id
    )
    conn.execute(
        LOGIN_LINKS.delete().where(sa.or_(owner, LOGIN_LINKS.c.expires_at < now_s))
    )
    key = keys.new_key()
    conn.execute(
        LOGIN_LINKS.insert().values(
            hash=keys.hash_of(key),
            user_id=None if user is None else user.id,
            expires_at=now_s + LINK_S,
        )
    )
    return key


@frozen
class Link:
    """A link that still works; ``user`` is None if it makes the first administrator."""

    id: int
    user: User | None


def find_link(conn: sa.Connection, now_s: float, key: str) -> Link | None:
    """Return what a key of a link is for; None: it does not work (any more)."""
    row = conn.execute(
        sa.select(LOGIN_LINKS.c.id, LOGIN_LINKS.c.user_id).where(
            LOGIN_LINKS.c.hash == keys.hash_of(key), LOGIN_LINKS.c.expires_at > now_s
        )
    ).first()
    if row is None:
        return None
    if row.user_id is None:
        # Somebody else may have become the first administrator.
        return Link(row.id, None) if is_empty(conn) else None
    user = find_by_id(conn, row.user_id)
    return Link(row.id, user) if user is not None and not user.disabled else None


def use_up(conn: sa.Connection, link: Link) -> bool:
    """Delete a link; return whether it was still there."""
    return (
        conn.execute(LOGIN_LINKS.delete().where(LOGIN_LINKS.c.id == link.id)).rowcount
        > 0
    )


# -- parts ------------------------------------------------------------------


def dumped(queues: Iterable[str] | None) -> str | None:
    """Return a set of queues as it is stored."""
    return None if queues is None else json.dumps(sorted(queues), ensure_ascii=False)


def loaded(queues: str | None) -> frozenset[str] | None:
    """Return a stored set of queues."""
    return None if queues is None else frozenset(json.loads(queues))


def user_of(row: Any) -> User:
    """Return the user of a row of the table."""
    return User(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        queues=loaded(row["queues"]),
        password=row["password"],
        password_changed_at=row["password_changed_at"],
        issuer=row["issuer"],
        subject=row["subject"],
        disabled=row["disabled"],
        created_at=row["created_at"],
        last_login_at=row["last_login_at"],
    )


def _named(name: str) -> sa.ColumnElement[bool]:
    return USERS.c.folded_name == folded(name)


def _one(conn: sa.Connection, condition: sa.ColumnElement[bool]) -> User | None:
    row = conn.execute(sa.select(USERS).where(condition)).mappings().first()
    return None if row is None else user_of(row)


def _change(conn: sa.Connection, user: User, **values: Any) -> None:
    conn.execute(USERS.update().where(USERS.c.id == user.id).values(**values))


def _check_other_admin(conn: sa.Connection, user: User) -> None:
    """Raise UserProblem if a user is the only administrator who can log in."""
    if user.role is not Role.ADMIN or user.disabled:
        return
    other = sa.select(USERS.c.id).where(
        USERS.c.role == Role.ADMIN.value,
        USERS.c.disabled.is_(False),
        USERS.c.id != user.id,
    )
    if conn.execute(other.limit(1)).first() is None:
        raise UserProblem(
            f"{user.name} is the only administrator",
            "make another one first: callback-queue web user add NAME --role admin",
        )
