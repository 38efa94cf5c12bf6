# SPDX-License-Identifier: MIT
"""Requests to a distant PostgreSQL server, from the service as a process.

A caller waits for one second, whatever the distance to the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fastagi.store import migrate
from tests.lab.databases import PostgreSQL
from tests.lab.slow_link import SlowLink
from tests.process.burst import press_at_once
from tests.store.running import RunningService

#: The load that docs/postgresql.md promises.
ROUND_TRIP_S = 0.05
CALLERS = 30


@pytest.fixture(scope="module")
def link(postgresql: PostgreSQL) -> Iterator[SlowLink]:
    """A slow connection to the server."""
    with SlowLink(postgresql.port, ROUND_TRIP_S) as link:
        yield link


@pytest.fixture(scope="module")
def service(
    postgresql: PostgreSQL,
    link: SlowLink,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningService]:
    """A service whose connection to the database is slow."""
    home: Path = tmp_path_factory.mktemp("far-server")
    with postgresql.database() as url:
        # Not over the slow connection: a migration has many statements.
        migrate.upgrade(url)
        far = sa.make_url(url).set(port=link.port)
        text = far.render_as_string(hide_password=False)
        with RunningService(home, text) as service:
            service.press_until_accepted("4930000")
            yield service


def _told(service: RunningService, first: int) -> Counter[str]:
    numbers = [f"4930{first + n:07}" for n in range(CALLERS)]
    told = press_at_once(service.agi_port, numbers)
    return Counter(told.values())


@pytest.mark.stopwatch
def test_thirty_callers_at_once_are_all_told_within_their_second(
    service: RunningService,
) -> None:
    assert _told(service, 1000) == {"ACCEPTED": CALLERS}
    # Callers who ask again, one after another.
    assert service.press(f"4930{1000:07}") == "ALREADY"
    assert len(service.numbers(limit=1000)) == CALLERS + 1


@pytest.mark.stopwatch
def test_who_could_not_be_told_in_time_has_no_task(
    service: RunningService, link: SlowLink
) -> None:
    link.round_trip_s = 0.3
    try:
        told = _told(service, 2000)
    finally:
        link.round_trip_s = ROUND_TRIP_S
    assert told["ACCEPTED"] == 0
    service.wait_until(lambda: service.press("4930000") == "ALREADY")
    kept = {number for number in service.numbers(limit=1000) if "4930000200" in number}
    assert kept == set()
