# SPDX-License-Identifier: MIT
"""Operators move tasks in line, assign them to an agent, and write notes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from fastagi.domain.agent_keys import AgentKeyRules, AgentsToAsk, NoKey
from fastagi.domain.limits import CallLimits
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.preferred_agent import FOREVER, PreferredAgentRules
from fastagi.domain.reason import Code, because, said
from fastagi.domain.task import CallbackTask, IllegalMove, Kind, Move, Status
from fastagi.domain.turns import Turn
from fastagi.errors import CallbackError
from fastagi.store import lifecycle, places, preferred_agents
from fastagi.store.errors import NoSuchTask, NotAssigned, NotInLine
from fastagi.store.selection import Selection
from fastagi.store.store import TaskStore
from tests.store.harness import RULES, at, done, new_task, timedelta, verdict

ALICE, BOB = "PJSIP/alice", "PJSIP/bob"
LINE = ["support"]
BY_HAND = because(Code.MOVED_TO_FRONT)


def add(store: TaskStore, number: str, joined_s: float = 0.0, **more: object) -> int:
    new = new_task(number, joined_at=at(joined_s), **more)
    return done(store.add(new, at(joined_s))).task.id


def change(store: TaskStore, do: Callable[..., Any], **more: Any) -> Any:
    """Carry out one change; return its task, or raise why it was refused."""
    (result,) = done(store.carry_out([partial(do, **more)]))
    if isinstance(result, CallbackError):
        raise result
    return result


def front(store: TaskStore, task_id: int, now_s: float = 100, **more) -> CallbackTask:
    return change(
        store,
        places.move_to_front,
        task_id=task_id,
        why=BY_HAND,
        now=at(now_s),
        queues=LINE,
        **{"live": None, "in_line": False, **more},
    )


def behind(store: TaskStore, task_id: int, other: int) -> CallbackTask:
    return change(
        store,
        places.move_behind,
        task_id=task_id,
        other_id=other,
        now=at(100),
        queues=LINE,
        why=because(Code.MOVED_BEHIND, task_id=other),
        in_line=False,
    )


def assign(store: TaskStore, task: int, until_s: float | None = None) -> CallbackTask:
    return change(
        store,
        preferred_agents.assign,
        task_id=task,
        interface=BOB,
        now=at(10),
        until=None if until_s is None else at(until_s),
        why=because(Code.ASSIGNED, interface=BOB),
    )


def release(store: TaskStore, task: int) -> CallbackTask:
    why = because(Code.RELEASED_BY_HAND)
    return change(store, preferred_agents.release, task_id=task, why=why, now=at(21))


def note(store: TaskStore, task: int, now_s: float) -> CallbackTask:
    why = because(Code.NOTE, text="call Ada \ud800first", actor="eve")
    return change(store, lifecycle.note, task_id=task, why=why, now=at(now_s))


def order(store: TaskStore, now_s: float = 100, **more: object) -> list[int]:
    """Return the tasks in the order in which they begin, all at once."""
    channels = [f"c{number}" for number in range(30)]
    result = done(store.begin_attempts(LINE, channels, at(now_s), **more))
    return [begun.task.id for begun in result.begun]


# -- moves -----------------------------------------------------------------


def test_task_moved_to_the_front_is_the_first_and_has_not_waited_longer(store) -> None:
    first, second, third = (add(store, f"10{n}", n) for n in range(3))
    moved = front(store, third)
    assert (moved.joined_at, moved.created_at) == (at(2), at(2))
    assert moved.turn < done(store.find(first)).turn
    assert done(store.oldest_open(at(100))) == {"support": at(0)}
    assert [one.id for one in done(store.waiting_tasks())] == [third, first, second]
    assert order(store) == [third, first, second]


def test_the_last_one_moved_to_the_front_is_the_first(store) -> None:
    tasks = [add(store, f"10{n}", n) for n in range(4)]
    for task in tasks:
        front(store, task)
    assert order(store) == tasks[::-1]


def test_front_is_before_a_higher_priority_and_before_live_callers(store) -> None:
    urgent = add(store, "100", 1, priority=7)
    task = add(store, "101", 2)
    moved = front(store, task, live=Turn(at(-50).timestamp(), 9))
    assert moved.priority == 0
    assert moved.turn.priority == 9
    assert moved.turn < Turn(at(-50).timestamp(), 9)
    assert order(store) == [task, urgent]


@pytest.mark.parametrize("chosen_first", [False, True])
def test_front_is_before_tasks_with_a_chosen_time(store, chosen_first: bool) -> None:
    plain = add(store, "100", 0)
    chosen = add(store, "101", 0, chosen_at=at(0))
    moved = add(store, "102", 50)
    front(store, moved)
    rest = [chosen, plain] if chosen_first else [plain, chosen]
    assert order(store, chosen_first=chosen_first) == [moved, *rest]


@pytest.mark.parametrize("chosen_first", [False, True])
@pytest.mark.parametrize("which", range(3))
def test_task_moved_behind_another_is_called_right_after_it(
    store, chosen_first: bool, which: int
) -> None:
    tasks = [
        add(store, "100", 0),
        add(store, "101", 0, chosen_at=at(0)),
        add(store, "102", 0),
    ]
    moved = add(store, "103", 0, priority=3)
    behind(store, moved, tasks[which])
    called = order(store, chosen_first=chosen_first)
    assert called.index(moved) == called.index(tasks[which]) + 1


def test_many_tasks_are_moved_behind_the_same_one(store) -> None:
    head = add(store, "100", 0)
    tail = add(store, "101", 0)
    tasks = [add(store, f"2{n:02}", 1) for n in range(25)]
    for task in tasks:
        behind(store, task, head)
    assert order(store) == [head, *tasks[::-1], tail]


def test_those_who_follow_keep_their_places(store) -> None:
    head, follower, tail = (add(store, f"10{n}", n) for n in range(3))
    task = add(store, "104", 4)
    behind(store, tail, head)
    before = [done(store.find(one)) for one in (head, follower, tail)]
    behind(store, task, head)
    assert [done(store.find(one)) for one in (head, follower, tail)] == before
    assert order(store) == [head, task, tail, follower]


def test_those_who_have_to_make_way_have_it_in_their_history(store) -> None:
    head, *followers = (add(store, f"10{n}", 0) for n in range(4))
    task = add(store, "105", 5)
    behind(store, task, head)
    for ahead, follower in pairwise([task, *followers]):
        moved, event = done(store.find(follower)), done(store.history(follower))[-1]
        assert (event.move, event.why) == (
            Move.MOVE,
            because(Code.MOVED_BEHIND, task_id=ahead),
        )
        assert moved.why == done(store.history(follower))[0].why
        assert moved.joined_at == at(0)
    assert [event.move for event in done(store.history(head))] == [Move.CREATE]
    assert order(store) == [head, task, *followers]


def test_many_who_stand_at_the_same_place_make_way_in_order(store) -> None:
    head, *followers = (add(store, f"2{n:02}", 0) for n in range(29))
    task = add(store, "300", 5)
    behind(store, task, head)
    assert order(store) == [head, task, *followers]


def test_a_move_makes_a_delayed_task_due_and_a_chosen_time_is_forgotten(store) -> None:
    later = add(store, "100", 0, due_at=at(900))
    assert front(store, later).due_at == at(100)
    chosen = add(store, "101", 800, due_at=at(800), chosen_at=at(800), call_by=at(860))
    moved = front(store, chosen, 500)
    assert (moved.chosen_at, moved.call_by) == (None, None)
    assert (moved.due_at, moved.joined_at) == (at(500), at(500))
    assert moved.why.code is Code.MOVED_TO_FRONT


def test_a_move_behind_leaves_the_delay(store) -> None:
    first = add(store, "100", 0)
    delayed = add(store, "101", 1, due_at=at(900))
    moved = behind(store, delayed, first)
    assert moved.due_at == at(900)
    assert moved.why == done(store.history(delayed))[0].why


def test_there_is_no_place_behind_a_task_that_is_not_in_line(store) -> None:
    task = add(store, "100", 0)
    elsewhere = add(store, "101", 0, queue="sales")
    ended = add(store, "102", 0)
    done(store.cancel(ended, said("x"), at(1)))
    chosen = add(store, "103", 0, due_at=at(800), chosen_at=at(800))
    for other in (task, elsewhere, ended, chosen):
        with pytest.raises(NotInLine):
            behind(store, task, other)
    with pytest.raises(NotInLine, match="reschedule"):
        behind(store, chosen, task)
    with pytest.raises(NoSuchTask):
        behind(store, task, 99)
    with pytest.raises(IllegalMove, match="moved in line"):
        behind(store, ended, task)


def test_task_that_is_called_is_moved_only_while_it_waits_in_line(store) -> None:
    task = add(store, "100", 0)
    assert order(store) == [task]
    with pytest.raises(IllegalMove):
        front(store, task)
    moved = front(store, task, in_line=True)
    assert moved.status is Status.CALLING
    done(store.cancel(task, said("x"), at(101)))
    with pytest.raises(IllegalMove):
        front(store, task, in_line=True)


def test_retry_keeps_the_place_and_a_chosen_time_replaces_it(store) -> None:
    first, task = add(store, "100", 0), add(store, "101", 5)
    front(store, task)
    assert order(store, last=Turn(at(-1).timestamp(), 9)) == []
    begun = done(store.begin_attempts(LINE, ["x"], at(100))).begun[0]
    assert begun.task.id == task
    done(store.close_attempt("x", verdict("BUSY"), RULES, at(110)))
    assert order(store, 140) == [task, first]
    done(store.close_attempt("c0", verdict("BUSY"), RULES, at(150)))
    again = done(store.retry(task, said("x"), at(150), at(999), chosen_at=at(300)))
    assert again.place_at is None
    assert again.turn.joined_at == at(300).timestamp()


def test_ended_task_that_is_put_back_has_its_own_place_and_no_agent(store) -> None:
    task = add(store, "100", 5)
    front(store, task)
    assign(store, task)
    done(store.cancel(task, said("x"), at(102)))
    again = done(store.retry(task, said("x"), at(103), at(999)))
    assert (again.place_at, again.place_priority, again.place_chosen) == (None,) * 3
    assert again.assigned_to is None


# -- notes -----------------------------------------------------------------


def test_note_is_an_event_and_changes_nothing(store) -> None:
    task = add(store, "100", 0)
    before = done(store.find(task))
    assert note(store, task, 7) == before
    event = done(store.history(task))[-1]
    assert (event.move, event.status) == (Move.NOTE, Status.PENDING)
    assert event.text == "note: call Ada \ufffdfirst (eve)"
    done(store.cancel(task, said("x"), at(8)))
    ended = done(store.find(task))
    note(store, task, 9)
    assert done(store.find(task)) == ended
    assert done(store.history(task))[-1].status is Status.CANCELLED
    with pytest.raises(NoSuchTask):
        note(store, 99, 9)


# -- agents ----------------------------------------------------------------

KEYS = AgentKeyRules(
    later_delay=timedelta(seconds=60),
    later_times=3,
    cannot_pause=timedelta(seconds=600),
    no_key=NoKey.NO_ANSWER,
)


def asked(*free: str, logged_in: tuple[str, ...] = (ALICE, BOB), **more: object):
    return {
        "support": AgentsToAsk(
            free=frozenset(free),
            logged_in=frozenset(logged_in),
            **{"in_line": False, **more},
        )
    }


def begin(store: TaskStore, now_s: float, agents, channel: str = "x"):
    return done(store.begin_attempts(LINE, [channel], at(now_s), agents=agents))


def test_agents_of_the_queue_are_asked_for_before_an_assigned_task_begins(
    store,
) -> None:
    task = add(store, "100", 0)
    add(store, "101", 1)
    assign(store, task)
    result = begin(store, 20, {})
    assert (result.begun, result.unknown_agents) == ([], {"support"})


def test_assigned_task_waits_for_its_agent_and_holds_up_nobody(store) -> None:
    task, other = add(store, "100", 0), add(store, "101", 1)
    assign(store, task)
    result = begin(store, 20, asked(ALICE))
    assert [one.task.id for one in result.begun] == [other]
    assert result.held_until == FOREVER
    (begun,) = begin(store, 21, asked(ALICE, BOB), "y").begun
    assert begun.task.id == task
    assert begun.preferred is not None
    assert (begun.preferred.interface, begun.preferred.assigned) == (BOB, True)
    running = {one.task.id: one for one in done(store.open_attempts())}
    assert running[task].preferred == begun.preferred


def test_many_tasks_of_an_agent_who_is_away_hold_up_nobody(store) -> None:
    # Bob can not take this one, which is told only when it is looked at.
    refused = add(store, "100", 0)
    assign(store, refused)
    (begun,) = begin(store, 20, asked(BOB, rules=KEYS), "w").begun
    cannot = verdict("MEMBER NO ANSWER", member=BOB, why=because(Code.AGENT_CANNOT))
    done(store.close_attempt("w", cannot, RULES, at(25)))
    mine = [add(store, f"1{number:03}", -9) for number in range(120)]
    for task in mine:
        assign(store, task, until_s=700 if task == mine[110] else None)
    other = add(store, "101", 30)
    result = begin(store, 40, asked(ALICE, rules=KEYS))
    assert [one.task.id for one in result.begun] == [refused]
    assert result.notes[refused].code is Code.ASSIGNED_AGENT_CANNOT
    result = begin(store, 41, asked(ALICE, rules=KEYS), "y")
    assert [one.task.id for one in result.begun] == [other]
    assert result.held_until == at(700)
    assert begin(store, 42, asked(ALICE), "z").held_until == at(700)
    (begun,) = begin(store, 43, asked(BOB), "z").begun
    assert begun.task.id == mine[0]
    (begun,) = begin(store, 700, asked(ALICE), "a").begun
    assert begun.task.id == mine[110]


@pytest.mark.parametrize("in_line", [False, True])
def test_agent_who_logs_out_keeps_the_task_until_its_time_is_over(
    store, in_line: bool
) -> None:
    task = add(store, "100", 0)
    assign(store, task, until_s=60)
    gone = asked(ALICE, logged_in=(ALICE,), in_line=in_line)
    assert begin(store, 20, gone).begun == []
    result = begin(store, 60, gone)
    assert [one.preferred for one in result.begun] == [None]
    assert result.notes[task].code is Code.ASSIGNMENT_OVER
    assert result.begun[0].task.assigned_to is None
    moves = [event.move for event in done(store.history(task))]
    assert moves == [Move.CREATE, Move.ASSIGN, Move.RELEASE, Move.BEGIN]


def test_nobody_else_is_rung_if_no_agent_can_be_rung_alone(store) -> None:
    assign(store, add(store, "100", 0))
    assert begin(store, 20, asked(ALICE, BOB, one_alone=False)).begun == []


def test_agent_who_can_not_take_an_assigned_task_releases_it(store) -> None:
    task = add(store, "100", 0)
    agents = asked(BOB, rules=KEYS)
    begin(store, 5, agents)
    cannot = verdict("MEMBER NO ANSWER", member=BOB, why=because(Code.AGENT_CANNOT))
    done(store.close_attempt("x", cannot, RULES, at(6)))
    # The refusal came before, so bob is asked once more.
    assign(store, task)
    (begun,) = begin(store, 20, agents, "y").begun
    assert begun.preferred is not None
    done(store.close_attempt("y", cannot, RULES, at(25)))
    result = begin(store, 40, asked(ALICE, BOB, rules=KEYS), "z")
    assert result.notes[task].code is Code.ASSIGNED_AGENT_CANNOT
    assert [one.preferred for one in result.begun] == [None]


def test_agent_who_puts_it_off_or_does_not_answer_is_asked_again(store) -> None:
    task = add(store, "100", 0)
    assign(store, task)
    for channel, code in (("x", Code.AGENT_LATER), ("y", Code.NO_AGENT_ANSWERED)):
        (begun,) = begin(store, 200, asked(ALICE, BOB, rules=KEYS), channel).begun
        assert begun.preferred is not None
        no = verdict("MEMBER NO ANSWER", member=BOB, why=because(code, rung=BOB))
        done(store.close_attempt(channel, no, RULES, at(150)))
    assert done(store.find(task)).assigned_to == BOB


def test_assignment_comes_before_the_agent_who_talked_last(store) -> None:
    rules = PreferredAgentRules(
        talked_within=timedelta(hours=1), wait=timedelta(seconds=30)
    )
    done(store.note_talk("100", ALICE, at(0), at(-99)))
    task = add(store, "100", 0)
    assign(store, task)
    assert begin(store, 20, asked(ALICE, preferred=rules)).begun == []
    release(store, task)
    (begun,) = begin(store, 22, asked(ALICE, preferred=rules)).begun
    assert begun.preferred is not None
    assert (begun.preferred.interface, begun.preferred.assigned) == (ALICE, False)


def test_only_open_tasks_are_assigned_and_only_assigned_ones_released(store) -> None:
    task = add(store, "100", 0)
    with pytest.raises(NotAssigned):
        release(store, task)
    done(store.cancel(task, said("x"), at(1)))
    with pytest.raises(IllegalMove, match="assigned to an agent"):
        assign(store, task)
    with pytest.raises(IllegalMove, match="released"):
        release(store, task)


# -- many tasks, lists and numbers -----------------------------------------


def test_preview_leads_to_the_same_and_changes_nothing(store) -> None:
    waiting, ended = add(store, "100", 0), add(store, "101", 0)
    done(store.cancel(ended, said("x"), at(1)))
    changes = [
        partial(lifecycle.cancel, task_id=one, why=said("y"), now=at(2))
        for one in (waiting, ended, 99)
    ]
    before = done(store.listing())
    seen = done(store.carry_out(changes, preview=True))
    assert done(store.listing()) == before
    assert len(done(store.history(waiting))) == 1
    carried_out = done(store.carry_out(changes))
    assert [type(one) for one in seen] == [CallbackTask, IllegalMove, NoSuchTask]
    assert list(map(str, seen)) == list(map(str, carried_out))
    assert done(store.find(waiting)).status is Status.CANCELLED


def test_refused_change_leaves_nothing_of_itself_in_the_transaction(store) -> None:
    task = add(store, "100", 0)

    def half(conn: Any) -> CallbackTask:
        lifecycle.note(conn, task, said("half"), at(1))
        raise NotAssigned("and then no")

    whole = partial(lifecycle.note, task_id=task, why=said("whole"), now=at(1))
    refused, noted = done(store.carry_out([half, whole]))
    assert isinstance(refused, NotAssigned)
    assert isinstance(noted, CallbackTask)
    assert [one.text for one in done(store.history(task))][1:] == ["whole"]


def test_tasks_are_selected_by_all_that_is_given(store) -> None:
    plain = add(store, "4930111", 0, name="Ada Lovelace")
    accented = add(store, "4930222", 10, name="Ада Лавлейс", kind=Kind.MISSED)
    percent = add(store, "4930333", 20, name="100 %")
    done(store.cancel(plain, because(Code.CANCELLED_BY_HAND), at(30)))

    def ids(**wanted: Any) -> list[int]:
        return [one.id for one in done(store.select(Selection(**wanted), 10))]

    assert ids() == [percent, accented, plain]
    assert ids(text="love") == [plain]
    assert ids(text="aDA lOV") == [plain]
    assert ids(text="a_a") == ids(text="10_") == []
    assert ids(text="ЛАВ") == [accented]
    assert ids(text="30-2") == [accented]
    assert ids(text="%") == [percent]
    assert ids(kinds=[Kind.MISSED]) == [accented]
    assert ids(reason_codes=[Code.CANCELLED_BY_HAND]) == [plain]
    assert ids(created_from=at(10), created_to=at(20)) == [accented]
    assert ids(statuses=[Status.CANCELLED], text="ada") == [plain]
    assert ids(ids=[plain, percent, 99]) == [percent, plain]
    page = done(store.select(Selection(text="493"), 2))
    rest = done(store.select(Selection(text="493"), 2, page[-1].id))
    assert [one.id for one in page + rest] == [percent, accented, plain]


def test_all_that_is_known_of_a_number(store) -> None:
    plan = NumberPlan()
    limits = CallLimits(per_number=1, per_minute=5, per_hour={"support": 9})
    task = add(store, "4930111", 0)
    assert order(store) == [task]
    done(store.close_attempt("c0", verdict("BUSY"), RULES, at(101)))
    facts = done(store.number_facts("+4930111", plan, "support", limits, at(102)))
    assert facts.open_task is not None and facts.open_task.id == task
    assert (facts.to_number.used, facts.of_queue.used, facts.of_all.used) == (1,) * 3
    assert facts.to_number.free_at is not None
    assert facts.of_queue.free_at is None
    assert facts.blocked is None and facts.last_refusal is None
