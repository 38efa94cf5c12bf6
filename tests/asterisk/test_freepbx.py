# SPDX-License-Identifier: MIT
"""A dialplan that prepares each call before a queue, like FreePBX's.

FreePBX itself is not installed here. The parts of its dialplan that affect a callback
are copied below, on a plain Asterisk, with the additions of ``docs/freepbx.md``.
"""

from __future__ import annotations

import re

import pytest

from tests.asterisk.callback import CLIENT, QUICK, ask, dispositions, settled
from tests.lab.asterisk import REPOSITORY
from tests.lab.config import Queue
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, NoAnswer
from tests.lab.service import merged, says
from tests.lab.witness import event

_DOCS = REPOSITORY / "docs" / "freepbx.md"
_QUEUE = Queue(
    name="600", members=("Local/101@from-queue/n,0,Alice,hint:101@ext-local",)
)
_TALK = Answer(steps=(HangUp(after_ms=1500),))
_SETTINGS = merged(
    QUICK, {"defaults": {"member_ring_time": "5s"}, "queues": {"600": {}}}
)
#: As in FreePBX, members refuse a call that did not come through the queue's own
#: extension. A call to an extension without an answer goes to its voicemail, unless
#: that is blocked, until somebody answers.
_LIKE_FREEPBX = """
[from-queue]
exten => _X.,1,Set(QAGENT=${EXTEN})
 same => n,GotoIf($["${NODEST}" = ""]?refused)
 same => n,GotoIf($[${DIALPLAN_EXISTS(from-queue,${NODEST},1)}]?${NODEST},1)
 same => n(refused),Hangup()
exten => 600,1,Goto(ext-local,${QAGENT},1)

[ext-local]
exten => 101,hint,PJSIP/alice
exten => 101,1,Dial(PJSIP/alice,2,U(unblock))
 same => n,GotoIf($["${SHARED(BLKVM,${BLKVM_CHANNEL})}" = "TRUE"]?blocked)
 same => n,Answer()
 same => n,UserEvent(Voicemail)
 same => n,Wait(20)
 same => n(blocked),Hangup()

[unblock]
exten => s,1,Set(SHARED(BLKVM,${BLKVM_CHANNEL})=)
 same => n,UserEvent(Unblocked)
 same => n,Return()
"""


def documented() -> str:
    """Return the contexts that the page tells an administrator to write."""
    blocks = re.findall(r"```ini\n(.*?)```", _DOCS.read_text("utf-8"), re.DOTALL)
    (contexts,) = (block for block in blocks if "[callback-before-queue]" in block)
    include, _, own = contexts.partition("\n")
    assert include == '#include "callback-queue.conf"'
    return own


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Return a laboratory with such a dialplan and a queue 600."""
    lab.asterisk.set_queues([*lab.asterisk.queues, _QUEUE])
    lab.asterisk.set_dialplan(extra=_LIKE_FREEPBX + documented())
    return lab


def test_agent_rings_and_the_two_talk(lab: Lab) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, _TALK)
    service = lab.service(_SETTINGS)

    ask(lab, service, "600")
    settled(service, "completed")

    assert len(alice.invites) == len(client.invites) == 1
    lab.witness.fence()
    # The target of a later transfer may have voicemail.
    assert len(lab.witness.events("UserEvent", UserEvent="Unblocked")) == 1


def test_voicemail_does_not_take_the_callback_of_an_agent_who_is_away(
    lab: Lab,
) -> None:
    alice = lab.agent("alice", NoAnswer(), Answer())
    client = lab.client(CLIENT, _TALK)
    service = lab.service(_SETTINGS)

    ask(lab, service, "600")
    settled(service, "completed")

    # The queue has rung the agent again.
    assert len(alice.invites) == 2
    assert dispositions(service) == ["ANSWERED"]
    assert len(client.invites) == 1
    lab.witness.fence()
    assert lab.witness.events("UserEvent", UserEvent="Voicemail") == []


def test_without_the_page_no_agent_rings(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=_LIKE_FREEPBX)
    alice = lab.agent("alice")
    service = lab.service(_SETTINGS)

    ask(lab, service, "600")
    service.wait_for(says(r"^task \d+: pending", disposition="MEMBER NO ANSWER"), 15)

    assert alice.invites == []


def test_without_its_lines_for_voicemail_that_takes_the_callback(lab: Lab) -> None:
    lines = [line for line in documented().splitlines() if "BLKVM" not in line]
    lab.asterisk.set_dialplan(extra=_LIKE_FREEPBX + "\n".join(lines))
    lab.agent("alice", NoAnswer())
    service = lab.service(_SETTINGS)

    ask(lab, service, "600")

    lab.witness.wait_for(event("UserEvent", UserEvent="Voicemail"))
