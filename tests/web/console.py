# SPDX-License-Identifier: MIT
"""What tests of the pages share: a browser of somebody who has logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.live import LiveView
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.people.access import RIGHTS, Kind, Principal, Role, current_principal
from tests.web.help import settings_in
from tests.web.live_state import NOW, LiveService, snapshot

_WITHIN_S = 5.0


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
    built = build_parts(settings_in(directory, more))
    live = LiveView(service, pauses_s=(0.01,))
    parts = attrs.evolve(built, service=service, live=live, now=lambda: NOW)
    app = create_app(parts)
    with TestClient(
        app, base_url=parts.settings.origin, follow_redirects=False
    ) as client:
        browser = Browser(client, parts, service)
        app.dependency_overrides[current_principal] = lambda: browser.who
        client.portal.call(_until_live, live)  # type: ignore[union-attr]
        yield browser


async def _until_live(live: LiveView) -> None:
    async with asyncio.timeout(_WITHIN_S):
        async for message in live.changes():
            if message.kind == "snapshot":
                return
