# SPDX-License-Identifier: MIT
"""The application as a whole: headers, errors, background tasks, rights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import attrs
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.background import BackgroundTask, Supervisor
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.people.access import (
    RIGHTS,
    SCOPES,
    Kind,
    Principal,
    Right,
    Role,
    current_principal,
    require,
)
from tests.web.help import cheap_hashes, settings_in

_PAGE = {"accept": "text/html"}


def _principal(role: Role, *queues: str) -> Principal:
    return Principal(
        kind=Kind.PERSON,
        name="anna",
        role=role,
        rights=RIGHTS[role],
        queues=frozenset(queues) or None,
    )


@pytest.fixture
def app(_app: FastAPI) -> Iterator[FastAPI]:
    """The application with some routes more."""
    yield _app
    _app.dependency_overrides.clear()


@pytest.fixture
def client(_app: FastAPI) -> TestClient:
    """A browser, or a program, that has not logged in."""
    return _client(_app)


@pytest.fixture(scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    parts = build_parts(
        settings_in(tmp_path_factory.mktemp("app")), hashes=cheap_hashes()
    )
    app = create_app(parts)

    @app.get("/api/fails")
    async def fails() -> None:
        raise RuntimeError("a fault")

    @app.post("/api/cancel")
    async def cancel(
        who: Annotated[Principal, Depends(require(Right.TASKS_WRITE))], queue: str
    ) -> str:
        who.check(Right.TASKS_WRITE, queue)
        return who.actor

    yield app
    asyncio.run(parts.close())


def _client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8573", follow_redirects=False)


@pytest.mark.parametrize("path", ["/nothing", "/api/fails"])
def test_every_answer_has_the_security_headers(app: FastAPI, path: str) -> None:
    headers = _client(app).get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "strict-transport-security" not in headers
    assert "server" not in headers


def test_a_browser_gets_a_page_for_an_error_and_a_program_gets_json(
    app: FastAPI,
) -> None:
    page = _client(app).get("/nothing<b>", headers=_PAGE)
    assert page.status_code == 404
    assert "<h1>404 Not found</h1>" in page.text
    assert page.headers["cache-control"] == "no-store"
    answer = _client(app).get("/api/nothing", headers=_PAGE)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not-found"


def test_a_fault_of_the_program_is_logged_and_not_shown(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    answer = _client(app).get("/api/fails")
    assert answer.status_code == 500
    assert "a fault" not in answer.text
    assert "GET /api/fails failed" in caplog.text
    assert "RuntimeError: a fault" in caplog.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1"])
def test_a_request_for_another_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/nothing", headers={"host": host})
    assert answer.status_code == 421
    assert "evil" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8573", "localhost:8573", "[::1]:8573"])
def test_this_machine_is_always_an_expected_host(client: TestClient, host: str) -> None:
    assert client.get("/nothing", headers={"host": host}).status_code == 404


def test_with_https_in_front_browsers_are_told_to_use_only_that(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, "web: {public_url: 'https://cb.example.com'}\n")
    parts = build_parts(settings, hashes=cheap_hashes())
    with TestClient(create_app(parts), base_url="https://cb.example.com") as client:
        assert "max-age" in client.get("/x").headers["strict-transport-security"]


def test_who_has_not_logged_in_is_sent_to_the_login_page_and_programs_get_401(
    app: FastAPI,
) -> None:
    answer = _client(app).post("/api/cancel?queue=support")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "not-logged-in"


@pytest.mark.parametrize(
    ("role", "queues", "status"),
    [
        (Role.VIEWER, [], 403),
        (Role.SUPERVISOR, ["support"], 200),
        (Role.SUPERVISOR, ["sales"], 403),
        (Role.ADMIN, [], 200),
    ],
)
def test_a_role_has_its_rights_for_its_queues_only(
    app: FastAPI, role: Role, queues: list[str], status: int
) -> None:
    who = _principal(role, *queues)
    app.dependency_overrides[current_principal] = lambda: who
    answer = _client(app).post("/api/cancel?queue=support")
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == "anna"


def test_only_those_with_the_right_to_numbers_see_them() -> None:
    assert not _principal(Role.VIEWER).sees_numbers
    assert _principal(Role.SUPERVISOR).sees_numbers
    wall = Principal(kind=Kind.WALL, name="hall", rights=frozenset({Right.WALL}))
    assert not wall.sees_numbers
    assert not wall.may(Right.TASKS_READ)


def test_a_token_can_have_every_right_but_that_of_wall_links() -> None:
    assert set(SCOPES) == set(Right) - {Right.WALL}


def test_a_background_task_that_fails_or_ends_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0

    async def main() -> None:
        third = asyncio.Event()

        async def work() -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                raise OSError("no link")
            if runs == 3:
                third.set()
                await asyncio.Event().wait()

        supervisor = Supervisor([BackgroundTask("the feed", work)], first_pause_s=0.001)
        supervisor.start()
        await asyncio.wait_for(third.wait(), 10)
        await supervisor.stop()

    asyncio.run(main())
    assert runs == 3
    assert "the feed failed; it starts again in 0.001 s" in caplog.text
    assert "the feed ended" in caplog.text


def test_background_tasks_run_as_long_as_the_application(parts: WebParts) -> None:
    seen: list[str] = []

    class Parts(WebParts):
        def background_tasks(self) -> list[BackgroundTask]:
            async def work() -> None:
                seen.append("began")
                try:
                    await asyncio.Event().wait()
                finally:
                    seen.append("ended")

            return [BackgroundTask("work", work)]

    more = Parts(**{f.name: getattr(parts, f.name) for f in attrs.fields(WebParts)})
    with TestClient(create_app(more), base_url="http://127.0.0.1") as client:
        client.get("/nothing")
        assert seen == ["began"]
    assert seen == ["began", "ended"]
    assert parts.stopping.is_set()
