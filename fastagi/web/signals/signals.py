# SPDX-License-Identifier: MIT
"""Builds and runs the parts that follow the events of tasks and the live state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from attrs import frozen

from fastagi.web.background import BackgroundTask
from fastagi.web.live import LiveView
from fastagi.web.records import Records
from fastagi.web.settings import WebSettings
from fastagi.web.signals.addresses import AddressRules, Sender
from fastagi.web.signals.alarms import Alarms
from fastagi.web.signals.feed import Changing, EventFeed
from fastagi.web.signals.mail import AlarmMail, Mailer
from fastagi.web.signals.metrics import Metrics
from fastagi.web.signals.tally import Tally
from fastagi.web.signals.webhooks import Webhooks
from fastagi.web.state import versions
from fastagi.web.state.sending import SendingLease
from fastagi.web.state.state import State


@frozen(kw_only=True)
class Signals:
    """Events, alarms, and whoever is told of them.

    Attributes:
        lease: whether this process looks for alarms and sends, or another one.
        feed: the events of tasks.
        tally: counts them.
        alarms: the alarms that are on.
        webhooks: the endpoints, and the deliveries to them.
        mailer: sends one mail.
        mail: mails changes of alarms.
        metrics: for Prometheus.
    """

    lease: SendingLease
    feed: EventFeed
    tally: Tally
    alarms: Alarms
    webhooks: Webhooks
    mailer: Mailer
    mail: AlarmMail
    metrics: Metrics
    sender: Sender

    def background_tasks(self) -> list[BackgroundTask]:
        """Return what runs as long as the process does."""
        held = self.lease.while_held
        return [
            BackgroundTask("the lease on sending", self.lease.run),
            BackgroundTask("following the events of tasks", self.feed.run),
            BackgroundTask("counting events", self.tally.run),
            BackgroundTask("looking for alarms", self.alarms.run),
            BackgroundTask("sending webhooks", lambda: held(self.webhooks.run)),
            BackgroundTask("mailing alarms", lambda: held(self.mail.run)),
        ]

    async def close(self) -> None:
        """Close the connections to receivers."""
        await self.sender.close()


def build_signals(
    settings: WebSettings,
    *,
    state: State,
    records: Records,
    live: LiveView,
    now: Callable[[], datetime],
) -> Signals:
    """Build all parts."""
    lease = SendingLease(state, now=now)
    feed = EventFeed(records, live.subscribe)
    tally = Tally(state=state, records=records, feed=feed, now=now)
    alarms = Alarms(
        settings.alarms, lease=lease, live=live, failures=tally.failures, now=now
    )
    sender = build_sender(settings)
    webhooks = Webhooks(
        state=state,
        lease=lease,
        records=records,
        feed=feed,
        sender=sender,
        now=now,
        old_secret_valid=settings.webhooks.old_secret_valid,
    )
    mailer = Mailer(settings.mail, now=now)
    mail = AlarmMail(
        settings.mail,
        state=lease,
        alarms=alarms,
        mailer=mailer,
        now=now,
        address=settings.origin,
    )
    metrics = Metrics(
        live=live,
        records=records,
        state=state,
        tally=tally,
        alarms=alarms,
        webhook_outcomes=webhooks.outcomes,
        mail_outcomes=mail.outcomes,
        lease=lease,
        now=now,
    )
    return Signals(
        lease=lease,
        feed=feed,
        tally=tally,
        alarms=alarms,
        webhooks=webhooks,
        mailer=mailer,
        mail=mail,
        metrics=metrics,
        sender=sender,
    )


@asynccontextmanager
async def webhooks_of(settings: WebSettings) -> AsyncIterator[Webhooks]:
    """Open both databases for the command line; nothing is delivered but tests.

    Raises:
        CallbackError: a database can not be opened.
    """
    versions.prepare(settings.database.url)
    records, state = (
        Records(settings.service.database_url),
        State(settings.database.url),
    )
    sender = build_sender(settings)

    def never() -> Changing:
        raise RuntimeError("the command line follows no events")

    try:
        yield Webhooks(
            state=state,
            lease=state,
            records=records,
            feed=EventFeed(records, never),
            sender=sender,
            now=lambda: datetime.now(UTC),
            old_secret_valid=settings.webhooks.old_secret_valid,
        )
    finally:
        await sender.close()
        records.close()
        state.close()


def build_sender(settings: WebSettings) -> Sender:
    """Return what posts webhooks to the addresses that the settings permit."""
    webhooks = settings.webhooks
    return Sender(
        AddressRules(webhooks.allowed_addresses or ()),
        timeout_s=webhooks.timeout.total_seconds(),
        ca_file=webhooks.ca_file,
    )
