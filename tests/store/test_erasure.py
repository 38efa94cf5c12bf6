# SPDX-License-Identifier: MIT
"""Numbers and names are erased from what has ended, and nothing else changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.erasure import (
    ERASED,
    KEPT_PARAMS,
    erased_params,
    has_key,
    keys_of,
    mentions,
)
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.offers import Offer, OfferOutcome, Trigger
from fastagi.domain.reason import Code, because, said
from fastagi.domain.task import Entered, Kind
from fastagi.reports import ReportQuery, report
from fastagi.store import erasure, lifecycle, schema, tallies
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, ROOT, RULES, at, done, new_task, verdict

PLAN = NumberPlan("DE")
#: What must not remain anywhere.
NUMBER, NAME, CALL = "493012345678", "Planted Name", "1700000000.4711"
#: Columns that hold neither numbers nor names of clients.
CLEAN = {
    "task.assigned_to",
    *("task.kind", "task.status", "task.language", "task.queue", "task.reason_code"),
    *("attempt.channel_id", "attempt.disposition", "attempt.member", "attempt.node"),
    *("attempt.reason_code", "task_event.move", "task_event.status"),
    *("task_event.reason_code", "asked.kind", "later_request.kind"),
    *("later_request.language", "later_request.queue", "later_request.state"),
    *("later_request.reason_code", "mark.name", "position.name", "measured.queue"),
    *("last_talk.member", "refusal.kind", "refusal.queue", "refusal.reason_code"),
    *("offer.queue", "offer.reason", "offer.outcome", "queue_zone.queue"),
    *("queue_zone.zone", "tally.span", "tally.queue", "tally.kind", "tally.numbers"),
    *("lease.name", "lease.host", "lease.boot_id", "lease.pid_space"),
    *("lease.process_start", "lease.token", "blocked.region", "in_call.node"),
    *("lease.system_name", "lease.wanted_by", "instance.name", "instance.version"),
    # A number that the settings name is there until they do not name it any more.
    *("instance.settings", "instance.digest"),
    *("told.node", "told.what", "told.about", "told.value"),
}
#: The list of blocked numbers is kept, because it says whom not to call.
LISTED = {"blocked.number_key", "blocked.number", "blocked.reason"}


def change(database: Database, *statements: Any) -> None:
    """Run statements in a transaction."""

    def run(conn: sa.Connection) -> None:
        for statement in statements:
            conn.execute(statement)

    done(database.run("test", run))


def every_text(database: Database) -> dict[str, list[str]]:
    """Return all values of every text column, by table and column."""

    def read(conn: sa.Connection) -> dict[str, list[str]]:
        return {
            f"{table.name}.{column.name}": [
                value for value in conn.execute(sa.select(column)).scalars() if value
            ]
            for table in schema.metadata.sorted_tables
            for column in table.columns
            if isinstance(column.type, sa.Text)
        }

    return done(database.run("test", read))


def planted_in(database: Database) -> set[str]:
    """Return the columns in which a number, a name or a call was planted."""
    found = re.compile(f"{NUMBER[2:]}|{NAME}|{CALL}")
    return {
        column
        for column, values in every_text(database).items()
        if any(found.search(value) for value in values)
    }


def call(store: TaskStore, how: str, seconds: float, text: str = "") -> str:
    """Call the next task; return the channel id."""
    channel_id = f"callback-{seconds}"
    done(store.begin_attempts(["support"], [channel_id], at(seconds)))
    dialled = because(Code.CLIENT_DIALLED, number=f"+{NUMBER}")
    done(store.progress(channel_id, dialled, at(seconds)))
    ended = verdict(how, member="PJSIP/ada", why=said(text or f"it was {how}"))
    done(store.close_attempt(channel_id, ended, RULES, at(seconds + 20)))
    return channel_id


def plant(store: TaskStore) -> None:
    """Store a number, a name and the id of a call wherever they can be stored."""
    new = new_task(
        NUMBER,
        name=NAME,
        linkedid=CALL,
        why=because(Code.REQUESTED, queue="support", caller=f"+{NUMBER}"),
    )
    done(store.add(new, at(0)))
    call(store, "BUSY", 10, text=f"error of {NUMBER}")
    channel_id = "callback-later"
    done(store.begin_attempts(["support"], [channel_id], at(60)))
    done(store.add(attrs.evolve(new, due_at=at(61)), at(61)))
    ended = verdict("ANSWERED", member="PJSIP/ada", why=said(f"talked to {NAME}"))
    done(store.close_attempt(channel_id, ended, RULES, at(90), answered_at=at(60.5)))
    done(store.begin_attempts(["support"], ["callback-2"], at(100)))
    done(store.close_attempt("callback-2", verdict("ANSWERED"), RULES, at(190)))
    # Another client's task was requested from this number.
    other = new_task(
        "493099999999",
        name="Other",
        linkedid="1.2",
        entered=Entered(NUMBER, 5),
        why=because(Code.REQUESTED, queue="support", caller=f"+{NUMBER}"),
    )
    done(store.add(other, at(200)))
    call(store, "ANSWERED", 210)
    # A call of another service, which does not run any more.
    calls = sa.insert(schema.in_call).values(node="berlin", number_key=NUMBER)
    done(store._database.run("test", lambda conn: conn.execute(calls).close()))
    done(store.note_talk(NUMBER, "PJSIP/ada", at(220), at(0)))
    refusal = Refusal(
        id=0,
        at=at(230),
        kind=Kind.REQUESTED,
        queue="support",
        number=f"0{NUMBER[2:]}",
        why=because(Code.KEYPAD_WORD, word=NAME),
        linkedid=CALL,
    )
    done(store.refuse(refusal))
    offer = Offer(
        at=at(240),
        queue="support",
        number=f"+{NUMBER}",
        position=1,
        expected_wait_s=10.0,
        trigger=Trigger.WAITED,
        linkedid=CALL,
    )
    key = done(store.add_offer(offer, NUMBER, at(9999)))
    assert key is not None
    done(store.end_offer(key, OfferOutcome.DECLINED, at(250)))


def block(store: TaskStore) -> None:
    """Block the number."""
    blocked = BlockedNumber(
        number=f"+{NUMBER}", number_key=NUMBER, reason=NAME, at=at(260)
    )
    done(store.block(blocked, "DE"))


def figures(database: Database) -> object:
    """Return all reports."""
    query = ReportQuery(first=NOW.date(), last=NOW.date())
    return done(database.run("test", report, query))


@pytest.fixture
def planted(store: TaskStore) -> TaskStore:
    """A store with the number in every place."""
    plant(store)
    return store


def test_each_column_of_text_is_known_and_can_hold_the_number(
    planted: TaskStore, database: Database
) -> None:
    """A new column must be added to one of the sets, and be planted above."""
    block(planted)
    columns = set(every_text(database))
    assert columns >= CLEAN | LISTED
    assert planted_in(database) == columns - CLEAN


def test_after_its_time_nothing_is_left_of_a_number(
    planted: TaskStore, database: Database
) -> None:
    before = figures(database)
    events = done(planted.history(1))
    assert done(planted.erase_old(at(-1))) == 0
    while done(planted.erase_old(NOW + timedelta(days=1))):
        pass
    assert planted_in(database) == set()
    assert figures(database) == before
    # What happened is still told, in the same steps.
    erased = done(planted.history(1))
    assert [event.why.code for event in erased] == [e.why.code for e in events]
    assert [event.at for event in erased] == [event.at for event in events]
    task = done(planted.find(1))
    assert (task.number, task.name, task.linkedid) == (ERASED, "", "")


def test_a_number_is_erased_by_itself(planted: TaskStore, database: Database) -> None:
    before = figures(database)
    keys = keys_of(f"0{NUMBER[2:]}", PLAN)
    why = because(Code.NUMBER_ERASED, actor="root")
    erased = done(planted.erase_number(keys, PLAN, why, at(300)))
    assert (erased.tasks, erased.mentions) == (2, 2)
    assert planted_in(database) == set()
    assert figures(database) == before
    assert done(planted.history(1))[-1].why == why
    other = done(planted.find(3))
    assert (other.number, other.name) == ("+493099999999", "Other")
    assert done(planted.history(3))[0].why.params["caller"] == ERASED
    again = done(planted.erase_number(keys, PLAN, why, at(301)))
    assert (again.tasks, again.others, again.mentions) == (0, 0, 0)


def test_open_tasks_are_never_erased(store: TaskStore, database: Database) -> None:
    done(store.add(new_task(NUMBER, name=NAME, linkedid=CALL), at(0)))
    before = every_text(database)
    assert done(store.erase_old(at(10**9))) == 0
    keys = keys_of(NUMBER, PLAN)
    why = because(Code.NUMBER_ERASED)
    assert done(store.erase_number(keys, PLAN, why, at(1))).tasks == 0
    assert done(store.delete_old(at(10**9))) == 0
    assert every_text(database) == before


def test_a_task_whose_number_is_erased_can_not_be_called_again(
    store: TaskStore,
) -> None:
    done(store.add(new_task(NUMBER), at(0)))
    done(store.cancel(1, said("no"), at(1)))
    done(store.erase_old(at(100)))
    with pytest.raises(NotCallable, match="its number was erased"):
        done(store.retry(1, said("again"), at(2), at(9999)))


@pytest.mark.parametrize(
    ("is_open", "column", "value"),
    [
        (True, "reason_params", "{}"),
        (True, "linkedid", ""),
        (False, "move", "expire"),
        (False, "at", 0.0),
        (False, "linkedid", "another"),
        (False, "reason_code", "text"),
        (False, "attempt_id", None),
    ],
)
def test_the_history_refuses_any_other_change(
    store: TaskStore, database: Database, is_open: bool, column: str, value: object
) -> None:
    done(store.add(new_task(NUMBER, linkedid=CALL), at(0)))
    done(store.begin_attempts(["support"], ["a"], at(1)))
    if not is_open:
        done(store.close_attempt("a", verdict("ANSWERED"), RULES, at(20)))
    event = schema.task_event
    statement = sa.update(event).where(event.c.move == "begin").values({column: value})
    with pytest.raises(sa.exc.DBAPIError, match="only ever added to"):
        change(database, statement)


# -- whole tasks -----------------------------------------------------------


def stored(database: Database) -> None:
    """Store the counts of all past days."""

    def store(conn: sa.Connection) -> None:
        days = tallies.not_stored(conn, at(5 * 86400).timestamp(), 100)
        for day, queues in days.items():
            tallies.store_day(conn, queues, day)
        tallies.store_longer(conn, 10_000)

    done(database.run("test", store))


def test_deleted_tasks_still_count(planted: TaskStore, database: Database) -> None:
    before = figures(database)
    assert before.totals.reached == 3
    # Not before their counts are stored.
    assert done(planted.delete_old(at(10 * 86400))) == 0
    stored(database)
    while done(planted.delete_old(at(10 * 86400))):
        pass
    for table in (schema.task, schema.attempt, schema.task_event, schema.asked):
        assert not every_row(database, table)
    assert not every_row(database, schema.later_request)
    assert figures(database) == before


def every_row(database: Database, table: sa.Table) -> int:
    """Return the number of rows of a table."""
    count = sa.select(sa.func.count()).select_from(table)
    return done(database.run("test", lambda conn: conn.execute(count).scalar_one()))


def test_a_task_of_a_day_whose_tasks_are_deleted_is_not_put_back_in_line(
    store: TaskStore, database: Database
) -> None:
    for number in range(erasure.TASKS_AT_ONCE + 1):
        done(store.add(new_task(f"49301234{number:04}"), at(number)))
        done(store.cancel(number + 1, said("no"), at(number)))
    stored(database)
    before = figures(database)
    assert done(store.delete_old(at(10**6))) == erasure.TASKS_AT_ONCE
    last = erasure.TASKS_AT_ONCE + 1
    with pytest.raises(NotCallable, match="too old to be put back in line"):
        done(store.retry(last, said("again"), at(10**6), at(10**7)))
    assert done(store.delete_old(at(10**6))) == 1
    assert figures(database) == before


# -- what is kept about a number -------------------------------------------


def test_everything_that_is_kept_about_a_number_is_returned(
    planted: TaskStore,
) -> None:
    block(planted)
    keys = keys_of(NUMBER, PLAN)
    found = done(planted.records_of(keys, PLAN))
    assert [record.task.id for record in found.tasks] == [1, 2]
    assert found.tasks[0].linkedids == (CALL,)
    assert len(found.tasks[0].attempts) == 2
    assert [refusal.queue for refusal in found.refusals] == ["support"]
    assert len(found.offers) == len(found.entered_at) == 1
    assert found.blocked.reason == NAME
    assert found.last_talk == ("PJSIP/ada", at(220).timestamp())
    assert found.mentioned_in == (3,)
    nothing = done(planted.records_of(keys_of("4930000000", PLAN), PLAN))
    assert nothing == erasure.NumberRecords(
        tasks=(),
        refusals=(),
        offers=(),
        blocked=None,
        last_talk=None,
        entered_at=(),
    )


def test_a_number_is_erased_from_later_requests_for_other_numbers(
    store: TaskStore, database: Database
) -> None:
    other = new_task(
        "493099999999",
        why=because(Code.REQUESTED, queue="support", caller=f"+{NUMBER}"),
    )
    done(store.add(other, at(0)))
    done(store.begin_attempts(["support"], ["a"], at(1)))
    done(store.add(other, at(2)))
    done(store.close_attempt("a", verdict("ANSWERED"), RULES, at(20)))
    assert "later_request.reason_params" in planted_in(database)
    why = because(Code.NUMBER_ERASED)
    done(store.erase_number(keys_of(NUMBER, PLAN), PLAN, why, at(30)))
    assert planted_in(database) == set()


def test_the_reason_of_a_block_is_erased_for_all_forms_of_a_number(
    store: TaskStore, database: Database
) -> None:
    for number in (f"+{NUMBER}", f"0{NUMBER[2:]}"):
        blocked = BlockedNumber(
            number=number, number_key=number.removeprefix("+"), reason=NAME, at=at(0)
        )
        done(store.block(blocked, ""))
    done(store.rekey_blocked(PLAN))
    done(store.clear_block_reason(NUMBER))
    assert planted_in(database) == {"blocked.number", "blocked.number_key"}


def test_no_note_is_written_to_a_task_whose_number_is_erased(
    store: TaskStore, database: Database
) -> None:
    done(store.add(new_task(NUMBER), at(0)))
    done(store.cancel(1, said("no"), at(1)))
    note = because(Code.NOTE, text=f"call {NUMBER}, {NAME}")

    def write(conn: sa.Connection) -> Any:
        return lifecycle.note(conn, 1, note, at(2))

    (task,) = done(store.carry_out([write]))
    assert task.id == 1
    done(store.erase_old(at(100)))
    (refused,) = done(store.carry_out([write]))
    assert isinstance(refused, NotCallable)
    assert "number was erased" in str(refused)
    assert planted_in(database) == set()


# -- pure ------------------------------------------------------------------


def test_every_form_of_a_number_is_found() -> None:
    keys = keys_of("030 12345678".replace(" ", ""), PLAN)
    for form in ("+493012345678", "00493012345678", "030/12345678", "493012345678"):
        assert mentions(form, keys), form
        assert keys_of(re.sub(r"[^\d+]", "", form), PLAN) & keys
    assert not mentions("+493012345679", keys)


def test_every_parameter_of_a_reason_is_known() -> None:
    """A new one with a text is either kept, or known to be erased."""
    docs = (ROOT / "docs/reasons.md").read_text()
    rows = re.findall(r"^\| `\w+` \| (.*?) \|", docs, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    is_erased = {"text", "error", "caller", "called", "place", "word"}
    # Numbers, truth values, or other reasons.
    no_texts = {
        *("cause", "number", "task_id", "waited_s", "talk_s", "needed_s", "slack_s"),
        *("position", "wait_s", "delay_s", "limit", "calls", "tries", "times"),
        *("digits", "too_late", "unheard", "asterisk_ended", "ahead"),
        "callers",
    }
    unknown = named - KEPT_PARAMS - is_erased - no_texts
    assert not unknown, "add it to KEPT_PARAMS, or above"


def test_a_reason_keeps_what_names_nobody() -> None:
    inner = {"code": "talked", "params": {"talk_s": 3.5, "text": "Ada"}}
    params = {"queue": "support", "caller": "123", "number": 3, "cause": inner}
    assert json.loads(erased_params(json.dumps(params))) == {
        "queue": "support",
        "caller": ERASED,
        "number": 3,
        "cause": {"code": "talked", "params": {"talk_s": 3.5, "text": ERASED}},
    }
    assert erased_params("no JSON") == "{}"
    assert erased_params("[]") == "{}"


# -- the file --------------------------------------------------------------


@pytest.fixture
def file_store(sqlite_url: str) -> Iterator[tuple[TaskStore, Database]]:
    """A store in a SQLite file."""
    database = Database(sqlite_url, deliver=None)
    yield TaskStore(database), database
    done(database.close())


def test_nothing_of_an_erased_number_is_left_in_the_file(
    file_store: tuple[TaskStore, Database], sqlite_path: Path
) -> None:
    store, _ = file_store
    for number in range(60):
        # Other tasks around it, so that pages are split and freed.
        done(store.add(new_task(f"49170000{number:04}", name="x" * 90), at(-number)))
        done(store.cancel(number + 1, said("no" * 50), at(0)))
    done(store.add(new_task(NUMBER, name=NAME, linkedid=CALL), at(0)))
    call(store, "ANSWERED", 10)
    planted = [NUMBER[2:].encode(), NAME.encode(), CALL.encode()]
    assert all(any(word in data for data in files(sqlite_path)) for word in planted)

    keys = keys_of(NUMBER, PLAN)
    done(store.erase_number(keys, PLAN, because(Code.NUMBER_ERASED), at(100)))

    for data in files(sqlite_path):
        for word in planted:
            assert word not in data


def files(path: Path) -> list[bytes]:
    """Return the contents of the database and its log of writes."""
    paths = [path, path.with_name(f"{path.name}-wal")]
    return [one.read_bytes() for one in paths if one.exists()]


@pytest.mark.parametrize("region", ["", "DE", "AR"])
@given(number=st.from_regex(r"\+?[0-9]{1,16}", fullmatch=True) | st.text(min_size=1))
@example(number="+49 30 12345-67")
@example(number="0301234567;ext=12")
@example(number="0091112345678")
@example(number="12")
def test_every_number_has_its_own_keys(region: str, number: str) -> None:
    plan = NumberPlan(region=region)
    assert has_key(number, {plan.key(number)}, plan)
    assert has_key(number, keys_of(number, plan), plan)
    assert not has_key("", keys_of(number, plan), plan)


def test_callers_do_not_wait_until_every_stored_number_is_read(
    store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ten thousand refusals and offers that took a second, in one transaction."""
    for number in range(300):
        refusal = Refusal(
            id=0,
            at=at(number),
            kind=Kind.REQUESTED,
            queue="support",
            number=f"030{number:08}",
            why=said("x"),
            linkedid="",
        )
        done(store.refuse(refusal))
    read: list[str] = []
    key = NumberPlan.key

    def note(plan: NumberPlan, number: str) -> str:
        read.append(number)
        return key(plan, number)

    monkeypatch.setattr(NumberPlan, "key", note)
    keys = keys_of("+493000000007", PLAN)
    assert len(done(store.records_of(keys, PLAN)).refusals) == 1
    assert done(store.erase_number(keys, PLAN, said("x"), at(400))).others == 1
    assert len(read) < 20
