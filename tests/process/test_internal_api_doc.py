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
from tests.process.program import Program

_TEXT = (Path(__file__).parents[2] / "docs/internal-api.md").read_text()
_EXAMPLES = re.findall(r"^curl .*$", _TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("doc")) as program:
        yield program


# One test, as the task of one example is cancelled in another.
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_examples_work(program: Program) -> None:
    answers = []
    for example in _EXAMPLES:
        is_stream = "text/event-stream" in example
        words = [
            word.replace("/run/callback-queue/control.sock", str(program.socket))
            for word in shlex.split(example)
        ]
        if is_stream:
            with subprocess.Popen(words, stdout=subprocess.PIPE) as curl:
                assert curl.stdout is not None
                event, _id, data = (curl.stdout.readline() for _ in range(3))
                curl.kill()
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
