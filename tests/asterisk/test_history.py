# SPDX-License-Identifier: MIT
"""Calls missed while the service was down are found in Asterisk's records.

A separate service with an empty database reads each history of the same calls. The
comment at each call says what a history does not show.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from fastagi.checks.dialplan import NUMBER_FILTER
from fastagi.history import queue_log
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    joins,
    only_task,
    pause,
    requested,
    settled,
    unpause,
)
from tests.asterisk.test_missed import DIALPLAN, TALK
from tests.lab.config import FREEPBX_CDR
from tests.lab.lab import Lab
from tests.lab.phones import Client
from tests.lab.processes import wait_until
from tests.lab.proxy import AMI_MESSAGE, Proxy
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press, Step
from tests.lab.service import Service, merged, says
from tests.lab.witness import event

MORE_DIALPLAN = """
[inbound](+)
exten => then-answered,1,Answer()
 same => n,Queue(support,,,,1)
 same => n,Dial(PJSIP/bob,10)
 same => n,Hangup()
"""
OLD = "4930555099"
HANGS_UP = HangUp(after_ms=700)
RUNS_OUT = ("X-Queue-Timeout: 1",)


@attrs.frozen
class Call:
    """A call from outside."""

    exten: str
    steps: tuple[Step, ...] = (HANGS_UP,)
    headers: tuple[str, ...] = ()
    #: The queue of its task.
    queue: str = "support"
    #: Without a queue, queue_log does not have the call.
    only_in_cdrs: bool = False


#: Every one of these calls is missed, and each has its own number.
MISSED: Mapping[str, Call] = {
    f"49305550{number:02}": call
    for number, call in enumerate(
        [
            Call("support"),
            Call("sales", queue="sales"),
            Call("support", (), RUNS_OUT),
            Call("sales", (), RUNS_OUT, queue="sales"),
            Call("then-queue", (), queue="sales"),
            Call("then-queue", (HangUp(after_ms=1600),), queue="sales"),
            Call("then-extension", ()),
            Call("then-voicemail", (HangUp(after_ms=2500),)),
            Call("through-local"),
            Call("through-local", (HangUp(after_ms=1500),)),
            Call("support", (Press("1"), HangUp(after_ms=200))),
            Call("support", (Press("1"), HangUp(after_ms=4500))),
            Call("support", (HangUp(after_ms=500),)),
            Call("support", (HangUp(after_ms=1400),)),
            Call("support", (HangUp(after_ms=2100),)),
            Call("sales", (HangUp(after_ms=2800),), queue="sales"),
            Call("menu", only_in_cdrs=True),
            Call("direct", (), only_in_cdrs=True),
            Call("park", only_in_cdrs=True),
        ]
    )
}
#: A caller without a phone, on a Local channel.
LOCAL = "4930555050"
#: Missed, then answered when the client called again.
RANG_AGAIN = "4930555061"
#: Missed, then called by hand, which only CDRs show.
CALLED = "4930555062"
#: Answered at an extension after the queue's time-out, which only CDRs show.
AFTER_QUEUE = "4930555063"
ANSWERED = "4930555064"
INTERNAL = "101"

IN_QUEUE_LOG = {n for n, call in MISSED.items() if not call.only_in_cdrs} | {LOCAL}
IN_CDRS = {*MISSED, LOCAL}
OURS = re.compile(r"49305550\d\d|101")


def sources(lab: Lab) -> dict[str, tuple[dict[str, Any], set[str]]]:
    """Return the settings of each history, and the missed numbers that it shows."""
    log = lab.asterisk.home / "log"
    in_queues = {"queue_log": str(log / "queue_log")}
    custom = {
        "cdr_csv": str(log / "cdr-custom/freepbx.csv"),
        "cdr_columns": list(FREEPBX_CDR),
    }
    table = {"cdr_url": f"sqlite:///{log / 'master.db'}"}
    with closing(sqlite3.connect(log / "master.db")) as conn, conn:
        conn.execute("DROP VIEW IF EXISTS two_times")
        # As another CDR module might leave it.
        conn.execute("CREATE VIEW two_times AS SELECT *, NULL AS start FROM cdr")
    return {
        # For queue_log these calls are missed, as only the CDR shows what followed.
        "queue_log": (in_queues, IN_QUEUE_LOG | {CALLED, AFTER_QUEUE}),
        "cdr_csv": ({"cdr_csv": str(log / "cdr-csv/Master.csv")}, IN_CDRS),
        "cdr_custom": (custom, IN_CDRS),
        "table": (table, IN_CDRS),
        "two times": ({**table, "cdr_table": "two_times"}, IN_CDRS),
        "all": ({**in_queues, **custom, **table}, IN_CDRS),
    }


def settings(history: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a service that reads only these histories."""
    return merged(
        QUICK,
        {
            "missed": {"contexts": ["inbound"]},
            "history": {"enabled": True, "queue_log": "", **history},
        },
    )


def found(service: Service) -> list[tuple[str, str]]:
    """Return number and queue of each missed call found, for the calls of this test."""
    service.wait_for(says("^the history since"), 20)
    return [
        (task["number"], task["queue"])
        for task in service.tasks()
        if OURS.fullmatch(task["number"])
    ]


def make_calls(lab: Lab) -> None:
    """Make all the calls, most of them at once, and wait until they are over."""
    lab.agent("dave", *[NoAnswer()] * 4)
    lab.agent("carol", TALK)
    lab.agent("bob", *[Answer(steps=(HangUp(after_ms=1500),))] * 2)
    client = lab.client(CALLED, Answer())
    for queue in ("support", "sales"):
        pause(lab, queue)
    lab.witness.originate("Local/support@inbound/n", caller_id=f'"Eve" <{LOCAL}>')
    for number, call in MISSED.items():
        lab.caller(
            call.exten,
            *call.steps,
            number=number,
            headers=call.headers,
        )
    for number in (RANG_AGAIN, CALLED, INTERNAL):
        lab.caller("support", HANGS_UP, number=number)
    lab.caller("then-answered", number=AFTER_QUEUE)
    lab.asterisk.cli(f"channel request hangup {joins(lab, LOCAL, 1)['Channel']}")
    over(lab)
    unpause(lab, "sales")
    lab.caller("sales", number=RANG_AGAIN)
    lab.witness.originate(
        "PJSIP/bob", context="outbound-routes", exten=CALLED, timeout_s=10
    )
    client.wait_for_call()
    over(lab)


def over(lab: Lab) -> None:
    """Wait until no call is left."""
    wait_until(lambda: not lab.asterisk.channels(), 20, "the end of all calls")


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Return a laboratory whose inbound calls can go all those ways.

    Its queue_log has no calls of other tests.
    """
    lab.asterisk.set_dialplan(extra=DIALPLAN + MORE_DIALPLAN)
    rotate(lab)
    for old in (lab.asterisk.home / "log").glob("queue_log.*"):
        old.unlink()
    return lab


def rotate(lab: Lab) -> Path:
    """Rotate queue_log as logrotate does; return the old file."""
    log = lab.asterisk.home / "log/queue_log"
    number = len(list(log.parent.glob("queue_log.*"))) + 1
    old = log.rename(log.with_name(f"queue_log.{number}"))
    lab.asterisk.cli("logger reload")
    wait_until(log.exists, 5, "a new queue_log")
    return old


def test_calls_missed_while_the_service_was_down_are_found_in_each_history(
    lab: Lab,
) -> None:
    make_calls(lab)
    # The file is read, but no call in it is older than the window.
    ended_at = int(time.time()) - 310
    old = rotate(lab)
    lines = [
        f"{ended_at - 5}|{ended_at - 6}.1|support|NONE|ENTERQUEUE||{OLD}|1",
        f"{ended_at}|{ended_at - 6}.1|support|NONE|ABANDON|1|1|5",
    ]
    old.write_text("\n".join(lines) + "\n" + old.read_text())

    for name, (history, numbers) in sources(lab).items():
        service = lab.service(settings(history))
        told = found(service)
        assert sorted(number for number, _ in told) == sorted(numbers), name
        for number, queue in told:
            call = MISSED.get(number)
            # The CDR of a call that left its queue does not name the queue.
            if call is not None and "queue_log" in history:
                assert queue == call.queue, (name, number)
        assert service.stop() == 0


def test_calls_missed_while_the_link_was_lost_are_found_and_called_back(
    lab: Lab,
) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, "support")
    log = str(lab.asterisk.home / "log/queue_log")
    ports = lab.asterisk.ports
    with Proxy(ports.spare, ports.ami, AMI_MESSAGE):
        service = lab.service(
            merged(settings({"queue_log": log}), {"ami": {"port": ports.spare}})
        )
        lab.caller("support", number="4989000001")
        outlives = joins(lab, "4989000001", 1)
    # Nobody listens on this port now.
    miss(lab, CLIENT)
    miss(lab, "4989000002")
    rotate(lab)
    with Proxy(ports.spare, ports.ami, AMI_MESSAGE):
        for number in ("4989000002", CLIENT):
            is_found(service, number)
        lab.asterisk.cli(f"channel request hangup {outlives['Channel']}")
        is_found(service, "4989000001")
        check_called_back(lab, service, client)


def is_found(service: Service, number: str) -> None:
    """Wait until the service finds a missed call in the histories."""
    line = service.wait_for(says("^task .*: missed call", number=number), 20)
    assert "found in queue_log" in line["how"]


def check_called_back(lab: Lab, service: Service, client: Client) -> None:
    """Check that the client has one task and is called once."""
    unpause(lab, "support")
    settled(service, "completed")
    assert len(client.invites) == 1
    assert [task["number"] for task in service.tasks()].count(CLIENT) == 1


def test_client_served_while_the_service_was_down_is_not_called(lab: Lab) -> None:
    lab.agent("carol", TALK)
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, "support")
    log = str(lab.asterisk.home / "log/queue_log")
    service = lab.service(settings({"queue_log": log}))
    miss(lab, CLIENT)
    service.wait_for(says("^task .*: missed call", number=CLIENT))
    service.kill()
    lab.caller("sales", number=CLIENT)
    lab.witness.wait_for(event("AgentComplete"))
    over(lab)
    unpause(lab, "support")

    service.start()

    served = settled(service, "served")
    assert "rang again and Carol answered" in served["reason"]
    assert only_task(service)["status"] == "served"
    assert client.invites == []


def test_stranger_who_writes_into_queue_log_serves_nobody(lab: Lab) -> None:
    """The user part of a SIP address has line breaks, followed by whole lines."""
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, "support")
    log = lab.asterisk.home / "log/queue_log"
    service = lab.service(settings({"queue_log": str(log)}))
    miss(lab, CLIENT)
    service.wait_for(says("^task .*: missed call", number=CLIENT))
    service.kill()
    now = int(time.time())
    forged = [
        f"{now}|{now}.5|support|NONE|ENTERQUEUE||{CLIENT}|1",
        f"{now}|{now}.5|support|x|CONNECT|1|{now}.6|1",
        f"{now}|{now}.5|support|x|COMPLETECALLER|3|60|1",
    ]
    for line in forged:
        miss(lab, f"1%0A{line.replace('|', '%7C')}%0A")
    # They look as if Asterisk had written them.
    assert set(forged) <= set(log.read_text().splitlines())
    # The service ignores all lines shortly after a forgery.
    size = log.stat().st_size
    for _ in range(10):
        unpause(lab, "support")
        pause(lab, "support")
    assert log.stat().st_size > size + 512
    miss(lab, "4989000002")

    service.start()

    # Later lines of the log are read.
    is_found(service, "4989000002")
    check_called_back(lab, service, client)


def miss(lab: Lab, number: str) -> None:
    """Let a call be missed in the queue support, and wait until it is in the log."""
    log = lab.asterisk.home / "log/queue_log"
    before = log.read_text().count("|ABANDON|")
    lab.caller("support", HANGS_UP, number=number)
    # Asterisk loses lines while its logger is reloaded.
    wait_until(
        lambda: log.read_text().count("|ABANDON|") > before, 10, "the end of the call"
    )


def test_stranger_can_not_end_the_request_of_another_with_his_number(lab: Lab) -> None:
    """The caller writes into queue_log that the other was served, with plausible lines.

    The number of a SIP address has room for one such line.
    """
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    log = lab.asterisk.home / "log/queue_log"
    given = settings({"queue_log": str(log)})
    service = lab.service(given)
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    over(lab)
    service.kill()

    now = int(time.time()) + 1
    for line in (
        f"{now}|{now}.9|support|NONE|ENTERQUEUE||{CLIENT}",
        f"{now}|{now}.9|support|Al|COMPLETECALLER|1|60",
    ):
        write_with_a_number(lab, line)
    over(lab)
    wait_until(lambda: time.time() > now, 5, "the time of the lines")
    # The lines look valid.
    (made_up,) = (
        call
        for call in queue_log.past_calls(log.read_bytes().splitlines(), time.time())
        if call.uniqueid == f"{now}.9"
    )
    assert (made_up.number, made_up.answered_at) == (CLIENT, now)

    service.start()
    service.wait_for(says("^the history since"), 20, count=1)
    assert only_task(service)["status"] == "pending"
    unpause(lab, "support")
    settled(service, "completed")
    assert len(client.invites) == 1


def write_with_a_number(lab: Lab, line: str) -> None:
    """Let Asterisk write a line into queue_log that is part of a caller's number."""
    log = lab.asterisk.home / "log/queue_log"
    number = f"1|1\n{line}"
    assert len(number) < 80
    lab.caller("support", HANGS_UP, number=quote(number, safe=""))
    wait_until(lambda: f"\n{line}|" in log.read_text(), 10, "the line")


def test_filter_of_the_example_lets_no_line_break_into_a_queue(lab: Lab) -> None:
    lab.asterisk.set_dialplan(
        extra=DIALPLAN
        + f"""
[inbound](+)
exten => filtered,1,Answer()
 same => n,{NUMBER_FILTER}
 same => n,Queue(support)
"""
    )
    numbers = {
        "4930\n1|1.1|support|Al|COMPLETEAGENT|1": "493011.1supportAlCOMPLETEAGENT1",
        "4930\r\n\r\nEvent: Hangup\r\nUniqueid: 1.1": "4930Event: HangupUniqueid: 1.1",
        '+49 (30) "12-34*56#"),x}${EXTEN}': "+49 30 12-34*56#xEXTEN",
        # The service reads the whole field as the number; its digits are another
        # number.
        "sip:+4930123456@10.0.0.5": "sip:+4930123456@10.0.0.5",
        "anonymous": "anonymous",
    }
    for number in numbers:
        lab.caller("filtered", HANGS_UP, number=quote(number, safe=""))
    lab.witness.wait_for(event("QueueCallerAbandon"), count=len(numbers))
    over(lab)
    lines = (lab.asterisk.home / "log/queue_log").read_bytes().splitlines()
    entered = [
        line.data[1]
        for line in map(queue_log.parse_line, lines)
        if line is not None and line.event == "ENTERQUEUE"
    ]
    assert sorted(entered) == sorted(numbers.values())


#: Tables of Asterisk's realtime; the last column of the older ones holds all data.
REALTIME_TABLES = {
    "data1..data5": "data1, data2, data3, data4, data5",
    "data": "data",
}


@pytest.mark.parametrize("data", REALTIME_TABLES.values(), ids=REALTIME_TABLES)
def test_missed_calls_are_found_in_a_queue_log_that_asterisk_keeps_in_a_database(
    lab: Lab, data: str
) -> None:
    path = lab.asterisk.home / "log/realtime.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "CREATE TABLE queue_log (id INTEGER PRIMARY KEY, time, callid, queuename,"
            f" agent, event, {data})"
        )
    with queue_log_in_a_table(lab, path):
        lab.agent("carol", TALK)
        pause(lab, "support")
        lab.caller("support", HANGS_UP, number=CLIENT)
        lab.caller("support", HANGS_UP, number=RANG_AGAIN)
        lab.witness.wait_for(event("QueueCallerAbandon"), count=2)
        over(lab)
        lab.caller("sales", number=RANG_AGAIN)
        lab.witness.wait_for(event("AgentComplete"))
        over(lab)
        wait_until(lambda: rows_of(path, "COMPLETE%"), 5, "the end of the call")
    # The file has none of it.
    assert CLIENT not in (lab.asterisk.home / "log/queue_log").read_text()
    service = lab.service(settings({"queue_log_url": f"sqlite:///{path}"}))

    service.wait_for(says("^the history since"), 20)

    (task,) = service.tasks()
    assert (task["number"], task["queue"]) == (CLIENT, "support")
    assert "found in queue_log" in task["reason"]


@contextmanager
def queue_log_in_a_table(lab: Lab, path: Path) -> Iterator[None]:
    """Let Asterisk write queue_log into a table rather than its file."""
    etc = lab.asterisk.home / "etc"
    files = {
        "extconfig.conf": "[settings]\nqueue_log => sqlite3,realtime,queue_log\n",
        "res_config_sqlite3.conf": f"[realtime]\ndbfile => {path}\nbatch => 0\n",
    }
    for name, text in files.items():
        (etc / name).write_text(text)
    try:
        for command in (
            "module load res_config_sqlite3.so",
            "module reload extconfig",
            "logger reload",
        ):
            lab.asterisk.cli(command)
        yield
    finally:
        (etc / "extconfig.conf").write_text("")
        for command in (
            "module reload extconfig",
            "logger reload",
            "module unload res_config_sqlite3.so",
        ):
            lab.asterisk.cli(command)
        for name in files:
            (etc / name).unlink()


def rows_of(path: Path, event: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute("SELECT * FROM queue_log WHERE event LIKE ?", [event])
        return found.fetchall()
