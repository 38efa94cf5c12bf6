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

#: How far readers of the events of tasks have read
#: (`fastagi.store.story_events.StoryPosition`).
READERS: Final = sa.Table(
    "web_reader",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Integer, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("task_id", sa.Integer, nullable=False),
)

#: The endpoints of webhooks. Times are epoch seconds.
WEBHOOKS: Final = sa.Table(
    "web_webhook",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("url", sa.Text, nullable=False),
    #: JSON lists; empty: all.
    sa.Column("types", sa.Text, nullable=False),
    sa.Column("queues", sa.Text, nullable=False),
    #: ``full`` or ``masked``.
    sa.Column("numbers", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    #: Grows with each change by an administrator. A delivery that began before stores
    #: nothing.
    sa.Column("revision", sa.Integer, nullable=False),
    #: Why nothing is sent; NULL: it is enabled.
    sa.Column("disabled_why", sa.Text),
    #: The last event that is delivered or passed over, and the last change of alarms.
    sa.Column("event_id", sa.Integer, nullable=False),
    sa.Column("event_at", sa.Double, nullable=False),
    sa.Column("event_task_id", sa.Integer, nullable=False),
    sa.Column("alarm_change_id", sa.Integer, nullable=False),
    #: The events that are still to be sent again: the next and the last; NULL: none.
    sa.Column("replay_next", sa.Integer),
    sa.Column("replay_last", sa.Integer),
    #: The message that fails: since when, how often, and when it is tried again.
    sa.Column("failing_since", sa.Double),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Double),
    #: The last answer.
    sa.Column("answered_at", sa.Double),
    sa.Column("answer_status", sa.Integer),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("delivered_at", sa.Double),
    sa.Column("delivered", sa.Integer, nullable=False),
    # The ids of messages contain the id, so it is never used again.
    sqlite_autoincrement=True,
)

#: The secrets of endpoints; two of them are valid for a while after a rotation.
WEBHOOK_SECRETS: Final = sa.Table(
    "web_webhook_secret",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "webhook_id",
        sa.ForeignKey("web_webhook.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    #: NULL: as long as it is not rotated.
    sa.Column("valid_until", sa.Double),
)

#: The alarms that are on.
ALARMS: Final = sa.Table(
    "web_alarm",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    #: The name of the queue; empty: the whole service.
    sa.Column("queue", sa.Text, primary_key=True),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("threshold", sa.Double),
)

#: Each change of an alarm, in order; webhooks and mail follow them.
ALARM_CHANGES: Final = sa.Table(
    "web_alarm_change",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    #: NULL: the alarm has ended.
    sa.Column("level", sa.Text),
    sa.Column("before", sa.Text),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("threshold", sa.Double),
    # Ids are never used again, so a higher id is a later change.
    sqlite_autoincrement=True,
)

#: Which of several web processes watches for alarms and sends webhooks and mail; one
#: row (`fastagi.web.state.sending`).
SENDING: Final = sa.Table(
    "web_sending",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    #: A random text of the holder; empty: there is none.
    sa.Column("token", sa.Text, nullable=False),
    #: Grows with each renewal.
    sa.Column("renewals", sa.Integer, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_space", sa.Text, nullable=False),
    sa.Column("process_start", sa.Text, nullable=False),
)

#: Requests with an Idempotency-Key, and their answers, for 24 hours.
IDEMPOTENCY: Final = sa.Table(
    "idempotency",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    #: Who made the request.
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    #: Stands for the operation and its body.
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    #: NULL: it is still under way.
    sa.Column("status", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.UniqueConstraint("owner", "key"),
    sa.Index("ix_idempotency_at", "at"),
)
