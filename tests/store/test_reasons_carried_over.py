# SPDX-License-Identifier: MIT
"""Sentences of version 0.1.0 become codes that produce the same sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.domain.reason import Code, Reason, codes_in, load
from fastagi.store import migrate
from tests.lab.databases import PostgreSQL
from tests.store.test_migrate import connect, everything, older, unmade_url, up_to

__all__ = ["older", "unmade_url"]

#: Sentences of 0.1.0, each with its codes from the outside in.
SENTENCES = {
    "": "text",
    "a customer's wish; see mail": "text",
    "the client pressed the key in queue support": "requested",
    "the client pressed the key in queue support at position 3 while this service did"
    " not answer; Asterisk kept the request": "requested_while_down",
    "the client pressed the key in queue sales, while the client talked in task 7": (
        "requested_while_talking requested"
    ),
    "missed call: hung up after 31 s in queue support": "missed_call caller_hung_up",
    "missed call: hung up after 9 s in queue sales (before that in queue support, Sales"
    " 2) (found in queue_log and the CDRs)": "missed_call caller_hung_up",
    "missed call: left queue support unanswered after 30 s and the call ended at"
    " s@voicemail": "missed_call caller_left_queue",
    "missed call: the call to 100 ended at 100@incoming unanswered after 12 s": (
        "missed_call call_not_answered"
    ),
    "missed call: the call to us ended unanswered after 12 s": (
        "missed_call call_not_answered"
    ),
    "missed call: waited at least 5 s in queue support until Asterisk ended (found in"
    " queue_log)": "missed_call call_cut_off",
    "added by hand": "added_by_hand",
    "put back in line by hand": "reopened_by_hand",
    "attempt 2 begins, channel id callback-1f-2": "attempt_begins",
    "the attempt with channel id callback-1f-2 is under way; the database was set back"
    " and had lost it": "attempt_restored",
    "PJSIP/alice rings": "agent_rings",
    "PJSIP/alice did not answer": "agent_did_not_answer",
    "PJSIP/alice answered": "agent_answered",
    "dialling +4930123456": "client_dialled",
    "agent and client are talking": "talk_begins",
    "they talked for 12.3 s": "talked",
    "they talked for 3.0 s at least, until Asterisk ended, less than the 5 s of a"
    " success; next try in 1800 s": "retry talked_too_short",
    "the client was busy (SIP 486); next try in 0.5 s": "retry client_busy",
    "all 3 attempts used up; there is no route to the client's number (cause 3)": (
        "attempts_used_up no_route"
    ),
    "all 20 tries to reach an agent used up; no agent answered (rung: PJSIP/a)": (
        "agent_tries_used_up no_agent_answered"
    ),
    "there is no such number; not tried again": "result_not_tried_again no_such_number",
    "the client did not answer (SIP 480); given up after 2 attempts that ended so": (
        "result_attempts_used_up client_no_answer"
    ),
    "Asterisk did not place the call: Originate failed: no such extension; next try in"
    " 30 s": "retry not_placed error",
    "they talked for 8.0 s; asked for again in the talk: a new task": (
        "requested_again_in_talk talked"
    ),
    "too old; 2 calls without success, 1 tries without an agent": "too_old",
    "too old; it was never called": "too_old",
    "too old for another attempt; the agent hung up before the client was dialled": (
        "too_old_for_another agent_hung_up_before_dialling"
    ),
    "the number was called 2 times within 24 hours, the most that is allowed; it may be"
    " called again from 2026-03-01 09:05 UTC on, which is too late": "called_too_often",
    "the settings allow more calls to the number": "more_calls_allowed",
    "the settings do not allow it any more: it is a premium-rate number": (
        "not_allowed_any_more kind_not_called"
    ),
    "the number is blocked": "blocked",
    "the number is blocked: asked us; twice": "blocked",
    "the number is blocked; the client was busy": "blocked client_busy",
    "the same client as that of task 12, which stays": "same_client",
    "cancelled by hand": "cancelled_by_hand",
    "not wanted; really; the client did not answer": "text client_no_answer",
    "the caller could not be told in time and is back in line": "taken_back",
    "asked again, but the caller could not be told in time and is back in line": (
        "repeat_taken_back taken_back"
    ),
    "the client rang again and PJSIP/alice answered; the attempt under way: no agent"
    " could be rung": "client_rang_again no_agent_rung",
    "somebody called the client by hand and they talked for 34 s while this service did"
    " not listen": "client_called_by_hand",
    "they talked for 9.0 s, in an attempt that the database had lost": (
        "reached_in_lost_attempt talked"
    ),
    "the number has 3 digits, fewer than the 5 needed": "too_few_digits",
    "there is no number: it says anonymous on a phone's keys": "keypad_word",
    "it is a number of FR, and only those of AT, DE are called": "region_not_allowed",
    "it is a number of no country, and only those of DE are called": "no_region",
    "the queue closed meanwhile": "queue_closed",
    # A sentence that no code reproduces exactly stays a text.
    "the client was busy; next try in 1800.000 s": "text",
    "all 007 attempts used up; there is no such number": "text no_such_number",
    "all ٣ attempts used up": "text",
    "too old; ٣ calls without success": "text",
    "the number was called 1 times within 24 hours, the most that is allowed; it may be"
    " called again from 2026-03-01 09:05 UTC on": "text",
}
ENDED = "the client was busy (SIP 486)"
#: Texts that no version wrote, and that would take very long to parse.
STRANGE = (
    "it" + "; not tried again" * 10,
    "it" + "; not tried again" * 1_000,
    "it" + "; not tried again" * 60_000,
    "; " * 500_000,
    "; the attempt under way: " * 40_000,
)


def _fill(url: str) -> None:
    """Put a row with each sentence into each table of version 0009 or 0010."""
    no = "0" if url.startswith("sqlite") else "false"
    with connect(url).begin() as conn:

        def run(statement: str, **values: Any) -> None:
            conn.execute(sa.text(statement), values)

        for n, words in enumerate(SENTENCES, 1):
            run(
                "INSERT INTO task (id, kind, status, number, number_key, name,"
                " language, queue, linkedid, joined_at, created_at, due_at, expires_at,"
                " ended_at, attempts, member_attempts, reason, cancel_requested,"
                " served) VALUES (:n, 'missed', 'cancelled', :number, :number, 'J', '',"
                f" 'support', 'l', 1, 1, 1, 9, 8, 0, 0, :words, {no}, {no})",
                n=n,
                number=str(n),
                words=words,
            )
            run(
                "INSERT INTO attempt (id, task_id, channel_id, started_at, ended_at,"
                " disposition, member, talk_s, reason, node)"
                " VALUES (:n, :n, :channel, 1, 2, 'BUSY', '', 0, :words, 'default')",
                n=n,
                channel=f"c{n}",
                words=words or ENDED,
            )
            run("INSERT INTO answer VALUES (:n, 1.5)", n=n)
            for move, id_ in (("cancel", n), ("cancel_later", n + 1000)):
                run(
                    "INSERT INTO task_event (id, task_id, attempt_id, at, move, status,"
                    " text, linkedid)"
                    " VALUES (:id, :n, :n, 1, :move, 'cancelled', :words, 'l')",
                    id=id_,
                    n=n,
                    move=move,
                    words=words,
                )
            run("INSERT INTO asked VALUES (:n, 'missed')", n=n)
            run(
                "INSERT INTO later_request (event_id, attempt_id, kind, number, name,"
                " language, queue, linkedid, joined_at, asked_at, expires_at, reason,"
                " answered, state, next_event_id) VALUES (:n, :n, 'missed', '1', '',"
                f" '', 'support', 'l', 1, 1, 1, :words, {no}, 'open', :n)",
                n=n,
                words=words,
            )
            run(
                "INSERT INTO refusal (id, at, kind, queue, number, reason, linkedid)"
                " VALUES (:n, 1, 'missed', 'support', '1', :words, 'l')",
                n=n,
                words=words,
            )
        run(
            "INSERT INTO task (id, kind, status, number, number_key, name, language,"
            " queue, linkedid, joined_at, created_at, due_at, expires_at, attempts,"
            " member_attempts, reason, cancel_requested, served) VALUES (5000,"
            " 'manual', 'calling', 'x', 'x', '', '', 'support', '', 1, 1, 1, 9, 0, 0,"
            f" 'attempt 1 begins, channel id open', {no}, {no})"
        )
        run(
            "INSERT INTO attempt (id, task_id, channel_id, started_at, member, talk_s,"
            " reason, node) VALUES (5000, 5000, 'open', 1, '', 0, '', 'default')"
        )
        # The latest event was deleted: its id must not be used again.
        run(
            "INSERT INTO task_event (id, task_id, at, move, status, text, linkedid)"
            " VALUES (9000, 1, 1, 'cancel', 'cancelled', 'x', '')"
        )
        run("DELETE FROM task_event WHERE id = 9000")
        if not url.startswith("sqlite"):
            run("SELECT setval('task_event_id_seq', 9000)")


@pytest.fixture(
    scope="module",
    params=product(["0009", "0010"], ["sqlite", "postgresql"]),
    ids="-".join,
)
def carried(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """An upgraded database with rows, and its rows before the upgrade.

    The next migration recreates a table on SQLite that rows of `answer`, `asked` and
    `later_request` refer to: first `attempt`, then `task_event`. Tests change nothing,
    as they share it.
    """
    version, engine = request.param
    home = tmp_path_factory.mktemp("carried")
    with ExitStack() as stack:
        if engine == "sqlite":
            url = f"sqlite:///{home / 'callbacks.db'}"
        else:
            server: PostgreSQL = request.getfixturevalue("postgresql")
            url = stack.enter_context(server.database())
        migrate.upgrade(url, migrations=up_to(home, version))
        _fill(url)
        before = everything(url)
        migrate.upgrade(url)
        yield url, before


def _reasons(url: str, table: str, by: str = "id") -> dict[int, Reason]:
    with connect(url).connect() as conn:
        rows = conn.execute(
            sa.text(f"SELECT {by} AS id, reason_code, reason_params FROM {table}")
        )
        return {row.id: load(row.reason_code, row.reason_params) for row in rows}


def test_each_sentence_becomes_its_code_and_is_said_as_before(
    carried: tuple[str, dict[str, list[Any]]],
) -> None:
    url, _ = carried
    for table, by in (
        ("task", "id"),
        ("task_event", "id"),
        ("later_request", "event_id"),
        ("refusal", "id"),
    ):
        reasons = _reasons(url, table, by)
        for n, (words, codes) in enumerate(SENTENCES.items(), 1):
            assert str(reasons[n]) == _said_now(words), table
            assert " ".join(codes_in(reasons[n])) == codes, (table, words)
    attempts = _reasons(url, "attempt")
    assert [str(attempts[n]) for n in range(1, len(SENTENCES) + 1)] == [
        _said_now(words or ENDED) for words in SENTENCES
    ]


def _said_now(words: str) -> str:
    """Return how a sentence is said today: a long pause is not said in seconds."""
    return words.replace("1800 s", "30 min")


def test_parameters_have_their_types(
    carried: tuple[str, dict[str, list[Any]]],
) -> None:
    reasons = {str(one): one for one in _reasons(carried[0], "task").values()}
    again = reasons["the client was busy (SIP 486); next try in 0.5 s"]
    assert again.params["delay_s"] == 0.5
    missed = reasons["missed call: hung up after 31 s in queue support"].params["cause"]
    assert isinstance(missed, Reason)
    assert missed.params == {"waited_s": 31, "queue": "support"}
    nobody = reasons["missed call: the call to us ended unanswered after 12 s"]
    assert nobody.params["cause"] == Reason(Code.CALL_NOT_ANSWERED, {"waited_s": 12})
    both = reasons[
        "missed call: hung up after 9 s in queue sales (before that in queue support,"
        " Sales 2) (found in queue_log and the CDRs)"
    ].params["cause"]
    assert isinstance(both, Reason)
    assert both.params["found"] == "cdr,queue_log"
    kind = reasons["the settings do not allow it any more: it is a premium-rate number"]
    assert kind.params["cause"] == Reason(
        Code.KIND_NOT_CALLED, {"kind": "premium_rate"}
    )


def test_no_row_is_lost(carried: tuple[str, dict[str, list[Any]]]) -> None:
    url, before = carried[0], dict(carried[1])
    after = everything(url)
    for rows in (before, after):
        rows.pop("alembic_version")
    # Tables of later versions begin empty.
    assert {name: len(rows) for name, rows in after.items()} == {
        name: len(before.get(name, ())) for name in after
    }
    assert set(before) <= set(after)
    assert len(before["answer"]) == len(before["later_request"]) == len(SENTENCES)
    for untouched in ("answer", "asked", "blocked", "mark", "position", "lease"):
        assert after[untouched] == before[untouched]


def test_an_attempt_under_way_has_no_reason(
    carried: tuple[str, dict[str, list[Any]]],
) -> None:
    with connect(carried[0]).connect() as conn:
        found = conn.execute(
            sa.text("SELECT reason_code, reason_params FROM attempt WHERE id = 5000")
        )
        assert tuple(found.one()) == ("", "")


def test_what_was_taken_back_has_a_move_of_its_own(
    carried: tuple[str, dict[str, list[Any]]],
) -> None:
    with connect(carried[0]).connect() as conn:
        moves = conn.execute(
            sa.text("SELECT move, reason_code FROM task_event ORDER BY id")
        ).all()
    took = {row.move for row in moves if row.reason_code == "taken_back"}
    assert took == {"take_back", "take_back_later"}
    others = {row.move for row in moves if row.reason_code != "taken_back"}
    assert others == {"cancel", "cancel_later"}


def test_history_is_guarded_as_before_and_no_id_is_given_again(
    carried: tuple[str, dict[str, list[Any]]],
) -> None:
    with connect(carried[0]).connect() as conn:
        for change in (
            "UPDATE task_event SET at = at - 1",
            "INSERT INTO task_event (task_id, at, move, status, reason_params,"
            " linkedid) VALUES (1, 1, 'x', 'cancelled', '{}', '')",
        ):
            with pytest.raises(sa.exc.IntegrityError):
                conn.exec_driver_sql(change)
            conn.rollback()
        conn.exec_driver_sql(
            "INSERT INTO task_event (task_id, at, move, status, reason_params,"
            " linkedid) VALUES (5000, 1, 'progress', 'calling', '{}', '')"
        )
        last = conn.exec_driver_sql("SELECT max(id) FROM task_event").scalar_one()
        assert last > 9000
        with pytest.raises(sa.exc.IntegrityError):
            conn.exec_driver_sql("DELETE FROM task_event WHERE task_id = 5000")
        conn.rollback()


def test_parameters_are_json(carried: tuple[str, dict[str, list[Any]]]) -> None:
    with connect(carried[0]).connect() as conn:
        for table in ("task", "task_event", "later_request", "refusal"):
            every = conn.exec_driver_sql(f"SELECT reason_params FROM {table}").scalars()
            assert all(isinstance(json.loads(one), dict) for one in every)


def test_text_that_no_version_composed_stays_as_it_is(
    unmade_url: str, older: Callable[[str], Path]
) -> None:
    migrate.upgrade(unmade_url, migrations=older("0010"))
    with connect(unmade_url).begin() as conn:
        for words in STRANGE:
            conn.execute(
                sa.text(
                    "INSERT INTO refusal (at, kind, queue, number, reason, linkedid)"
                    " VALUES (1, 'missed', 'support', '1', :words, 'l')"
                ),
                {"words": words},
            )

    migrate.upgrade(unmade_url)

    kept = _reasons(unmade_url, "refusal").values()
    assert [one.code for one in kept] == [Code.TEXT] * len(STRANGE)
    assert [hash(str(one)) for one in kept] == [hash(words) for words in STRANGE]
