# SPDX-License-Identifier: MIT
"""Reasons are codes with parameters in place of English sentences.

A sentence that an earlier version composed is split into the code and the parameters
that produce the same sentence. Every other sentence, such as an operator's, becomes the
parameter of the code ``text``.

Each different sentence is split once, however many rows have it, and one statement for
each table changes the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_MOVE: Final = (
    "move IN ('create', 'repeat', 'begin', 'progress', 'retry', 'complete',"
    " 'give_up', 'expire', 'cancel_later', 'cancel', 'take_back', 'take_back_later',"
    " 'serve_later', 'serve', 'reopen')"
)
_STATUS: Final = (
    "status IN ('pending', 'calling', 'completed', 'failed', 'expired', 'cancelled',"
    " 'served')"
)
_OPEN: Final = "status IN ('pending', 'calling')"
_REFUSAL: Final = "the history of a task is only ever added to"
#: The columns with sentences, by table.
_SENTENCES: Final = (
    ("task", "reason"),
    ("attempt", "reason"),
    ("task_event", "text"),
    ("later_request", "reason"),
    ("refusal", "reason"),
)
#: Number of sentences that are split at a time.
_AT_ONCE: Final = 5_000
#: A longer sentence, or one with more reasons, was not composed by an earlier version.
#: It stays as it is, because splitting it may take for ever.
_LONGEST: Final = 20_000
_MOST_REASONS: Final = 10


def upgrade() -> None:
    """Convert every row."""
    conn = op.get_bind()
    sqlite = conn.dialect.name == "sqlite"
    _take_apart(conn, sqlite)
    if sqlite:
        _renew_events_on_sqlite()
    else:
        _change_events_on_postgresql()
    for table, column in _SENTENCES:
        if table == "task_event" and sqlite:
            continue
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO reason_params")
        op.add_column(table, _code())
        _fill(table, sqlite)
    op.execute(
        "UPDATE attempt SET reason_code = '', reason_params = '' WHERE ended_at IS NULL"
    )
    if sqlite:
        _guard_events_on_sqlite()
    else:
        op.execute(
            "UPDATE task_event SET move = CASE move WHEN 'cancel' THEN 'take_back'"
            " ELSE 'take_back_later' END"
            " WHERE reason_code = 'taken_back' AND move IN ('cancel', 'cancel_later')"
        )
        op.execute("ALTER TABLE task_event ENABLE TRIGGER task_event_guard")
    op.drop_table("sentence")


def _take_apart(conn: sa.Connection, sqlite: bool) -> None:
    """Create a table of all sentences, each with its code and parameters."""
    # An index of PostgreSQL cannot contain the longest of them; none is needed.
    key = " PRIMARY KEY" if sqlite else ""
    rowid = " WITHOUT ROWID" if sqlite else ""
    op.execute(
        f"CREATE TABLE sentence (words TEXT NOT NULL{key}, code TEXT NOT NULL,"
        f" params TEXT NOT NULL){rowid}"
    )
    every = " UNION ".join(
        f"SELECT {column} FROM {name}" for name, column in _SENTENCES
    )
    insert = sa.text("INSERT INTO sentence VALUES (:words, :code, :params)")
    found = conn.execute(sa.text(every), execution_options={"stream_results": True})
    for some in found.scalars().partitions(_AT_ONCE):
        rows = []
        for words in some:
            code, params = _stored_reason_of(words)
            rows.append({"words": words, "code": code, "params": params})
        conn.execute(insert, rows)
    if not sqlite:
        op.execute("ANALYZE sentence")


def _code() -> sa.Column[str]:
    return sa.Column("reason_code", sa.Text, nullable=False, server_default="text")


def _fill(table: str, sqlite: bool) -> None:
    if sqlite:
        op.execute(
            f"UPDATE {table} SET (reason_code, reason_params) = (SELECT code, params"
            f" FROM sentence WHERE words = {table}.reason_params)"
        )
    else:
        op.execute(
            f"UPDATE {table} SET reason_code = code, reason_params = params"
            " FROM sentence WHERE words = reason_params"
        )


def _renew_events_on_sqlite() -> None:
    """Recreate the table, as SQLite cannot change a constraint."""
    op.create_table(
        "new_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, nullable=False),
        sa.Column("attempt_id", sa.Integer),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason_params", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        _code(),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_task_event_task_id_task")
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempt.id"],
            name=op.f("fk_task_event_attempt_id_attempt"),
        ),
        sa.CheckConstraint(_MOVE, name=op.f("ck_task_event_move")),
        sa.CheckConstraint(_STATUS, name=op.f("ck_task_event_status")),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO new_event (id, task_id, attempt_id, at, move, status,"
        " reason_code, reason_params, linkedid)"
        " SELECT id, task_id, attempt_id, at,"
        " CASE WHEN code <> 'taken_back' THEN move"
        "  WHEN move = 'cancel' THEN 'take_back'"
        "  WHEN move = 'cancel_later' THEN 'take_back_later'"
        "  ELSE move END,"
        " status, code, params, linkedid"
        " FROM task_event JOIN sentence ON words = text ORDER BY id"
    )
    # An id is not used again, even if its row was deleted.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'new_event'")
    op.execute(
        "UPDATE sqlite_sequence SET name = 'new_event' WHERE name = 'task_event'"
    )
    op.execute("DROP TABLE task_event")
    op.execute("ALTER TABLE new_event RENAME TO task_event")
    op.create_index("ix_task_event_task_id", "task_event", ["task_id"])
    op.create_index(
        "ix_task_event_linkedid",
        "task_event",
        ["linkedid"],
        sqlite_where=sa.text("linkedid <> ''"),
    )


def _guard_events_on_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER task_event_update BEFORE UPDATE ON task_event"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )
    op.execute(
        "CREATE TRIGGER task_event_delete BEFORE DELETE ON task_event"
        " WHEN EXISTS (SELECT 1 FROM task"
        f" WHERE task.id = OLD.task_id AND task.{_OPEN})"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )


def _change_events_on_postgresql() -> None:
    op.execute("ALTER TABLE task_event DISABLE TRIGGER task_event_guard")
    op.drop_constraint(op.f("ck_task_event_move"), "task_event")
    op.create_check_constraint(op.f("ck_task_event_move"), "task_event", _MOVE)


# -- sentences -------------------------------------------------------------

_BEFORE: Final = "[ (before that in queue {before})]"
_FOUND: Final = "[ (found in {found:found})]"
_SOURCE: Final = "[ ({source:source})]"
_UNHEARD: Final = "[ while this service did not listen|unheard]"
_LOST: Final = "[ at least, until Asterisk ended|asterisk_ended]"

#: How attempts end. Such a sentence may also follow the reason of a cancelled task.
_ATTEMPT_ENDS: Final = (
    ("talked", f"they talked for {{talk_s:float}} s{_LOST}"),
    (
        "talked_too_short",
        f"they talked for {{talk_s:float}} s{_LOST}, less than the {{needed_s:float}} s"
        " of a success",
    ),
    ("client_gone_at_once", "the client answered and was gone at once"),
    ("talk_not_seen", "the client answered, but nobody watched how long they talked"),
    ("client_busy", f"the client was busy{_SOURCE}"),
    ("client_no_answer", f"the client did not answer{_SOURCE}"),
    (
        "client_congestion",
        f"the network could not reach the client (congestion){_SOURCE}",
    ),
    ("client_unavailable", f"the client's number could not be reached{_SOURCE}"),
    (
        "client_forwards",
        f"the client's phone forwards calls; callbacks are not forwarded{_SOURCE}",
    ),
    ("no_such_number", f"there is no such number{_SOURCE}"),
    ("no_route", f"there is no route to the client's number{_SOURCE}"),
    ("phone_did_not_respond", f"the client's phone did not respond{_SOURCE}"),
    ("phone_not_in_network", f"the client's phone is not in the network{_SOURCE}"),
    ("call_refused", f"the call to the client was refused{_SOURCE}"),
    ("number_changed", f"the client's number has changed{_SOURCE}"),
    ("exchange_out_of_order", f"the client's exchange is out of order{_SOURCE}"),
    (
        "number_incomplete",
        f"the client's number is not complete, or of a wrong form{_SOURCE}",
    ),
    ("network_congested", f"the network is congested{_SOURCE}"),
    ("agent_hung_up_ringing", "the agent hung up while the client's phone rang"),
    (
        "agent_hung_up_before_dialling",
        "the agent hung up before the client was dialled",
    ),
    ("no_agent_answered", "no agent answered (rung: {rung})"),
    ("no_agent_rung", "no agent could be rung"),
    ("not_placed", "Asterisk did not place the call: {cause:error}"),
    ("asterisk_ended", "Asterisk ended in the middle of the call"),
    ("service_stops", "the service stops, or lost Asterisk"),
    ("asterisk_takes_no_calls", "Asterisk takes no calls now"),
    ("queue_closed", "the queue closed meanwhile"),
    ("client_rang_in", "the client rang in meanwhile"),
    ("client_called_by_hand_meanwhile", "the client was called by hand meanwhile"),
    ("client_being_called", "the client is being called already"),
    ("agent_taken", "the agent was taken meanwhile"),
    ("call_forwarded", "the client's phone forwards the call"),
)
_TOO_OFTEN: Final = (
    "the number was called {times:times} within 24 hours, the most that is allowed; it"
    " may be called again from {again_at:moment} on[, which is too late|too_late]"
)
_OTHERS: Final = (
    (
        "requested_while_down",
        "the client pressed the key in queue {queue}[ at position {position:int}] while"
        " this service did not answer; Asterisk kept the request",
    ),
    (
        "requested_while_talking",
        "{cause:known}, while the client talked in task {task_id:int}",
    ),
    ("requested", "the client pressed the key in queue {queue}"),
    ("missed_call", "missed call: {cause:known}"),
    ("added_by_hand", "added by hand"),
    ("reopened_by_hand", "put back in line by hand"),
    (
        "caller_hung_up",
        f"hung up after {{waited_s:int}} s in queue {{queue}}{_BEFORE}{_FOUND}",
    ),
    (
        "caller_left_queue",
        "left queue {queue} unanswered after {waited_s:int} s"
        f"[ and the call ended at {{place}}]{_BEFORE}{_FOUND}",
    ),
    (
        "call_not_answered",
        "the call to us ended[ at {place}] unanswered after {waited_s:int} s"
        f"{_FOUND}",
    ),
    (
        "call_not_answered",
        "the call to {called:word} ended[ at {place}] unanswered after {waited_s:int} s"
        f"{_FOUND}",
    ),
    (
        "call_cut_off",
        "waited at least {waited_s:int} s in queue {queue} until Asterisk ended"
        f"{_BEFORE}{_FOUND}",
    ),
    (
        "attempt_begins",
        "attempt {number:int} begins, channel id {channel_id:word}",
    ),
    (
        "attempt_restored",
        "the attempt with channel id {channel_id:word} is under way; the database was"
        " set back and had lost it",
    ),
    ("agent_rings", "{interface:word} rings"),
    ("agent_did_not_answer", "{interface:word} did not answer"),
    ("agent_answered", "{interface:word} answered"),
    ("client_dialled", "dialling {number:word}"),
    ("talk_begins", "agent and client are talking"),
    ("repeat_taken_back", "asked again, but {cause:known}"),
    ("attempts_used_up", "all {limit:int} attempts used up; {cause:reason}"),
    (
        "agent_tries_used_up",
        "all {limit:int} tries to reach an agent used up; {cause:reason}",
    ),
    (
        "requested_again_in_talk",
        "{cause:reason}; asked for again in the talk: a new task",
    ),
    ("retry", "{cause:reason}; next try in {delay_s:float} s"),
    ("result_not_tried_again", "{cause:reason}; not tried again"),
    (
        "result_attempts_used_up",
        "{cause:reason}; given up after {limit:int} attempts that ended so",
    ),
    (
        "too_old",
        "too old; {calls:int} calls without success, {tries:int} tries without an"
        " agent",
    ),
    ("too_old", "too old; {calls:int} calls without success"),
    ("too_old", "too old; {tries:int} tries without an agent"),
    ("too_old", "too old; it was never called"),
    ("too_old_for_another", "too old for another attempt; {cause:reason}"),
    ("called_too_often", _TOO_OFTEN),
    ("more_calls_allowed", "the settings allow more calls to the number"),
    ("not_allowed_any_more", "the settings do not allow it any more: {cause:known}"),
    ("blocked", "the number is blocked"),
    ("same_client", "the same client as that of task {task_id:int}, which stays"),
    ("cancelled_by_hand", "cancelled by hand"),
    ("taken_back", "the caller could not be told in time and is back in line"),
    ("client_rang_again", f"the client rang again and somebody answered{_UNHEARD}"),
    ("client_rang_again", f"the client rang again and {{who:word}} answered{_UNHEARD}"),
    (
        "client_called_by_hand",
        "somebody called the client by hand and they talked for {talk_s:int} s"
        f"{_UNHEARD}",
    ),
    (
        "client_called_by_hand",
        "{who:word} called the client by hand and they talked for {talk_s:int} s"
        f"{_UNHEARD}",
    ),
    (
        "reached_in_lost_attempt",
        "{cause:known}, in an attempt that the database had lost",
    ),
    ("no_number", "there is no number"),
    ("number_withheld", "the caller withholds the number"),
    ("not_plain", "it is not a plain number"),
    ("bad_country_code", "it begins with +0, and no country's code begins with 0"),
    ("keypad_word", "there is no number: it says {word:word} on a phone's keys"),
    (
        "too_few_digits",
        "the number has {digits:int} digits, fewer than the {limit:int} needed",
    ),
    (
        "too_many_digits",
        "the number has {digits:int} digits, more than the {limit:int} allowed",
    ),
    ("short_number", "it is an emergency number or another short one"),
    ("own_number", "it is a number of our own"),
    ("denied", "the number is on the list of numbers not to call"),
    ("not_allowed", "the number is not among those allowed"),
    ("kind_not_called", "it is {kind:kind}"),
    ("region_denied", "it is a number of {region:word}, where nobody is called"),
    (
        "no_region",
        "it is a number of no country, and only those of {allowed} are called",
    ),
    (
        "unknown_region",
        "it is a number of an unknown country, and only those of {allowed} are called",
    ),
    (
        "region_not_allowed",
        "it is a number of {region:word}, and only those of {allowed} are called",
    ),
    (
        "closed_too_long",
        "the queue is closed, and when it opens the request would be too old; see"
        " opening_hours in the settings",
    ),
    (
        "unknown_queue",
        "the queue is not in the settings, and other requests wait behind",
    ),
)
_KINDS: Final = {
    "a number of a fixed line": "fixed_line",
    "a number of a mobile phone": "mobile",
    "a VoIP number": "voip",
    "a toll-free number": "toll_free",
    "a shared-cost number": "shared_cost",
    "a premium-rate number": "premium_rate",
    "a personal number that may lead anywhere": "personal",
    "a number of a pager": "pager",
    "a universal access number": "uan",
    "a number of a voicemail": "voicemail",
    "a number of a satellite or another worldwide network": "satellite",
    "no number that is known in the public network": "unknown",
}
_HISTORIES: Final = {
    "queue_log": "queue_log",
    "the CDRs": "cdr",
    "queue_log and the CDRs": "cdr,queue_log",
}
_PATTERNS: Final = {
    "": r".+?",
    "word": r"\S+",
    "int": r"0|[1-9][0-9]*",
    "float": r"[0-9.e+-]+",
    "source": r"SIP [0-9, ]+|cause [0-9]+",
    # One time is "once".
    "times": r"once|(?:0|[2-9]|[1-9][0-9]+) times",
    "moment": r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC",
    "kind": "|".join(map(re.escape, _KINDS)),
    "found": "|".join(map(re.escape, _HISTORIES)),
    "reason": r".+",
    "known": r".+",
    "error": r".*",
}
_PART: Final = re.compile(r"\{(\w+)(?::(\w+))?\}|\[([^\]|]*)(?:\|(\w+))?\]")


class _Sentence:
    """One sentence with places for parameters."""

    def __init__(self, code: str, template: str) -> None:
        self.code = code
        self._types: dict[str, str] = {}
        self._pattern = re.compile(self._compile(template), re.DOTALL)

    def _compile(self, template: str) -> str:
        pattern, end = "", 0
        for part in _PART.finditer(template):
            pattern += re.escape(template[end : part.start()])
            end = part.end()
            name, kind, section, flag = part.groups()
            if name:
                self._types[name] = kind or ""
                pattern += f"(?P<{name}>{_PATTERNS[kind or '']})"
            elif flag:
                self._types[flag] = "flag"
                pattern += f"(?P<{flag}>{re.escape(section)})?"
            else:
                pattern += f"(?:{self._compile(section)})?"
        return pattern + re.escape(template[end:])

    def read(self, words: str) -> dict[str, Any] | None:
        """Return the parameters; None if it is another sentence."""
        match = self._pattern.fullmatch(words)
        if match is None:
            return None
        try:
            return {
                name: _value(self._types[name], text)
                for name, text in match.groupdict().items()
                if text is not None
            }
        except ValueError:
            return None


def _value(kind: str, text: str) -> Any:
    """Return a parameter.

    Raises:
        ValueError: it would not produce the same text again.
    """
    match kind:
        case "int":
            return int(text)
        case "float":
            number = float(text)
            if text not in {f"{number:g}", f"{number:.1f}"}:
                raise ValueError(text)
            return number
        case "flag":
            return True
        case "times":
            return 1 if text == "once" else int(text.removesuffix(" times"))
        case "moment":
            return text.removesuffix(" UTC").replace(" ", "T") + "Z"
        case "kind":
            return _KINDS[text]
        case "found":
            return _HISTORIES[text]
        case "reason" | "known" | "error":
            code, params = _reason_of(text)
            if code == "text" and kind == "error":
                code, params = "error", {"error": text}
            if code == "text" and kind == "known":
                raise ValueError(text)
            return {"code": code, "params": params}
        case _:
            return text


_ENDS: Final = [_Sentence(code, template) for code, template in _ATTEMPT_ENDS]
#: Sentences that begin with another sentence come first.
_ALL: Final = [*(_Sentence(code, template) for code, template in _OTHERS), *_ENDS]
_BLOCKED: Final = "the number is blocked: "
_UNDER_WAY: Final = "; the attempt under way: "


def _stored_reason_of(words: str) -> tuple[str, str]:
    """Return the code of a sentence, and its parameters as JSON."""
    if len(words) <= _LONGEST:
        with suppress(RecursionError):
            code, params = _reason_of(words)
            dumped = _dumped(params)
            # Quotes within a text are escaped.
            if dumped.count('"code":') < _MOST_REASONS:
                return code, dumped
    return "text", _dumped({"text": words})


def _dumped(params: dict[str, Any]) -> str:
    return json.dumps(params, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=10_000)
def _reason_of(words: str) -> tuple[str, dict[str, Any]]:
    for sentence in _ALL:
        if (params := sentence.read(words)) is not None:
            return sentence.code, params
    why, under_way, ended = words.rpartition(_UNDER_WAY)
    if under_way:
        return _with(why, "attempt_of_served", ended)
    for why, ended in _splits(words):
        if any(sentence.read(ended) is not None for sentence in _ENDS):
            return _with(why, "attempt", ended)
    if words.startswith(_BLOCKED) and words != _BLOCKED:
        return "blocked", {"text": words.removeprefix(_BLOCKED)}
    return "text", {"text": words}


def _with(why: str, name: str, ended: str) -> tuple[str, dict[str, Any]]:
    """Return why a task ended, with the result of its attempt in progress."""
    code, params = _reason_of(why)
    ended_code, ended_params = _reason_of(ended)
    return code, {**params, name: {"code": ended_code, "params": ended_params}}


def _splits(words: str) -> Iterator[tuple[str, str]]:
    end = words.find("; ")
    while end != -1:
        yield words[:end], words[end + 2 :]
        end = words.find("; ", end + 1)
