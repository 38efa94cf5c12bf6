# SPDX-License-Identifier: MIT
"""Lines of queue_log and CDRs become facts, and the facts are judged."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.logger import capturedLogs

from fastagi.domain.contacts import PastContact
from fastagi.domain.counting import CountingRules, Outcome
from fastagi.history import cdr, database, queue_log, sources
from fastagi.history.database import CdrTable
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.facts import PastCall, together
from fastagi.history.sources import (
    CdrDatabase,
    CdrFile,
    QueueLog,
    QueueLogDatabase,
    Reading,
    read_all,
)
from tests.recordings.past_calls import (
    FREEPBX,
    LATER,
    MADE,
    NUMBERS,
    QUEUES,
    VERSIONS,
    freepbx_rows,
    from_custom_csv,
    from_master_csv,
    from_queue_log,
    judged,
    lines,
    make_cdr_table,
    outcomes,
)

each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this machine into Germany."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def from_table(version: str, tmp_path: Path) -> list[PastCall]:
    path = tmp_path / "cdr.db"
    make_cdr_table(path, freepbx_rows(version))
    table = CdrTable(f"sqlite:///{path}", "cdr")
    rows = table.rows_since(datetime(2000, 1, 1))
    return cdr.past_calls(cdr.read_rows(rows).rows)


# -- what Asterisk recorded


@each_version
def test_queue_log_tells_which_calls_were_missed(version: str) -> None:
    found = outcomes(judged(from_queue_log(version), QUEUES))
    for number, made in zip(NUMBERS, MADE, strict=True):
        expected = {made.in_queue_log} - {""}
        assert found.get(number, set()) == expected, made.what


@each_version
@pytest.mark.parametrize("read", [from_master_csv, from_custom_csv])
def test_cdrs_in_a_file_tell_which_calls_were_missed(
    version: str, read: Callable[[str], list[PastCall]]
) -> None:
    check_cdrs(read(version))


@each_version
def test_cdrs_in_a_table_tell_which_calls_were_missed(
    version: str, tmp_path: Path
) -> None:
    check_cdrs(from_table(version, tmp_path))


def check_cdrs(calls: list[PastCall]) -> None:
    found = outcomes(judged(calls))
    for number, made in zip(NUMBERS, MADE, strict=True):
        assert found.get(number, set()) == {made.in_cdrs} - {""}, made.what


@each_version
def test_both_together_know_the_queue_and_who_answered_after_it(
    version: str, tmp_path: Path
) -> None:
    calls = together(from_queue_log(version), from_table(version, tmp_path))
    found = judged(calls, QUEUES)
    missed = {ended.key: ended for ended in found.missed}
    for number, made in zip(NUMBERS, MADE, strict=True):
        was_missed = made.in_queue_log == "missed" and made.in_cdrs != "answered"
        assert (number in missed) == was_missed, made.what
        if was_missed:
            assert missed[number].queue == made.queue, made.what
    assert len(found.missed) == len(missed), "a call is found twice"


@each_version
def test_live_detection_and_history_know_a_call_by_the_same_id(version: str) -> None:
    (through_local,) = (
        ended
        for ended in judged(from_custom_csv(version)).missed
        if ended.key == NUMBERS[10]
    )
    (in_queue,) = (
        ended
        for ended in judged(from_queue_log(version)).missed
        if ended.key == NUMBERS[10]
    )
    assert through_local.queue_uniqueid == in_queue.queue_uniqueid
    assert through_local.uniqueid != through_local.queue_uniqueid


@each_version
def test_callbacks_are_no_calls_of_their_clients(version: str) -> None:
    calls = [*from_queue_log(version), *from_custom_csv(version)]
    own = [call for call in calls if any("callback-" in one for one in call.ids)]
    assert len(own) == 2
    assert judged(own).known == []
    assert judged(own).contacts == []


def test_call_by_hand_tells_who_called_and_for_how_long(tmp_path: Path) -> None:
    contacts = judged(from_table("22.10", tmp_path)).contacts
    (called,) = (contact for contact in contacts if contact.key == NUMBERS[20])
    assert called.who == "PJSIP/dave"
    assert called.talk_s == 2


# -- queue_log


def log(*written: str) -> list[PastCall]:
    return queue_log.past_calls((line.encode() for line in written), LATER)


ENTER = "100|1.1|support|NONE|ENTERQUEUE||030123456|1"


def test_reasons_are_told_in_words() -> None:
    (left,) = judged(
        log(
            ENTER,
            "105|1.1|support|NONE|EXITWITHTIMEOUT|1|1|5",
            "105|1.1|sales|NONE|ENTERQUEUE||030123456|1",
            "112|1.1|sales|NONE|ABANDON|1|1|7",
        ),
        QUEUES,
    ).missed
    assert left.how == (
        "hung up after 7 s in queue sales (before that in queue support)"
        " (found in queue_log)"
    )
    assert (left.queue, left.since, left.ended_at) == ("sales", 100, 112)


def test_only_queues_that_count() -> None:
    rules = CountingRules(queues=frozenset({"sales"}))
    found = judged(log(ENTER, "105|1.1|support|NONE|ABANDON|1|1|5"), rules)
    assert [ended.outcome for ended in found.known] == [Outcome.NOT_COUNTED]


def test_queue_names_are_the_same_in_capitals() -> None:
    enter = "100|1.1|Support|NONE|ENTERQUEUE||030123456|1"
    (ended,) = judged(log(enter, "105|1.1|Support|NONE|ABANDON|1|1|5")).missed
    assert ended.queue == "Support"


def test_short_calls_do_not_count() -> None:
    rules = CountingRules(queues=QUEUES.queues, min_duration_s=6)
    found = judged(log(ENTER, "105|1.1|support|NONE|ABANDON|1|1|5"), rules)
    assert [ended.outcome for ended in found.known] == [Outcome.TOO_SHORT]


@pytest.mark.parametrize("number", ["101", "", "anonymous"])
def test_internal_and_unknown_callers_do_not_count(number: str) -> None:
    enter = f"100|1.1|support|NONE|ENTERQUEUE||{number}|1"
    found = judged(log(enter, "105|1.1|support|NONE|ABANDON|1|1|5"))
    assert [ended.outcome for ended in found.known] == [Outcome.INTERNAL]


def test_call_without_an_end_is_not_judged() -> None:
    ringing = log(ENTER, "105|1.1|support|Ann|RINGNOANSWER|5000")
    talking = log(ENTER, "105|1.1|support|Ann|CONNECT|5|1.2|4")
    for calls in (ringing, talking):
        assert judged(calls).known == []


@pytest.mark.parametrize(
    "event",
    [
        "COMPLETEAGENT|5|20|1",
        "COMPLETECALLER|5|20|1",
        "BLINDTRANSFER|200|default|5|20|1",
        "ATTENDEDTRANSFER|BRIDGE|3|5|20|1",
        "TRANSFER|200|default|5|20|1",
    ],
)
def test_call_is_answered_whose_answer_is_not_in_what_was_read(event: str) -> None:
    found = judged(log(ENTER, f"125|1.1|support|Ann|{event}"))
    assert [ended.outcome for ended in found.known] == [Outcome.ANSWERED]
    assert [(one.key, one.who) for one in found.contacts] == [("030123456", "Ann")]


def test_caller_of_whom_only_the_end_was_read_is_nobody() -> None:
    found = judged(log("125|1.1|support|NONE|ABANDON|1|1|20000"))
    assert [ended.outcome for ended in found.known] == [Outcome.INTERNAL]


def test_call_that_goes_on_after_a_start_of_the_log_is_not_cut() -> None:
    (ended,) = judged(
        log(
            ENTER,
            "103|NONE|NONE|NONE|QUEUESTART|",
            "109|1.1|support|NONE|ABANDON|1|1|9",
        )
    ).missed
    assert ended.ended_at == 109


def test_entries_of_this_service_and_others_change_nothing() -> None:
    calls = log(
        ENTER,
        "105|1.1|support|NONE|ABANDON|1|1|5",
        "200|1.1|support|NONE|CALLBACKMISSED|7",
        "201|1.1|support|NONE|DID|12345",
        "202|NONE|NONE|NONE|CONFIGRELOAD|",
    )
    assert [call.ended_at for call in calls] == [105]


def test_times_in_words(berlin: None) -> None:
    line = b"2026-07-01 12:00:00.123456|1.1|support|NONE|ABANDON|1|1|5"
    noon = datetime(2026, 7, 1, 10, 0, 0, 123456, UTC)
    assert queue_log.time_of(line) == noon.timestamp()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_none(raw: bytes) -> None:
    queue_log.parse_line(raw)
    cdr.parse_csv(raw)
    cdr.time_of_csv(raw)


@given(
    st.lists(
        st.builds(
            "{}|{}|support|Ann|{}|{}".format,
            st.integers(0, 200),
            st.sampled_from(["1.1", "1.2", "NONE"]),
            st.sampled_from(
                [
                    "ENTERQUEUE",
                    "CONNECT",
                    "ABANDON",
                    "EXITWITHKEY",
                    "EXITWITHTIMEOUT",
                    "COMPLETEAGENT",
                    "QUEUESTART",
                    "RINGNOANSWER",
                    "WITHDRAW",
                ]
            ),
            st.sampled_from(["", "|030123456|1", "1|1|5", "x|y|z"]),
        ),
        max_size=12,
    )
)
def test_any_order_of_events_can_be_judged(written: list[str]) -> None:
    found = judged(log(*written))
    answered = {line.split("|")[1] for line in written if "CONNECT" in line}
    assert not answered & {ended.uniqueid for ended in found.missed}


@given(st.data())
def test_broken_lines_harm_no_other(data: st.DataObject) -> None:
    whole = lines("22.10", "queue_log")
    broken = list(whole)
    for junk in data.draw(st.lists(st.binary(max_size=60), max_size=5)):
        # Such junk as is a line of another call is no junk.
        if queue_log.parse_line(junk) is None:
            broken.insert(data.draw(st.integers(0, len(broken))), junk)
    assert queue_log.past_calls(broken, LATER) == queue_log.past_calls(whole, LATER)


ID = "1700000000.7"
VICTIM = "030123456"


def at(seconds: int, *fields: object) -> str:
    return "|".join(map(str, [1_700_000_000 + seconds, *fields]))


TALK = (
    at(1, ID, "support", "NONE", "ENTERQUEUE", "", VICTIM, 1),
    at(5, ID, "support", "PJSIP/101", "CONNECT", 4, "1700000004.8", 2),
    at(9, ID, "support", "PJSIP/101", "COMPLETECALLER", 4, 4, 1),
)


def contacts_of(written: Iterable[str], until: float = LATER) -> list[PastContact]:
    raw = "\n".join(written).encode().split(b"\n")
    return judged(queue_log.past_calls(raw, until)).contacts


def broken_entry(injected: str) -> str:
    """Return what Asterisk writes for a caller with this behind a line break."""
    return at(1, "1700000001.9", "support", "NONE", f"ENTERQUEUE||1\n{injected}|1")


def test_talk_in_queue_log_is_not_confirmed_by_it() -> None:
    (contact,) = contacts_of(TALK)
    assert (contact.key, contact.confirmed) == (VICTIM, False)


@pytest.mark.parametrize(
    "forged",
    [
        # One line for each call of the forger, the position behind it.
        [broken_entry(f"{line}\n") for line in TALK],
        # The position ends up in the last of the forged lines.
        [broken_entry(line) for line in TALK],
        [broken_entry("\n".join(TALK))],
        [broken_entry("\n\n" + "\n".join(TALK) + "\n\n")],
    ],
    ids=["a line each", "no line break at the end", "all at once", "empty lines"],
)
def test_lines_within_a_broken_entry_are_not_believed(forged: list[str]) -> None:
    assert contacts_of(forged) == []


@pytest.mark.parametrize(
    "injected",
    [
        # What looks like the end of the broken line.
        "x\ny|1\n" + "\n".join(TALK),
        "x|1\ny|1\n" + "\n".join(TALK),
        f"x\n{'z' * 200}\n" + "\n".join(TALK),
        # Every line is whole, but the last has a field too many.
        "1|1\n" + "\n".join([TALK[0], TALK[-1]]),
    ],
)
def test_end_of_a_broken_entry_can_not_be_made_up(injected: str) -> None:
    assert contacts_of([broken_entry(injected)]) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("|NONE|ENTERQUEUE", "|PJSIP/101|ENTERQUEUE"),
        ("|COMPLETECALLER|", "|COMPLETECALLER|x|"),
    ],
)
def test_lines_that_asterisk_does_not_write_so_are_not_believed(
    old: str, new: str
) -> None:
    talk = [TALK[0], TALK[-1]]
    assert contacts_of(talk)
    assert contacts_of([line.replace(old, new) for line in talk]) == []


def test_lines_after_a_broken_entry_are_believed_again() -> None:
    near = f"1700000001|NONE|NONE|{'x' * 70}|PAUSE|"
    broken = broken_entry("junk\n")
    assert len(contacts_of([broken, *[near] * 6, *TALK])) == 1
    assert contacts_of([broken, *[near] * 2, *TALK]) == []


def test_lines_dated_after_what_was_written_later_are_not_believed() -> None:
    """Their time may have come when they are read."""
    later = at(
        -200, "1699999800.7", "support", "NONE", "ENTERQUEUE", "", "030111111", 1
    )
    assert contacts_of([*TALK, later]) == []


def test_line_dated_back_harms_no_line_before_it() -> None:
    before = [
        at(n, f"1700000000.{n}", "q", "NONE", "ENTERQUEUE", "", f"0301{n:05}", 1)
        for n in range(300)
    ]
    back = at(-9000, "1699991000.1", "q", "NONE", "ENTERQUEUE", "", "030999999", 1)
    assert len(queue_log.past_calls(map(str.encode, [*before, back]), LATER)) == 301


def test_lines_dated_ahead_are_not_believed() -> None:
    assert contacts_of(TALK, until=1_699_999_000) == []
    assert len(contacts_of(TALK, until=1_700_000_010)) == 1


@pytest.mark.parametrize("callid", ["1700009000.7", "1600000000.7", "a b.7", ""])
def test_call_id_must_fit_the_time(callid: str) -> None:
    assert contacts_of([line.replace(ID, callid) for line in TALK]) == []


def test_agent_who_hangs_up_during_the_announcement_is_no_answer() -> None:
    (ended,) = judged(
        log(
            at(0, ID, "support", "NONE", "ENTERQUEUE", "", VICTIM, 1),
            at(2, ID, "support", "PJSIP/101", "AGENTDUMP", ""),
            at(9, ID, "support", "NONE", "ABANDON", 1, 1, 9),
        )
    ).missed
    assert "hung up after 9 s" in ended.how


# -- CDRs


def master(src: str) -> str:
    """Return a line of ``cdr_csv``: it doubles the quotes inside of a field."""
    values = ["", src, "600", "inbound", "", "PJSIP/a-1", "PJSIP/101-2", "Queue"]
    values += ["support", "2023-11-14 22:13:20", "2023-11-14 22:13:25"]
    values += ["2023-11-14 22:13:40", "20", "15", "ANSWERED", "DOCUMENTATION"]
    values += ["1700000000.7", ""]
    return ",".join('"' + value.replace('"', '""') + '"' for value in values)


def test_record_within_the_number_of_another_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    forged = master(VICTIM).replace('"', "")
    honest = master("030999999").replace("00.7", "00.8")
    path.write_text(f"{master('1' + chr(10) + forged + chr(10))}\n{honest}\n")
    calls = CdrFile(path).read(0, LATER).calls
    assert "030999999" in {call.number for call in calls}
    assert VICTIM not in {call.number for call in calls}


def test_record_within_a_number_is_not_believed_in_rotated_files(
    tmp_path: Path,
) -> None:
    """Lines that are the same in both files are read once, as after copytruncate."""

    def record(src: str, channel: int) -> str:
        return master(src).replace("00.7", f"00.{channel}") + "\n"

    for channel, name in enumerate(["Master.csv.1", "Master.csv"], 10):
        forged = record(VICTIM, channel).replace('"', "")
        written = record(f"03011111{channel}", channel + 20)
        attack = record(f"x\n{forged}\n", channel + 40)
        tmp_path.joinpath(name).write_text(written + attack)
    calls = CdrFile(tmp_path / "Master.csv").read(1_600_000_000, LATER).calls
    numbers = {call.number for call in calls}
    assert VICTIM not in numbers
    assert {"0301111110", "0301111111"} <= numbers


def test_record_with_a_line_break_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    record = master("030999999").replace('"inbound"', '"in\nbound"')
    path.write_text(record + "\n")
    (call,) = CdrFile(path).read(0, LATER).calls
    assert call.number == "030999999"


def test_damaged_record_harms_no_other() -> None:
    lines = [
        master(f"0301234{n}").replace("00.7", f"{n}.7").encode() for n in range(10, 40)
    ]
    damaged = lines[10][:50]
    assert damaged.count(b'"') % 2 == 1
    records = cdr.whole_records([*lines[:10], damaged, *lines[10:]])
    assert [one for one in records if cdr.parse_csv(one)] == lines


def row(**values: object) -> dict[str, object]:
    at = datetime(2026, 7, 1, 10, 0, 0, tzinfo=UTC).timestamp()
    return {
        "calldate": "2026-07-01 12:00:00",
        "clid": '"Ann" <030123456>',
        "src": "030123456",
        "dst": "support",
        "dcontext": "inbound",
        "channel": "PJSIP/trunk-00000001",
        "dstchannel": "",
        "lastapp": "Queue",
        "lastdata": "support,t,,,60",
        "duration": 30,
        "billsec": 30,
        "disposition": "ANSWERED",
        "uniqueid": f"{at:.0f}.1",
        "linkedid": f"{at:.0f}.1",
        **values,
    }


def past(*rows: dict[str, object]) -> list[PastCall]:
    return cdr.past_calls(cdr.read_rows(rows).rows)


def test_queue_that_answered_but_no_person(berlin: None) -> None:
    (ended,) = judged(past(row())).missed
    assert (ended.key, ended.queue, ended.name) == ("030123456", "support", "Ann")
    assert ended.ended_at == datetime(2026, 7, 1, 10, 0, 30, tzinfo=UTC).timestamp()
    assert ended.how == "hung up after 30 s in queue support (found in the CDRs)"


def test_queue_whose_name_stands_in_quotes() -> None:
    (ended,) = judged(past(row(lastdata='"support",t,,,60'))).missed
    assert ended.queue == "support"


def test_times_in_utc_are_put_right(berlin: None) -> None:
    rows = cdr.read_rows([row(calldate="2026-07-01 10:00:00")])
    assert rows.shift_s == -7200
    at = datetime(2026, 7, 1, 10, 0, 0, tzinfo=UTC).timestamp()
    assert (rows.rows[0].start, rows.rows[0].end) == (at, at + 30)


def test_call_that_was_transferred_after_a_quarter_of_an_hour_shifts_nothing(
    berlin: None,
) -> None:
    later = row(calldate="2026-07-01 12:15:00")
    assert cdr.read_rows([row(), later]).shift_s == 0
    at = datetime(2026, 7, 1, 10, 0, 0, tzinfo=UTC).timestamp()
    other = row(
        calldate="2026-07-01 12:15:00", uniqueid=f"{at + 900:.0f}.7", linkedid=""
    )
    assert cdr.read_rows([later, other]).shift_s == 0


@pytest.mark.parametrize("hour_utc", [0, 1])
def test_hour_that_comes_twice(berlin: None, hour_utc: int) -> None:
    """On 2026-10-25 it is half past two at 0:30 and at 1:30 UTC."""
    at = datetime(2026, 10, 25, hour_utc, 30, tzinfo=UTC).timestamp()
    one = row(calldate="2026-10-25 02:30:00", uniqueid=f"pbx-{at:.0f}.1")
    assert cdr.read_rows([one]).rows[0].start == at


@pytest.mark.parametrize(
    "start",
    [
        "1782900000",
        "1782900000.25",
        "2026-07-01T10:00:00+00:00",
        datetime(2026, 7, 1, 10, tzinfo=UTC),
        datetime(2026, 7, 1, 12),
    ],
)
def test_start_in_other_forms(berlin: None, start: object) -> None:
    one = row(calldate=start)
    assert cdr.read_rows([one]).rows[0].start == pytest.approx(1782900000, abs=1)


def test_disposition_as_a_number() -> None:
    (call,) = past(row(disposition=8, dstchannel="PJSIP/ann-01"))
    assert call.who == "PJSIP/ann"
    (call,) = past(row(disposition="NO ANSWER", dstchannel="PJSIP/ann-01"))
    assert call.answered_at is None


def test_one_call_in_two_rows_is_answered_by_the_second() -> None:
    first = row(disposition="NO ANSWER", dstchannel="PJSIP/ann-01")
    second = row(dstchannel="PJSIP/bob-02")
    found = judged(past(second, first))
    assert [ended.outcome for ended in found.known] == [Outcome.ANSWERED]


def test_halves_of_a_local_channel_belong_together_without_linkedid() -> None:
    caller = row(dstchannel="Local/ann@agents-01;1", linkedid="")
    member = row(
        channel="Local/ann@agents-01;2",
        dstchannel="PJSIP/ann-02",
        uniqueid="1782900001.9",
        linkedid="",
        lastapp="Dial",
        lastdata="PJSIP/ann",
    )
    found = judged(past(caller, member))
    assert [ended.outcome for ended in found.known] == [Outcome.ANSWERED]
    later = {**member, "calldate": "2026-07-01 13:00:00", "uniqueid": "1782903600.9"}
    assert [one.outcome for one in judged(past(caller, later)).missed] == ["missed"]


def test_number_that_was_called_in_freepbx() -> None:
    one = row(dst="s", dcontext="ivr-1", lastapp="BackGround", did="4930555")
    assert judged(past(one)).missed == []
    rules = CountingRules(numbers=(re.compile("4930555"),))
    assert len(judged(past(one), rules).missed) == 1


def test_name_of_a_queue_as_the_extension(berlin: None) -> None:
    """A CDR of a call that left its queue does not name the queue."""
    one = row(dst="support", lastapp="Hangup", lastdata="")
    (ended,) = judged(past(one), QUEUES).missed
    assert ended.how == "left queue support unanswered after 30 s (found in the CDRs)"


@pytest.mark.parametrize(
    ("context", "app"), [("callback-request", "Playback"), ("callback-offer", "Read")]
)
def test_caller_who_hung_up_after_the_key_or_while_being_asked(
    berlin: None, context: str, app: str
) -> None:
    """The CDR has the context of the key, and neither the queue nor its extension."""
    one = row(dst="s", dcontext=context, lastapp=app, lastdata="")
    assert [ended.key for ended in judged(past(one), QUEUES).missed] == ["030123456"]


def test_rows_without_uniqueid_are_counted() -> None:
    rows = cdr.read_rows([row(uniqueid=""), row(uniqueid=None), row()])
    assert (rows.without_uniqueid, len(rows.rows)) == (2, 1)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ([], []),
        (["1782900000.1"], ["uniqueid"]),
        (["note"], ["userfield"]),
        (["1782900000.1", "note"], ["uniqueid", "userfield"]),
        (["pa", "l", "0"], ["peeraccount", "linkedid", "sequence"]),
        (["pbx-1782900000.1", "pa", "l", "0"], ["uniqueid", "peeraccount"]),
        (["1782900000.1", "n", "pa", "l", "0"], ["uniqueid", "userfield", "linkedid"]),
    ],
)
def test_options_of_cdr_csv_add_columns(more: list[str], names: list[str]) -> None:
    values = ["", "030", "1", "c", "x", "P/1-1", "", "Wait", ""]
    values += ["2026-07-01 12:00:00", "", "2026-07-01 12:00:05", "5", "0", "NO ANSWER"]
    line = ",".join(f'"{value}"' for value in [*values, "DOCUMENTATION", *more])
    parsed = cdr.parse_csv(line.encode())
    assert parsed is not None
    assert set(names) <= set(parsed)


# -- a table


def test_table_without_uniqueid_is_refused_with_the_remedy(tmp_path: Path) -> None:
    columns = [name for name in FREEPBX if name != "uniqueid"]
    make_cdr_table(tmp_path / "cdr.db", [], columns)
    table = CdrTable(f"sqlite:///{tmp_path / 'cdr.db'}", "cdr")
    with pytest.raises(HistoryUnreadable, match=r"no column uniqueid.*cdr_table"):
        table.rows_since(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("table", "path", "says"),
    [("cdrs", "cdr.db", "no such table"), ("cdr", "gone.db", "unable to open")],
)
def test_table_or_file_that_is_not_there(
    tmp_path: Path, table: str, path: str, says: str
) -> None:
    make_cdr_table(tmp_path / "cdr.db", [])
    with pytest.raises(HistoryUnreadable, match=says):
        CdrTable(f"sqlite:///{tmp_path / path}", table).newest()
    assert not (tmp_path / "gone.db").exists()


def test_only_rows_since_a_time_are_read(tmp_path: Path) -> None:
    rows = freepbx_rows("22.10")
    make_cdr_table(tmp_path / "cdr.db", rows)
    table = CdrTable(f"sqlite:///{tmp_path / 'cdr.db'}", "cdr")
    middle = datetime.fromisoformat(rows[len(rows) // 2][0])
    found = table.rows_since(middle)
    assert 0 < len(found) < len(rows)
    assert min(str(one["start"]) for one in found) == str(middle)
    newest = table.newest()
    assert newest is not None
    assert newest["start"] == max(one[0] for one in rows)


def test_only_the_newest_rows_are_read_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = freepbx_rows("22.10")
    make_cdr_table(tmp_path / "cdr.db", rows)
    source = CdrDatabase(f"sqlite:///{tmp_path / 'cdr.db'}", "cdr")
    assert source.read(since=0, until=LATER).remarks == ()
    for module in (database, sources):
        monkeypatch.setattr(module, "MAX_ROWS", 3)
    assert len(source.open().rows_since(datetime(2000, 1, 1))) == 3
    (remark,) = source.read(since=0, until=LATER).remarks
    assert "no more than the newest 3 CDRs are read" in str(remark)
    assert str(remark).endswith("; make missed_window shorter")


def test_what_of_a_log_can_not_be_read_is_told(tmp_path: Path) -> None:
    for source in (QueueLog(tmp_path / "log"), CdrFile(tmp_path / "log")):
        source.path.write_bytes(b"")
        source.path.with_name("log.1.gz").write_bytes(b"no gzip")
        (remark,) = source.read(since=0, until=LATER).remarks
        assert str(remark).startswith(f"{tmp_path}/log.1.gz: it can not be read: ")


def test_history_that_fails_in_any_way_harms_no_other(tmp_path: Path) -> None:
    class Broken:
        def read(self, since: float, until: float) -> Reading:
            raise TypeError("unheard of")

    path = tmp_path / "queue_log"
    path.write_bytes(b"100|1.1|support|NONE|ABANDON|1|1|5\n")
    with capturedLogs() as logs:
        past = read_all([Broken(), QueueLog(path)], since=0, until=LATER)
    assert [call.uniqueid for call in past.calls] == ["1.1"]
    (trouble,) = past.troubles
    assert "TypeError" in str(trouble)
    assert "unheard of" in str(logs[0]["log_failure"])


def test_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(HistoryUnreadable, match=r"/bin/pip install 'pymysql\[rsa\]'"):
        CdrTable("mysql://reader:secret@db/asteriskcdrdb", "cdr")


def test_nothing_is_said_of_the_password() -> None:
    """Whether the driver is there or not: nobody answers at that port."""
    with pytest.raises(HistoryUnreadable) as caught:
        CdrTable("postgresql://reader:secret@127.0.0.1:1/cdr", "public.cdr").newest()
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


#: Columns of a table that has two for the same time, as after a change of CDR module.
TWO_TIMES = [name for name in FREEPBX if name != "calldate"]


@pytest.mark.parametrize("unset", [None, "", "0000-00-00 00:00:00"])
@pytest.mark.parametrize("used", ["calldate", "start"])
@pytest.mark.parametrize("first", ["calldate", "start"])
def test_table_with_two_columns_for_the_time_is_read_by_the_one_that_is_filled(
    tmp_path: Path, first: str, used: str, unset: str | None
) -> None:
    path = tmp_path / "cdr.db"
    make_table_of_two_times(path, first, used, unset)
    calls = CdrDatabase(f"sqlite:///{path}", "cdr").read(0, LATER).calls
    check_cdrs(calls)


def make_table_of_two_times(
    path: Path, first: str, used: str, unset: str | None
) -> None:
    """Make a table of CDRs with calldate and start, of which one is filled."""
    second = "start" if first == "calldate" else "calldate"
    names = [first, second, *TWO_TIMES]
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE cdr ({', '.join(names)})")
        for recorded in freepbx_rows("22.10"):
            values = dict(zip(FREEPBX, recorded, strict=True))
            times = {first: unset, second: unset, used: values["calldate"]}
            conn.execute(
                f"INSERT INTO cdr VALUES ({', '.join('?' * len(names))})",
                [times[first], times[second], *(values[one] for one in TWO_TIMES)],
            )


def test_file_with_two_columns_for_the_time(tmp_path: Path) -> None:
    columns = ("calldate", "src", "dst", "channel", "disposition", "uniqueid")
    for names, times in (
        (("start", *columns), ("2023-11-14 22:13:20", "")),
        (("start", *columns), ("", "2023-11-14 22:13:20")),
    ):
        values = [*times, VICTIM, "1", "PJSIP/a-1", "NO ANSWER", ID]
        path = tmp_path / "cdr.csv"
        path.write_text(",".join(f'"{value}"' for value in values) + "\n")
        reading = CdrFile(path, names).read(0, LATER)
        assert [call.number for call in reading.calls] == [VICTIM]
        assert reading.remarks == ()


@pytest.mark.parametrize(
    "written",
    [1_700_000_000, 1_700_000_000.25, "1700000000", "1700000000.123456"],
)
def test_times_of_a_table_in_epoch_seconds(tmp_path: Path, written: object) -> None:
    path = tmp_path / "cdr.db"
    make_own_table(path, row(calldate=written, uniqueid=ID, linkedid=ID))
    source = CdrDatabase(f"sqlite:///{path}", "cdr")
    (call,) = source.read(1_700_000_000 - 5, LATER).calls
    assert call.number == VICTIM
    assert source.read(1_700_000_000 + 200_000, LATER).calls == []


def make_own_table(path: Path, *rows: dict[str, object]) -> None:
    """Make a table of CDRs with these rows, all of the same columns."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE cdr ({', '.join(rows[0])})")
        for one in rows:
            marks = ", ".join("?" * len(one))
            conn.execute(f"INSERT INTO cdr VALUES ({marks})", list(one.values()))


def test_table_whose_times_can_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cdr.db"
    make_own_table(path, row(calldate="14.11.2023 22:13"))
    with pytest.raises(HistoryUnreadable) as caught:
        CdrDatabase(f"sqlite:///{path}", "cdr").read(0, LATER)
    assert "column calldate holds '14.11.2023 22:13'" in str(caught.value)
    assert "name a view" in str(caught.value)


def test_rows_of_a_table_without_a_time_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "cdr.db"
    good = row(calldate="2023-11-14 22:13:20", uniqueid=ID, linkedid=ID)
    bad = row(calldate=None, uniqueid="1700000003.9", linkedid="1700000003.9")
    old = row(calldate=None, uniqueid="1600000003.9", linkedid="1600000003.9")
    make_own_table(path, good, bad, bad, old)
    reading = CdrDatabase(f"sqlite:///{path}", "cdr").read(1_700_000_000, LATER)
    assert len(reading.calls) == 1
    (remark,) = reading.remarks
    assert str(remark).startswith(
        f"{path}, table cdr: 2 CDRs have no time and are of no use"
    )


def test_lines_of_a_file_that_are_no_cdrs_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    good = master(VICTIM)
    bad = good.replace('"20"', '"20",""', 1)
    path.write_text(f"{good}\n{bad}\n\n{bad}\n")
    reading = CdrFile(path).read(1_699_000_000, LATER)
    assert len(reading.calls) == 1
    (remark,) = reading.remarks
    assert str(remark).startswith(f"{path}: 2 of 3 lines can not be read as CDRs")


#: As in Asterisk's sample of cdr_custom.conf.
CUSTOM = (
    *("clid", "src", "dst", "dcontext", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
    *("accountcode", "uniqueid", "userfield", "sequence"),
)


def custom(**values: object) -> str:
    made = row(start="2023-11-14 22:13:20", answer="2023-11-14 22:13:25", **values)
    texts = [str(made.get(name, "")).replace('"', '""') for name in CUSTOM]
    return ",".join(f'"{text}"' for text in texts)


def test_file_of_cdr_custom_without_columns_gets_the_right_remedy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "Master.csv"
    path.write_text(custom(uniqueid=ID) + "\n")
    with pytest.raises(HistoryUnreadable) as caught:
        CdrFile(path).read(0, LATER)
    assert "its columns are not those of cdr_csv" in caught.value.problem.what
    assert (
        "name them in their order: history.cdr_columns" in caught.value.problem.remedy
    )
    assert len(CdrFile(path, CUSTOM).read(0, LATER).calls) == 1


def test_names_in_latin_1_are_readable(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    named = master(VICTIM).replace('"inbound",""', f'"inbound","""Müller"" <{VICTIM}>"')
    for charset in ("latin-1", "utf-8"):
        path.write_bytes(named.encode(charset) + b"\n")
        (call,) = CdrFile(path).read(0, LATER).calls
        assert call.name == "Müller"


def test_names_in_latin_1_in_a_table_are_readable(tmp_path: Path) -> None:
    path = tmp_path / "cdr.db"
    made = row(calldate="2023-11-14 22:13:20", uniqueid=ID, linkedid=ID)
    make_own_table(path, made)
    clid = f'"Müller" <{VICTIM}>'.encode("latin-1")
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE cdr SET clid = CAST(? AS TEXT)", [clid])
    (call,) = CdrDatabase(f"sqlite:///{path}", "cdr").read(0, LATER).calls
    assert call.name == "Müller"


def test_queue_in_latin_1_is_readable_in_queue_log() -> None:
    line = queue_log.parse_line(
        "1700000000|1.1|Empfang Süd|NONE|ABANDON|1|1|5".encode("latin-1")
    )
    assert line is not None
    assert line.queue == "Empfang Süd"


# -- queue_log in a table


#: Asterisk's realtime writes either the five columns or, in older tables, the last.
DATA_COLUMNS = {"data1..data5": True, "data": False}


def make_queue_log_table(
    path: Path,
    written: Iterable[str],
    *,
    five: bool = True,
    key: str = "id INTEGER PRIMARY KEY, ",
    shift_s: int = 0,
    time_form: Callable[[datetime], object] = lambda at: f"{at}.000001",
) -> None:
    """Make a table of queue_log as realtime fills it."""
    data = [f"data{number}" for number in range(1, 6)] if five else ["data"]
    names = ["time", "callid", "queuename", "agent", "event", *data]
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE queue_log ({key}{', '.join(names)})")
        for line in written:
            moment, callid, queue, agent, event, *rest = line.split("|")
            values = (rest + [""] * 5)[:5] if five else ["|".join(rest)]
            shown = datetime.fromtimestamp(int(moment) + shift_s)
            conn.execute(
                f"INSERT INTO queue_log ({', '.join(names)})"
                f" VALUES ({', '.join('?' * len(names))})",
                [time_form(shown), callid, queue, agent, event, *values],
            )


def recorded_log(version: str) -> list[str]:
    return [line.decode() for line in lines(version, "queue_log")]


def table_log(path: Path) -> QueueLogDatabase:
    return QueueLogDatabase(f"sqlite:///{path}", "queue_log")


@each_version
@pytest.mark.parametrize("five", DATA_COLUMNS.values(), ids=DATA_COLUMNS)
@pytest.mark.parametrize("key", ["id INTEGER PRIMARY KEY, ", ""], ids=["id", "no id"])
@pytest.mark.parametrize("seconds", [True, False], ids=["whole seconds", "parts"])
def test_queue_log_in_a_table_tells_the_same_as_in_a_file(
    tmp_path: Path, version: str, five: bool, key: str, seconds: bool
) -> None:
    path = tmp_path / "realtime.db"
    form = str if seconds else (lambda at: f"{at}.000001")
    make_queue_log_table(
        path, recorded_log(version), five=five, key=key, time_form=form
    )
    reading = table_log(path).read(0, LATER)
    assert reading.remarks == ()
    found = outcomes(judged(reading.calls, QUEUES))
    assert found == outcomes(judged(from_queue_log(version), QUEUES))
    missed = judged(reading.calls, QUEUES).missed
    assert any("found in queue_log" in ended.how for ended in missed)


@pytest.mark.parametrize("shift_s", [-7200, 0, 5 * 3600 + 2700])
def test_times_of_a_table_in_another_zone_are_put_right(
    tmp_path: Path, berlin: None, shift_s: int
) -> None:
    """As with ``queue_log_realtime_use_gmt = yes``."""
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, recorded_log("22.10"), shift_s=shift_s)
    calls = table_log(path).read(0, LATER).calls
    from_file = {call.uniqueid: call for call in from_queue_log("22.10")}
    assert len(calls) == len(from_file)
    for call in calls:
        assert call.began_at == pytest.approx(from_file[call.uniqueid].began_at, abs=1)


@pytest.mark.parametrize(
    "form",
    [lambda at: at.timestamp(), lambda at: str(int(at.timestamp()))],
    ids=["number", "text"],
)
def test_times_of_a_queue_log_table_in_epoch_seconds(
    tmp_path: Path, form: Callable[[datetime], object]
) -> None:
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, TALK, time_form=form)
    (call,) = table_log(path).read(1_700_000_000, LATER).calls
    assert (call.number, call.who) == (VICTIM, "PJSIP/101")
    assert table_log(path).read(1_700_000_000 + 200_000, LATER).calls == []


def test_row_of_a_table_that_asterisk_does_not_write_so_is_not_believed(
    tmp_path: Path,
) -> None:
    """A number with ``|`` in it shifts the fields behind it."""
    path = tmp_path / "realtime.db"
    enter = at(1, ID, "support", "NONE", "ENTERQUEUE", "", f"{VICTIM}|1|x|y", 1)
    ahead = at(
        10**9, "2700000000.7", "support", "NONE", "ENTERQUEUE", "", "030999999", 1
    )
    abandon = at(9, ID, "support", "NONE", "ABANDON", 1, 1, 8)
    make_queue_log_table(path, [enter, ahead, abandon])
    (call,) = table_log(path).read(0, 1_700_000_100).calls
    assert call.number == ""


def test_rows_of_a_table_without_a_time_are_told(tmp_path: Path) -> None:
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, TALK)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE queue_log SET time = 'later' WHERE event = 'CONNECT'")
    reading = table_log(path).read(1_700_000_000, LATER)
    assert [call.number for call in reading.calls] == [VICTIM]
    (remark,) = reading.remarks
    assert "1 rows have no time that can be read" in str(remark)


def test_table_of_queue_log_whose_times_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, TALK, time_form=lambda at: at.strftime("%d.%m.%Y %T"))
    with pytest.raises(HistoryUnreadable, match="column time holds '1"):
        table_log(path).read(0, LATER)


def test_table_of_queue_log_that_lacks_a_column(tmp_path: Path) -> None:
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, TALK)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("ALTER TABLE queue_log DROP COLUMN callid")
    with pytest.raises(HistoryUnreadable) as caught:
        table_log(path).read(0, LATER)
    assert "it has no column callid" in caught.value.problem.what
    assert "history.queue_log_table" in caught.value.problem.remedy


def test_queue_log_in_a_file_and_in_a_table_is_one(tmp_path: Path) -> None:
    path = tmp_path / "realtime.db"
    make_queue_log_table(path, recorded_log("22.10"))
    (tmp_path / "queue_log").write_text("\n".join(recorded_log("22.10")) + "\n")
    sources = [QueueLog(tmp_path / "queue_log"), table_log(path)]
    both = read_all(sources, 0, LATER).calls
    alone = {call.uniqueid: call for call in from_queue_log("22.10")}
    assert {call.uniqueid for call in both} == set(alone)
    for call in both:
        assert len(call.visits) == len(alone[call.uniqueid].visits)


# -- voice bots


@pytest.mark.parametrize("technology", ["AudioSocket", "WebSocket", "UnicastRTP"])
def test_voice_bot_is_no_person_in_cdrs(technology: str) -> None:
    bot = row(dstchannel=f"{technology}/127.0.0.1:9092-01", lastapp="Dial", lastdata="")
    queue = row(calldate="2026-07-01 12:00:30", disposition="NO ANSWER")
    found = judged(past(bot, queue))
    assert [ended.outcome for ended in found.known] == [Outcome.MISSED]
    assert found.contacts == []
    as_person = cdr.read_rows([bot, queue], ["PJSIP", technology])
    (ended,) = judged(cdr.past_calls(as_person.rows)).known
    assert ended.outcome is Outcome.ANSWERED


def test_voice_bot_in_a_queue_is_no_person_in_queue_log() -> None:
    lines = [line.replace("PJSIP/101", "AudioSocket/127.0.0.1:9092") for line in TALK]
    found = judged(log(*lines))
    assert [ended.outcome for ended in found.known] == [Outcome.MISSED]
    assert found.contacts == []


def test_pipe_in_place_of_the_database_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "master.db")
    table = CdrTable(f"sqlite:///{tmp_path / 'master.db'}", "cdr")
    with pytest.raises(HistoryUnreadable, match="no plain file"):
        table.rows_since(datetime(2026, 1, 1))
