# SPDX-License-Identifier: MIT
"""The endpoints of webhooks in the web process's own database.

The functions run inside a transaction, on a thread of that database.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from fastagi.errors import CallbackError
from fastagi.store.rows import moment, moment_or_none
from fastagi.store.story_events import StoryPosition
from fastagi.web.signals.messages import Filter, Numbers
from fastagi.web.state.schema import ALARM_CHANGES, WEBHOOK_SECRETS, WEBHOOKS

#: Maximum number of endpoints.
MOST: Final = 50
_SECRET_BYTES: Final = 32
_DISABLED_BY_HAND: Final = "disabled by hand"


class NoSuchWebhook(CallbackError):
    """There is no webhook of this name."""


class WebhookExists(CallbackError):
    """There is a webhook of this name, or there are too many."""


@frozen(kw_only=True)
class Endpoint:
    """One endpoint, with its position and what came of the last deliveries."""

    id: int
    name: str
    url: str
    filter: Filter
    numbers: Numbers
    created_at: datetime
    revision: int
    #: Why nothing is sent; None: it is enabled.
    disabled_why: str | None
    position: StoryPosition
    alarm_change_id: int
    #: The next and the last event that are sent again; None: none.
    replay: tuple[int, int] | None
    #: Since when the message that is to be delivered fails; None: it does not.
    failing_since: datetime | None
    failures: int
    next_try_at: datetime | None
    answered_at: datetime | None
    answer_status: int | None
    answer: str
    delivered_at: datetime | None
    delivered: int


@frozen(kw_only=True)
class Progress:
    """How far the deliveries of an endpoint have come, and their last result.

    Attributes:
        revision: that of the endpoint when it was read.
    """

    endpoint_id: int
    revision: int
    position: StoryPosition
    alarm_change_id: int
    replay: tuple[int, int] | None


@frozen(kw_only=True)
class Result:
    """The result of a delivery, to be stored with the progress."""

    at: datetime
    status: int | None
    words: str
    #: None: the message was delivered.
    next_try_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    #: Why the endpoint is disabled from now on; None: it is not.
    disable: str | None = None


def new_secret() -> str:
    """Return a secret for signatures."""
    data = base64.b64encode(secrets.token_bytes(_SECRET_BYTES))
    return f"whsec_{data.decode()}"


def add(
    conn: sa.Connection,
    name: str,
    url: str,
    wanted: Filter,
    numbers: Numbers,
    position: StoryPosition,
    now: datetime,
) -> str:
    """Store an endpoint that begins at a position; return its secret.

    Raises:
        WebhookExists: there is one of this name, or there are too many.
    """
    names = list(conn.scalars(sa.select(WEBHOOKS.c.name)))
    if name in names:
        raise WebhookExists(
            f"there is a webhook {name} already", "choose another name, or remove it"
        )
    if len(names) >= MOST:
        raise WebhookExists(f"there are {MOST} webhooks already", "remove one")
    row = conn.execute(
        sa.insert(WEBHOOKS)
        .values(
            name=name,
            url=url,
            types=json.dumps(wanted.types),
            queues=json.dumps(wanted.queues),
            numbers=numbers.value,
            created_at=now.timestamp(),
            revision=1,
            **_at(position),
            alarm_change_id=last_alarm_change(conn),
            failures=0,
            answer="",
            delivered=0,
        )
        .returning(WEBHOOKS.c.id)
    )
    return _add_secret(conn, row.scalar_one(), now)


def all_of(conn: sa.Connection) -> list[Endpoint]:
    """Return all endpoints, by name."""
    rows = conn.execute(sa.select(WEBHOOKS).order_by(WEBHOOKS.c.name))
    return [_endpoint(row) for row in rows]


def named(conn: sa.Connection, name: str) -> Endpoint:
    """Return one endpoint.

    Raises:
        NoSuchWebhook: there is none of this name.
    """
    row = conn.execute(sa.select(WEBHOOKS).where(WEBHOOKS.c.name == name)).first()
    if row is None:
        raise NoSuchWebhook(
            f"there is no webhook {name}", "see 'callback-queue web webhook list'"
        )
    return _endpoint(row)


def by_id(conn: sa.Connection, endpoint_id: int) -> Endpoint | None:
    """Return one endpoint; None if it was removed."""
    row = conn.execute(sa.select(WEBHOOKS).where(WEBHOOKS.c.id == endpoint_id)).first()
    return None if row is None else _endpoint(row)


def revisions(conn: sa.Connection) -> dict[int, int]:
    """Return the revisions of all enabled endpoints, by id."""
    rows = conn.execute(
        sa.select(WEBHOOKS.c.id, WEBHOOKS.c.revision).where(
            WEBHOOKS.c.disabled_why.is_(None)
        )
    )
    return {row.id: row.revision for row in rows}


def remove(conn: sa.Connection, name: str) -> None:
    """Remove an endpoint with its secrets."""
    endpoint = named(conn, name)
    conn.execute(
        sa.delete(WEBHOOK_SECRETS).where(WEBHOOK_SECRETS.c.webhook_id == endpoint.id)
    )
    conn.execute(sa.delete(WEBHOOKS).where(WEBHOOKS.c.id == endpoint.id))


def enable(
    conn: sa.Connection,
    name: str,
    skip_to: StoryPosition | None,
) -> None:
    """Send again at once, what is waiting or, with a position, only what follows it."""
    more: dict[str, Any] = {}
    if skip_to is not None:
        more = {
            **_at(skip_to),
            "alarm_change_id": last_alarm_change(conn),
            "replay_next": None,
            "replay_last": None,
        }
    _change(
        conn,
        name,
        disabled_why=None,
        failing_since=None,
        failures=0,
        next_try_at=None,
        **more,
    )


def disable(conn: sa.Connection, name: str) -> None:
    """Send nothing more; what happens meanwhile is sent once it is enabled."""
    _change(conn, name, disabled_why=_DISABLED_BY_HAND)


def replay(conn: sa.Connection, name: str, first: int, last: int) -> None:
    """Send a range of events again, after those that are still to be sent."""
    _change(conn, name, replay_next=first, replay_last=last)


def rotate(conn: sa.Connection, name: str, now: datetime, overlap: timedelta) -> str:
    """Return a new secret; the one before stays valid for ``overlap``."""
    endpoint = named(conn, name)
    of_this = WEBHOOK_SECRETS.c.webhook_id == endpoint.id
    conn.execute(
        sa.delete(WEBHOOK_SECRETS).where(
            of_this, WEBHOOK_SECRETS.c.valid_until.is_not(None)
        )
    )
    conn.execute(
        sa.update(WEBHOOK_SECRETS)
        .where(of_this)
        .values(valid_until=(now + overlap).timestamp())
    )
    _change(conn, name)
    return _add_secret(conn, endpoint.id, now)


def secrets_of(conn: sa.Connection, endpoint_id: int, now: datetime) -> list[str]:
    """Return the valid secrets of an endpoint, the newest first."""
    until = WEBHOOK_SECRETS.c.valid_until
    return list(
        conn.scalars(
            sa.select(WEBHOOK_SECRETS.c.secret)
            .where(
                WEBHOOK_SECRETS.c.webhook_id == endpoint_id,
                sa.or_(until.is_(None), until > now.timestamp()),
            )
            .order_by(WEBHOOK_SECRETS.c.id.desc())
        )
    )


def save(conn: sa.Connection, progress: Progress, result: Result | None) -> bool:
    """Store how far deliveries have come, and the result of the last one.

    Returns:
        False if an administrator has changed or removed the endpoint meanwhile; then
        nothing is stored.
    """
    values: dict[str, Any] = {
        **_at(progress.position),
        "alarm_change_id": progress.alarm_change_id,
        "replay_next": progress.replay and progress.replay[0],
        "replay_last": progress.replay and progress.replay[1],
    }
    if result is not None:
        values |= {
            "answered_at": result.at.timestamp(),
            "answer_status": result.status,
            "answer": result.words,
            "failing_since": result.failing_since and result.failing_since.timestamp(),
            "failures": result.failures,
            "next_try_at": result.next_try_at and result.next_try_at.timestamp(),
            "disabled_why": result.disable,
        }
        if not result.failures:
            values["delivered_at"] = result.at.timestamp()
            values["delivered"] = WEBHOOKS.c.delivered + 1
    saved = conn.execute(
        sa.update(WEBHOOKS)
        .where(
            WEBHOOKS.c.id == progress.endpoint_id,
            WEBHOOKS.c.revision == progress.revision,
        )
        .values(**values)
    )
    return saved.rowcount == 1


def last_alarm_change(conn: sa.Connection) -> int:
    """Return the id of the last change of an alarm."""
    last = conn.scalar(sa.select(sa.func.max(ALARM_CHANGES.c.id)))
    return 0 if last is None else int(last)


def _change(conn: sa.Connection, name: str, **values: Any) -> None:
    changed = conn.execute(
        sa.update(WEBHOOKS)
        .where(WEBHOOKS.c.name == name)
        .values(revision=WEBHOOKS.c.revision + 1, **values)
    )
    if not changed.rowcount:
        named(conn, name)


def _add_secret(conn: sa.Connection, endpoint_id: int, now: datetime) -> str:
    secret = new_secret()
    conn.execute(
        sa.insert(WEBHOOK_SECRETS).values(
            webhook_id=endpoint_id, secret=secret, created_at=now.timestamp()
        )
    )
    return secret


def _at(position: StoryPosition) -> dict[str, Any]:
    return {
        "event_id": position.event_id,
        "event_at": position.at,
        "event_task_id": position.task_id,
    }


def _texts(value: str) -> tuple[str, ...]:
    texts: Iterable[str] = json.loads(value)
    return tuple(texts)


def _endpoint(row: sa.Row[Any]) -> Endpoint:
    return Endpoint(
        id=row.id,
        name=row.name,
        url=row.url,
        filter=Filter(_texts(row.types), _texts(row.queues)),
        numbers=Numbers(row.numbers),
        created_at=moment(row.created_at),
        revision=row.revision,
        disabled_why=row.disabled_why,
        position=StoryPosition(row.event_id, row.event_at, row.event_task_id),
        alarm_change_id=row.alarm_change_id,
        replay=None if row.replay_next is None else (row.replay_next, row.replay_last),
        failing_since=moment_or_none(row.failing_since),
        failures=row.failures,
        next_try_at=moment_or_none(row.next_try_at),
        answered_at=moment_or_none(row.answered_at),
        answer_status=row.answer_status,
        answer=row.answer,
        delivered_at=moment_or_none(row.delivered_at),
        delivered=row.delivered,
    )
