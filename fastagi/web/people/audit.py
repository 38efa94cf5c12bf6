# SPDX-License-Identifier: MIT
"""The audit of logins, log-outs, and changes of users, tokens and links.

Each entry is a row and a line in the log. What operators do with tasks is in the story
of the task instead.
"""

from __future__ import annotations

import logging
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.web.state.schema import AUDIT

_log = logging.getLogger(__name__)

#: How long entries are kept, in seconds: two years.
KEEP_S: Final = 730 * 86400.0
#: Longest text of a column; more is cut off.
_LONGEST: Final = 300
_FAILURES: Final = frozenset({"login-failed", "login-locked", "login-refused"})


@frozen(kw_only=True)
class Entry:
    """One entry.

    Attributes:
        event: what happened, such as ``login`` or ``token-made``.
        actor: who did it.
        subject: the user, token or link that it was done to; empty: the actor.
        address: where the request came from; ``cli`` for the command line.
        detail: what else is to be known.
    """

    event: str
    actor: str
    subject: str = ""
    address: str = ""
    detail: str = ""


@frozen(kw_only=True)
class StoredEntry(Entry):
    """An entry with its time, in seconds since the epoch."""

    at: float


def note(conn: sa.Connection, now_s: float, entry: Entry) -> None:
    """Store an entry and log it."""
    conn.execute(
        AUDIT.insert().values(
            at=now_s,
            event=entry.event,
            actor=_cut(entry.actor),
            subject=_cut(entry.subject),
            address=_cut(entry.address),
            detail=_cut(entry.detail),
        )
    )
    log = _log.warning if entry.event in _FAILURES else _log.info
    log(
        "%s: %s%s%s%s",
        entry.event,
        _cut(entry.actor) or "somebody",
        f", {_cut(entry.subject)}" if entry.subject else "",
        f", from {entry.address}" if entry.address else "",
        f" ({_cut(entry.detail)})" if entry.detail else "",
    )


def latest(conn: sa.Connection, limit: int = 200) -> list[StoredEntry]:
    """Return the newest entries, the latest first."""
    columns = [column for column in AUDIT.c if column.name != "id"]
    rows = conn.execute(sa.select(*columns).order_by(AUDIT.c.id.desc()).limit(limit))
    return [StoredEntry(**row) for row in rows.mappings()]


def forget_old(conn: sa.Connection, now_s: float) -> None:
    """Delete entries that are too old."""
    conn.execute(AUDIT.delete().where(AUDIT.c.at < now_s - KEEP_S))


def _cut(text: str) -> str:
    # A name that somebody typed may hold anything.
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
