# SPDX-License-Identifier: MIT
"""The web process with people in it, for tests."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import httpx
from anyio.from_thread import BlockingPortal
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.people import tokens, users
from fastagi.web.people.access import Right, Role
from fastagi.web.people.passwords import Passwords
from fastagi.web.people.people import People
from fastagi.web.settings import WebSettings, parse
from fastagi.web.state.direct import committed
from fastagi.web.state.schema import METADATA, SECRETS, VERSION
from tests.lab.program import Fork, run_fork

PASSWORD = "correct horse battery"
#: How long a web process may take to start, or to end, in seconds.
START_S = 30.0
_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
#: What a browser sends along when it loads a page.
PAGE = {"accept": "text/html"}


def settings_in(directory: Path, more: str = "") -> WebSettings:
    """Return settings whose databases and sockets are in a directory."""
    return parse(
        f"service:\n"
        f"  socket: {directory}/control.sock\n"
        f"  database_url: sqlite:///{directory}/callback-queue.db\n"
        f"database:\n"
        f"  url: sqlite:///{directory}/web.sqlite3\n" + more
    )


def cheap_hashes() -> Passwords:
    """Return what makes hashes of passwords with hardly any work."""
    return Passwords(PasswordHasher(1, 8, 1))


@cache
def load_forks() -> None:
    """Wait until the process that forks has loaded the product.

    It takes many seconds on a busy machine, which are not those of the test.
    """
    run_fork(["--version"], cwd=Path("/"), environment=os.environ, timeout_s=300)


class InOneStep(httpx.BaseTransport):
    """Carries requests to an application that runs, each in one step of its loop.

    Starlette's own transport goes to the thread of the loop and back a dozen times for
    each request, and begins a thread and a loop if it has none, which takes longer than
    most answers. But only it can read an answer that has no end.
    """

    def __init__(
        self,
        app: FastAPI,
        portal: BlockingPortal,
        *,
        client: tuple[str, int] = ("testclient", 50000),
        raises: bool = True,
    ) -> None:
        """Connect.

        Args:
            app: the application.
            portal: leads to its loop.
            client: the address and the port of the browser.
            raises: whether an exception of the application is raised, as a fault of
                the test; otherwise it is an answer with the status 500.
        """
        self._portal = portal
        self._application = httpx.ASGITransport(
            app, raise_app_exceptions=raises, client=client
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer."""
        return self._portal.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._application.handle_async_request(request)
        return httpx.Response(
            answer.status_code,
            headers=answer.headers.raw,
            stream=httpx.ByteStream(await answer.aread()),
        )


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let some time pass."""
        self.now += timedelta(seconds=seconds)

    @property
    def now_s(self) -> float:
        """The time in seconds since the epoch."""
        return self.now.timestamp()


class Site:
    """The web process with a clock, and people made directly in its database."""

    def __init__(self, directory: Path, more: str = "") -> None:
        self.clock = Clock()
        self.settings = settings_in(directory, more)
        self.hashes = cheap_hashes()
        self.parts: WebParts = build_parts(
            self.settings, now=self.clock, hashes=self.hashes
        )
        self.app: FastAPI = create_app(self.parts)
        self._portal: BlockingPortal | None = None

    def reset(self) -> None:
        """Forget everybody; making a new application takes far longer."""
        with committed(self.settings.database.url) as conn:
            for table in reversed(METADATA.sorted_tables):
                if table not in (VERSION, SECRETS):
                    conn.execute(table.delete())
        self.clock.now = Clock().now
        self.people.forget_rates()

    @property
    def people(self) -> People:
        """The part that knows people."""
        return self.parts.people

    @contextmanager
    def running(self) -> Iterator[Site]:
        """Run the application as long as the block."""
        with TestClient(self.app, base_url=self.settings.origin) as first:
            self._portal = first.portal
            yield self
        self._portal = None

    def browser(
        self,
        *,
        address: str = "127.0.0.1",
        headers: dict[str, str] | None = None,
    ) -> TestClient:
        """Return a browser without cookies."""
        assert self._portal is not None, "the application does not run"
        where = address, 40000
        client = TestClient(
            self.app,
            base_url=self.settings.origin,
            follow_redirects=False,
            client=where,
            raise_server_exceptions=False,
        )
        client._transport = InOneStep(
            self.app, self._portal, client=where, raises=False
        )
        client.headers.update(headers or {})
        return client

    def add(
        self,
        name: str,
        role: Role = Role.VIEWER,
        queues: Iterable[str] | None = None,
        password: str = PASSWORD,
    ) -> None:
        """Add a user."""
        with committed(self.settings.database.url) as conn:
            users.add(
                conn,
                self.clock.now_s,
                name=name,
                role=role,
                queues=queues,
                password=self.hashes.hash(password),
            )

    def log_in(
        self,
        name: str,
        password: str = PASSWORD,
        browser: TestClient | None = None,
        target: str = "/",
    ) -> TestClient:
        """Log a user in through the login page; return the browser."""
        browser = browser or self.browser()
        answer = submit(browser, "/login", name=name, password=password, next=target)
        assert answer.status_code == 303, answer.text
        return browser

    def token(
        self,
        *rights: Right,
        name: str = "crm",
        queues: Iterable[str] | None = None,
        lasts_s: float | None = None,
    ) -> str:
        """Return the text of a new token."""
        now_s = self.clock.now_s
        with committed(self.settings.database.url) as conn:
            _, text = tokens.make(
                conn,
                now_s,
                name=name,
                rights=rights,
                queues=queues,
                expires_at=None if lasts_s is None else now_s + lasts_s,
                by="anna",
            )
        return text

    def with_token(self, text: str) -> TestClient:
        """Return a program that sends a token."""
        return self.browser(headers={"authorization": f"Bearer {text}"})


def csrf_of(page: str) -> str:
    """Return the token of the forms of a page."""
    found = _CSRF.search(page)
    assert found is not None, page
    return found[1]


def submit(
    browser: TestClient, path: str, form: str = "", **values: str
) -> httpx.Response:
    """Load the page with a form, fill it in and submit it.

    Args:
        browser: the browser.
        path: where the form is sent.
        form: the page with the form, if it is another one.
        values: the fields.
    """
    page = browser.get(form or path, headers=PAGE)
    assert page.status_code == 200, page.text
    return browser.post(
        path,
        data={"csrf_token": csrf_of(page.text), **values},
        headers={**PAGE, "origin": str(browser.base_url).rstrip("/")},
    )


@contextmanager
def running(directory: Path, path: Path) -> Iterator[Fork]:
    """Run a fork of the web process; return when it has told that it listens."""
    load_forks()
    where = directory / "notify"
    where.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(where))
        supervisor.settimeout(START_S)
        process = Fork(
            ["web", "run", "-c", str(path)],
            cwd=directory,
            environment={**os.environ, "NOTIFY_SOCKET": str(where)},
            output=directory / "log",
        )
        try:
            assert supervisor.recv(100) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.wait(START_S)
