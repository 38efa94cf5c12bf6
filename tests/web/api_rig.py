# SPDX-License-Identifier: MIT
"""The API in memory: the application over a real service with a model of Asterisk.

Commands reach the service through a transport in place of the socket. Everything runs
in the test's own thread, and time stands still unless the test lets it pass.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import httpx
from fastapi import FastAPI

from twisted.internet.protocol import Protocol

from fastagi.web.api.limits import CreateLimits
from fastagi.web.app import create_app
from fastagi.web.parts import build_parts
from fastagi.web.people.access import (
    RIGHTS,
    Kind,
    Principal,
    Right,
    Role,
    current_principal,
)
from fastagi.web.service_client import LiveMessage, ServiceClient
from fastagi.web.settings import ServiceSettings
from fastagi.web.state import versions
from tests.harness.control_client import AnswerReader, HttpAnswer
from tests.harness.ram import ram
from tests.harness.world import World, queue_settings, settings
from tests.web.help import cheap_hashes, settings_in

ADMIN = Principal(
    kind=Kind.PERSON, name="anna", rights=RIGHTS[Role.ADMIN], role=Role.ADMIN, id=1
)
SUPERVISOR = Principal(
    kind=Kind.PERSON,
    name="sue",
    rights=RIGHTS[Role.SUPERVISOR],
    role=Role.SUPERVISOR,
    queues=frozenset({"support"}),
    id=2,
)
VIEWER = Principal(
    kind=Kind.PERSON, name="vic", rights=RIGHTS[Role.VIEWER], role=Role.VIEWER, id=3
)
WALL = Principal(kind=Kind.WALL, name="hall", rights=frozenset({Right.WALL}), id=4)
#: The token of a web site.
SITE = Principal(
    kind=Kind.TOKEN,
    name="site",
    rights=frozenset({Right.TASKS_CREATE}),
    queues=frozenset({"support"}),
    id=5,
)


_app: list[FastAPI] = []


@cache
def _empty_state() -> Path:
    """Return an empty database of the web process, made once for all tests."""
    directory = Path(tempfile.mkdtemp(prefix="callback-web-", dir=ram()))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    versions.prepare(f"sqlite:///{directory}/web.sqlite3")
    return directory / "web.sqlite3"


class Transport(httpx.AsyncBaseTransport):
    """Carries commands to the service of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Raised in place of the next answers; a test sets it.
        self.trouble: Exception | None = None
        #: Whether the service carries out the command before the trouble.
        self.after = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry out a command."""
        if self.trouble is not None and not self.after:
            raise self.trouble
        client = _Client(request.method, request.url.raw_path, request.content)
        wire = self._world.processes[-1].control.dial(client)
        assert wire is not None, "no service listens on the control socket"
        self._world.run_until(lambda: client.answer is not None, 60)
        self._world.settle()
        if self.trouble is not None:
            raise self.trouble
        answer = client.answer
        assert answer is not None
        return httpx.Response(
            answer.status, headers=answer.headers, content=answer.body
        )


class _Client(Protocol):
    """Makes one request at the control socket."""

    def __init__(self, method: str, path: bytes, body: bytes) -> None:
        self._request = (
            f"{method} {path.decode()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._reader = AnswerReader()
        self.answer: HttpAnswer | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        for answer in self._reader.feed(data):
            self.answer = answer


class ApiRig:
    """The application, and the service behind it."""

    def __init__(self, directory: Any, *, sections: str = "", **api: Any) -> None:
        self.world = World()
        self.world.asterisk.add_queue("support", ())
        self.world.asterisk.add_queue("sales", ())
        self.process = self.world.begin(
            settings(queue_settings("support"), queue_settings("sales"))
        )
        self.transport = Transport(self.world)
        more = sections + (f"api: {json.dumps(api)}\n" if api else "")
        # Not started: the tests say what the live state is.
        self.settings = attrs.evolve(
            settings_in(directory, more),
            service=ServiceSettings(
                socket=str(self.world.directory / "control.sock"),
                database_url=self.world.url,
            ),
        )

        def now() -> datetime:
            return datetime.fromtimestamp(self.world.wall_clock, UTC)

        def client(socket: Path) -> ServiceClient:
            return ServiceClient(socket, transport=self.transport)

        shutil.copy(
            _empty_state(), self.settings.database.url.removeprefix("sqlite:///")
        )
        with mock.patch("fastagi.web.parts.ServiceClient", client):
            parts = build_parts(self.settings, now=now, hashes=cheap_hashes())
        self.parts = attrs.evolve(
            parts,
            create_limits=CreateLimits(
                self.settings.api, clock=lambda: self.world.wall_clock
            ),
        )
        # Building the routes takes longer than most tests.
        self.app = create_app(self.parts) if api or not _app else _app[0]
        if not api and not _app:
            _app.append(self.app)
        self.app.state.parts = self.parts
        self.who: Principal | None = ADMIN
        self.app.dependency_overrides[current_principal] = lambda: self.who
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=self.settings.origin
        )

    def close(self) -> None:
        """End the application and the service."""
        self._runner.run(self._http.aclose())
        self._runner.run(self.parts.close())
        self._runner.close()
        self.world.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine in the application's loop."""
        return self._runner.run(work)

    # -- requests ----------------------------------------------------------

    def request(
        self, method: str, path: str, who: Principal | None = ADMIN, **more: Any
    ) -> httpx.Response:
        """Make a request as somebody; the path is without ``/api/v1``."""
        self.who = who
        return self._runner.run(self._http.request(method, f"/api/v1{path}", **more))

    def page(
        self, path: str, who: Principal | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Read something outside of the API as somebody."""
        self.who = who
        return self._runner.run(self._http.get(path, headers=dict(headers)))

    async def send(self, **request: Any) -> httpx.Response:
        """Make a request as the administrator."""
        self.who = ADMIN
        return await self._http.request(**request)

    def get(
        self, path: str, who: Principal | None = ADMIN, **params: Any
    ) -> httpx.Response:
        """Read."""
        return self.request("GET", path, who, params=params)

    def post(
        self,
        path: str,
        body: Any = None,
        who: Principal | None = ADMIN,
        **headers: str,
    ) -> httpx.Response:
        """Write; headers have underscores in place of dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        more = {} if body is None else {"json": body}
        return self.request("POST", path, who, headers=named, **more)

    def add(
        self, number: str = "0301234567", queue: str = "support", **more: Any
    ) -> int:
        """Create a task; return its id."""
        answer = self.post("/tasks", {"queue": queue, "number": number, **more})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["task"]["id"])

    # -- the live state ----------------------------------------------------

    def live(self, kind: str, data: Mapping[str, Any]) -> None:
        """Let a message of the live stream arrive."""
        self._runner.run(self._live(kind, data))

    async def _live(self, kind: Any, data: Mapping[str, Any]) -> None:
        self.parts.live._take(LiveMessage(kind, data))


def problem(answer: httpx.Response, status: int, code: str) -> Any:
    """Check that an answer is this problem, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    value = answer.json()
    assert (value["status"], value["code"]) == (status, code), value
    assert value["title"] and value["detail"]
    return value
