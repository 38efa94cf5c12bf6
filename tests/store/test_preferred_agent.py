# SPDX-License-Identifier: MIT
"""Tasks that wait for the agent who talked to the client last, in each database."""

from __future__ import annotations

from datetime import timedelta

import attrs

from fastagi.domain.agent_keys import AgentsToAsk
from fastagi.domain.attempt import Disposition, Verdict
from fastagi.domain.preferred_agent import DECIDED, PreferredAgentRules
from fastagi.domain.reason import Code, because
from fastagi.store.store import BeginResult, TaskStore
from tests.store.harness import RULES, at, done, new_task

ALICE = "PJSIP/alice"
BOB = "PJSIP/bob"


def add(store: TaskStore, number_key: str, joined_s: float = 0) -> None:
    """Add a task that is due."""
    at_s = at(joined_s)
    new = attrs.evolve(
        new_task(number_key),
        joined_at=at_s,
        due_at=at_s,
        expires_at=at_s + timedelta(hours=1),
    )
    done(store.add(new, at_s))


def begin(
    store: TaskStore,
    channel_id: str,
    seconds: float,
    *,
    free: tuple[str, ...] = (ALICE, BOB),
    logged_in: tuple[str, ...] = (ALICE, BOB),
) -> BeginResult:
    """Begin an attempt, if it may begin, in a queue that prefers agents."""
    rules = PreferredAgentRules(
        talked_within=timedelta(days=1), wait=timedelta(minutes=5)
    )
    agents = AgentsToAsk(
        preferred=rules,
        free=frozenset(free),
        logged_in=frozenset(logged_in),
        in_line=False,
    )
    return done(
        store.begin_attempts(
            {"support"}, [channel_id], at(seconds), agents={"support": agents}
        )
    )


def note_talk(store: TaskStore, member: str, seconds: float, key: str = "1") -> None:
    done(store.note_talk(key, member, at(seconds), at(seconds) - timedelta(days=1)))


def close(store: TaskStore, channel_id: str, seconds: float, code: Code) -> None:
    """End an attempt: bob talked to the client, or it was withdrawn."""
    talked = code is Code.TALKED
    verdict = Verdict(
        disposition=Disposition.ANSWERED if talked else Disposition.WITHDRAWN,
        talk_s=20.0 if talked else 0.0,
        member=BOB if talked else "",
        why=because(code, talk_s=20.0) if talked else because(code, interface=BOB),
    )
    done(store.close_attempt(channel_id, verdict, RULES, at(seconds)))


def said(store: TaskStore, task_id: int) -> list[Code]:
    history = done(store.history(task_id))
    return [event.why.code for event in history if event.why.code in DECIDED]


def test_agent_of_the_latest_talk_is_asked(store: TaskStore) -> None:
    add(store, "1")
    begin(store, "c1", 5)
    close(store, "c1", 30, Code.TALKED)
    note_talk(store, ALICE, 10)
    add(store, "1", 40)
    (begun,) = begin(store, "c2", 41).begun
    assert begun.preferred is not None
    assert (begun.preferred.interface, begun.preferred.until) == (BOB, at(341))
    # After a restart it is known, too.
    (opened,) = done(store.open_attempts())
    assert opened.preferred == begun.preferred
    close(store, "c2", 42, Code.CLIENT_RANG_IN)
    note_talk(store, ALICE, 43)
    # The task waits for one agent, whoever talks to the client meanwhile.
    (begun,) = begin(store, "c3", 44).begun
    assert begun.preferred is not None
    assert (begun.preferred.interface, begun.preferred.until) == (BOB, at(341))


def test_task_waits_for_the_agent_and_the_next_is_begun(store: TaskStore) -> None:
    note_talk(store, BOB, 0)
    for number in ("1", "2"):
        add(store, number, int(number))
    result = begin(store, "c1", 5, free=(ALICE,))
    assert [one.task.number_key for one in result.begun] == ["2"]
    assert result.held_until == at(305)
    (held,) = result.held.values()
    assert held.why.code is Code.WAITS_FOR_AGENT
    assert held.why.params["interface"] == BOB
    assert [note.code for note in result.notes.values()] == [Code.PREFERRED_AGENT_FIRST]
    assert begin(store, "c2", 304, free=(ALICE,)).begun == []
    (begun,) = begin(store, "c3", 305, free=(ALICE,)).begun
    assert begun.preferred is None
    assert said(store, 1) == [Code.PREFERRED_AGENT_FIRST, Code.PREFERRED_AGENT_NOT_FREE]


def test_any_agent_is_asked_after_the_agent_had_the_chance(store: TaskStore) -> None:
    note_talk(store, BOB, 0)
    add(store, "1")
    begin(store, "c1", 5)
    close(store, "c1", 10, Code.PREFERRED_AGENT_DID_NOT_TAKE)
    (begun,) = begin(store, "c2", 11).begun
    assert begun.preferred is None


def test_agent_who_is_away_is_not_waited_for_until_reopened(store: TaskStore) -> None:
    note_talk(store, BOB, 0)
    add(store, "1")
    (begun,) = begin(store, "c1", 5, logged_in=(ALICE,)).begun
    assert begun.preferred is None
    assert said(store, 1) == [Code.PREFERRED_AGENT_AWAY]
    close(store, "c1", 6, Code.CLIENT_RANG_IN)
    (begun,) = begin(store, "c2", 7).begun
    assert begun.preferred is None
    done(store.cancel(1, because(Code.CANCELLED_BY_HAND), at(8)))
    close(store, "c2", 9, Code.CLIENT_RANG_IN)
    done(store.retry(1, because(Code.REOPENED_BY_HAND), at(10), at(500)))
    (begun,) = begin(store, "c3", 11).begun
    assert begun.preferred is not None


def test_talks_of_long_ago_are_forgotten(store: TaskStore) -> None:
    note_talk(store, BOB, 0)
    note_talk(store, ALICE, 90_000, key="2")
    add(store, "1", 90_000)
    (begun,) = begin(store, "c1", 90_001).begun
    assert begun.preferred is None
    assert said(store, 1) == []
