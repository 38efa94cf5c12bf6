# SPDX-License-Identifier: MIT
"""The HTTP API as programs use it: real processes, sockets, token and stream."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from fastagi.web.people import tokens
from fastagi.web.people.access import Right
from fastagi.web.state.direct import committed
from tests.lab.program import Fork
from tests.process.program import Program, free_port, wait_until

_DEADLINE_S = 30.0
_RIGHTS = (
    Right.TASKS_READ,
    Right.TASKS_WRITE,
    Right.TASKS_CREATE,
    Right.HEALTH_READ,
)


@contextmanager
def _web(home: Path, program: Program) -> Iterator[httpx.Client]:
    """Run ``callback-queue web``; yield a program with a token for one queue."""
    config, port = home / "web.yaml", free_port()
    config.write_text(
        yaml.safe_dump(
            {
                "web": {"port": port},
                "service": {
                    "socket": str(program.socket),
                    "database_url": f"sqlite:///{home}/data/callback-queue.db",
                },
                "database": {"url": f"sqlite:///{home}/web.sqlite3"},
            }
        )
    )
    log = home / "web.log"
    process = Fork(
        ["web", "run", "-c", str(config)],
        cwd=home,
        environment=os.environ,
        output=log,
    )
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}/api/v1",
        timeout=_DEADLINE_S,
        trust_env=False,
    )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return client.get("/alive").status_code == 200
        except httpx.ConnectError:
            return False

    try:
        wait_until(answers, "web process")
        client.headers["Authorization"] = f"Bearer {_token(home)}"
        yield client
        process.terminate()
        assert process.wait(_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        client.close()


def _token(home: Path) -> str:
    with committed(f"sqlite:///{home}/web.sqlite3") as conn:
        _, token = tokens.make(
            conn,
            time.time(),
            name="crm",
            rights=_RIGHTS,
            queues=("support",),
            expires_at=None,
            by="anna",
        )
    return token


def _next(stream: Iterator[str], kind: str) -> Any:
    """Return the data of the next event of one kind."""
    found = ""
    for line in stream:
        if line.startswith("event: "):
            found = line.removeprefix("event: ")
        if line.startswith("data: ") and found == kind:
            return json.loads(line.removeprefix("data: "))
    raise AssertionError(f"the stream ended without {kind}")


def test_a_program_follows_tasks_through_a_restart_of_the_service(
    tmp_path: Path,
) -> None:
    streaming = {"Accept": "text/event-stream"}
    with (
        Program(tmp_path, queues={"support": {}, "sales": {}}) as program,
        _web(tmp_path, program) as crm,
        crm.stream("GET", "/live", headers=streaming) as live,
    ):
        lines = live.iter_lines()
        snapshot = _next(lines, "snapshot")
        assert set(snapshot["queues"]) == {"support"}
        found = crm.post("/health/check").json()["findings"]
        # No Asterisk runs.
        assert any(one["level"] == "fault" and one["remedy"] for one in found), found

        body = {"queue": "support", "number": "030 1234567"}
        created = crm.post("/tasks", json=body)
        assert created.status_code == 201, created.text
        task = str(created.json()["task"]["id"])
        changed: dict[str, Any] = {}
        while task not in changed:
            changed = _next(lines, "change")["set"].get("tasks", {})
        # This token may not see numbers.
        assert changed[task]["number"] == "0301234•••"
        assert changed[task]["why_not_yet"]["code"] == "no_link"
        story = crm.get(f"/tasks/{task}").json()
        assert story["task"]["why_not_yet"] == changed[task]["why_not_yet"]
        assert story["history"][0]["reason_params"]["actor"] == "token:crm"

        program.end()
        assert _next(lines, "down")["since"]
        assert crm.get("/ready").status_code == 503
        assert crm.get("/tasks").json()["items"][0]["id"] == int(task)
        answer = crm.post(f"/tasks/{task}/cancel", json={})
        assert answer.json()["code"] == "service-down"

        program.begin()
        assert task in _next(lines, "snapshot")["tasks"]
        answer = crm.post(f"/tasks/{task}/cancel", json={"reason": "by mail"})
        assert answer.json()["task"]["status"] == "cancelled", answer.text
        events = [event["type"] for event in crm.get("/events").json()["items"]]
        assert events == ["task.created", "task.cancelled"]
