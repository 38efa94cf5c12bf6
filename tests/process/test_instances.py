# SPDX-License-Identifier: MIT
"""Several processes on one PostgreSQL: each has a name, and one holds the Asterisk."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastagi.store.backends import backend_for
from tests.harness.tables import empty_tables
from tests.process.program import Program, wait_until

HOLDS = "this instance holds the Asterisk default now"
LEAVES = "this instance leaves the Asterisk default"


@pytest.fixture
def url(postgresql_with_tables: str) -> str:
    empty_tables(postgresql_with_tables)
    return postgresql_with_tables


@pytest.fixture
def program(tmp_path: Path, url: str) -> Iterator[Callable[..., Program]]:
    """Create services with names, each with its own settings, socket and ports."""
    made: list[Program] = []

    def make(home: str, name: str | None = None, **more: Any) -> Program:
        directory = tmp_path / home
        directory.mkdir()
        if name:
            more["instance"] = {"name": name}
        made.append(Program(directory, database={"url": url}, **more))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def start(program: Program) -> Program:
    program.begin()
    wait_until(program.listens, "FastAGI port")
    return program


def holds(program: Program) -> bool:
    said = program.said
    return said.count(HOLDS) > said.count(LEAVES)


def test_second_service_with_a_name_runs_and_takes_over_after_a_kill(
    program: Callable[..., Program],
) -> None:
    a = start(program("a", "a"))
    wait_until(lambda: holds(a), "holder")
    b = start(program("b", "b"))
    _, said = b.command("status", "--json")
    status = json.loads(said)
    assert status["holder"]["pid"] == b.pid
    wait_until(
        lambda: f"held by the instance a: process {a.pid} on" in b.command("status")[1],
        "holder in the status",
    )
    assert not holds(b)
    for one in (a, b):
        assert "the service is run on this database" not in one.command("check")[1]

    os.kill(a.pid, signal.SIGKILL)
    a.end()
    # It is known on this machine that the process has ended.
    wait_until(lambda: holds(b), "successor")

    start(a)
    wait_until(
        lambda: f"held by the instance b: process {b.pid} on" in a.command("status")[1],
        "holder in the status",
    )
    assert holds(b)


@pytest.mark.stopwatch
def test_stopped_service_hands_over_in_less_than_a_second(
    program: Callable[..., Program],
) -> None:
    a = start(program("a", "a"))
    wait_until(lambda: holds(a), "holder")
    b = start(program("b", "b"))
    assert a.end() == 0
    ended = time.monotonic()
    wait_until(lambda: holds(b), "successor")
    assert time.monotonic() - ended < 1.0


@pytest.mark.stopwatch
def test_asterisk_is_passed_on_in_less_than_a_second(
    program: Callable[..., Program], url: str
) -> None:
    a = start(program("a", "a"))
    wait_until(lambda: holds(a), "holder")
    b = start(program("b", "b"))
    # As if it had run for a minute, and could log in there.
    with backend_for(url).engine.begin() as conn:
        conn.exec_driver_sql(
            "UPDATE lease SET wanted_by = (SELECT token FROM lease"
            " WHERE name = 'instance:b') WHERE name = 'node:default'"
        )
    wait_until(lambda: f"{LEAVES} to the instance b" in a.said, "end of holding")
    left = time.monotonic()
    wait_until(lambda: holds(b), "successor")
    assert time.monotonic() - left < 1.0
    a.assert_runs()


def test_frozen_service_leaves_the_asterisk_when_it_wakes_and_goes_on(
    program: Callable[..., Program],
) -> None:
    a = start(program("a", "a"))
    wait_until(lambda: holds(a), "holder")
    b = start(program("b", "b"))
    os.kill(a.pid, signal.SIGSTOP)
    wait_until(lambda: holds(b), "successor")

    os.kill(a.pid, signal.SIGCONT)

    wait_until(lambda: LEAVES in a.said, "end of holding")
    assert f"it is held by process {b.pid} on" in a.said
    a.assert_runs()
    b.end()
    wait_until(lambda: holds(a), "successor")


def test_service_without_a_name_and_one_with_the_same_name_are_refused(
    program: Callable[..., Program],
) -> None:
    a = start(program("a", "a"))
    for other in (program("alone"), program("twin", "a")):
        code, said = other.command("run")
        assert code == 2
        assert f"run on this database already, by process {a.pid} on" in said
        assert "another instance.name than a" in said
    a.assert_runs()
    assert a.command("db", "upgrade")[0] == 0
    a.end()

    alone = start(program("alone again"))
    code, said = a.command("run")
    assert code == 2
    assert f"run on this database already, by process {alone.pid} on" in said
    assert "instance.name" not in said


def test_setting_that_differs_is_shown_by_status_and_check(
    program: Callable[..., Program],
) -> None:
    a = start(program("a", "a"))
    wait_until(lambda: holds(a), "holder")
    b = program("b", "b", limits={"calls_per_number": 7})
    start(b)
    words = "limits.calls_per_number is 7 here and 10 at instance a ("
    wait_until(lambda: words in b.command("status")[1], "difference in the status")

    assert words in b.said
    assert words in b.command("check")[1]
    (other,) = json.loads(b.command("status", "--json")[1])["instances"]
    assert (other["name"], other["pid"], other["running"]) == ("a", a.pid, True)
    assert [node["name"] for node in other["nodes"]] == ["default"]
    assert "secret" not in json.dumps(other)
