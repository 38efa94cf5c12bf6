# SPDX-License-Identifier: MIT
"""Records of a real Asterisk are read from real MariaDB and PostgreSQL servers."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
import sqlalchemy as sa

from fastagi.history import cdr, database
from fastagi.history.database import CdrTable
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.sources import QueueLogDatabase
from tests.recordings.past_calls import (
    FREEPBX,
    LATER,
    MADE,
    NUMBERS,
    QUEUES,
    VERSIONS,
    freepbx_rows,
    from_queue_log,
    judged,
    lines,
    outcomes,
)

#: FreePBX's table, including its own columns.
_TABLE = """
CREATE TABLE cdr (
    calldate {time} NOT NULL,
    clid varchar(80) NOT NULL DEFAULT '',
    src varchar(80) NOT NULL DEFAULT '',
    dst varchar(80) NOT NULL DEFAULT '',
    dcontext varchar(80) NOT NULL DEFAULT '',
    channel varchar(80) NOT NULL DEFAULT '',
    dstchannel varchar(80) NOT NULL DEFAULT '',
    lastapp varchar(80) NOT NULL DEFAULT '',
    lastdata varchar(80) NOT NULL DEFAULT '',
    duration integer NOT NULL DEFAULT 0,
    billsec integer NOT NULL DEFAULT 0,
    disposition varchar(45) NOT NULL DEFAULT '',
    amaflags varchar(20) NOT NULL DEFAULT '',
    accountcode varchar(20) NOT NULL DEFAULT '',
    uniqueid varchar(64) NOT NULL DEFAULT '',
    userfield varchar(255) NOT NULL DEFAULT '',
    did varchar(50) NOT NULL DEFAULT '',
    recordingfile varchar(255) NOT NULL DEFAULT '',
    cnum varchar(80) NOT NULL DEFAULT '',
    cnam varchar(80) NOT NULL DEFAULT '',
    linkedid varchar(150) NOT NULL DEFAULT '',
    peeraccount varchar(80) NOT NULL DEFAULT '',
    sequence integer NOT NULL DEFAULT 0
)
"""
_SERVERS = [
    pytest.param(("mariadb_url", "datetime"), id="MariaDB"),
    pytest.param(("postgresql_url", "timestamp"), id="PostgreSQL"),
    pytest.param(("postgresql_url", "timestamptz"), id="PostgreSQL with a zone"),
]
_DRIVERS = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}


def engine_of(url: str) -> sa.Engine:
    """Return an engine that may write."""
    parsed = sa.make_url(url)
    return sa.create_engine(
        parsed.set(drivername=_DRIVERS[parsed.get_backend_name()]),
        poolclass=sa.NullPool,
    )


def fill(url: str, version: str, time: str) -> list[list[str]]:
    """Create the table and insert the recorded CDRs; return them."""
    rows = freepbx_rows(version)
    engine = engine_of(url)
    names, marks = ", ".join(FREEPBX), ", ".join(f":{name}" for name in FREEPBX)
    with engine.begin() as conn:
        conn.exec_driver_sql(_TABLE.format(time=time))
        conn.execute(
            sa.text(f"INSERT INTO cdr ({names}) VALUES ({marks})"),
            [_typed(dict(zip(FREEPBX, row, strict=True))) for row in rows],
        )
    return rows


def _typed(row: dict[str, str]) -> dict[str, object]:
    numbers = ("duration", "billsec", "sequence")
    return {**row, **{name: int(row[name]) for name in numbers}}


@pytest.fixture(params=_SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The URL of an empty database, and its column type for times."""
    fixture, time = request.param
    return request.getfixturevalue(fixture), time


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_cdrs_tell_the_same_as_in_a_file(
    server: tuple[str, str], version: str
) -> None:
    url, time = server
    rows = fill(url, version, time)
    table = CdrTable(url, "cdr")

    read = table.rows_since(datetime(2000, 1, 1))
    found = outcomes(judged(cdr.past_calls(cdr.read_rows(read).rows)))

    assert len(read) == len(rows)
    for number, made in zip(NUMBERS, MADE, strict=True):
        assert found.get(number, set()) == {made.in_cdrs} - {""}, made.what


@pytest.mark.parametrize("used", ["calldate", "start"])
@pytest.mark.parametrize("kind", ["{time}", "varchar(30)"])
def test_table_with_two_columns_for_the_time_is_read_by_the_one_that_is_filled(
    server: tuple[str, str], used: str, kind: str
) -> None:
    url, time = server
    rows = fill(url, VERSIONS[0], time)
    with engine_of(url).begin() as conn:
        for change in (
            f"ALTER TABLE cdr ADD COLUMN start {kind.format(time=time)} NULL",
            "UPDATE cdr SET start = calldate" if used == "start" else "",
            "ALTER TABLE cdr DROP COLUMN calldate" if used == "start" else "",
            f"ALTER TABLE cdr ADD COLUMN calldate {time} NULL"
            if used == "start"
            else "",
        ):
            if change:
                conn.exec_driver_sql(change)
    table = CdrTable(url, "cdr")

    read = table.rows_since(datetime(2000, 1, 1))

    assert len(read) == len(rows)
    newest = table.newest()
    assert newest is not None
    assert str(newest["start"])[:19] == max(row[0] for row in rows)
    assert table.count_without_time(datetime(2002, 1, 1)) == 0
    if used == "calldate":
        return
    with engine_of(url).begin() as conn:
        conn.exec_driver_sql("UPDATE cdr SET start = NULL WHERE dst = 's'")
    without = table.count_without_time(datetime(2002, 1, 1))
    assert without > 0
    assert len(table.rows_since(datetime(2000, 1, 1))) == len(rows) - without


def test_only_what_is_needed_is_read(server: tuple[str, str]) -> None:
    url, time = server
    rows = fill(url, VERSIONS[0], time)
    table = CdrTable(url, "cdr")
    middle = datetime.fromisoformat(rows[len(rows) // 2][0])
    assert 0 < len(table.rows_since(middle)) < len(rows)
    newest = table.newest()
    assert newest is not None
    assert str(newest["start"])[:19] == max(row[0] for row in rows)


def test_password_from_elsewhere(server: tuple[str, str]) -> None:
    url, time = server
    fill(url, VERSIONS[0], time)
    given = sa.make_url(url)
    bare = given.set(password=None).render_as_string(hide_password=False)
    assert CdrTable(bare, "cdr", given.password).newest() is not None
    with pytest.raises(HistoryUnreadable, match=r"can not be read: .*") as caught:
        CdrTable(bare, "cdr", "wr0ng").newest()
    assert "wr0ng" not in str(caught.value)
    assert str(given.password) not in str(caught.value)


def test_table_that_is_not_there(server: tuple[str, str]) -> None:
    url, _ = server
    with pytest.raises(HistoryUnreadable, match=r"no such table.*cdr_table"):
        CdrTable(url, "cdr").newest()


@pytest.mark.parametrize("kind", ["{time}", "char(26)"])
@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_queue_log_tells_the_same_as_in_a_file(
    server: tuple[str, str], version: str, kind: str
) -> None:
    """The rows are the lines of the recorded file."""
    url, time = server
    serial = "serial" if url.startswith("postgresql") else "integer AUTO_INCREMENT"
    data = [f"data{number}" for number in range(1, 6)]
    names = ["time", "callid", "queuename", "agent", "event", *data]
    columns = ", ".join(f"{name} varchar(100)" for name in names[1:])
    with engine_of(url).begin() as conn:
        conn.exec_driver_sql(
            f"CREATE TABLE queue_log (id {serial} PRIMARY KEY,"
            f" time {kind.format(time=time)}, {columns})"
        )
        for line in lines(version, "queue_log"):
            at, *rest = line.decode().split("|")
            shown = str(datetime.fromtimestamp(int(at)))
            values = dict(zip(names, [shown, *rest, *[""] * 5], strict=False))
            marks = ", ".join(f":{name}" for name in names)
            conn.execute(
                sa.text(f"INSERT INTO queue_log ({', '.join(names)}) VALUES ({marks})"),
                values,
            )

    reading = QueueLogDatabase(url, "queue_log").read(0, LATER)

    assert reading.remarks == ()
    found = outcomes(judged(reading.calls, QUEUES))
    assert found == outcomes(judged(from_queue_log(version), QUEUES))
    assert QueueLogDatabase(url, "queue_log").newest_at() is not None


def test_server_that_does_not_answer_is_given_up(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a server that hangs, on which its own time-out has no effect."""
    monkeypatch.setattr(database, "_PATIENCE_S", 0.5)
    table = database.CdrTable(postgresql_url, "cdr")
    began = time.monotonic()
    with pytest.raises(sa.exc.OperationalError), table._engine.connect() as conn:
        conn.exec_driver_sql("SELECT pg_sleep(10)")
    assert time.monotonic() - began < 5
