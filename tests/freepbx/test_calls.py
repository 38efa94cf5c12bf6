# SPDX-License-Identifier: MIT
"""What the module writes, on real Asterisk: callers, callbacks, the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    hung_up_by_asterisk,
    joins,
    requested,
    settled,
)
from tests.freepbx.model import QUEUE, FreePBX
from tests.lab.asterisk import REPOSITORY
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import Service, merged
from tests.lab.witness import event

_AGENT = "Local/101@from-queue/n"
_TALK = Answer(steps=(HangUp(after_ms=1500),))


class Pbx:
    """A real Asterisk with the files of the modelled FreePBX."""

    def __init__(self, lab: Lab, freepbx: FreePBX) -> None:
        self.lab, self.freepbx = lab, freepbx
        self._etc = lab.asterisk.home / "etc"
        self._own = {
            name: (self._etc / name).read_text()
            for name in ("extensions.conf", "queues.conf")
        }
        freepbx.asterisk = lab.asterisk.version
        freepbx.phones = {"101": "PJSIP/alice"}
        freepbx.save_page(service=f"127.0.0.1:{lab.asterisk.ports.agi}")

    def apply(self) -> None:
        """Apply Config, and load what was written."""
        extensions, queues = self.freepbx.apply()
        # The product's file is not included: its contexts are in what was written.
        own = re.sub(
            r"^#include .*callback-queue\.conf.*$",
            "",
            self._own["extensions.conf"],
            flags=re.M,
        )
        inbound = "[inbound]\nexten => 600,1,Goto(ext-queues,600,1)\n"
        (self._etc / "extensions.conf").write_text(f"{own}\n{inbound}\n{extensions}")
        (self._etc / "queues.conf").write_text(self._own["queues.conf"] + queues)
        self.lab.asterisk.cli("dialplan reload")
        self.lab.asterisk.cli("queue reload all")

    def pause(self, paused: bool = True) -> None:
        """Pause the agent, or end the pause."""
        word = "pause" if paused else "unpause"
        self.lab.asterisk.cli(f"queue {word} member {_AGENT} queue 600")

    def service(self) -> Service:
        """Start the service with the queues that the module has written."""
        given = {
            "include": {"queues": str(self.freepbx.settings)},
            "defaults": {"member_ring_time": "5s"},
        }
        return self.lab.service(merged(QUICK, given))

    def steps(self, context: str) -> list[str]:
        """Return a context as Asterisk has loaded it."""
        shown = self.lab.asterisk.cli(f"dialplan show {context}")
        return [
            re.sub(r"\s*\[.*\]$", "", line)
            for line in shown.splitlines()
            if "=>" in line or line.startswith("[")
        ]


@pytest.fixture
def pbx(lab: Lab, freepbx: FreePBX) -> Iterator[Pbx]:
    """Return an Asterisk with FreePBX, whose queue 600 has callbacks."""
    freepbx.save_queue(offer="none")
    yield Pbx(lab, freepbx)
    lab.asterisk.write_configuration()


def test_contexts_are_loaded_as_from_the_file_of_the_service(pbx: Pbx) -> None:
    names = re.findall(
        r"^\[([\w-]+)\]",
        (REPOSITORY / "dialplan/callback-queue.conf").read_text(),
        re.M,
    )
    included = {name: pbx.steps(name) for name in names}
    pbx.apply()
    assert all(len(steps) > 1 for steps in included.values())
    assert {name: pbx.steps(name) for name in names} == included


def test_caller_presses_1_and_is_called_back_by_the_agent(pbx: Pbx) -> None:
    lab = pbx.lab
    pbx.freepbx.queues = [
        {**QUEUE, "recording": "force", "maxwait": "60", "use_queue_context": "1"}
    ]
    pbx.freepbx.save_queue(offer="none", did="4930600")
    pbx.apply()
    pbx.pause()
    alice = lab.agent("alice", NoAnswer(), Answer())
    client = lab.client(CLIENT, _TALK)
    service = pbx.service()

    caller = lab.caller("600", Press("1"), number=CLIENT)
    requested(service)
    hung_up_by_asterisk(caller, 20)
    pbx.pause(False)
    settled(service, "completed")

    # The agent did not answer at first, and the mailbox took nothing.
    assert len(alice.invites) == 2
    assert len(client.invites) == 1
    lab.witness.fence()
    assert lab.witness.events("UserEvent", UserEvent="Voicemail") == []
    assert lab.witness.events("UserEvent", UserEvent="Unblocked")
    leg = lab.witness.events("UserEvent", UserEvent="AgentLeg")[-1]
    assert (leg["Signore"], leg["Type"], leg["DID"]) == ("TRUE", "external", "4930600")
    dids = [row for row in lab.asterisk.queue_log() if row.event == "DID"]
    assert [row.data[0] for row in dids][-1] == "4930600"
    # The rule of the queue records callbacks, too, named after the client.
    names = {path.name for path in lab.asterisk.home.rglob(f"q-600-{CLIENT}-*.wav")}
    assert any("callback-" in name for name in names), names


def test_caller_is_put_back_to_freepbx_own_line_with_place_and_rest_of_the_wait(
    pbx: Pbx,
) -> None:
    lab = pbx.lab
    pbx.freepbx.queues = [{**QUEUE, "maxwait": "7", "options": "tc"}]
    pbx.apply()
    pbx.pause()
    # Nobody answers the key: no service runs.
    lab.witness.originate("Local/600@inbound/n", caller_id="<4989000001>")
    joins(lab, "4989000001", 1)
    lab.caller("600", Press("1", after_ms=2500), number=CLIENT)
    first = joins(lab, CLIENT, 1)
    lab.witness.originate("Local/600@inbound/n", caller_id="<4989000003>")
    joins(lab, "4989000003", 1)
    back = joins(lab, CLIENT, 2)
    assert (first["Position"], back["Position"]) == ("2", "2")

    left = lab.witness.wait_for(
        event("UserEvent", UserEvent="FailOver", Uniqueid=first["Uniqueid"]), 15
    )
    # The wait of 7 s counts from the first join. Nothing is left for another queue.
    assert 6 < (left.clock - first.clock).total_seconds() < 9
    assert (left["Position"], left["Return"]) == ("", "")
    steps = lab.witness.events("Newexten", Uniqueid=first["Uniqueid"])
    queues = [one for one in steps if one["Application"] == "Queue"]
    # Asterisk tells the application again after the key, with the new context.
    assert {one["Context"] for one in queues} <= {"ext-queues", "callback-request"}
    lines = {one["AppData"] for one in queues}
    macro = "," if lab.asterisk.major < 21 else ""
    again = [line for line in lines if re.match(r"600,tc,,,[1-5],", line)]
    assert f"600,tc,,,7,,{macro},," in lines, lines
    assert len(again) == 1, lines
    assert again[0].endswith(f",,{macro},,2")


def test_other_key_leads_to_a_callback_and_the_menu_still_works(pbx: Pbx) -> None:
    lab = pbx.lab
    pbx.freepbx.queues = [{**QUEUE, "context": "ivr-1"}]
    pbx.freepbx.queues_version = "17.0.1.6"
    pbx.freepbx.save_queue(key="5", offer="none")
    pbx.apply()
    pbx.pause()
    service = pbx.service()
    lab.caller("600", Press("7"), number="4930222222")
    lab.witness.wait_for(event("UserEvent", UserEvent="BreakOut"))
    caller = lab.caller("600", Press("5"), number=CLIENT)
    requested(service)
    hung_up_by_asterisk(caller, 20)


def test_service_does_not_complain_about_the_dialplan(pbx: Pbx) -> None:
    pbx.freepbx.queues = [{**QUEUE, "maxwait": "60"}]
    pbx.apply()
    service = pbx.service()
    findings = service.cli("check", "--json").json()
    told = [
        one
        for one in findings
        if one["area"] == "dialplan" and "600" in one["where"] + one["problem"]
    ]
    assert told == []
