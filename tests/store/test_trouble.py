# SPDX-License-Identifier: MIT
"""Trouble with the database while the service runs, on real files and servers.

In each case callers who press 1 meanwhile are told so at once and put back in line, and
the status shows the problem and the remedy. Afterwards the service continues by itself,
with every request that was accepted before, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from fastagi.store import migrate
from tests.lab.databases import PostgreSQL
from tests.store.harness import OtherProcess
from tests.store.running import SMALL_DISK_BYTES, RunningService

#: Counts up, so that each caller of a run has a different number.
_numbers = iter(f"49301{n:06}" for n in range(1_000_000))


def _goes_wrong_and_well_again(
    service: RunningService,
    trouble: AbstractContextManager[Callable[[], None] | None],
    words: str,
) -> None:
    """Let callers press 1 before, during and after a trouble with the database.

    Args:
        service: a running service with a working database.
        trouble: the trouble; yields a function that renews it, if it ends by itself.
        words: its text in the status and in the log.
    """
    before, during, still, after = (next(_numbers) for _ in range(4))
    service.press_until_accepted(before)
    promised = service.numbers()
    assert before in promised
    with trouble as keep_up:

        def told() -> bool:
            if keep_up:
                keep_up()
            return words in service.database

        for number in (during, still):
            if keep_up:
                keep_up()
            # Without an answer in time the caller is put back in line, too.
            assert service.press(number) in {"ERROR", ""}, service.said
            service.wait_until(told)
        assert service.log_says("the database can not be used: .*" + words)
    service.wait_until(lambda: service.database == "ok")
    assert service.log_says("the database can be used again")
    service.press_until_accepted(after)
    # Late requests are taken back, as their callers are in line.
    service.wait_until(lambda: service.numbers() == promised | {after})


# -- SQLite ----------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file of the running service."""
    return tmp_path_factory.mktemp("trouble") / "callbacks.db"


@pytest.fixture(scope="module")
def on_file(path: Path) -> Iterator[RunningService]:
    """A service on a SQLite file. Each test must restore the file."""
    with RunningService(path.parent, f"sqlite:///{path}") as service:
        yield service


@contextmanager
def _full(path: Path) -> Iterator[Callable[[], None]]:
    """Fill the disk completely, and again when SQLite releases its log."""
    filler = path.with_name("filler")

    def fill() -> None:
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(SMALL_DISK_BYTES)):
                pass

    fill()
    try:
        yield fill
    finally:
        filler.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with OtherProcess("hold_lock", str(path)) as other:
        assert other.line() == "locked"
        yield
        other.go()
        assert other.line() == "free"


@contextmanager
def _moved_away(path: Path) -> Iterator[None]:
    files = [path, *path.parent.glob(f"{path.name}-*")]
    for file in files:
        file.rename(file.with_name(f"away-{file.name}"))
    try:
        yield
    finally:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        for file in files:
            file.with_name(f"away-{file.name}").rename(file)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Replace the file by a damaged copy."""
    with _moved_away(path):
        content = path.with_name(f"away-{path.name}").read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        yield


def test_disk_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    file = disk / "callbacks.db"
    url = f"sqlite:///{file}"
    with RunningService(tmp_path, url, small_disk=disk) as service:
        trouble = _full(service.seen(file))
        _goes_wrong_and_well_again(service, trouble, "make room on its disk")


def test_file_is_locked_by_another_process(on_file: RunningService, path: Path) -> None:
    _goes_wrong_and_well_again(on_file, _locked(path), "is locked by another process")


def test_file_is_moved_away_and_put_back(on_file: RunningService, path: Path) -> None:
    _goes_wrong_and_well_again(
        on_file, _moved_away(path), "does not exist; put it back"
    )


def test_file_is_replaced_by_a_damaged_one(on_file: RunningService, path: Path) -> None:
    _goes_wrong_and_well_again(on_file, _damaged(path), "is damaged or no database")


# -- PostgreSQL ------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """A server that these tests may stop."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="module")
def on_server(
    server: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A service on PostgreSQL. Each test must restore the server."""
    home = tmp_path_factory.mktemp("on-server")
    with server.database() as url, RunningService(home, url) as service:
        yield service


@contextmanager
def _stopped(server: PostgreSQL) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _killed(server: PostgreSQL) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _frozen(server: PostgreSQL) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@pytest.mark.parametrize("how", [_stopped, _killed])
def test_server_is_gone_and_comes_back(
    on_server: RunningService,
    server: PostgreSQL,
    how: Callable[[PostgreSQL], AbstractContextManager[None]],
) -> None:
    _goes_wrong_and_well_again(on_server, how(server), "Connection refused")


def test_server_hangs(on_server: RunningService, server: PostgreSQL) -> None:
    _goes_wrong_and_well_again(
        on_server, _frozen(server), "see whether its server runs, answers"
    )


def test_connections_are_ended_by_the_servers_admin(
    on_server: RunningService,
) -> None:
    on_server.press_until_accepted(next(_numbers))
    url = sa.make_url(on_server.url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as conn:
        conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'callback-queue'"
        )

    # Nobody notices it: the next transaction uses a new connection.
    on_server.press_until_accepted(next(_numbers))
    assert on_server.database == "ok"


# -- at the start ----------------------------------------------------------


def test_damaged_file_at_the_start_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "callbacks.db"
    migrate.prepare(f"sqlite:///{path}")
    damaged = b"\xff" * path.stat().st_size
    path.write_bytes(damaged)

    said = _refuses_to_start(tmp_path, f"sqlite:///{path}")

    assert f"{path} is damaged or no database" in said
    assert "move the file away and put a copy back in its place" in said
    assert path.read_bytes() == damaged


def test_server_that_does_not_answer_at_the_start(
    server: PostgreSQL, tmp_path: Path
) -> None:
    with server.database() as url:
        server.freeze()
        try:
            said = _refuses_to_start(tmp_path, url)
        finally:
            server.thaw()

    assert "see whether its server runs, answers" in said
    assert ":***@" in said


def _refuses_to_start(home: Path, url: str) -> str:
    """Start the service, which must end at once; return its output."""
    with pytest.raises(AssertionError) as caught, RunningService(home, url):
        pass
    assert "critical" in str(caught.value)
    assert "starts" not in str(caught.value)
    return str(caught.value)
