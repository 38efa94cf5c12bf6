# SPDX-License-Identifier: MIT
"""The output about tasks for an admin."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastagi.command import render


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def task(**more: object) -> dict[str, object]:
    return {
        "id": 17,
        "kind": "missed",
        "status": "pending",
        "number": "+4930123456",
        "name": "Ada",
        "queue": "support",
        "due_at": "2026-11-24T16:24:30.000+00:00",
        "expires_at": "2026-11-24T16:29:00.000+00:00",
        "ended_at": None,
        "cancel_requested": False,
        "queue_closed": False,
        "opens_at": None,
        "reason": "busy (SIP 486); next try in 30 s",
        **more,
    }


def event(at: str, status: str, text: str) -> dict[str, object]:
    return {"at": f"2026-11-{at}+00:00", "status": status, "text": text}


ATTEMPT = {
    "started_at": "2026-11-24T23:59:58.000+00:00",
    "disposition": "BUSY",
    "member": "PJSIP/alice",
    "talk_s": 0.0,
    "reason": "busy (SIP 486)",
}


def test_story_of_a_task_that_has_ended() -> None:
    answer = {
        "task": task(
            status="served",
            reason="the client rang again and PJSIP/alice answered",
            ended_at="2026-11-25T00:01:09.250+00:00",
        ),
        "history": [
            event("24T23:59:58.000", "calling", "attempt 1 begins"),
            event("25T00:00:01.500", "pending", "busy; next try in 30 s"),
            event("25T00:01:09.250", "served", "the client rang again"),
        ],
        "attempts": [ATTEMPT],
    }
    assert (
        render.story(answer)
        == """\
Task 17: Ada, +4930123456, queue support
  A call of the client was missed.
  Served at 2026-11-25 00:01:09: the client rang again and PJSIP/alice answered.

  2026-11-24
  23:59:58.000  attempt 1 begins

  2026-11-25
  00:00:01.500  busy; next try in 30 s
  00:01:09.250  served: the client rang again

TRY  STARTED              RESULT  AGENT        TALK  WHY
1    2026-11-24 23:59:58  BUSY    PJSIP/alice  -     busy (SIP 486)"""
    )


def test_story_of_a_task_that_waits() -> None:
    story = render.story({"task": task(name=""), "history": [], "attempts": []})
    assert (
        story
        == """\
Task 17: +4930123456, queue support
  A call of the client was missed.
  Waiting: busy (SIP 486); next try in 30 s. To be called from 2026-11-24 16:24:30 on,\
 when an agent is free, until 2026-11-24 16:29:00."""
    )


@pytest.mark.parametrize(
    ("opens_at", "standing", "why"),
    [
        (
            "2026-11-24T16:28:00.000+00:00",
            "The queue is closed until 2026-11-24 16:28:00; to be called then, when an"
            " agent is free, until 2026-11-24 16:29:00.",
            "; waits for the queue to open at 2026-11-24 16:28:00",
        ),
        (
            "2026-11-24T16:29:00.000+00:00",
            "The queue is closed until 2026-11-24 16:29:00; the task expires before, at"
            " 2026-11-24 16:29:00.",
            "; waits for the queue to open at 2026-11-24 16:29:00 and expires before",
        ),
        (
            None,
            "The queue is closed and is not known to open again; the task expires"
            " before, at 2026-11-24 16:29:00.",
            "; the queue is closed",
        ),
    ],
)
def test_task_that_waits_for_its_queue_to_open(
    opens_at: str | None, standing: str, why: str
) -> None:
    waits = task(queue_closed=True, opens_at=opens_at)
    story = render.story({"task": waits, "history": [], "attempts": []})
    assert story.endswith(f"\n  Waiting: {waits['reason']}. {standing}")
    row = {**waits, "joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 1}
    assert render.tasks([row]).endswith(f"{waits['reason']}{why}")


@pytest.mark.parametrize("ahead", [timedelta(seconds=-1), timedelta(minutes=10)])
def test_list_says_when_the_next_try_is(ahead: timedelta) -> None:
    """The stored reason has the pause, which is over at some time."""
    due = datetime.now(UTC).replace(microsecond=0) + ahead
    waits = task(
        due_at=due.isoformat(), reason_code="retry", reason_params={"delay_s": 30.0}
    )
    row = {**waits, "joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 1}
    (line,) = render.tasks([row]).splitlines()[1:]
    assert "next try in 30 s" not in line
    if ahead < timedelta(0):
        assert line.endswith("  busy (SIP 486); the next try is due")
    else:
        assert re.search(rf"; next try at ([\d-]{{10}} )?{due:%H:%M:%S}$", line)


def test_status_says_which_queue_is_open_and_until_when() -> None:
    at = "2026-11-24T17:00:00+00:00"
    queue = {"target": "t", "known": True, "members": 1, "free": [], "waiting": 0}
    told = render.status(
        {
            "version": "1",
            "started_at": at,
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": None,
            "calls_under_way": 0,
            "queues": {
                "a": {**queue, "open": True, "until": at},
                "b": {**queue, "open": False, "until": at},
                "c": {**queue, "open": True, "until": None},
                "d": {**queue, "open": False, "until": None},
            },
        }
    )
    opening = [re.split("  +", line)[1] for line in told.splitlines()[-4:]]
    assert opening == [
        "until 2026-11-24 17:00:00",
        "no, closed until 2026-11-24 17:00:00",
        "always",
        "never",
    ]


def test_status_has_a_line_for_each_asterisk_if_there_are_several() -> None:
    links = [
        {"name": "pbx1", "connected": True, "version": "22", "error": ""},
        {"name": "pbx2", "connected": False, "version": "", "error": "no route"},
        {"name": "pbx3", "connected": True, "version": "16", "error": "a namesake"},
    ]
    answer = {
        "version": "1",
        "started_at": "2026-11-24T17:00:00+00:00",
        "asterisk": links[0],
        "nodes": links,
        "database": "ok",
        "tasks": None,
        "calls_under_way": 0,
        "queues": {},
    }
    told = [line for line in render.status(answer).splitlines() if "Asterisk:" in line]
    assert told == [
        "Asterisk:  pbx1: connected (22)",
        "Asterisk:  pbx2: NOT CONNECTED: no route",
        "Asterisk:  pbx3: connected (16), BUT NO CALL IS PLACED: a namesake",
    ]
    only = render.status({**answer, "nodes": links[:1]})
    assert "\nAsterisk:  connected (22)\n" in only


def test_status_shows_the_other_services_and_what_they_have_otherwise() -> None:
    at = "2026-11-24T17:00:00+00:00"
    link = {"connected": True, "version": "22", "error": ""}
    runs = {
        "name": "b",
        "version": "0.2.1",
        "running": True,
        "host": "pbx2",
        "pid": 7,
        "since": at,
        "seen_at": at,
        "nodes": [{"name": "x", "since": at}, {"name": "y", "since": at}],
        "differences": [{"words": "attempts is 5 here and 3 at instance b (pbx2)"}],
    }
    idle = {**runs, "name": "c", "nodes": [], "differences": []}
    ended = {**idle, "name": "d", "running": False, "host": None, "since": None}
    answer = {
        "version": "0.2.0",
        "started_at": at,
        "asterisk": link,
        "nodes": [{"name": "default", **link}],
        "database": "ok",
        "tasks": None,
        "calls_under_way": 0,
        "queues": {},
        "instance": "a",
        "instances": [runs, idle, ended],
    }
    told = render.status(answer).splitlines()
    first = told.index("Instance:  a, this one")
    when = "2026-11-24 17:00:00"
    process = f"process 7 on pbx2 since {when}, version 0.2.1, holds"
    assert told[first + 1 : first + 4] == [
        f"           b: {process} x since {when}, y since {when}",
        f"           c: {process} no Asterisk",
        f"           d: NOT RUNNING, seen last {when}, version 0.2.1",
    ]
    assert told[-1] == (
        "ANOTHER SETTING THERE: attempts is 5 here and 3 at instance b (pbx2)"
    )
    lost = [{"name": "x", "since": at, "link_lost_since": at}]
    told = render.status(
        {**answer, "instances": [{**idle, "nodes": lost}]}
    ).splitlines()
    words = f"x since {when} WITHOUT A LINK SINCE {when}"
    assert told[first + 1] == f"           c: {process} {words}"
    alone = render.status({**answer, "instance": "", "instances": []})
    assert "nstance" not in alone
    older = {k: v for k, v in answer.items() if not k.startswith("instance")}
    assert "nstance" not in render.status(older)


def test_task_that_waits_in_line_is_shown_with_its_position() -> None:
    waits = task(status="calling", reason="attempt 1 begins", position=3)
    row = {**waits, "joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 0}
    assert render.tasks([row]).endswith("waits in line at position 3")
    story = render.story({"task": waits, "history": [], "attempts": []})
    assert story.endswith(
        "\n  Waits in line in Asterisk's queue at position 3, for the next agent in"
        " turn."
    )


@pytest.mark.parametrize(
    ("in_line", "words"), [(0, "4"), (1, "4 + 1 callback"), (2, "4 + 2 callbacks")]
)
def test_status_shows_the_callbacks_among_the_waiting(in_line: int, words: str) -> None:
    queue = {"target": "t", "known": True, "members": 1, "free": [], "waiting": 4}
    told = render.status(
        {
            "version": "1",
            "started_at": "2026-11-24T17:00:00+00:00",
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": None,
            "calls_under_way": 0,
            "queues": {"a": {**queue, "open": True, "until": None, "in_line": in_line}},
        }
    )
    assert re.split("  +", told.splitlines()[-1])[5] == words


def test_list_says_that_a_cancelled_task_still_has_a_call() -> None:
    calling = task(status="calling", reason="cancelled by hand", cancel_requested=True)
    row = {**calling, "joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 1}
    assert render.tasks([row]).endswith(
        "cancelled by hand; ends with the call under way"
    )


@pytest.mark.parametrize(
    ("waited", "words"),
    [
        (timedelta(seconds=59), "0 min"),
        (timedelta(minutes=61), "1 h 1 min"),
        (timedelta(hours=49), "2 d 1 h"),
        (timedelta(seconds=-5), "0 min"),
    ],
)
def test_status_says_how_long_the_oldest_task_has_waited(
    waited: timedelta, words: str
) -> None:
    since = (datetime.now(UTC) - waited).isoformat(timespec="seconds")
    queue = {
        "target": "t",
        "known": True,
        "members": 1,
        "free": [],
        "waiting": 0,
        "open": True,
        "until": None,
    }
    told = render.status(
        {
            "version": "1",
            "started_at": "2026-11-24T17:00:00+00:00",
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": {"pending": 1},
            "oldest_task_since": since,
            "calls_under_way": 0,
            "queues": {
                "a": {**queue, "oldest_task_since": since},
                "b": {**queue, "oldest_task_since": None},
            },
        }
    )
    assert f"Oldest:    waits since {since[:10]}" in told
    assert f" ({words})\n" in told
    assert [re.split("  +", line)[6] for line in told.splitlines()[-2:]] == [words, "-"]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            {"agents": 2, "expected_wait_s": 5.0, "expected_callback_s": 130.2},
            ["2 of 3", "less than 1 min", "about 3 min"],
        ),
        (
            {"agents": 3, "expected_wait_s": None, "expected_callback_s": None},
            ["3", "-", "-"],
        ),
        # Of a service that is older than this command.
        ({}, ["3", "-", "-"]),
    ],
)
def test_status_says_how_long_callers_and_callbacks_are_expected_to_wait(
    known: dict[str, object], words: list[str]
) -> None:
    told = render.status(
        {
            "version": "1",
            "started_at": "2026-11-24T17:00:00+00:00",
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": {"pending": 1},
            "calls_under_way": 0,
            "queues": {
                "a": {
                    "target": "t",
                    "known": True,
                    "members": 3,
                    "free": [],
                    "waiting": 0,
                    "open": True,
                    "until": None,
                    **known,
                },
            },
        }
    )
    head, row = (re.split("  +", line) for line in told.splitlines()[-2:])
    shown = dict(zip(head, row, strict=True))
    columns = ("AGENTS", "EXPECTED WAIT", "NEXT CALLBACK")
    assert [shown[column] for column in columns] == words


def test_status_names_a_trunk_that_asterisk_does_not_have() -> None:
    queue = {
        "target": "t",
        "known": True,
        "members": 1,
        "free": [],
        "waiting": 0,
        "open": True,
        "until": None,
    }
    told = render.status(
        {
            "version": "1",
            "started_at": "2026-11-24T17:00:00+00:00",
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": {"pending": 1},
            "calls_under_way": 0,
            "queues": {
                "a": {**queue, "missing_trunk": "trnk"},
                "b": {**queue, "missing_trunk": ""},
            },
        }
    )
    last, *others = reversed(told.splitlines())
    assert last.startswith("a: NO CLIENT CAN BE CALLED: Asterisk has no PJSIP endpoint")
    assert "trnk" in last
    assert "'sudo systemctl reload callback-queue'" in last
    assert not any("CAN BE CALLED" in line for line in others)


def test_task_says_when_its_callback_is_expected() -> None:
    soon = datetime.now(UTC).replace(microsecond=0)
    waits = task(expected_at=soon.isoformat())
    # Just before midnight the day may be over when it is shown.
    at = f"{soon.astimezone():%H:%M}"
    story = render.story({"task": waits, "history": [], "attempts": []})
    assert re.search(rf" Expected at about ([\d-]{{10}} )?{at}\.$", story)
    row = {**waits, "joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 1}
    assert re.split("  +", render.tasks([row]).splitlines()[1])[6].endswith(at)


def test_task_that_is_expected_on_another_day_says_which() -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    story = render.story(
        {
            "task": task(expected_at=later.isoformat()),
            "history": [],
            "attempts": [],
        }
    )
    assert story.endswith(f" Expected at about {later.astimezone():%Y-%m-%d %H:%M}.")


@pytest.mark.parametrize(
    ("cancelled", "end"),
    [(False, ""), (True, " The task is cancelled when it ends.")],
)
def test_story_of_a_task_that_is_being_called(cancelled: bool, end: str) -> None:
    calling = task(
        status="calling", reason="attempt 2 begins", cancel_requested=cancelled
    )
    story = render.story({"task": calling, "history": [], "attempts": []})
    assert story.endswith(f"\n  A call is under way; attempt 2 begins.{end}")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0003", "works with 0006: when the copy is put back, run 'callback-queue db"),
        ("0007", "newer than this program's 0006"),
    ],
)
def test_copy_of_a_database_of_another_version_says_so(
    version: str, words: str
) -> None:
    told = render.backup(
        {
            "path": "/var/backups/cq.db",
            "size_bytes": 1_234_567_890,
            "tasks": 1_234_567,
            "version": version,
            "needed_version": "0006",
        }
    )
    first, second = told.splitlines()
    assert first == "/var/backups/cq.db: 1,234,567 tasks, 1,234.6 MB"
    assert second.startswith(f"The database is of version {version}, ")
    assert words in second


def _calling(stage: str, **more: object) -> dict[str, object]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    call = {
        "stage": stage,
        "since": at,
        "agent": "PJSIP/101",
        "agent_name": "",
        "client_dialled": stage in ("client_rings", "talk"),
        **more,
    }
    reason = "attempt 1 begins, channel id callback-1796012798-607096bf"
    return task(
        status="calling",
        reason=reason,
        joined_at=at,
        attempts=0,
        position=None,
        call=call,
    )


@pytest.mark.parametrize(
    ("call", "words", "tries"),
    [
        (_calling("starts", agent=""), "starting the call", 0),
        (_calling("waits_in_line", agent=""), "waiting in line for an agent", 0),
        (_calling("agent_rings"), "ringing the agent PJSIP/101", 0),
        (_calling("alert"), "announcing the callback to PJSIP/101", 0),
        (_calling("client_rings"), "dialling the client for PJSIP/101", 1),
        (_calling("client_rings", agent=""), "dialling the client", 1),
        (_calling("talk"), "talking with PJSIP/101", 1),
        (_calling("talk", agent_name="Ada"), "talking with Ada (PJSIP/101)", 1),
        (_calling("ends"), "storing the result", 0),
    ],
)
def test_call_in_progress_is_described(
    call: dict[str, Any], words: str, tries: int
) -> None:
    since = f" since {call['call']['since'][11:19]}"
    row = render.tasks([call]).splitlines()[-1]
    assert row.endswith(f"  {tries}      {words}{since}")
    story = render.story({"task": call, "history": [], "attempts": []})
    assert story.endswith(f"\n  A call is under way: {words}{since}.")


def test_call_at_a_stage_of_a_newer_service_keeps_its_reason() -> None:
    call = _calling("sings")
    assert render.tasks([call]).endswith(str(call["reason"]))


def test_callback_that_waits_in_line_shows_its_position() -> None:
    call = {**_calling("waits_in_line"), "position": 3}
    assert render.tasks([call]).endswith("waits in line at position 3")
    # While an agent's phone rings for it, it is still in line.
    call = {**_calling("agent_rings"), "position": 1}
    assert "ringing the agent PJSIP/101 since" in render.tasks([call])


def _checked(**more: object) -> dict[str, object]:
    return {
        "number": "+4930123456",
        "queue": "support",
        "may_be_called": True,
        "why_not": [],
        "dialled": "",
        "region": "DE",
        "limits": [],
        "open_task": None,
        "last_refusal": None,
        **more,
    }


def test_number_that_is_not_called_names_the_setting() -> None:
    abroad = {
        "reason": "it is a number of AT, and only those of DE are called",
        "reason_code": "region_not_allowed",
        "reason_params": {"region": "AT", "allowed": "DE"},
    }
    said = render.checked(_checked(may_be_called=False, why_not=[abroad]))
    assert said.splitlines()[1] == (
        "  - it is a number of AT, and only those of DE are called"
        " (setting numbers.allow_regions)"
    )


def test_number_is_said_to_wait_for_the_queue_to_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    until = {
        "code": "closed_until",
        "params": {"until": "2026-12-01T08:00Z"},
        "words": "the queue is closed until 2026-12-01 08:00 UTC",
    }
    first = render.checked(_checked(not_now=until)).splitlines()[0]
    assert first == (
        "+4930123456 may be called for queue support, but not now: the queue is closed"
        " until 2026-12-01 09:00."
    )
    for told in ({}, {"not_now": None}):
        first = render.checked(_checked(**told)).splitlines()[0]
        assert first == "+4930123456 may be called for queue support."


def _row(**more: object) -> str:
    """Return the row of a task in the list."""
    joined = {"joined_at": "2026-11-24T16:24:00.000+00:00", "attempts": 1}
    return render.tasks([{**task(**more), **joined}]).splitlines()[1]


def test_list_says_what_keeps_a_client_from_being_called() -> None:
    why = {"code": "agents_busy", "params": {}, "words": "no agent is free"}
    requested = {"reason": "the caller pressed 1", "reason_code": "requested"}
    assert _row(**requested).endswith("  the caller pressed 1")
    row = _row(**requested, why_not_yet=why)
    assert row.endswith("  not yet: no agent is free")
    assert "pressed" not in row


def test_list_keeps_the_result_of_the_last_try_of_a_task_that_waits() -> None:
    retry = {"reason_code": "retry", "reason_params": {"delay_s": 30.0}}
    why = {"code": "agents_busy", "params": {}, "words": "no agent is free"}
    row = _row(**retry, why_not_yet=why)
    assert row.endswith(
        "  busy (SIP 486); the next try is due; not yet: no agent is free"
    )
    # The time of the next try says this already.
    why = {"code": "not_due", "params": {}, "words": "due at 2026-11-24 16:24 UTC"}
    assert _row(**retry, why_not_yet=why).endswith("; the next try is due")


def test_list_says_which_agent_alone_is_asked() -> None:
    row = _row(assigned_to="PJSIP/101")
    assert row.endswith("; only PJSIP/101 is asked, until it is released")
    row = _row(assigned_to="PJSIP/101", assigned_until="2026-11-24T17:00:00.000+00:00")
    assert row.endswith("; only PJSIP/101 is asked, until 2026-11-24 17:00:00")
    ended = _row(assigned_to="PJSIP/101", ended_at="2026-11-24T17:00:00.000+00:00")
    assert "asked" not in ended


def _status(**more: object) -> str:
    """Return the status of a service with one queue."""
    queue: dict[str, object] = {
        "target": "t",
        "known": True,
        "members": 1,
        "free": [],
        "waiting": 0,
        "open": True,
        "until": None,
    }
    queue |= {name: more.pop(name) for name in list(more) if name in _OF_QUEUE}
    return render.status(
        {
            "version": "1",
            "started_at": "2026-11-24T17:00:00+00:00",
            "asterisk": {"connected": True, "version": "22", "error": ""},
            "database": "ok",
            "tasks": {},
            "calls_under_way": 0,
            "queues": {"a": queue},
            **more,
        }
    )


_OF_QUEUE = {"known", "expected_wait_s", "expected_callback_s", "agents", "free"}


@pytest.mark.parametrize(
    ("calling", "calls", "words"),
    [
        (0, 0, "0 under way"),
        (1, 0, "1 under way, 1 of them in line"),
        (3, 2, "3 under way, 1 of them in line"),
        (2, 2, "2 under way"),
    ],
)
def test_status_counts_the_call_of_each_task_that_is_called(
    calling: int, calls: int, words: str
) -> None:
    told = _status(tasks={"calling": calling}, calls_under_way=calls)
    assert f"\nCalls:     {words}\n" in told


@pytest.mark.parametrize(
    ("wait_s", "words"),
    [
        (3000.0, "about 50 min"),
        (5000.0, "about 1 h 30 min"),
        (80_900.0, "about 22 h 30 min"),
        (180_000.0, "about 2 d 2 h"),
    ],
)
def test_status_says_long_waits_in_hours(wait_s: float, words: str) -> None:
    told = _status(expected_callback_s=wait_s)
    assert re.split("  +", told.splitlines()[-1])[8] == words


def test_status_without_asterisk_does_not_tell_what_the_agents_did_before() -> None:
    link = {"connected": False, "version": "", "error": "refused"}
    for known in (True, False):
        told = _status(asterisk=link, known=known, agents=0, free=["PJSIP/101"])
        cells = re.split("  +", told.splitlines()[-1])
        assert cells[3:6] == ["not known", "-", "-"]
    linked = re.split("  +", _status(free=["PJSIP/101"]).splitlines()[-1])
    assert linked[3:6] == ["1", "PJSIP/101", "0"]
