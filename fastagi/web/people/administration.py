# SPDX-License-Identifier: MIT
"""What an administrator does on the command line, directly on the database.

The web process may be running: it sees each change with the next request.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fastagi.config.durations import parse_duration
from fastagi.config.errors import BadValue
from fastagi.errors import CallbackError
from fastagi.store.backends import backend_for
from fastagi.web.people import audit, keys, passwords, tokens, users
from fastagi.web.people.access import SCOPES, Right, Role
from fastagi.web.people.passwords import Passwords
from fastagi.web.people.people import link_address, wall_address
from fastagi.web.people.tokens import Token, TokenProblem, WallLink
from fastagi.web.settings import WebSettings
from fastagi.web.state import versions
from fastagi.web.state.direct import committed


def _now() -> datetime:
    return datetime.now(UTC)


class Administration:
    """Changes users, tokens and links; each change has an entry in the audit."""

    def __init__(
        self,
        settings: WebSettings,
        *,
        by: str,
        now: Callable[[], datetime] = _now,
        hashes: Callable[[], Passwords] = Passwords,
    ) -> None:
        """Prepare the database.

        Args:
            settings: the settings of the web process.
            by: who gives the command.
            now: the current time.
            hashes: makes what makes hashes of passwords.

        Raises:
            CallbackError: the database can not be used.
        """
        self._settings = settings
        self._by = by
        self._now = now
        self._hashes = hashes
        versions.prepare(settings.database.url)

    def _now_s(self) -> float:
        return self._now().timestamp()

    def _database(self) -> AbstractContextManager[sa.Connection]:
        return committed(self._settings.database.url)

    def _note(
        self, conn: sa.Connection, event: str, subject: str, detail: str = ""
    ) -> None:
        entry = audit.Entry(
            event=event, actor=self._by, subject=subject, address="cli", detail=detail
        )
        audit.note(conn, self._now_s(), entry)

    def link_address(self, key: str) -> str:
        """Return the address of a one-time link."""
        return link_address(self._settings, key)

    # -- users --------------------------------------------------------------

    def add_user(
        self,
        name: str,
        role: str,
        queues: Iterable[str] | None,
        password: str | None,
    ) -> str | None:
        """Add a user; without a password return the key of a link to set it."""
        users.check_name(name)
        stored = self._hash(password, name)
        with self._database() as conn:
            user = users.add(
                conn,
                self._now_s(),
                name=name,
                role=Role(role),
                queues=queues,
                password=stored,
            )
            self._note(conn, "user-made", name, role)
            return users.make_link(conn, self._now_s(), user) if not stored else None

    def check_user(self, name: str) -> None:
        """Raise UserProblem if there is no such user who can have a password."""
        with self._database() as conn:
            self._local(conn, name)

    def set_password(self, name: str, password: str | None) -> str | None:
        """Set a password; without one return the key of a link to set it."""
        stored = self._hash(password, name)
        with self._database() as conn:
            user = self._local(conn, name)
            if stored is None:
                self._note(conn, "link-made", user.name)
                return users.make_link(conn, self._now_s(), user)
            users.set_password(conn, self._now_s(), user, stored)
            self._note(conn, "password-changed", user.name)
            return None

    def set_role(self, name: str, role: str, queues: Iterable[str] | None) -> None:
        """Change what a user may do."""
        with self._database() as conn:
            user = self._local(conn, name)
            users.set_role(conn, user, Role(role), queues)
            self._note(conn, "role-changed", user.name, f"{user.role.value} -> {role}")

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Keep a user out, or let the user in again."""
        with self._database() as conn:
            user = users.get(conn, name)
            users.set_disabled(conn, user, disabled)
            event = "user-disabled" if disabled else "user-enabled"
            self._note(conn, event, user.name)

    def log_out(self, name: str) -> int:
        """End all sessions of a user; return how many."""
        with self._database() as conn:
            user = users.get(conn, name)
            count = users.end_sessions(conn, user)
            self._note(conn, "logout", user.name, f"{count} sessions")
            return count

    def remove_user(self, name: str) -> None:
        """Remove a user."""
        with self._database() as conn:
            user = users.get(conn, name)
            users.remove(conn, user)
            self._note(conn, "user-removed", user.name)

    def user_list(self, as_json: bool) -> str:
        """Return all users as text or JSON."""
        with self._database() as conn:
            found = users.everybody(conn)
        rows = [
            {
                "name": user.name,
                "role": user.role.value,
                "queues": _listed(user.queues),
                "login": user.issuer or ("password" if user.password else "link"),
                "disabled": user.disabled,
                "last_login": _moment(user.last_login_at),
            }
            for user in found
        ]
        return _table(rows, as_json, "there are no users")

    @staticmethod
    def _local(conn: sa.Connection, name: str) -> users.User:
        """Return a user of this process, not one of another system."""
        user = users.get(conn, name)
        if user.issuer:
            raise users.UserProblem(
                f"{user.name} is logged in by {user.issuer}, which also says the role",
                "change it there, or in the groups of the settings",
            )
        return user

    def _hash(self, password: str | None, name: str) -> str | None:
        if password is None:
            return None
        passwords.check_strength(password, name)
        return self._hashes().hash(password)

    # -- tokens and wall links ----------------------------------------------

    def add_token(
        self,
        name: str,
        scopes: Iterable[str],
        queues: Iterable[str] | None,
        expires: str,
    ) -> str:
        """Make a token; return its text."""
        with self._database() as conn:
            token, text = tokens.make(
                conn,
                self._now_s(),
                name=name,
                rights=[_scope(scope) for scope in scopes],
                queues=queues,
                expires_at=self._after(expires),
                by=self._by,
            )
            self._note(conn, "token-made", name, " ".join(sorted(token.rights)))
        return text

    def revoke_token(self, name: str) -> None:
        """Revoke a token."""
        with self._database() as conn:
            tokens.revoke(conn, self._now_s(), name)
            self._note(conn, "token-revoked", name)

    def token_list(self, as_json: bool) -> str:
        """Return all tokens as text or JSON."""
        with self._database() as conn:
            found = tokens.everything(conn)
        rows = [
            {
                "name": token.name,
                "token": f"{token.prefix}…",
                "state": self._state(token),
                "scopes": sorted(token.rights),
                "queues": _listed(token.queues),
                "by": token.created_by,
                "made": _moment(token.created_at),
                "expires": _moment(token.expires_at),
                "last_use": _moment(token.used_at),
            }
            for token in found
        ]
        return _table(rows, as_json, "there are no tokens")

    def add_wall_link(
        self, name: str, queues: Iterable[str] | None, expires: str
    ) -> str:
        """Make a wall link; return its address."""
        with self._database() as conn:
            link = tokens.make_wall_link(
                conn,
                self._now_s(),
                name=name,
                queues=queues,
                expires_at=self._after(expires),
                by=self._by,
            )
            self._note(conn, "wall-link-made", name)
            return wall_address(self._settings, keys.signing_key(conn), link)

    def revoke_wall_link(self, name: str) -> None:
        """Revoke a wall link."""
        with self._database() as conn:
            tokens.revoke_wall_link(conn, self._now_s(), name)
            self._note(conn, "wall-link-revoked", name)

    def wall_link_list(self, as_json: bool) -> str:
        """Return all wall links as text or JSON."""
        with self._database() as conn:
            found = tokens.wall_links(conn)
            key = keys.signing_key(conn)
        rows = [
            {
                "name": link.name,
                "state": self._state(link),
                "queues": _listed(link.queues),
                "by": link.created_by,
                "expires": _moment(link.expires_at),
                "address": wall_address(self._settings, key, link),
            }
            for link in found
        ]
        return _table(rows, as_json, "there are no wall links")

    def back_up(self, file: str | None) -> Path:
        """Copy the database; return the path of the copy.

        Raises:
            CopyFailed: it is not a file, or the copy can not be made.
        """
        backend = backend_for(self._settings.database.url)
        path, _ = backend.back_up(file, self._now(), _check_copy)
        return path

    def audit(self, limit: int, as_json: bool) -> str:
        """Return the latest entries of the audit as text or JSON."""
        with self._database() as conn:
            found = audit.latest(conn, limit)
        rows = [
            {
                "at": _moment(entry.at),
                "event": entry.event,
                "actor": entry.actor,
                "subject": entry.subject,
                "address": entry.address,
                "detail": entry.detail,
            }
            for entry in found
        ]
        return _table(rows, as_json, "nothing has happened yet")

    def _after(self, expires: str) -> float | None:
        if not expires:
            return None
        try:
            return self._now_s() + parse_duration(expires).total_seconds()
        except BadValue as bad:
            raise CallbackError(f"--expires {bad.problem}") from None

    def _state(self, one: Token | WallLink) -> str:
        if one.revoked_at is not None:
            return "revoked"
        return "works" if one.works(self._now_s()) else "expired"


def _check_copy(copy: sqlite3.Connection) -> None:
    """Raise if a copy is not whole."""
    (version,) = copy.execute("SELECT version FROM web_version").fetchone()
    assert version <= versions.LATEST


def _scope(text: str) -> Right:
    if text not in set(SCOPES):
        raise TokenProblem(f"{text} is no scope", f"choose from {', '.join(SCOPES)}")
    return Right(text)


def _listed(queues: frozenset[str] | None) -> list[str] | None:
    return None if queues is None else sorted(queues)


def _moment(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def _table(rows: Sequence[Mapping[str, Any]], as_json: bool, if_empty: str) -> str:
    """Return rows as JSON, or as a table for people."""
    if as_json:
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if not rows:
        return if_empty
    texts = [[name.replace("_", " ").upper() for name in rows[0]]]
    texts += [[_cell(name, value) for name, value in row.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in texts)


def _cell(name: str, value: object) -> str:
    match value:
        case None:
            return "all" if name == "queues" else "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(value) or "-"
        case _:
            return str(value)
