# SPDX-License-Identifier: MIT
"""Two services on one database: one holds it, and nobody is rung twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from fastagi.store import migrate
from fastagi.store.backends import backend_for
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    dispositions,
    hung_up_by_asterisk,
    originates,
    pause,
    requested,
    settled,
    unpause,
)
from tests.lab.asterisk import Asterisk
from tests.lab.lab import Lab
from tests.lab.phones import Client, request
from tests.lab.processes import wait_until
from tests.lab.program import FORK
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.process.program import free_port

#: Two Asterisks and two services at the same time.
pytestmark = pytest.mark.crowd

#: The exit code after which systemd does not start the service again.
REFUSED = 2
#: Longer than the renewal of the owner's lease takes.
REFUSED_WITHIN_S = 15.0


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Any]:
    """Return the settings of a database for two services, on each engine."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('shared')}/callback-queue.db"
    migrate.upgrade(url)
    # The talk is a success however soon the second service is refused.
    talks = {"defaults": {"success_duration": "0s"}}
    return merged(merged(QUICK, talks), {"database": {"url": url}})


@pytest.fixture
def other_lab(booted_asterisk: Asterisk) -> Iterator[Lab]:
    """The laboratory of another Asterisk."""
    asterisk = Asterisk(22)
    try:
        asterisk.start()
        lab = Lab(asterisk, launcher=FORK)
        yield lab
        lab.close()
    finally:
        asterisk.close()


def talk(lab: Lab, service: Service) -> Client:
    """Let a client be called back, who then talks to alice."""
    lab.agent("alice")
    client = lab.client(CLIENT, Answer())
    hung_up_by_asterisk(ask(lab, service))
    client.wait_for(request("ACK"))
    service.wait_for(says("^task.*talking"))
    return client


def hang_up(lab: Lab, client: Client) -> None:
    """End the call to the client, as the network does."""
    (dialled,) = lab.witness.matching(
        lambda seen: (
            seen.name == "DialBegin"
            and CLIENT in seen["DialString"]
            and seen["DestChannel"].startswith("PJSIP/")
        )
    )
    lab.witness.hang_up(dialled["DestChannel"])
    client.wait_for(request("BYE"))


def refused(second: Service, first: Service) -> None:
    """Start a service that must be refused because of another one."""
    second.start(ready=False)
    assert second.wait(REFUSED_WITHIN_S) == REFUSED
    words = f"run on this database already, by process {first.pid} on .* since "
    second.wait_for(says(words))
    assert first.running


def test_second_service_is_refused_and_the_first_can_be_killed_during_a_talk(
    lab: Lab, database: Mapping[str, Any]
) -> None:
    first = lab.service(database)
    client = talk(lab, first)
    refused(
        lab.service(merged(database, {"fastagi": {"port": free_port()}}), start=False),
        first,
    )
    first.kill()
    first.start()
    first.wait_for(says("its call is under way, following it"))
    assert not any(map(says("the service is run by"), first.lines))
    hang_up(lab, client)

    settled(first, "completed")
    assert dispositions(first) == ["ANSWERED"]
    assert len(client.invites) == 1
    assert len(originates(lab)) == 1


def test_second_service_with_another_asterisk_leaves_the_talk_alone(
    lab: Lab, other_lab: Lab, database: Mapping[str, Any]
) -> None:
    first = lab.service(database)
    client = talk(lab, first)
    other_lab.agent("alice")
    elsewhere = other_lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))

    refused(other_lab.service(database, start=False), first)

    hang_up(lab, client)
    settled(first, "completed")
    assert dispositions(first) == ["ANSWERED"]
    assert len(client.invites) == 1
    assert not elsewhere.invites


def freeze_until_its_lease_ends(service: Service, url: str) -> None:
    """Freeze a service, and let the time of its lease pass by the database's clock.

    A service that froze within a transaction holds its locks: it is thawed, and frozen
    again a moment later.

    Raises:
        DeadlinePassed: it was within a transaction each time.
    """
    engine = backend_for(url).engine

    def ended() -> bool:
        service.freeze()
        try:
            with engine.begin() as conn:
                conn.execute(sa.text("SET LOCAL lock_timeout = '200ms'"))
                conn.execute(sa.text("UPDATE lease SET valid_until = 1"))
        except sa.exc.OperationalError as error:
            assert isinstance(error.orig, psycopg.errors.LockNotAvailable), error
            service.thaw()
            return False
        return True

    wait_until(ended, 10, "a moment without a transaction of the service")
    engine.dispose()


def test_frozen_service_whose_database_was_taken_rings_nobody(
    lab: Lab, postgresql_url: str
) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    settings = merged(QUICK, {"database": {"url": postgresql_url}})
    first = lab.service(settings)
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    requested(first)
    hung_up_by_asterisk(caller)
    freeze_until_its_lease_ends(first, postgresql_url)
    second = lab.service(merged(settings, {"fastagi": {"port": free_port()}}))
    # Both services learn at the same moment that alice is free.
    unpause(lab, "support")
    first.thaw()

    assert first.wait(20) == 1
    first.wait_for(says("this process does not run the service on the database"))
    settled(second, "completed")
    assert dispositions(second) == ["ANSWERED"]
    assert len(client.invites) == 1
    assert len(originates(lab)) == 1
