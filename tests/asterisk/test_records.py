# SPDX-License-Identifier: MIT
"""Reports show every callback: queue_log and CDRs of a real Asterisk."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from fastagi.domain.contacts import Contact
from fastagi.domain.counting import CountingRules
from fastagi.history.cdr import past_calls, read_rows
from fastagi.history.judge import judge
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    joins,
    only_task,
    pause,
    settled,
    story,
    unpause,
)
from tests.lab.asterisk import REPOSITORY, QueueLogRow
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Refuse
from tests.lab.service import Service, merged, says

TALK = Answer(steps=(HangUp(after_ms=1500),))


def ours(lab: Lab, count: int) -> list[QueueLogRow]:
    """Return the lines of the service, once there are this many."""

    def found() -> list[QueueLogRow]:
        rows = lab.asterisk.queue_log()
        return [row for row in rows if row.event.startswith("CALLBACK")]

    wait_until(lambda: len(found()) >= count, 10, f"{count} lines in queue_log")
    lab.witness.fence()
    return found()


def test_request_that_succeeds_at_the_second_attempt(lab: Lab) -> None:
    lab.agent("alice")
    lab.client(CLIENT, Refuse(486, "Busy Here"), TALK)
    service = lab.service(QUICK)
    ask(lab, service)
    settled(service, "completed")

    rows = ours(lab, 4)

    assert [row.event for row in rows] == [
        "CALLBACKREQUEST",
        "CALLBACKATTEMPT",
        "CALLBACKATTEMPT",
        "CALLBACKDONE",
    ]
    first, second = (one["channel_id"] for one in story(service)["attempts"])
    callid = only_task(service)["linkedid"]
    assert [row.callid for row in rows] == [callid, first, second, callid]
    assert {row.queue for row in rows} == {"support"}
    # As Asterisk writes it: the member's name, and NONE for nobody.
    assert [row.agent for row in rows] == ["NONE"] + ["Alice"] * 3
    assert {
        row.agent for row in lab.asterisk.queue_log() if row.event == "CONNECT"
    } == {"Alice"}
    assert all(row.data[:2] == ("1", CLIENT) for row in rows)
    assert [row.data[3] for row in rows] == [
        "requested",
        "BUSY",
        "ANSWERED",
        "completed",
    ]
    # Asterisk's own records of the caller's call and of the two callbacks.
    entered = [
        row.callid for row in lab.asterisk.queue_log() if row.event == "ENTERQUEUE"
    ]
    assert entered == [callid, f"{first}-2", f"{second}-2"]
    _every_cdr_of_the_callback_has_the_task(lab)


def _every_cdr_of_the_callback_has_the_task(lab: Lab) -> None:
    def callbacks() -> list[dict[str, str]]:
        return [
            cdr
            for cdr in lab.asterisk.cdrs()
            if cdr["dcontext"].startswith("callback-")
            and cdr["dcontext"] != "callback-request"
        ]

    wait_until(lambda: len(callbacks()) >= 4, 10, "the CDRs of the callback")
    assert {cdr["userfield"] for cdr in callbacks()} == {"callback-task-1"}
    others = [cdr for cdr in lab.asterisk.cdrs() if cdr not in callbacks()]
    assert {cdr["userfield"] for cdr in others} == {""}


def test_missed_call_whose_client_is_served_meanwhile(lab: Lab) -> None:
    lab.agent("alice", TALK)
    service = lab.service(QUICK)
    pause(lab, "support")
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    service.wait_for(says("missed", number=CLIENT, level="info"))
    lab.caller("support", number=CLIENT)
    joins(lab, CLIENT, 2)
    unpause(lab, "support")
    settled(service, "served")

    rows = ours(lab, 2)

    assert [row.event for row in rows] == ["CALLBACKMISSED", "CALLBACKDONE"]
    assert {row.callid for row in rows} == {only_task(service)["linkedid"]}
    assert {row.agent for row in rows} == {"NONE"}
    assert rows[-1].data[3] == "served"


def test_restarted_service_writes_nothing_again(lab: Lab) -> None:
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    service: Service = lab.service(QUICK)
    ask(lab, service)
    settled(service, "completed")
    before = ours(lab, 3)
    service.stop()
    service.start()
    assert ours(lab, 3) == before


@pytest.mark.parametrize("suffix", ["", "/n"])
def test_cdrs_of_a_callback_through_a_local_channel(lab: Lab, suffix: str) -> None:
    """The query of docs/reports.md, and which row has the client's number and talk."""
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    way = f"Local/{{number}}@outbound-routes{suffix}"
    service = lab.service(merged(QUICK, {"defaults": {"outbound_channel": way}}))
    ask(lab, service)
    settled(service, "completed")
    callid = story(service)["attempts"][0]["channel_id"]
    lab.witness.fence()

    (documented,) = re.findall(
        "^```sql\n(SELECT start.*?);$",
        (REPOSITORY / "docs/reports.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    query = documented.replace("start", "calldate").replace("task-17", "task-1")
    # This table has only text columns; others have numbers.
    query = query.replace("billsec", "CAST(billsec AS INTEGER)")

    def rows(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(lab.asterisk.home / "log/master.db")) as conn:
            return conn.execute(f"{sql} AND linkedid LIKE '{callid}%'").fetchall()

    wait_until(lambda: rows(query), 10, "the CDR of the client's leg")
    ((_, dialled, disposition, talk_s),) = rows(query)
    assert CLIENT in dialled
    assert (disposition, talk_s >= 1) == ("ANSWERED", True)
    ((of_the_route,),) = rows(
        f"SELECT CAST(billsec AS INTEGER) FROM cdr WHERE dst = '{CLIENT}'"
    )
    assert (of_the_route >= 1) is (suffix == "/n")


@pytest.mark.parametrize("suffix", ["", "/n"])
def test_cdrs_of_a_call_by_hand_say_that_the_client_was_talked_to(
    lab: Lab, suffix: str
) -> None:
    """Without /n the row with the number has 0 s, and the row of the talk no number."""
    lab.agent("alice", Answer())
    lab.client(CLIENT, TALK)
    lab.asterisk.set_dialplan(
        extra="[by-hand]\n"
        f"exten => s,1,Dial(Local/{CLIENT}@outbound-routes{suffix},20)\n"
        " same => n,Hangup()\n"
    )
    uniqueid = lab.witness.originate("PJSIP/alice", context="by-hand", exten="s")

    def rows() -> list[dict[str, Any]]:
        with closing(sqlite3.connect(lab.asterisk.home / "log/master.db")) as conn:
            conn.row_factory = sqlite3.Row
            found = conn.execute("SELECT * FROM cdr WHERE linkedid = ?", [uniqueid])
            return [dict(one) for one in found]

    wait_until(
        lambda: any(int(row["billsec"]) for row in rows() if row["dst"] == "s"),
        10,
        "the CDR of the talk",
    )
    lab.witness.fence()

    by_number = [row for row in rows() if row["dst"] == CLIENT]
    assert [int(row["billsec"]) >= 1 for row in by_number] == [suffix == "/n"]
    judged = judge(
        past_calls(read_rows(rows()).rows),
        CountingRules(queues=frozenset({"support"})),
        client_key=lambda number: number if number.isdecimal() else "",
        is_own=lambda _: False,
    )
    (contact,) = judged.contacts
    assert (contact.contact, contact.key) == (Contact.CALLED, CLIENT)
    assert contact.confirmed
    assert contact.talk_s >= 1
    assert judged.missed == []
