# SPDX-License-Identifier: MIT
"""The queue_log lines of each event of a task."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fastagi.domain.attempt import Disposition
from fastagi.domain.queue_log_entries import Entry, EventRow, Word, entries
from fastagi.domain.task import OPEN, STEERING, TRANSITIONS, Kind, Move, Status
from fastagi.history.queue_log import past_calls
from tests.recordings.past_calls import LATER

AT = datetime.fromtimestamp(1_800_000_000.6, UTC)


def happening(move: Move, status: Status, **more: object) -> EventRow:
    values: dict[str, object] = {
        "event_id": 7,
        "at": AT,
        "move": move,
        "status": status,
        "task_id": 3,
        "queue": "support",
        "number": "+4930123456",
        "linkedid": "1800000000.1",
        **more,
    }
    return EventRow(**values)  # type: ignore[arg-type]


def attempt(move: Move, status: Status, disposition: Disposition) -> EventRow:
    return happening(
        move,
        status,
        channel_id="callback-1-ab",
        disposition=disposition,
        member="PJSIP/alice",
        talk_s=61.7,
    )


def line(entry: Entry) -> str:
    return f"{entry.uniqueid}|{entry.interface}|{entry.word}|{entry.message}"


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (Kind.REQUESTED, "CALLBACKREQUEST|3|+4930123456|1800000001|requested"),
        (Kind.MANUAL, "CALLBACKREQUEST|3|+4930123456|1800000001|manual"),
        (Kind.MISSED, "CALLBACKMISSED|3|+4930123456|1800000001"),
    ],
)
@pytest.mark.parametrize("move", [Move.CREATE, Move.REPEAT])
def test_task_is_asked_for(asked: Kind, written: str, move: Move) -> None:
    (entry,) = entries(happening(move, Status.PENDING, asked=asked))
    assert line(entry) == f"1800000000.1||{written}"
    assert entry.queue == "support"


def test_chosen_time_is_written_with_the_request() -> None:
    at = datetime.fromtimestamp(1800003600, UTC)
    for asked, how in ((Kind.REQUESTED, "requested"), (None, "reopened")):
        move = Move.REPEAT if asked else Move.REOPEN
        (entry,) = entries(happening(move, Status.PENDING, asked=asked, chosen_at=at))
        assert entry.message.endswith(f"|1800000001|{how}|1800003600")


def test_attempt_fails_and_another_follows() -> None:
    (entry,) = entries(attempt(Move.RETRY, Status.PENDING, Disposition.BUSY))
    assert line(entry) == (
        "callback-1-ab|PJSIP/alice|CALLBACKATTEMPT|3|+4930123456|1800000001|BUSY|62"
    )


def test_attempt_succeeds_and_the_task_ends() -> None:
    first, second = entries(
        attempt(Move.COMPLETE, Status.COMPLETED, Disposition.ANSWERED)
    )
    assert (first.word, second.word) == (Word.ATTEMPT, Word.DONE)
    assert line(second) == (
        "1800000000.1|PJSIP/alice|CALLBACKDONE|3|+4930123456|1800000001|completed"
    )


def test_task_ends_without_an_attempt() -> None:
    (entry,) = entries(happening(Move.SERVE, Status.SERVED))
    assert line(entry) == ("1800000000.1||CALLBACKDONE|3|+4930123456|1800000001|served")


def test_task_is_put_back_in_line() -> None:
    (entry,) = entries(happening(Move.REOPEN, Status.PENDING))
    assert entry.message.endswith("|reopened")


@pytest.mark.parametrize("move", [Move.BEGIN, Move.PROGRESS, Move.CANCEL_LATER])
def test_steps_on_the_way_are_not_written(move: Move) -> None:
    step = happening(move, Status.CALLING, channel_id="callback-1-ab")
    assert entries(step) == ()


@pytest.mark.parametrize(("status", "move"), TRANSITIONS)
def test_every_end_is_written_once(status: Status, move: Move) -> None:
    after = TRANSITIONS[status, move]
    words = [entry.word for entry in entries(happening(move, after))]
    ends = status in OPEN and after not in OPEN
    assert words.count(Word.DONE) == ends


@pytest.mark.parametrize("move", sorted(STEERING))
@pytest.mark.parametrize("status", Status)
def test_what_operators_change_in_line_is_not_written(
    move: Move, status: Status
) -> None:
    assert entries(happening(move, status, channel_id="callback-1-ab")) == ()


def test_no_text_can_make_a_field_or_a_header() -> None:
    (entry,) = entries(
        happening(Move.SERVE, Status.SERVED, queue="a|b", linkedid="x\r\nAction: Y")
    )
    assert (entry.queue, entry.uniqueid) == ("a b", "x  Action: Y")


def test_own_lines_are_no_calls_for_who_reads_the_history() -> None:
    several = [
        *entries(happening(Move.CREATE, Status.PENDING, asked=Kind.MISSED)),
        *entries(attempt(Move.COMPLETE, Status.COMPLETED, Disposition.ANSWERED)),
    ]
    lines = [
        f"1800000001|{one.uniqueid}|{one.queue}|{one.agent(str)}|{one.word}"
        f"|{one.message}".encode()
        for one in several
    ]
    assert past_calls(lines, LATER) == []


@pytest.mark.parametrize(
    ("names", "agent"),
    [
        ({"PJSIP/alice": "Alice"}, "Alice"),
        ({"PJSIP/bob": "Bob"}, "PJSIP/alice"),
        ({"PJSIP/alice": ""}, "PJSIP/alice"),
        ({"PJSIP/alice": "A|b\nc"}, "A b c"),
    ],
)
def test_agent_is_named_as_asterisk_names_it(names: dict[str, str], agent: str) -> None:
    (of_attempt,) = entries(attempt(Move.RETRY, Status.PENDING, Disposition.BUSY))
    assert of_attempt.agent(lambda one: names.get(one, "")) == agent
    (of_nobody,) = entries(happening(Move.CREATE, Status.PENDING, asked=Kind.REQUESTED))
    assert of_nobody.agent(lambda one: names.get(one, "")) == "NONE"
