# SPDX-License-Identifier: MIT
"""The docs of the API: their examples work, and their lists are complete."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from attrs import evolve

from fastagi.web.api import routes
from fastagi.web.api.problems import CODES
from fastagi.web.people.access import Right
from tests.harness import curl
from tests.web.api_rig import ADMIN, SITE, ApiRig

_DOCS = Path(__file__).parents[2] / "docs"
_API = (_DOCS / "api.md").read_text()
_FORM = (_DOCS / "web-form.md").read_text()
_DEADLINE_S = 30.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ApiRig]:
    """The API over a service with the queues support and sales."""
    rig = ApiRig(tmp_path)
    yield rig
    rig.close()


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def _served(rig: ApiRig) -> AsyncIterator[str]:
    """Serve the application on a real port; yield the address."""
    config = uvicorn.Config(
        rig.app, port=0, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(_DEADLINE_S):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def test_the_examples_of_the_api_work(rig: ApiRig, tmp_path: Path) -> None:
    # The stand-in is used if this machine has no curl.
    path = [os.environ["PATH"], str(curl.install(tmp_path))]
    snapshot = {"id": 1, "at": "t", "service": {}, "queues": {}}
    rig.live("snapshot", {**snapshot, "service": {"database_problem": None}})
    # Commands of ours are run in tests/web/test_administration.py.
    ours = [one for one in _blocks(_API, "sh") if "callback-queue web " not in one]
    script = "set -e\n" + "\n".join(ours)

    async def run() -> tuple[int | None, str]:
        async with _served(rig) as address:
            shell = await asyncio.create_subprocess_exec(
                "bash",
                "-c",
                script,
                env={"PATH": ":".join(path), "TOKEN": "t", "CALLBACK_QUEUE": address},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            async with asyncio.timeout(_DEADLINE_S):
                said, _ = await shell.communicate()
            return shell.returncode, said.decode()

    status, said = rig.run(run())
    assert status == 0, said
    # It did what it says: the task was created, moved, cancelled and put back.
    moves = [event["move"] for event in rig.get("/tasks/1").json()["history"]]
    assert {"create", "reopen", "cancel"} <= set(moves)
    assert moves.count("cancel") == 2, "the request with a key is carried out once"
    assert "called back by mail" in rig.get("/tasks/1").text


def test_every_code_is_in_the_docs() -> None:
    listed = _API.partition("<!-- codes -->")[2].partition("<!-- end of codes -->")[0]
    rows = "\n".join(f"| `{code}` | {words} |" for code, words in CODES.items())
    expected = f"\n| code | meaning |\n|---|---|\n{rows}\n"
    assert listed == expected


def test_every_right_is_in_the_docs() -> None:
    told = set(re.findall(r"^\| `([a-z:]+)` \|", _API, re.MULTILINE))
    elsewhere = {Right.SETTINGS_READ, Right.WALL}
    assert {right.value for right in set(Right) - elsewhere} <= told


def test_the_copy_of_the_description_is_current(rig: ApiRig) -> None:
    """Write it anew with ``python -m tests.web.test_api_docs``."""
    assert (_DOCS / "openapi.json").read_text() == _description()


def _description() -> str:
    return json.dumps(routes.openapi(), indent=1, ensure_ascii=False) + "\n"


def test_the_web_form_asks_for_a_callback(rig: ApiRig, tmp_path: Path) -> None:
    (server,) = _blocks(_FORM, "python")
    (form,) = _blocks(_FORM, "html")
    (tmp_path / "server.py").write_text(server)
    (tmp_path / "form.html").write_text(form)
    fields = dict.fromkeys(re.findall(r'name="(number|name|at)"', form), "")
    assert set(fields) == {"number", "name", "at"}
    rig.who = evolve(SITE, id=9)

    async def run() -> list[tuple[int, str]]:
        async with _served(rig) as address:
            environ = {"PATH": os.environ["PATH"], "TOKEN": "t", "PORT": str(_free())}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(tmp_path / "server.py"),
                env={**environ, "CALLBACK_QUEUE": address},
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                return await visit(f"http://127.0.0.1:{environ['PORT']}")
            finally:
                process.kill()
                await process.wait()

    async def visit(address: str) -> list[tuple[int, str]]:
        answers = []
        async with httpx.AsyncClient(base_url=address, trust_env=False) as visitor:
            async with asyncio.timeout(_DEADLINE_S):
                while True:
                    try:
                        page = await visitor.get("/")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.02)
            assert page.text == form
            for typed in (
                {"number": "030 1234567", "name": "Jane"},
                {"number": "12"},
                {"number": "030 1234567", "at": "2001-01-01T10:00"},
                {"number": "030 1234567", "at": "2027-01-16T10:00"},
            ):
                answer = await visitor.post("/call-me", data={**fields, **typed})
                answers.append((answer.status_code, answer.text))
        return answers

    answers = rig.run(run())
    assert [status for status, _ in answers] == [200, 422, 422, 200]
    assert "We will call you" in answers[0][1]
    assert "check the number" in answers[1][1]
    assert "another time" in answers[2][1]
    (task,) = rig.get("/tasks", ADMIN).json()["items"]
    assert (task["number"], task["name"]) == ("0301234567", "Jane")
    assert task["chosen_at"] == "2027-01-16T10:00:00.000+00:00"


def _free() -> int:
    from tests.process.program import free_port

    return free_port()


if __name__ == "__main__":
    (_DOCS / "openapi.json").write_text(_description())
    lines = [f"| `{code}` | {words} |" for code, words in CODES.items()]
    table = "\n".join(["", "| code | meaning |", "|---|---|", *lines, ""])
    pattern = r"(?<=<!-- codes -->).*?(?=<!-- end of codes -->)"
    new = re.sub(pattern, lambda _: table, _API, flags=re.DOTALL)
    (_DOCS / "api.md").write_text(new)
