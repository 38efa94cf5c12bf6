# SPDX-License-Identifier: MIT
"""Several web processes on one database: one looks for alarms and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import evolve

from fastagi.store.errors import LeaseLost
from fastagi.store.processes import Process
from fastagi.web.state import sending, versions
from fastagi.web.state.direct import committed
from fastagi.web.state.schema import SECRETS, SENDING, VERSION
from fastagi.web.state.sending import LENGTH_S, SendingLease
from fastagi.web.state.state import State
from tests.lab.databases import PostgreSQL

ONE = Process("pbx1", "boot", 7, "pid:[1]", "1")
TWO = Process("pbx2", "boot", 8, "pid:[1]", "1")
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
_PATIENCE_S = 20.0


class Pair:
    """Two processes on one database, and their steady clock."""

    def __init__(self, url: str) -> None:
        self.seconds = 1000.0
        self.states = [State(url), State(url)]
        self.one, self.two = (
            SendingLease(
                state, now=lambda: NOW, process=process, steady_s=lambda: self.seconds
            )
            for state, process in zip(self.states, (ONE, TWO), strict=True)
        )

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(_PATIENCE_S):
                await test()

        asyncio.run(main())

    @property
    def held(self) -> tuple[bool, bool]:
        return self.one.is_held, self.two.is_held


@pytest.fixture(scope="module")
def shared_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a PostgreSQL database of web processes."""
    with postgresql.database() as url:
        versions.prepare(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/web.sqlite3"
    else:
        url = request.getfixturevalue("shared_url")
    versions.prepare(url)
    with committed(url) as conn:
        conn.execute(SENDING.delete())
        conn.execute(SECRETS.delete())
    pair = Pair(url)
    yield pair
    for state in pair.states:
        state.close()


def _count(conn: sa.Connection) -> int:
    conn.execute(SECRETS.insert().values(name="x", value=b"x"))
    return conn.execute(sa.select(sa.func.count()).select_from(SECRETS)).scalar_one()


def test_one_of_two_processes_has_the_lease_until_it_no_longer_renews_it(
    pair: Pair,
) -> None:
    async def test() -> None:
        for _ in range(20):
            await pair.one.look()
            await pair.two.look()
            assert pair.held == (True, False)
            pair.seconds += 5
        holder = pair.two.holder
        assert holder is not None and (holder.process, holder.since) == (ONE, NOW)
        # The first one hangs.
        pair.seconds += LENGTH_S - 6
        assert pair.held == (False, False)
        await pair.two.look()
        assert pair.held == (False, False)
        pair.seconds += 6
        await pair.two.look()
        assert pair.held == (False, True)
        with pytest.raises(LeaseLost):
            await pair.one.write(_count)
        assert await pair.two.write(_count) == 1
        await pair.one.look()
        assert pair.held == (False, True)
        assert pair.one.holder == pair.two.holder

    pair.run(test)


def test_two_processes_that_start_together_do_not_both_get_it(pair: Pair) -> None:
    async def test() -> None:
        await asyncio.gather(pair.one.look(), pair.two.look())
        assert sorted(pair.held) == [False, True]

    pair.run(test)


def test_a_lease_that_nobody_renews_has_no_holder_for_anybody(pair: Pair) -> None:
    async def test() -> None:
        await pair.one.look()
        await pair.two.look()
        pair.seconds += LENGTH_S - 6
        assert pair.one.holder == pair.two.holder is not None
        # As when neither can use the database any more.
        pair.seconds += 6
        assert pair.held == (False, False)
        assert (pair.one.holder, pair.two.holder) == (None, None)

    pair.run(test)


def test_lease_is_taken_at_once_when_its_holder_stops_or_has_ended(pair: Pair) -> None:
    here = Process.this()
    ended = evolve(here, pid=2**22, start="1")

    async def test() -> None:
        running = asyncio.create_task(pair.one.run())
        await pair.one.wait()
        await pair.two.look()
        running.cancel()
        await asyncio.wait([running])
        await pair.two.look()
        assert pair.held == (False, True)
        await pair.states[0].write(_set_process, ended)
        third = SendingLease(
            pair.states[0], now=lambda: NOW, process=here, steady_s=lambda: pair.seconds
        )
        await third.look()
        assert third.is_held

    pair.run(test)


def _set_process(conn: sa.Connection, process: Process) -> None:
    conn.execute(
        SENDING.update().values(
            host=process.host,
            boot_id=process.boot_id,
            pid=process.pid,
            pid_space=process.pid_space,
            process_start=process.start,
        )
    )


def test_work_runs_only_while_the_lease_is_held(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: asyncio.Queue[str] = asyncio.Queue()

    async def work() -> None:
        await begun.put("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await begun.put("ended")

    async def test() -> None:
        working = asyncio.create_task(pair.one.while_held(work))
        for _ in range(2):
            # The lease is not renewed in time.
            await pair.one.look()
            assert await begun.get() == "begun"
            assert await begun.get() == "ended"
        await pair.one.look()
        assert await begun.get() == "begun"
        working.cancel()
        await asyncio.wait([working])
        assert await begun.get() == "ended"

    # The process trusts it 5 s less.
    monkeypatch.setattr(sending, "LENGTH_S", 5.05)
    pair.run(test)


def test_database_of_the_first_version_gets_the_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/web.sqlite3"
    versions.prepare(url)
    with committed(url) as conn:
        SENDING.drop(conn)
        conn.execute(VERSION.update().values(version=1))
        conn.execute(SECRETS.insert().values(name="key", value=b"kept"))
    versions.prepare(url)
    pair = Pair(url)

    async def test() -> None:
        await pair.one.look()
        assert pair.held == (True, False)

    pair.run(test)
    with committed(url) as conn:
        assert conn.execute(sa.select(SECRETS.c.value)).scalar_one() == b"kept"
        found = conn.execute(sa.select(VERSION.c.version)).scalar_one()
        assert found == versions.LATEST
    for state in pair.states:
        state.close()
