# SPDX-License-Identifier: MIT
"""What tests of the pages share: a browser of somebody who has logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.people.access import RIGHTS, Kind, Principal, Role, current_principal
from tests.web.help import InOneStep, cheap_hashes, settings_in
from tests.web.live_state import NOW, LiveService, snapshot

_WITHIN_S = 5.0
_EARLIER = timedelta(minutes=30)


def person(role: Role, *queues: str) -> Principal:
    """Return somebody with a role, for some queues or for all."""
    return Principal(
        kind=Kind.PERSON,
        name="anna",
        role=role,
        rights=RIGHTS[role],
        queues=frozenset(queues) or None,
        id=1,
        session_id=1,
    )


class Browser:
    """A browser; whose it is may change."""

    def __init__(self, client: TestClient, parts: WebParts, live: LiveService) -> None:
        self.client = client
        self.parts = parts
        self.live = live
        self.who = person(Role.ADMIN)

    def get(self, path: str, **headers: str) -> Any:
        """Return an answer."""
        return self.client.get(path, headers={"accept": "text/html", **headers})

    def post(self, path: str, **form: Any) -> Any:
        """Send a form and return the answer."""
        return self.client.post(path, data=form, headers={"accept": "text/html"})

    def page(self, path: str, who: Principal | None = None, **headers: str) -> str:
        """Return a page that must be there."""
        if who is not None:
            self.who = who
        answer = self.get(path, **headers)
        assert answer.status_code == 200, answer.text
        return str(answer.text)


@contextmanager
def browser_in(
    directory: Path, state: Mapping[str, Any] | None = None, more: str = ""
) -> Iterator[Browser]:
    """Return a browser on a new web process, whose service has a live state."""
    service = LiveService(snapshot() if state is None else state)
    # Alarms begin when something has been so for a while.
    clock = [NOW - _EARLIER]
    parts = build_parts(
        settings_in(directory, more),
        now=lambda: clock[0],
        hashes=cheap_hashes(),
        service=service,
    )
    app = create_app(parts)
    with TestClient(
        app, base_url=parts.settings.origin, follow_redirects=False
    ) as client:
        assert client.portal is not None
        client._transport = InOneStep(app, client.portal)
        browser = Browser(client, parts, service)
        app.dependency_overrides[current_principal] = lambda: browser.who
        for moment in (NOW - _EARLIER, NOW):
            clock[0] = moment
            client.portal.call(_until_judged, parts)
        yield browser


async def _until_judged(parts: WebParts) -> None:
    """Wait until the live state is there, and its alarms are judged."""
    async with asyncio.timeout(_WITHIN_S):
        async for message in parts.live.changes():
            if message.kind == "snapshot":
                break
        await parts.signals.lease.wait()
        await parts.signals.alarms.evaluate()
