# SPDX-License-Identifier: MIT
"""The parts of the web process, built once and shared by all requests.

A request finds them at ``request.app.state.parts``; ``parts_of(request)`` returns them
with their type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs
from starlette.requests import HTTPConnection

from fastagi.web.api import idempotency
from fastagi.web.api.limits import CreateLimits
from fastagi.web.background import BackgroundTask
from fastagi.web.live import LiveView
from fastagi.web.people.keys import signing_key
from fastagi.web.people.oidc import Oidc
from fastagi.web.people.passwords import Passwords
from fastagi.web.people.people import People
from fastagi.web.records import Records
from fastagi.web.service_client import ServiceClient
from fastagi.web.settings import WebSettings
from fastagi.web.signals.signals import Signals, build_signals
from fastagi.web.state import versions
from fastagi.web.state.direct import committed
from fastagi.web.state.state import State


def _now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen(kw_only=True)
class WebParts:
    """All parts of the web process.

    Attributes:
        settings: the settings at the start.
        state: the database of the web process.
        service: sends commands to the service.
        live: the newest live state of the service.
        records: reads the service's database.
        people: who makes a request, logins, tokens.
        oidc: logins by an identity provider.
        signals: alarms, webhooks, metrics and mail.
        create_limits: how often tasks may be created.
        now: the current time, with its zone.
        stopping: is set when the process is asked to stop. Endless answers, such as
            event streams, have to end then.
    """

    settings: WebSettings
    state: State
    service: ServiceClient
    live: LiveView
    records: Records
    people: People
    oidc: Oidc
    signals: Signals
    create_limits: CreateLimits
    now: Callable[[], datetime] = _now
    stopping: asyncio.Event = attrs.field(factory=asyncio.Event)

    def background_tasks(self) -> list[BackgroundTask]:
        """Return what runs as long as the process does; add your own here."""
        return [
            BackgroundTask("the end of old sessions", self.people.clean),
            BackgroundTask(
                "the end of old answers",
                lambda: idempotency.clean(self.state, self.now),
            ),
            *self.signals.background_tasks(),
        ]

    async def close(self) -> None:
        """Close files and connections, after the last request."""
        await self.signals.close()
        await self.live.close()
        await self.service.close()
        self.records.close()
        self.state.close()


def build_parts(
    settings: WebSettings,
    *,
    now: Callable[[], datetime] = _now,
    hashes: Passwords | None = None,
    service: ServiceClient | None = None,
) -> WebParts:
    """Build all parts; create or upgrade the database of the web process.

    Args:
        settings: the settings.
        now: the current time.
        hashes: makes and checks the hashes of passwords; with less work for tests.
        service: the connection to the service; None: by its socket.

    Raises:
        CallbackError: a part cannot be built.
    """
    records = Records(settings.service.database_url)
    versions.prepare(settings.database.url)
    with committed(settings.database.url) as conn:
        key = signing_key(conn)
    service = service or ServiceClient(Path(settings.service.socket))
    state, live = State(settings.database.url), LiveView(service)
    return WebParts(
        settings=settings,
        state=state,
        people=People(settings, state, key=key, now=now, hashes=hashes),
        oidc=Oidc(settings.oidc, origin=settings.origin, key=key, now=now),
        now=now,
        service=service,
        live=live,
        records=records,
        signals=build_signals(
            settings, state=state, records=records, live=live, now=now
        ),
        create_limits=CreateLimits(settings.api),
    )


def parts_of(request: HTTPConnection) -> WebParts:
    """Return the parts that a request uses; also for ``Depends``."""
    parts: WebParts = request.app.state.parts
    return parts
