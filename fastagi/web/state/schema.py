# SPDX-License-Identifier: MIT
"""The tables of the web process's own database.

A new table is a ``sa.Table`` of ``METADATA`` here. As long as ``LATEST`` is not
released, that is all. A change after a release raises ``LATEST`` and adds a step to
``fastagi.web.state.versions``.

Times are seconds since the epoch. Nothing that lets somebody in is stored: of passwords
there are argon2id hashes, of sessions, tokens and one-time links SHA-256 hashes.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _flag(name: str) -> sa.Boolean:
    return sa.Boolean(create_constraint=True, name=name)


#: One row: the version of the tables.
VERSION: Final = sa.Table(
    "web_version",
    METADATA,
    sa.Column("version", sa.Integer, nullable=False),
)

#: Keys that sign what the process hands out, made at the first start.
SECRETS: Final = sa.Table(
    "web_secret",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

#: People. ``issuer`` and ``subject`` name the account of the identity provider;
#: ``password`` is null if there is none. ``queues``: JSON list; null: all queues.
USERS: Final = sa.Table(
    "web_user",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("folded_name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("queues", sa.Text),
    sa.Column("password", sa.Text),
    sa.Column("password_changed_at", sa.Double),
    sa.Column("issuer", sa.Text, nullable=False, server_default=""),
    sa.Column("subject", sa.Text),
    sa.Column("disabled", _flag("disabled"), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("last_login_at", sa.Double),
    sa.UniqueConstraint("issuer", "subject"),
)

#: Who has logged in. ``login``: how (password, link, oidc, proxy).
SESSIONS: Final = sa.Table(
    "web_session",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column(
        "user_id",
        sa.Integer,
        sa.ForeignKey(USERS.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("login", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("browser", sa.Text, nullable=False),
)

#: Links that work once: to make the first administrator (without a user), or to set a
#: password.
LOGIN_LINKS: Final = sa.Table(
    "web_login_link",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey(USERS.c.id, ondelete="CASCADE")),
    sa.Column("expires_at", sa.Double, nullable=False),
)

#: API tokens. ``rights``: JSON list. ``prefix``: the part that may be shown.
TOKENS: Final = sa.Table(
    "web_token",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("rights", sa.Text, nullable=False),
    sa.Column("queues", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("used_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
)

#: Links to the wall display; the signature is made with a key of ``web_secret``.
WALL_LINKS: Final = sa.Table(
    "web_wall_link",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("queues", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
)

#: Failed logins, by name and by address; see ``people/lockout.py``.
FAILED_LOGINS: Final = sa.Table(
    "web_failed_login",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failed_at", sa.Double, nullable=False),
    sa.Column("locked_until", sa.Double, nullable=False),
)

#: Logins, log-outs, and changes of users, tokens and links.
AUDIT: Final = sa.Table(
    "web_audit",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
