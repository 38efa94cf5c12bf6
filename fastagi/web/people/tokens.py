# SPDX-License-Identifier: MIT
"""API tokens and links to the wall display: functions that run in a transaction.

A token is ``cbq_`` and 256 random bits; only its hash is stored, so it is shown once. A
wall link is the number of its row with a signature, so it can be shown again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.errors import CallbackError
from fastagi.web.people import keys
from fastagi.web.people.access import OF_ALL_QUEUES, SCOPES, Kind, Principal, Right
from fastagi.web.people.users import dumped, loaded
from fastagi.web.state.schema import TOKENS, WALL_LINKS

PREFIX: Final = "cbq_"
#: How many characters of a token are shown in lists, after ``cbq_``.
_SHOWN: Final = 6
#: How often the time of the last use is stored, in seconds.
_USED_S: Final = 60.0
_LONGEST_NAME: Final = 64
_PURPOSE: Final = "wall"


class TokenProblem(CallbackError):
    """There is no such token or link, or it can not be made."""


@frozen(kw_only=True)
class Token:
    """An API token, without what lets somebody in.

    Attributes:
        prefix: its first characters, to tell tokens apart.
        queues: the queues for which it may be used; None: all.
        expires_at: from when on it does not work; None: it does not expire.
        used_at: its last use, to the minute.
    """

    id: int
    name: str
    prefix: str
    rights: frozenset[Right]
    queues: frozenset[str] | None
    created_at: float
    created_by: str
    expires_at: float | None
    used_at: float | None
    revoked_at: float | None

    def works(self, now_s: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (
            self.expires_at is None or now_s < self.expires_at
        )

    def is_due(self, now_s: float) -> bool:
        """Whether the time of its use has to be stored."""
        return self.used_at is None or now_s - self.used_at > _USED_S

    @property
    def principal(self) -> Principal:
        """The token as the one who makes a request."""
        return Principal(
            kind=Kind.TOKEN,
            name=self.name,
            rights=self.rights,
            queues=self.queues,
            id=self.id,
        )


@frozen(kw_only=True)
class WallLink:
    """A link to the wall display of some queues; None: of all queues."""

    id: int
    name: str
    queues: frozenset[str] | None
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None

    def works(self, now_s: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (
            self.expires_at is None or now_s < self.expires_at
        )

    @property
    def principal(self) -> Principal:
        """The link as the one who makes a request."""
        return Principal(
            kind=Kind.WALL,
            name=self.name,
            rights=frozenset({Right.WALL}),
            queues=self.queues,
            id=self.id,
        )


def make(
    conn: sa.Connection,
    now_s: float,
    *,
    name: str,
    rights: Iterable[Right],
    queues: Iterable[str] | None,
    expires_at: float | None,
    by: str,
) -> tuple[Token, str]:
    """Make a token; return it and its text, which can not be shown again.

    Raises:
        TokenProblem: the name or the rights can not be those of a token.
    """
    rights = sorted(set(rights))
    if not rights:
        raise TokenProblem("a token needs at least one scope", _some_scopes())
    if foreign := [right for right in rights if right not in SCOPES]:
        raise TokenProblem(f"{foreign[0]} is no scope of a token", _some_scopes())
    if queues is not None and (wide := sorted(OF_ALL_QUEUES.intersection(rights))):
        raise TokenProblem(
            f"the scope {wide[0]} is for all queues", "leave out the queues"
        )
    _check(conn, now_s, TOKENS, name, expires_at)
    key = keys.new_key()
    text = PREFIX + key
    values: dict[str, Any] = {
        "name": name,
        "hash": keys.hash_of(text),
        "prefix": PREFIX + key[:_SHOWN],
        "rights": json.dumps(rights),
        "queues": dumped(queues),
        "created_at": now_s,
        "created_by": by,
        "expires_at": expires_at,
    }
    made = conn.execute(TOKENS.insert().values(**values)).inserted_primary_key
    assert made is not None
    (token,) = (one for one in everything(conn) if one.id == made[0])
    return token, text


def find(conn: sa.Connection, now_s: float, text: str) -> Token | None:
    """Return the token of a text; None: it does not work (any more)."""
    query = sa.select(TOKENS).where(TOKENS.c.hash == keys.hash_of(text))
    row = conn.execute(query).mappings().first()
    if row is None:
        return None
    token = _token_of(row)
    return token if token.works(now_s) else None


def touch(conn: sa.Connection, now_s: float, token_id: int) -> None:
    """Store when a token was used."""
    conn.execute(TOKENS.update().where(TOKENS.c.id == token_id).values(used_at=now_s))


def everything(conn: sa.Connection) -> list[Token]:
    """Return all tokens, the latest first, also those that do not work any more."""
    rows = conn.execute(sa.select(TOKENS).order_by(TOKENS.c.id.desc()))
    return [_token_of(row) for row in rows.mappings()]


def revoke(conn: sa.Connection, now_s: float, token: int | str) -> Token:
    """Revoke a token by its id or name, for good.

    Raises:
        TokenProblem: there is none that works.
    """
    row = _working(conn, now_s, TOKENS, token)
    conn.execute(
        TOKENS.update().where(TOKENS.c.id == row["id"]).values(revoked_at=now_s)
    )
    return _token_of(row)


# -- wall links -------------------------------------------------------------


def make_wall_link(
    conn: sa.Connection,
    now_s: float,
    *,
    name: str,
    queues: Iterable[str] | None,
    expires_at: float | None,
    by: str,
) -> WallLink:
    """Make a link to the wall display.

    Raises:
        TokenProblem: the name can not be that of a link.
    """
    _check(conn, now_s, WALL_LINKS, name, expires_at)
    values: dict[str, Any] = {
        "name": name,
        "queues": dumped(queues),
        "created_at": now_s,
        "created_by": by,
        "expires_at": expires_at,
    }
    made = conn.execute(WALL_LINKS.insert().values(**values)).inserted_primary_key
    assert made is not None
    (link,) = (one for one in wall_links(conn) if one.id == made[0])
    return link


def wall_text(key: bytes, link: WallLink) -> str:
    """Return the signed text of a link."""
    return f"{link.id}.{keys.signature(key, _PURPOSE, str(link.id))}"


def find_wall_link(
    conn: sa.Connection, now_s: float, key: bytes, text: str
) -> WallLink | None:
    """Return the link of a signed text; None: it does not work (any more)."""
    number, _, signed = text.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    if not keys.same(signed, keys.signature(key, _PURPOSE, number)):
        return None
    query = sa.select(WALL_LINKS).where(WALL_LINKS.c.id == int(number))
    row = conn.execute(query).mappings().first()
    if row is None:
        return None
    link = _link_of(row)
    return link if link.works(now_s) else None


def wall_links(conn: sa.Connection) -> list[WallLink]:
    """Return all links, the latest first, also those that do not work any more."""
    rows = conn.execute(sa.select(WALL_LINKS).order_by(WALL_LINKS.c.id.desc()))
    return [_link_of(row) for row in rows.mappings()]


def revoke_wall_link(conn: sa.Connection, now_s: float, link: int | str) -> WallLink:
    """Revoke a link by its id or name, for good.

    Raises:
        TokenProblem: there is none that works.
    """
    row = _working(conn, now_s, WALL_LINKS, link)
    conn.execute(
        WALL_LINKS.update().where(WALL_LINKS.c.id == row["id"]).values(revoked_at=now_s)
    )
    return _link_of(row)


# -- parts ------------------------------------------------------------------


def _check(
    conn: sa.Connection,
    now_s: float,
    table: sa.Table,
    name: str,
    expires_at: float | None,
) -> None:
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise TokenProblem(f"a name has 1 to {_LONGEST_NAME} characters")
    if name != name.strip():
        raise TokenProblem("a name has no space at its beginning or end")
    if expires_at is not None and expires_at <= now_s:
        raise TokenProblem("the time at which it expires is in the past")
    taken = sa.select(table.c.id).where(
        table.c.name == name, table.c.revoked_at.is_(None)
    )
    if conn.execute(taken).first():
        raise TokenProblem(f"the name {name} is taken", "choose another one")


def _working(
    conn: sa.Connection, now_s: float, table: sa.Table, which: int | str
) -> Any:
    column = table.c.id if isinstance(which, int) else table.c.name
    query = sa.select(table).where(column == which, table.c.revoked_at.is_(None))
    row = conn.execute(query).mappings().first()
    if row is None:
        raise TokenProblem(f"there is no {which} that could be revoked")
    return row


def _some_scopes() -> str:
    return f"choose from {', '.join(SCOPES)}"


def _token_of(row: Any) -> Token:
    values = {
        name: row[name]
        for name in (
            "id",
            "name",
            "prefix",
            "created_at",
            "created_by",
            "expires_at",
            "used_at",
            "revoked_at",
        )
    }
    # A later version may know more rights than this one.
    rights = frozenset(
        Right(right) for right in json.loads(row["rights"]) if right in set(SCOPES)
    )
    return Token(**values, rights=rights, queues=loaded(row["queues"]))


def _link_of(row: Any) -> WallLink:
    values = {
        name: row[name]
        for name in (
            "id",
            "name",
            "created_at",
            "created_by",
            "expires_at",
            "revoked_at",
        )
    }
    return WallLink(**values, queues=loaded(row["queues"]))
