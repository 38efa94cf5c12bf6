# SPDX-License-Identifier: MIT
"""Two services on one database: one runs, the other is refused and names the first."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from fastagi.store.backends import backend_for
from fastagi.store.processes import Process
from tests.harness.tables import empty_tables
from tests.process.program import Program, wait_until


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database for two services."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    made: str = request.getfixturevalue("postgresql_with_tables")
    empty_tables(made)
    return made


@pytest.fixture
def program(tmp_path: Path, url: str) -> Iterator[Callable[[str], Program]]:
    """Create services, each with its own settings, socket and ports."""
    made: list[Program] = []

    def make(name: str) -> Program:
        home = tmp_path / name
        home.mkdir()
        made.append(Program(home, database={"url": url}))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def start(program: Program) -> None:
    program.begin()
    wait_until(program.listens, "FastAGI port")


def change_lease(url: str, change: str) -> None:
    """Change the lease once a service frozen in a transaction has lost the lock."""

    def changed() -> bool:
        with backend_for(url).engine.connect() as conn:
            conn.exec_driver_sql("BEGIN") if url.startswith("sqlite") else None
            try:
                conn.execute(sa.text(f"UPDATE lease SET {change}"))
            except sa.exc.OperationalError as error:
                if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                    raise
                return False
            conn.commit()
            return True

    wait_until(changed, "change of the lease")


def test_second_service_is_told_who_runs_and_systemd_does_not_try_again(
    program: Callable[[str], Program],
) -> None:
    first, second = program("first"), program("second")
    start(first)

    code, said = second.command("run")

    assert code == 2
    unit = Path(__file__).parents[2] / "etc/callback-queue.service"
    assert "RestartPreventExitStatus=2\n" in unit.read_text()
    assert (
        f"the service is run on this database already, by process {first.pid} on"
        in said
    )
    assert re.search(r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said)
    assert "systemctl stop callback-queue" in said
    assert "database of its own" in said
    first.assert_runs()
    _, status = first.command("status", "--json")
    assert json.loads(status)["holder"]["pid"] == first.pid
    assert f"held by process {first.pid} on" in first.command("status")[1]
    assert f"held by process {first.pid} on" in second.command("status")[1]
    assert (
        f"run on this database by process {first.pid} on" in second.command("check")[1]
    )
    assert "run on this database by" not in first.command("check")[1]


def test_service_that_was_stopped_or_killed_is_followed_at_once(
    program: Callable[[str], Program], url: str
) -> None:
    first, second = program("first"), program("second")
    start(first)
    assert first.end() == 0
    start(second)
    os.kill(second.pid, signal.SIGKILL)
    second.end()

    # The lease of the killed service would last for many seconds.
    start(first)

    assert "takes over in" not in first.said


def test_process_id_that_was_given_again_does_not_keep_the_service_from_starting(
    program: Callable[[str], Program], url: str
) -> None:
    first = program("first")
    start(first)
    os.kill(first.pid, signal.SIGKILL)
    first.end()
    change_lease(url, f"pid = {os.getpid()}")

    start(first)

    assert "takes over in" not in first.said


def test_tables_are_not_changed_under_a_running_service(
    program: Callable[[str], Program], url: str
) -> None:
    first = program("first")
    start(first)

    # There is nothing to do, which is no error.
    assert first.command("db", "upgrade")[0] == 0
    with backend_for(url).engine.connect() as conn:
        conn.exec_driver_sql("BEGIN") if url.startswith("sqlite") else None
        newest = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '0006'"))
        conn.commit()
    code, said = first.command("db", "upgrade")
    with backend_for(url).engine.connect() as conn:
        conn.exec_driver_sql("BEGIN") if url.startswith("sqlite") else None
        conn.execute(sa.text(f"UPDATE alembic_version SET version_num = '{newest}'"))
        conn.commit()

    assert code == 1
    assert f"a service runs on it: process {first.pid} on" in said


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_lease_of_another_machine_is_waited_for_and_taken(
    program: Callable[[str], Program], url: str
) -> None:
    first = program("first")
    start(first)
    os.kill(first.pid, signal.SIGKILL)
    first.end()
    now = "extract(epoch FROM clock_timestamp())"
    change_lease(url, f"host = 'pbx2', boot_id = 'other', valid_until = {now} + 6")

    start(first)

    assert " on pbx2 since " in first.said
    assert "takes over in" in first.said


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_frozen_service_whose_lease_was_taken_ends_when_it_wakes(
    program: Callable[[str], Program], url: str
) -> None:
    first, second = program("first"), program("second")
    start(first)
    os.kill(first.pid, signal.SIGSTOP)
    change_lease(url, "valid_until = 0")
    start(second)

    os.kill(first.pid, signal.SIGCONT)

    assert first.wait() == 1
    assert f"it is run by process {second.pid} on" in first.said
    second.assert_runs()


def test_process_of_another_machine_or_of_a_container_is_not_known_to_have_ended() -> (
    None
):
    here = Process.this()
    ended = Process(here.host, here.boot_id, 2**22, here.pid_space, "1")
    assert here.knows_ended(ended)
    for field in ("host", "boot_id", "pid_space"):
        values = {
            name: getattr(ended, name)
            for name in ("host", "boot_id", "pid", "pid_space", "start")
        }
        assert not here.knows_ended(Process(**{**values, field: "other"}))
    assert not here.knows_ended(here)
