# SPDX-License-Identifier: MIT
"""Two services on one PostgreSQL: one fails, the other takes over, all rings once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.ami import actions
from fastagi.ami.session import Credentials
from fastagi.checks.link import ManagerLink, Where
from fastagi.node.holdings import LINK_LOST_S
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
from tests.lab.lab import Lab
from tests.lab.phones import Client, request
from tests.lab.proxy import AMI_MESSAGE, Proxy
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event
from tests.process.program import free_port

#: Several services at the same time.
pytestmark = pytest.mark.crowd

HOLDS = says("^this instance holds the Asterisk default now")
LEAVES = says("^this instance leaves the Asterisk default")
TALKS = Answer(steps=(HangUp(after_ms=1500),))
#: A take-over from another machine: the lease of 6 s, a second more, and the connect.
TAKEN_OVER_S = 15.0


@pytest.fixture
def database(postgresql_url: str) -> str:
    migrate.upgrade(postgresql_url)
    return postgresql_url


def launch(lab: Lab, url: str, name: str, **more: Any) -> Service:
    """Start one of several services, each with a FastAGI port of its own."""
    own: Mapping[str, Any] = {
        "database": {"url": url},
        "instance": {"name": name},
        "defaults": {"success_duration": "0s"},
        **more,
    }
    if name != "a":
        own = merged(own, {"fastagi": {"port": free_port()}})
    service = lab.service(merged(QUICK, own), start=False)
    service.start(ready=False)
    service.wait_for(says("^callback-queue .* starts"))
    return service


def holder(lab: Lab, url: str, **more: Any) -> Service:
    service = launch(lab, url, "a", **more)
    service.wait_for(HOLDS)
    service.wait_until_ready()
    return service


def as_if_on_another_machine(url: str) -> None:
    """Let nobody know of the holders whether their processes have ended."""
    with backend_for(url).engine.begin() as conn:
        conn.execute(sa.text("UPDATE lease SET host = 'elsewhere'"))


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


def callbacks(lab: Lab) -> list[Seen]:
    """Return the first halves of the callbacks, without what stored the epoch."""
    halves = originates(lab)
    return [one for one in halves if "@callback-member" in one["Channel"]]


def rung_once(lab: Lab, client: Client) -> None:
    assert len(client.invites) == 1
    assert len(callbacks(lab)) == 1


def test_holder_is_killed_in_a_talk_and_the_other_follows_the_call(
    lab: Lab, database: str
) -> None:
    a = holder(lab, database)
    b = launch(lab, database, "b")
    client = talk(lab, a)
    as_if_on_another_machine(database)

    a.kill()
    b.wait_for(HOLDS, TAKEN_OVER_S)
    b.wait_for(says("its call is under way, following it"))
    hang_up(lab, client)

    settled(b, "completed")
    assert dispositions(b) == ["ANSWERED"]
    rung_once(lab, client)


def ask_for_asterisk(url: str, instance: str) -> None:
    """Let an instance ask the holder for the Asterisk, as if it had named it."""
    token = "(SELECT token FROM lease WHERE name = :name)"
    change = f"UPDATE lease SET wanted_by = {token} WHERE name = 'node:default'"
    with backend_for(url).engine.begin() as conn:
        conn.execute(sa.text(change), {"name": f"instance:{instance}"})


def test_holder_passes_the_asterisk_on_in_a_talk_and_the_other_follows_the_call(
    lab: Lab, database: str
) -> None:
    a = holder(lab, database)
    b = launch(lab, database, "b")
    client = talk(lab, a)

    ask_for_asterisk(database, "b")
    a.wait_for(says("^this instance leaves the Asterisk default to the instance b"))
    b.wait_for(HOLDS)
    b.wait_for(says("its call is under way, following it"))
    hang_up(lab, client)

    settled(b, "completed")
    assert dispositions(b) == ["ANSWERED"]
    rung_once(lab, client)
    # And back.
    ask_for_asterisk(database, "a")
    b.wait_for(says("^this instance leaves the Asterisk default to the instance a"))
    a.wait_for(HOLDS, count=2)
    assert a.running
    assert b.running


def test_holder_loses_its_link_in_a_talk_and_the_other_follows_the_call(
    lab: Lab, database: str
) -> None:
    ports = lab.asterisk.ports
    with Proxy(ports.spare, ports.ami, AMI_MESSAGE) as link:
        a = holder(lab, database, ami={"port": link.port})
        b = launch(lab, database, "b")
        client = talk(lab, a)
    a.wait_for(says("^there has been no link to the Asterisk"), LINK_LOST_S + 10)
    b.wait_for(says("is asked for it: this one can log in there"))
    a.wait_for(says("^this instance leaves the Asterisk default to the instance b"))
    b.wait_for(HOLDS)
    b.wait_for(says("its call is under way, following it"))
    hang_up(lab, client)

    settled(b, "completed")
    assert dispositions(b) == ["ANSWERED"]
    rung_once(lab, client)
    assert a.running


def test_holder_is_frozen_longer_than_the_lease_and_wakes(
    lab: Lab, database: str
) -> None:
    a = holder(lab, database)
    b = launch(lab, database, "b")
    client = talk(lab, a)
    a.freeze()
    b.wait_for(HOLDS, TAKEN_OVER_S)
    b.wait_for(says("its call is under way, following it"))

    a.thaw()
    a.wait_for(LEAVES)
    hang_up(lab, client)

    settled(b, "completed")
    assert dispositions(b) == ["ANSWERED"]
    assert a.running
    rung_once(lab, client)
    b.stop()
    a.wait_for(HOLDS, count=2)


def test_holder_is_frozen_as_an_agent_becomes_free_and_rings_nobody_when_it_wakes(
    lab: Lab, database: str
) -> None:
    a = holder(lab, database)
    b = launch(lab, database, "b")
    lab.agent("alice")
    client = lab.client(CLIENT, TALKS)
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    requested(a)
    hung_up_by_asterisk(caller)
    a.freeze()
    b.wait_for(HOLDS, TAKEN_OVER_S)
    # Both learn at the same moment that alice is free.
    unpause(lab, "support")
    a.thaw()

    settled(b, "completed")
    a.wait_for(LEAVES)
    assert dispositions(b) == ["ANSWERED"]
    assert len(client.invites) == 1


def fence_of(lab: Lab) -> int:
    said = lab.asterisk.cli("database show callback-fence")
    found = re.search(r"/callback-fence/epoch\s*:\s*(\d+)", said)
    assert found is not None, said
    return int(found[1])


def test_stopped_holder_is_followed_and_asterisk_knows_the_epoch(
    lab: Lab, database: str
) -> None:
    a = holder(lab, database)
    assert fence_of(lab) == 1
    b = launch(lab, database, "b")
    a.stop()
    b.wait_for(HOLDS)
    b.wait_until_ready()
    assert fence_of(lab) > 1

    lab.agent("alice")
    client = lab.client(CLIENT, TALKS)
    b.ask("tasks.add", queue="support", number=CLIENT)
    settled(b, "completed")
    rung_once(lab, client)


@pytest.mark.parametrize("exten", ["queue", "place", "extension", "client"])
def test_call_of_a_former_holder_or_read_too_late_rings_nobody(
    lab: Lab, exten: str
) -> None:
    agent = lab.agent("alice", Answer())
    client = lab.client(CLIENT, TALKS)
    user = lab.asterisk.service_user
    with ManagerLink(
        Where(host="127.0.0.1", port=lab.asterisk.ports.ami, timeout_s=5.0),
        Credentials(username=user.name, secret=user.secret),
    ) as link:
        lab.asterisk.cli("database put callback-fence epoch 7")
        now = int(link.ask(actions.get_var("EPOCH")).get("Value"))
        wanted = {
            "former": {"CALLBACK_EPOCH": "6", "CALLBACK_NOT_AFTER": f"{now + 60}"},
            "late": {"CALLBACK_EPOCH": "7", "CALLBACK_NOT_AFTER": f"{now - 1}"},
            "good": {"CALLBACK_EPOCH": "7", "CALLBACK_NOT_AFTER": f"{now + 60}"},
        }
        for name, fence in wanted.items():
            callback = f"callback-1-{name}"
            link.ask(
                actions.originate(
                    channel=f"Local/{exten}@callback-member/n",
                    context="callback-line" if exten == "client" else "callback-caller",
                    exten="s",
                    channel_id=f"{callback}-1",
                    other_channel_id=f"{callback}-2",
                    variables={
                        "__CALLBACK_ID": callback,
                        "CALLBACK_TARGET": (
                            "PJSIP/alice" if exten == "extension" else "support"
                        ),
                        "CALLBACK_MEMBER_RING_TIME": "20",
                        "CALLBACK_CALLER_RING_TIME": "20",
                        "CALLBACK_POSITION": "1",
                        "CALLBACK_PRIORITY": "0",
                        "CALLBACK_CHANNEL": f"Local/{CLIENT}@outbound-routes/n",
                        "CALLBACK_ALERT": "beep",
                        **fence,
                    },
                )
            )
            if name == "good":
                break
            lab.witness.wait_for(
                event("UserEvent", UserEvent="CallbackStale", CallbackID=callback)
            )
            lab.witness.wait_for(event("Hangup", Uniqueid=f"{callback}-1"))
            assert not agent.invites
            assert not client.invites
        (client if exten == "client" else agent).wait_for(request("INVITE"))
        lab.witness.wait_for(event("Hangup", Uniqueid=f"{callback}-1"), 60)
    lab.asterisk.cli("database deltree callback-fence")
