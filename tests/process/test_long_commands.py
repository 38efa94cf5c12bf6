# SPDX-License-Identifier: MIT
"""Commands that take seconds run in processes of their own, and hold nobody up."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastagi.doors import client
from fastagi.errors import CallbackError
from fastagi.service.commands import CheckSettings, Command, ListBlocked, RunCheck
from tests.process.program import Program, wait_until


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("long")) as program:
        yield program


@contextmanager
def asked(program: Program, command: Command) -> Iterator[list[Any]]:
    """Give a command; yields a list that gets its answer, or the error."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(client.do(str(program.socket), command))
        except CallbackError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    yield answers
    thread.join(60)
    assert answers


def children(program: Program) -> str:
    """Return the ids of the service's child processes."""
    tasks = Path(f"/proc/{program.pid}/task")
    return "".join((task / "children").read_text() for task in tasks.iterdir())


def test_long_settings_file_is_checked_while_others_are_answered(
    program: Program,
) -> None:
    text = program.config.read_text() + "".join(
        f"  queue-{number}: {{attempts: 3}}\n" for number in range(150)
    )
    answered = 0
    with asked(program, CheckSettings(text=text)) as answers:
        while not answers:
            client.do(str(program.socket), ListBlocked())
            answered += 1
    (answer,) = answers
    assert len(answer["queues_added"]) == 150
    assert not answer["problems"]
    # In the reactor's thread it takes seconds, and nobody would be answered.
    assert answered > 20


def test_check_is_run_for_the_health_page(program: Program) -> None:
    answer = client.do(str(program.socket), RunCheck())
    levels = {finding["area"]: finding["level"] for finding in answer["findings"]}
    assert levels["settings"] == levels["control socket"] == "ok"
    assert levels["manager"] == "fault"
    # The same one, as it is new.
    assert client.do(str(program.socket), RunCheck()) == answer


def test_service_stops_without_waiting_for_a_check(tmp_path: Path) -> None:
    with Program(tmp_path) as program:
        with asked(program, RunCheck()) as answers:
            wait_until(lambda: children(program), "program of the check")
            child = Path(f"/proc/{children(program).split()[0]}")
            assert program.end() == 0
        wait_until(lambda: not child.exists(), "end of the check")
    assert isinstance(answers[0], CallbackError)
    assert not re.search(r"^\S+ \S+ (error|critical) ", program.said, re.MULTILINE)
