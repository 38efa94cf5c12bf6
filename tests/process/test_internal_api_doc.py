# SPDX-License-Identifier: MIT
"""docs/internal-api.md: its examples work, and its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from fastagi.doors import codec
from fastagi.service.commands import COMMANDS
from tests.harness import curl
from tests.process.program import Program

_TEXT = (Path(__file__).parents[2] / "docs/internal-api.md").read_text()
_EXAMPLES = re.findall(r"^curl .*$", _TEXT, re.MULTILINE)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with Program(tmp_path) as program:
        yield program


@pytest.fixture
def program_curl(tmp_path: Path) -> str:
    """The path of this machine's curl, or of the stand-in if it has none."""
    return shutil.which("curl") or str(curl.install(tmp_path) / "curl")


# One test, as the task of one example is cancelled in another.
def test_examples_work(program: Program, program_curl: str) -> None:
    answers = []
    for example in _EXAMPLES:
        is_stream = "text/event-stream" in example
        words = [
            word.replace("/run/callback-queue/control.sock", str(program.socket))
            for word in shlex.split(example)
        ]
        assert words[0] == "curl"
        words[0] = program_curl
        if is_stream:
            with subprocess.Popen(words, stdout=subprocess.PIPE) as stream:
                assert stream.stdout is not None
                event, _id, data = (stream.stdout.readline() for _ in range(3))
                stream.kill()
            assert event == b"event: snapshot\n"
            answers.append(json.loads(data.removeprefix(b"data: ")))
            continue
        done = subprocess.run(
            [*words, "--silent", "--show-error", "--max-time", "20"],
            capture_output=True,
            check=True,
            timeout=30,
        )
        answers.append(json.loads(done.stdout))
    status, added, listed, cancelled, live, streamed, error = answers
    assert live["queues"].keys() == streamed["queues"].keys() == {"support"}
    assert status["version"]
    assert added["created"]
    assert [task["id"] for task in listed] == [added["task"]["id"]] == [1]
    assert cancelled["task"]["reason"] == "asked us to (ada)"
    assert (error["status"], error["code"]) == (404, "no-such-task")


def test_every_command_is_listed_with_its_fields() -> None:
    filters = re.search(
        r"^A filter is any of (.*?)\. ", _TEXT, re.MULTILINE | re.DOTALL
    )
    assert filters is not None
    rows = re.findall(r"^\| `(\w+(?:\.\w+)?)` \| ([^0-9|]*)\|$", _TEXT, re.MULTILINE)
    listed = {
        name: set(re.findall(r"`(\w+)`", fields.replace("a filter", filters.group(1))))
        for name, fields in rows
    }
    assert listed == {
        name: {field.name for field in attrs.fields(kind)}
        for name, kind in COMMANDS.items()
    }


def test_every_code_is_listed_with_its_status() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([0-9]+) \|", _TEXT, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == codec.STATUS
