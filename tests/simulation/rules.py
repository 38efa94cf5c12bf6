# SPDX-License-Identifier: MIT
"""The rules that must always hold, checked against what really happened.

What really happened is what the model of Asterisk knows: whose phone rang, who heard
which prompt, who talked for how long. What the service believes is in its database,
read here with plain SQL. Must not share code with the service.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from math import inf
from typing import Any, Final

import attrs

from tests.emulator.calls import LiveCall
from tests.emulator.free_agents import too_many
from tests.emulator.phones import Channel, Ringing
from tests.emulator.queues import Queue, Visit
from tests.emulator.scenarios import Answers
from tests.harness.world import START, World
from tests.simulation.looker import HOLDS, Facts, Looker
from tests.simulation.plan import (
    ALL_TIMES_SAID,
    AT,
    AUTO_AGENTS,
    DENIED,
    PER_SLOT,
    PREFERRED_WAIT_S,
    SLACK_S,
    WITH_CALLBACKS,
    Plan,
)

_PROMISES: Final = frozenset(
    {"callback-queue/accepted", "callback-queue/already-registered"}
)
#: The promise of the dialplan alone, when the service does not answer.
_NOTED: Final = "callback-queue/noted"
#: What the promise of a time begins with.
_AT_A_TIME: Final = "callback-queue/will-call-time"
#: What is said before the keys by which a caller chooses when to be called.
_WHEN: Final = frozenset({"callback-queue/soon-press", AT, ALL_TIMES_SAID})
#: What is said before the keys to confirm a number, and to enter one.
_CONFIRM: Final = "callback-queue/confirm-press"
_ENTER: Final = "callback-queue/enter-number"
#: Code of the reason of a request whose caller could not be told of it.
_TAKEN_BACK: Final = "taken_back"
_OPEN: Final = frozenset({"pending", "calling"})
#: From the COMMIT of a request to the prompt that tells of it, at most.
_PROMISE_S: Final = 1.1
#: Attempts in which no client was dialled.
_FREE_OF_CHARGE: Final = frozenset({"MEMBER NO ANSWER", "NOT PLACED", "WITHDRAWN"})
SUCCESS_S: Final = 5.0
#: What is lost where times are written and read.
_TICK_S: Final = 0.001
#: What the dialplan's milliseconds and the service's clock may differ by.
_HAIR_S: Final = 0.05
#: The queues are asked for each minute.
_ASKS_EACH_S: Final = 61.0
#: From something that happens to when the service must act on it: a COMMIT, a pause
#: after the database failed, another COMMIT.
_NOTICE_S: Final = 8.0
#: What happened in Asterisk so long ago is seen by a service that is not in trouble.
_SEES_S: Final = 1.0
_DAY_S: Final = 24 * 3600
_CLOSED: Final = "no client is rung while the queue is closed"
_LIVE_FIRST: Final = (
    "no callback is given an agent before a live caller who waited when the ring began"
)
_ORDER: Final = "who keeps a place is given an agent in the order of joining"
_NOT_LIVE: Final = "a callback in line is not counted as a live caller"
_OWN_PLACE: Final = "a client who calls in again gets the place of the open task"
_ROOM: Final = "a client who is not the next leaves the last place to live callers"
#: After a connect, callbacks wait at most so long for the histories to be read.
_CATCHES_UP_S: Final = 10.0
#: From when the turn of a client is near to when the client is in line, at most.
_JOINS_S: Final = 4.0
#: What the service may not know exactly of when a live caller joined: Asterisk tells
#: whole seconds of those who joined before.
_JOINED_S: Final = 1.5
_FRONT: Final = "a task moved to the front is the next one called of its queue"
_ASSIGNED: Final = "an assigned task rings only that agent"
_CANCELLED: Final = "no client is rung for a task that was cancelled"
#: From the closing until no agent is rung any more: what is being stored comes first.
_CLOSES_S: Final = 1.5
_NUMBER: Final = re.compile(rb"CALLBACK_CHANNEL=PJSIP/([0-9+]+)@")
_TARGET: Final = re.compile(rb"CALLBACK_TARGET=([^\r]+)")
_FORGETS: Final = re.compile(rb"__CALLBACK_FORGET=([^\r]+)")
_CHANNEL_ID: Final = re.compile(rb"\r\nChannelId: (.+?)-[12]\r\n")


class BrokenRule(Exception):
    """Something happened that must never happen."""

    def __init__(self, rule: str, words: str) -> None:
        super().__init__(f"{rule}: {words}")
        self.rule = rule
        self.words = words


@attrs.define(eq=False)
class _Missed:
    call: LiveCall
    #: Lives of the service so far when the call ended.
    lives: int


@attrs.frozen
class _Moment:
    """A time the machine's clock showed, put back to when that was."""

    at: float
    #: How often the clock had been set by then.
    steps: int


@attrs.define(eq=False)
class Rules:
    """Watches one run. Every breach is kept, and raised at the end of its step."""

    world: World
    plan: Plan
    calls: list[LiveCall] = attrs.field(factory=list)
    broken: list[BrokenRule] = attrs.field(factory=list)
    #: Since when nothing is between the service and Asterisk.
    calm_since: float = 0.0
    #: When the machine's clock was set, and by how much.
    clock_steps: list[tuple[float, float]] = attrs.field(factory=list)
    asterisk_died: bool = False
    #: How long clients had talked when Asterisk died, up to its last word, by channel
    #: id; and the life of the service that saw them talk without a gap.
    _seen_talking: dict[str, tuple[float, int]] = attrs.field(factory=dict)
    #: How often the queues had been asked for when they were last read anew; and when
    #: they must have been again.
    _asked_before: int | None = None
    _asks_until: float = 0.0
    #: Whether the database failed for a while.
    database_failed: bool = False
    _db: sqlite3.Connection = attrs.field(init=False)
    #: How many requests there had been at the last look, and what had changed by then.
    _requests: int = -1
    _version: int = -1
    _tasks: dict[int, sqlite3.Row] = attrs.field(factory=dict)
    _attempts: dict[str, sqlite3.Row] = attrs.field(factory=dict)
    _events: dict[int, list[sqlite3.Row]] = attrs.field(factory=dict)
    _last_event: int = 0
    #: When each event, and the end of each attempt, was seen to be committed.
    _read_at: dict[int, float] = attrs.field(factory=dict)
    _end_read_at: dict[str, float] = attrs.field(factory=dict)
    _sent: dict[str, str] = attrs.field(factory=dict)
    #: The attempts whose client is dialled before an agent, by channel id.
    _client_first: set[str] = attrs.field(factory=set)
    _rings_seen: dict[str, int] = attrs.field(factory=dict)
    _agent_rings_seen: dict[str, int] = attrs.field(factory=dict)
    _missed: list[_Missed] = attrs.field(factory=list)
    _ended_calls: set[int] = attrs.field(factory=set)
    _promised: list[tuple[LiveCall, int]] = attrs.field(factory=list)
    _noted: list[LiveCall] = attrs.field(factory=list)
    #: Who was promised a call, in what way, and when.
    _promises: list[tuple[str, str, float]] = attrs.field(factory=list)
    #: How many of its offers were looked at, by call; when each number was last asked;
    #: and which calls are being asked, since when.
    _offers_seen: dict[int, int] = attrs.field(factory=dict)
    _offered: dict[str, float] = attrs.field(factory=dict)
    _back: dict[int, float] = attrs.field(factory=dict)
    #: Numbers that are blocked, with the last attempt of before.
    _blocked: dict[str, int] = attrs.field(factory=dict)
    #: Whether the link to Asterisk was undisturbed at the last step, and since when.
    _was_calm: bool = False
    _connected_at: float = 0.0
    #: Tasks that wait, by id, and since when their turn has been near.
    _near_since: dict[int, float] = attrs.field(factory=dict)
    #: Callers who asked for the place of a task, and were looked at in the queue.
    _placed: set[str] = attrs.field(factory=set)
    #: Who follows the live state; None: nobody.
    _looker: Looker | None = None

    def __attrs_post_init__(self) -> None:
        """Begin to watch."""
        path = self.world.directory / "callback.db"
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self.world.watchers.append(self.after_step)
        self.world.listeners.append(self._sends)
        self.world.asterisk.on_prompt = self._hears
        self.world.asterisk.on_ring = self._agents_ring
        self.world.asterisk.on_key = self._key_is_pressed
        self.calm_since = self._now
        if self.plan.is_looked_at:
            facts = Facts(
                world=self.world,
                tasks=lambda: self._tasks,
                attempts=lambda: self._attempts,
                closed_since=self._closed_since,
                is_ours=self._is_ours,
            )
            self._looker = Looker(facts)

    def asterisk_dies(self) -> None:
        """Asterisk is about to be killed: note who is seen to talk."""
        self.asterisk_died = True
        self._look_at_the_link()
        manager = self.world.asterisk.manager
        # Every action, such as a ping, is answered at once.
        told = self.world.asterisk.told[-1:]
        heard_at = max(
            [*(one.at for one in told), *(at for at, _ in manager.actions[-1:])],
            default=0.0,
        )
        for _, ring in self._rings():
            answered_at = ring.answered_at
            if ring.ended_at is None and answered_at and self.calm_since < answered_at:
                talk_s = heard_at - answered_at
                life = len(self.world.processes)
                self._seen_talking[ring.by.removesuffix("-1")] = (talk_s, life)

    def queues_reloaded(self) -> None:
        """The queues may be others now, and nobody is told until somebody asks."""
        self._asked_before = self._asked_for_queues()
        self._asks_until = self._now + _ASKS_EACH_S

    def _asked_for_queues(self) -> int:
        return len(self.world.asterisk.manager.asked("QueueStatus"))

    def close(self) -> None:
        """Stop watching."""
        self._db.close()
        if self._looker is not None:
            self._looker.close()

    # -- what the service is asked for -------------------------------------

    @property
    def _now(self) -> float:
        return float(self.world.clock.seconds())

    def _break(self, rule: str, words: str) -> None:
        self.broken.append(BrokenRule(rule, f"at {self.world.t}: {words}"))

    def open_tasks(self) -> list[int]:
        """Return the ids of the tasks that have not ended."""
        self._read()
        return [id_ for id_, task in self._tasks.items() if task["status"] in _OPEN]

    def after_step(self) -> None:
        """Check what can be checked at each step."""
        self._look_at_the_link()
        self._read()
        self._check_rings()
        self._check_calls()
        self._check_places()
        self._check_offers()
        if self.plan.only_places:
            self._look_at_the_lines()
        if self._looker is not None:
            broken = self._looker.look(self._all_well_since)
            if broken is not None:
                self._break(*broken)
        if self.broken:
            raise self.broken[0]

    @property
    def _all_well_since(self) -> float:
        """Since when nothing is in trouble that may delay the service."""
        if self._asked_before is not None or self.clock_steps or self._slow_database:
            return inf
        return max(self.calm_since, self._connected_at + _CATCHES_UP_S)

    def _look_at_the_link(self) -> None:
        world = self.world
        process = world.processes[-1] if world.processes else None
        wires = [wire for wire in world.asterisk.manager_wires if wire.open]
        calm = (
            process is not None
            and not process.dead
            and not process.frozen
            and not process.stopped
            and process.service.node.manager.connected
            and process.service.node.queue_monitor.ready
            and not world.asterisk.frozen
            and not world.asterisk.latency_s
            and not any(wire.dead or wire.server.frozen for wire in wires)
        )
        if self._asked_before is not None and (
            self._asked_for_queues() > self._asked_before
            or self._asks_until < self._now
        ):
            self._asked_before = None
        if not calm:
            self.calm_since = self._now
        if not (calm and self._was_calm):
            self._connected_at = self._now
        self._was_calm = calm

    # -- the database ------------------------------------------------------

    def _read(self) -> None:
        """Take in what was committed since the last look, and check it."""
        if self.world.requests == self._requests:
            return
        self._requests = self.world.requests
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        self._version = version
        events = self._db.execute(
            "SELECT * FROM task_event WHERE id > ? ORDER BY id", (self._last_event,)
        ).fetchall()
        tasks = {row["id"]: row for row in self._db.execute("SELECT * FROM task")}
        if lost := self._tasks.keys() - tasks.keys():
            self._break("nothing is ever deleted", f"tasks {lost} are gone")
        for event in events:
            story = self._events.setdefault(event["task_id"], [])
            self._check_event(story, event)
            if event["reason_code"] in ("added_by_hand", "requested_again_by_hand"):
                number = tasks[event["task_id"]]["number"]
                self._promises.append((number, "is added by hand", self._now))
            story.append(event)
            self._read_at[event["id"]] = self._now
            self._last_event = event["id"]
        self._tasks = tasks
        self._check_slots()
        last = max((row["id"] for row in self._attempts.values()), default=0)
        for attempt in self._db.execute("SELECT * FROM attempt").fetchall():
            before = self._attempts.get(attempt["channel_id"])
            self._attempts[attempt["channel_id"]] = attempt
            was_over = before is not None and before["ended_at"] is not None
            if attempt["ended_at"] is not None and not was_over:
                self._end_read_at[attempt["channel_id"]] = self._now
                self._check_verdict(attempt)
            elif was_over and dict(before or {}) != dict(attempt):
                self._break("an attempt is judged once", f"{dict(attempt)}")
        for row in self._db.execute("SELECT number FROM blocked"):
            self._blocked.setdefault(row["number"], last)
        self._check_tasks()

    def _check_event(self, story: list[sqlite3.Row], event: sqlite3.Row) -> None:
        id_ = event["task_id"]
        if (event["move"] == "create") != (not story):
            self._break("a story has one beginning", f"task {id_}: {_words(event)}")
        elif (
            story
            and story[-1]["status"] not in _OPEN
            and event["move"] not in ("reopen", "note")
        ):
            self._break("a task ends once", f"task {id_}: {_words(event)}")
        if not _says_why(event):
            self._break("every step says why", f"task {id_}: {event['move']}")
        # A client is dialled once in an attempt; an agent may ring again and again.
        if event["reason_code"] == "client_dialled" and any(
            (one["attempt_id"], one["reason_code"], one["reason_params"])
            == (event["attempt_id"], event["reason_code"], event["reason_params"])
            for one in story
        ):
            self._break("a step is told once", f"task {id_}: {_words(event)}")

    def _check_tasks(self) -> None:
        open_numbers: dict[str, int] = {}
        for id_, task in self._tasks.items():
            if task["status"] in _OPEN:
                other = open_numbers.setdefault(task["number"], id_)
                if other != id_:
                    self._break(
                        "one open task per client",
                        f"{task['number']} has tasks {other} and {id_}",
                    )
            if (task["ended_at"] is None) != (task["status"] in _OPEN):
                self._break("every end is written", f"task {id_}: {task['status']}")
            if self._events[id_][-1]["status"] != task["status"]:
                self._break("the story is whole", f"task {id_}: {task['status']}")

            if task["number"] == DENIED:
                self._break("no number that the rules refuse is kept", f"task {id_}")
            self._check_counter(task)

    def _check_counter(self, task: sqlite3.Row) -> None:
        if any(event["move"] == "reopen" for event in self._events[task["id"]]):
            return
        counted = sum(
            attempt["ended_at"] is not None
            and attempt["disposition"] not in _FREE_OF_CHARGE
            for attempt in self._attempts.values()
            if attempt["task_id"] == task["id"]
        )
        if task["attempts"] > counted:
            self._break(
                "an agent who does not answer costs no attempt",
                f"task {task['id']} counts {task['attempts']} attempts, not {counted}",
            )
        elif task["attempts"] < counted:
            self._break(
                "each call to the client counts",
                f"task {task['id']} counts {task['attempts']} attempts, not {counted}",
            )

    def _check_verdict(self, attempt: sqlite3.Row) -> None:
        """Was it judged as it went?"""
        base = attempt["channel_id"]
        disposition = attempt["disposition"]
        ring = self._ring_of(base)
        callback = next(
            (
                one
                for one in self.world.asterisk.callbacks
                if one.caller_half.uniqueid == f"{base}-1"
            ),
            None,
        )
        words = f"{base} is {disposition} ({_words(attempt)})"
        if attempt["reason_code"] == "agent_later":
            self._check_put_off(attempt)
        if disposition in _FREE_OF_CHARGE:
            if ring is not None:
                self._break(
                    "each call to the client counts",
                    f"{words}, but the client's phone rang at {ring.at}",
                )
            return
        if ring is None and not self.asterisk_died:
            what = "never placed" if callback is None else "not dialled to the client"
            self._break(
                "an agent who does not answer costs no attempt",
                f"{words}, but it was {what}",
            )
        if ring is not None:
            self._check_machine(attempt, ring, words)
        talk_s = self._talk_s(ring)
        if self.clock_steps or ring is None:
            return
        if disposition == "ANSWERED" and talk_s < SUCCESS_S - _HAIR_S:
            self._break("success is talk", f"{words}, but they talked {talk_s:.2f} s")
        if disposition not in ("ANSWERED", "UNKNOWN") and talk_s > SUCCESS_S + _HAIR_S:
            self._break("talk is success", f"{words}, but they talked {talk_s:.2f} s")
        if disposition == "UNKNOWN" and not self.asterisk_died:
            self._break("what Asterisk kept is read", words)
        # A new life knows nothing of what an earlier one saw.
        seen_s, life = self._seen_talking.get(base, (0.0, 0))
        remembers = life == len(self.world.processes)
        if disposition == "UNKNOWN" and remembers and seen_s > SUCCESS_S + _HAIR_S:
            self._break(
                "a talk that was seen is a talk",
                f"{words}, but they were seen to talk for {seen_s:.2f} s",
            )

    def _check_machine(self, attempt: sqlite3.Row, ring: Ringing, words: str) -> None:
        """Whoever was not connected has a result of its own."""
        answers = ring.behaviour
        if not isinstance(answers, Answers):
            return
        is_machine = self.plan.amd and answers.is_machine
        confirms = not self.plan.client_key or answers.key == "1"
        if attempt["disposition"] == "ANSWERED" and (is_machine or not confirms):
            self._break("a machine is never a success", words)
        if ring.asked_at is None or ring.answered_at is not None or self.asterisk_died:
            return
        # The client may hang up while AMD() listens, or in the queue.
        may_leave = self.plan.amd or self.plan.first != "agent"
        gone = {"SHORT"} if may_leave else set()
        if attempt["disposition"] not in {"MACHINE", "NOT CONFIRMED", "CANCEL", *gone}:
            self._break("who is not connected has a result of its own", words)

    def _check_put_off(self, attempt: sqlite3.Row) -> None:
        """A task that an agent put off comes again, and not too late."""
        task = self._tasks[attempt["task_id"]]
        if task["status"] != "pending":
            return
        if not attempt["ended_at"] < task["due_at"] < task["expires_at"]:
            self._break(
                "a task that was put off comes again",
                f"task {task['id']} ended at {attempt['ended_at']}, is due at"
                f" {task['due_at']} and expires at {task['expires_at']}",
            )

    # -- rings -------------------------------------------------------------

    def _rings(self) -> Iterable[tuple[str, Ringing]]:
        for number, phone in self.world.asterisk.clients.items():
            for ring in phone.rung:
                yield number, ring

    def _ring_of(self, base: str) -> Ringing | None:
        by = f"{base}-1"
        return next((ring for _, ring in self._rings() if ring.by == by), None)

    @staticmethod
    def _talk_s(ring: Ringing | None) -> float:
        if ring is None or ring.answered_at is None or ring.ended_at is None:
            return 0.0
        return ring.ended_at - ring.answered_at

    def _check_rings(self) -> None:
        for number, phone in self.world.asterisk.clients.items():
            rings, seen = phone.rung, self._rings_seen.get(number, 0)
            if len(rings) != seen:
                for at in range(seen, len(rings)):
                    self._check_ring(number, rings[:at], rings[at])
                self._rings_seen[number] = len(rings)
        if self.plan.asks_for_keys or self.plan.prefers_agents or self.plan.steers:
            for interface, phone in self.world.asterisk.phones.items():
                rings, seen = phone.rung, self._agent_rings_seen.get(interface, 0)
                if len(rings) != seen:
                    for ring in rings[seen:]:
                        self._check_agent_ring(interface, ring)
                    self._agent_rings_seen[interface] = len(rings)

    def _check_agent_ring(self, interface: str, ring: Ringing) -> None:
        """An agent who can not take a callback is not rung for it for a while.

        While a callback waits for one agent, no other is rung for it.
        """
        attempt = self._attempts.get(ring.by.removesuffix("-2"))
        if attempt is None:
            return
        self._check_assigned(attempt, interface, ring)
        only, _ = self._waited_for(attempt)
        if only not in ("", interface):
            self._break(
                "only the agent who talked last is rung while a callback waits for him",
                f"{interface} by {ring.by}, which waits for {only}",
            )
        if self.clock_steps:
            return
        for other in self._attempts.values():
            if (
                other["task_id"] == attempt["task_id"]
                and other["reason_code"] == "agent_cannot"
                and other["member"] == interface
                and ring.at < other["ended_at"] + self.plan.cannot_pause_s - _HAIR_S
            ):
                self._break(
                    "an agent who can not take a callback is not asked again at once",
                    f"{interface} by {ring.by}, after {other['channel_id']}",
                )

    def _check_assigned(
        self, attempt: sqlite3.Row, interface: str, ring: Ringing
    ) -> None:
        """Only the agent is rung to whom a task is assigned, if we could know."""
        story = self._events[attempt["task_id"]]
        begun = min(one["id"] for one in story if one["attempt_id"] == attempt["id"])
        only, since = "", 0.0
        for event in story:
            if event["move"] == "assign":
                only = str(json.loads(event["reason_params"])["interface"])
                since = self._read_at[event["id"]]
            elif event["move"] == "release":
                only = ""
            elif event["move"] == "begin" and event["id"] > begun:
                break
            if only in ("", interface):
                continue
            if event["id"] <= begun:
                known = event["id"] == begun
            else:
                # The attempt had begun, and must end.
                known = (
                    self.calm_since <= since
                    and ring.at > since + _CLOSES_S
                    and not self._slow_database
                )
            if known and not self.clock_steps:
                self._break(_ASSIGNED, f"{interface} by {ring.by}, not {only}")

    def _check_front(self, attempt: sqlite3.Row) -> None:
        """No task is called before one that was moved to the front of its queue."""
        if not self.plan.steers or self.clock_steps:
            return
        task = self._tasks[attempt["task_id"]]
        begun = max(
            one["id"]
            for one in self._events[task["id"]]
            if one["attempt_id"] == attempt["id"]
        )
        for id_, other in self._tasks.items():
            moved = self._moved_to_front(id_)
            if (
                id_ != task["id"]
                and other["queue"] == task["queue"]
                and other["status"] == "pending"
                and moved is not None
                and self._events[id_][-1]["id"] < begun
                and other["assigned_to"] is None
                and other["due_at"] <= attempt["started_at"]
                and self._may_be_called(other)
                and not self._moved_after(task["id"], moved)
            ):
                self._break(_FRONT, f"task {id_} waits, {task['id']} is called")

    def _check_front_of_line(self, visit: Visit) -> None:
        """Nor is one given an agent that waits in line behind it."""
        self._read()
        self._look_at_the_link()
        if self.clock_steps or self._slow_database or not self._is_ours(visit):
            return
        task = self._task_of(visit)
        line = visit.queue.visits
        for other in line[line.index(visit) + 1 :]:
            if not (other.idle and self._is_ours(other)):
                continue
            behind = self._task_of(other)
            moved = self._moved_to_front(behind["id"])
            if (
                moved is not None
                and behind["queue"] == task["queue"]
                and behind["assigned_to"] is None
                and self._connected_at + _CATCHES_UP_S < self._read_at[moved["id"]]
                and self._read_at[moved["id"]] + _JOINS_S < self._now
                and not self._moved_after(task["id"], moved)
            ):
                self._break(_FRONT, f"{behind['id']} waits behind {task['id']}")

    def _task_of(self, visit: Visit) -> sqlite3.Row:
        base = visit.channel.uniqueid.removesuffix("-2")
        return self._tasks[self._attempts[base]["task_id"]]

    def _moved_to_front(self, id_: int) -> sqlite3.Row | None:
        """Return the event that moved a task to where it is, if that is the front."""
        last = None
        for event in self._events[id_]:
            if event["move"] == "reopen":
                last = None
            elif event["move"] == "move":
                last = event
        if last is None or last["reason_code"] != "moved_to_front":
            return None
        return last if self._tasks[id_]["place_at"] is not None else None

    def _moved_after(self, id_: int, moved: sqlite3.Row) -> bool:
        """Whether a task was moved, too, after another one was moved to the front."""
        return any(
            event["move"] == "move" and event["id"] > moved["id"]
            for event in self._events[id_]
        )

    def _waited_for(self, attempt: sqlite3.Row) -> tuple[str, float]:
        """Return the only agent to be rung for an attempt, and since when.

        The agent is empty if any may be rung.
        """
        only, since = "", 0.0
        for event in self._events[attempt["task_id"]]:
            if event["move"] == "begin" and event["attempt_id"] == attempt["id"]:
                break
            if event["reason_code"] == "preferred_agent_first":
                only = str(json.loads(event["reason_params"])["interface"])
                since = event["at"]
            elif (
                event["reason_code"].startswith("preferred_agent_")
                and (event["reason_code"] != "preferred_agent_busy")
            ) or event["move"] == "reopen":
                only = ""
        return only, since

    def _check_waits_for_one_agent(self, attempt: sqlite3.Row) -> None:
        only, since = self._waited_for(attempt)
        waited_s = attempt["started_at"] - since
        if only and waited_s > PREFERRED_WAIT_S and not self.clock_steps:
            self._break(
                "a callback waits for one agent no longer than the settings say",
                f"{attempt['channel_id']} for {only}, after {waited_s:.1f} s",
            )

    def _check_accepted(self, number: str, ring: Ringing) -> None:
        """No client is dialled before an agent has pressed the key to accept."""
        said = next(
            callback.agent_said
            for callback in self.world.asterisk.callbacks
            if callback.caller_half.uniqueid == ring.by
        )
        if said != "ACCEPTED":
            self._break(
                "no client is dialled before an agent has accepted",
                f"{number} by {ring.by}: the agent said {said!r}",
            )

    def _check_ring(self, number: str, earlier: list[Ringing], ring: Ringing) -> None:
        if any(one.ended_at is None or one.ended_at > ring.at for one in earlier):
            self._break("never two calls to one client", f"{number} by {ring.by}")
        if any(one.by == ring.by for one in earlier):
            self._break("no client is rung twice for one attempt", f"{ring.by}")
        attempt = self._attempts.get(ring.by.removesuffix("-1"))
        if attempt is None:
            self._break("no call before its COMMIT", f"{number} rings by {ring.by}")
        elif attempt["ended_at"] is not None and ring.ended_at is None:
            self._break(
                "no client is rung for an attempt that has ended",
                f"{number} by {ring.by}: {_words(attempt)}",
            )

        if self.plan.asks_for_keys:
            self._check_accepted(number, ring)
        self._check_dialled_in_a_minute(ring)
        self._check_hours(number, ring)
        self._check_cancelled(number, ring)

    def _check_dialled_in_a_minute(self, ring: Ringing) -> None:
        """The limit of calls in a minute counts from when the clients are dialled.

        How long the callbacks waited for their agents before makes no difference.
        """
        most = self.plan.calls_per_minute
        if not most or self.clock_steps:
            return
        near = [
            other.by
            for _, other in self._rings()
            if 0 <= ring.at - other.at < 60 - _HAIR_S
            and (attempt := self._attempts.get(other.by.removesuffix("-1")))
            and attempt["disposition"] not in _FREE_OF_CHARGE
        ]
        if len(near) > most:
            self._break(
                "the limits hold",
                f"{', '.join(near)} are more than {most} clients dialled in 60 s",
            )

    def _check_cancelled(self, number: str, ring: Ringing) -> None:
        """Once its task is cancelled an attempt rings no client, if we could know."""
        attempt = self._attempts.get(ring.by.removesuffix("-1"))
        if attempt is None or self.clock_steps or self._slow_database:
            return
        story = self._events[attempt["task_id"]]
        begun = min(one["id"] for one in story if one["attempt_id"] == attempt["id"])
        for event in story:
            if event["move"] != "cancel_later" or event["id"] < begun:
                continue
            since = self._read_at[event["id"]]
            if self.calm_since <= since and ring.at > since + _CLOSES_S:
                self._break(_CANCELLED, f"{number} by {ring.by}: {_words(event)}")

    def _check_hours(self, number: str, ring: Ringing) -> None:
        """Once the queue has closed no agent may answer any more, if we could know."""
        base = ring.by.removesuffix("-1")
        attempt = self._attempts.get(base)
        if attempt is None or self.clock_steps or self._slow_database:
            return
        since = self._closed_since(self._tasks[attempt["task_id"]]["queue"], ring.at)
        if since is None or self.calm_since > since:
            return
        late = [
            name
            for name, phone in self.world.asterisk.phones.items()
            for one in phone.rung
            if one.by == f"{base}-2" and (one.answered_at or 0) > since + _CLOSES_S
        ]
        if late:
            self._break(_CLOSED, f"{number} by {base}: {late} answered after closing")

    @cached_property
    def _slow_database(self) -> bool:
        trouble = (*self.plan.events, *(cue.event for cue in self.plan.cues))
        return any("database" in event.what for event in trouble)

    def _closed_since(self, queue: str, at: float) -> float | None:
        """Return since when a queue has been closed at a moment; None if it is open."""
        if queue not in self.plan.closed:
            return None
        begin, end = self.plan.closed[queue]
        second = (at + self._skew - START) % _DAY_S
        return at - second + 60 * begin if 60 * begin <= second < 60 * end else None

    # -- what the service sends --------------------------------------------

    def _sends(self, what: str, data: bytes) -> None:
        if what == "AMI" and data.startswith(b"Action: Originate\r\n"):
            self._read()
            if b"\r\nChannel: Local/request@callback-forget" in data:
                self._check_forgets(data)
                return
            channel_id, number, target = (
                match[1].decode() if (match := pattern.search(data)) else "?"
                for pattern in (_CHANNEL_ID, _NUMBER, _TARGET)
            )
            if b"\r\nChannel: Local/client@" in data:
                self._client_first.add(channel_id)
            self._check_originate(channel_id, number, target)

    def _check_forgets(self, data: bytes) -> None:
        match = _FORGETS.search(data)
        key = match[1].decode() if match else "?"
        of_refused = any(
            call.channel.uniqueid == key and self._may_be_refused(call.number)
            for call in self.calls
        )
        if not (of_refused or self._is_known(key)):
            self._break("a kept request is forgotten after its COMMIT", key)

    def _is_known(self, uniqueid: str) -> bool:
        """Whether some task tells of this call."""
        return any(
            event["linkedid"] == uniqueid
            for story in self._events.values()
            for event in story
        )

    def _check_originate(self, base: str, number: str, target: str) -> None:
        if base in self._sent:
            self._break("an Originate is never sent again", base)
        self._sent[base] = target
        attempt = self._attempts.get(base)
        if attempt is None or attempt["ended_at"] is not None:
            self._break("no call before its COMMIT", f"{base} to {number}")
            return
        task = self._tasks[attempt["task_id"]]
        if task["status"] != "calling" or task["number"] != number:
            self._break("a call is its task's", f"{base} to {number}: {dict(task)}")
        self._look_at_the_link()
        if self._looker is not None:
            waits = self._looker.before_call(task, self._all_well_since)
            if waits:
                self._break(HOLDS, f"{base} to {number}: {waits}")
        if self._closed_since(task["queue"], self._now) is not None:
            self._break(_CLOSED, f"{base} to {number} begins")
        self._check_attempts_and_delay(task, base)
        self._check_waits_for_one_agent(attempt)
        self._check_not_too_early(task, attempt, base)
        self._check_front(attempt)
        self._check_guards(task, attempt)
        self._check_not_busy(task, number)
        if self.calm_since < self._now and self._asked_before is None:
            under_way = {
                base: target
                for base, target in self._sent.items()
                if self._attempts[base]["ended_at"] is None
            }
            client_first = base in self._client_first
            words = too_many(self.world.asterisk, under_way)
            if self.plan.keeps_places and not client_first:
                self._check_line(under_way, base)
            elif words:
                self._break("callbacks take only agents to spare", f"{base}: {words}")
            elif client_first and self.plan.first == "auto":
                words = too_many(self.world.asterisk, under_way, AUTO_AGENTS)
                if words:
                    self._break(
                        "a client is called first only while enough agents are free",
                        f"{base}: {words}",
                    )

    # -- who is given the next agent -----------------------------------------

    def _agents_ring(self, visit: Visit) -> None:
        """A queue begins to ring agents for one who waits in it."""
        if self.plan.only_places:
            self._check_order(visit)
        elif self.plan.first == "client" or self._is_client_first(visit):
            # A client who has pressed the key waits at the head of the queue.
            self._check_client_waits(visit)
        elif not self.plan.keeps_places and self._is_ours(visit):
            self._check_live_first(visit)
        elif self.plan.steers:
            self._check_front_of_line(visit)

    def _is_client_first(self, visit: Visit) -> bool:
        """Whether a client waits who was dialled before an agent."""
        return any(
            callback.member_half is visit.channel and callback.client_first
            for callback in self.world.asterisk.callbacks
        )

    def _is_ours(self, visit: Visit) -> bool:
        """Whether a callback waits; a client who was transferred is a live caller."""
        return any(
            callback.member_half is visit.channel and not callback.transferred
            for callback in self.world.asterisk.callbacks
        )

    def _check_client_waits(self, visit: Visit) -> None:
        for callback in self.world.asterisk.callbacks:
            if (
                callback.member_half is visit.channel
                and callback.client_said != "CONFIRMED"
            ):
                self._break(
                    "no agent is rung for a client who has not pressed the key",
                    f"{visit.channel.uniqueid}: {callback.client_said}",
                )

    def _check_live_first(self, visit: Visit) -> None:
        """Asterisk rings nobody for a live caller who waits only between two rings."""
        for other in visit.queue.visits:
            if other.idle and other.joined_at < self._now and not self._is_ours(other):
                self._break(
                    _LIVE_FIRST,
                    f"{visit.channel.uniqueid} before {other.channel.number}, who"
                    f" joined at {self.world.since(other.joined_at)}",
                )

    def _turn(self, visit: Visit) -> tuple[int, float]:
        """Return the place of somebody in line; the smaller of two is served first.

        It may be too early for a live caller, but is never too late.
        """
        if self._is_ours(visit):
            base = visit.channel.uniqueid.removesuffix("-2")
            joined_at = self._tasks[self._attempts[base]["task_id"]]["joined_at"]
            return -visit.priority, float(joined_at)
        tasks = [
            float(task["joined_at"])
            for task in self._tasks.values()
            if task["number"] == visit.channel.number
        ]
        return -visit.priority, min([visit.channel.since, *tasks])

    def _check_order(self, visit: Visit) -> None:
        """Nobody is given an agent before a client whose turn comes earlier."""
        self._read()
        self._look_at_the_link()
        if self.clock_steps or self._slow_database:
            return
        priority, joined_at = self._turn(visit)
        calm = self._connected_at + _CATCHES_UP_S + _JOINS_S < self._now
        for id_, since in self._near_since.items():
            task = self._tasks[id_]
            turn = -task["priority"], task["joined_at"] + _JOINED_S
            if (
                calm
                and task["queue"] == visit.queue.name
                and task["status"] == "pending"
                and turn < (priority, joined_at)
                and since + _JOINS_S < self._now
            ):
                self._break(
                    _ORDER, f"task {id_} is not in line before {visit.channel.number}"
                )
        line = visit.queue.visits
        for other in line[line.index(visit) + 1 :]:
            if not (other.idle and self._is_ours(other)):
                continue
            ahead = line[line.index(visit) : line.index(other)]
            mine, place = self._turn(other)
            if self._connected_at < other.joined_at and all(
                (mine, place + _JOINED_S) < self._turn(one) and one.priority == -mine
                for one in ahead
            ):
                self._break(
                    _ORDER,
                    f"{other.channel.uniqueid} waits behind {visit.channel.number}",
                )

    def _look_at_the_lines(self) -> None:
        """Note whose turn is near: fewer are ahead than agents could take calls."""
        due = [
            task
            for task in self._tasks.values()
            if task["status"] == "pending" and self._may_be_called(task)
        ]
        due.sort(key=lambda task: (-task["priority"], task["joined_at"]))
        near: dict[int, float] = {}
        for queue in self.world.asterisk.queues.values():
            agents = self._agents(queue)
            ahead = sum(
                task["queue"] == queue.name and task["status"] == "calling"
                for task in self._tasks.values()
            )
            live = [self._turn(one) for one in queue.visits if not self._is_ours(one)]
            for task in due:
                # A line with ``maxlen`` may have no place.
                if task["queue"] != queue.name or queue.maxlen:
                    continue
                turn = -task["priority"], task["joined_at"] + _JOINED_S
                if sum(one <= turn for one in live) + ahead < agents:
                    near[task["id"]] = self._near_since.get(task["id"], self._now)
                ahead += 1
        self._near_since = near
        self._check_live_callers()
        for call in self.calls:
            if call.asks_place and call.waiting:
                self._check_own_place(call)

    @staticmethod
    def _agents(queue: Queue) -> int:
        return sum(
            member.phone.registered and not member.paused for member in queue.members
        )

    def _may_be_called(self, task: sqlite3.Row) -> bool:
        """Whether nothing but the line keeps a task waiting."""
        plan, number = self.plan, task["number"]
        limits = plan.calls_per_number, plan.calls_per_minute, plan.calls_per_hour
        return (
            task["due_at"] <= self._now < task["expires_at"]
            and self._closed_since(task["queue"], self._now) is None
            and self._asked_before is None
            and number not in self._blocked
            and not any(limits)
            and all(
                channel.number != number
                for channel in self.world.asterisk.channels.values()
            )
        )

    def _check_live_callers(self) -> None:
        """Check that the service tells callbacks in line from live callers."""
        if self._connected_at + _CATCHES_UP_S >= self._now or self._slow_database:
            return
        ours = {
            callback.member_half.uniqueid
            for callback in self.world.asterisk.callbacks
            if not callback.transferred
        }
        queues = self.world.processes[-1].service.node.queue_monitor.queues
        for name in self.plan.queues:
            counted = {caller.uniqueid for caller in queues.waiting(name)}
            if wrong := ours & counted:
                self._break(_NOT_LIVE, f"{sorted(wrong)} in {name}")

    def _check_own_place(self, call: LiveCall) -> None:
        """Check once where a client was put who asked for the place of the task."""
        uniqueid = call.channel.uniqueid
        if uniqueid in self._placed:
            return
        self._placed.add(uniqueid)
        trouble = self.clock_steps or self._slow_database or call.withheld
        if trouble or self._connected_at + _JOINS_S > call.channel.since:
            return
        places = [
            float(task["joined_at"])
            for id_, task in self._tasks.items()
            if (task["number"], task["queue"]) == (call.number, call.queue)
            and task["status"] in _OPEN
            and self._read_at[self._events[id_][0]["id"]] < call.channel.since - 1
        ]
        if not places or call.visit is None:
            return
        line = call.visit.queue.visits
        later = [
            one.channel.number
            for one in line[: line.index(call.visit)]
            if not self._is_ours(one)
            and one.priority <= call.visit.priority
            and self._turn(one)[1] > places[0] + _JOINED_S
        ]
        if later:
            self._break(_OWN_PLACE, f"{call.number} is behind {later}")

    def _check_room(self, queue: Queue, base: str) -> None:
        """A client is not put into the last place of a line, unless next."""
        # The service may not know yet who has just joined.
        line = [one for one in queue.visits if one.joined_at < self._now - _SEES_S]
        if not queue.maxlen or len(line) < queue.maxlen - 1:
            return
        task = self._tasks[self._attempts[base]["task_id"]]
        turn = -task["priority"], task["joined_at"] - _JOINED_S
        if any(self._turn(one) < turn for one in line if one.idle):
            self._break(_ROOM, f"{base} in {queue.name} with {len(line)} in line")

    def _check_not_too_early(
        self, task: sqlite3.Row, attempt: sqlite3.Row, base: str
    ) -> None:
        """No call before the time that was chosen when the attempt began."""
        story = self._events[task["id"]]
        (begun,) = (
            event["id"]
            for event in story
            if (event["move"], event["attempt_id"]) == ("begin", attempt["id"])
        )
        chosen_at = task["chosen_at"]
        if chosen_at is None or self._chosen_by(story)["id"] > begun:
            return
        if not self.clock_steps and attempt["started_at"] < chosen_at:
            self._break(
                "no call before the chosen time",
                f"{base}: {self.world.since(chosen_at)}",
            )

    @staticmethod
    def _chosen_by(story: list[sqlite3.Row]) -> sqlite3.Row:
        """Return the last event of a task in which a time was chosen."""
        return [
            event
            for event in story
            if event["move"] in ("create", "repeat", "reopen")
            # It may be the cause of another reason: requested while talking.
            and "chosen_at" in event["reason_params"]
        ][-1]

    def _check_chosen_times(self) -> None:
        """A client was dialled within the slack after a chosen time, or why not?"""
        for id_, task in self._tasks.items():
            chosen_at = task["chosen_at"]
            # With another clock, nobody can say when the time was.
            if chosen_at is None or self.clock_steps:
                continue
            call_by = chosen_at + SLACK_S
            story = self._events[id_]
            chosen = self._chosen_by(story)
            is_dialled = any(
                chosen_at <= event["at"] <= call_by + _TICK_S
                for event in story
                if event["reason_code"] == "client_dialled"
            ) or any(
                chosen_at <= ring.at <= call_by + _TICK_S
                for ring in self.world.asterisk.client(task["number"]).rung
            )
            says_why = any(
                event["reason_code"] == "chosen_time_missed"
                for event in story
                if event["id"] > chosen["id"]
            )
            ends_otherwise = task["status"] not in ("completed", "failed")
            if not (is_dialled or says_why or ends_otherwise) and (
                task["ended_at"] > call_by
            ):
                self._break(
                    "a chosen time is kept, or its history says why not",
                    f"task {id_}: {self.world.since(chosen_at)}",
                )

    def _check_line(self, under_way: dict[str, str], base: str) -> None:
        """Count the callbacks that wait in the queue of the latest one."""
        queue = self.world.asterisk.queues[under_way[base]]
        self._check_room(queue, base)
        # A client who was transferred is a caller like any other.
        ours = {
            callback.member_half.uniqueid
            for callback in self.world.asterisk.callbacks
            if not callback.transferred and not callback.client_first
        }
        waiting = ours & {visit.channel.uniqueid for visit in queue.visits}
        waiting.add(f"{base}-2")
        # A member may have been removed without a word to the service.
        agents = {member.interface for member in queue.members}
        agents |= set(self.plan.queues[queue.name])
        if len(waiting) > len(agents):
            self._break(
                "no more callbacks wait in line than there are agents",
                f"{sorted(waiting)} for {sorted(agents)}",
            )

    def _check_attempts_and_delay(self, task: sqlite3.Row, base: str) -> None:
        story = self._events[task["id"]]
        begun = max(
            (event["id"] for event in story if event["move"] == "reopen"), default=0
        )
        bases = {
            attempt["channel_id"]
            for attempt in self._attempts.values()
            if attempt["task_id"] == task["id"]
            and any(
                event["attempt_id"] == attempt["id"] and event["id"] > begun
                for event in story
            )
        }
        rings = [r for _, r in self._rings() if r.by.removesuffix("-1") in bases]
        if len(rings) >= self.plan.attempts:
            self._break(
                "attempts never exceed the limit",
                f"{base} comes after {len(rings)} of {self.plan.attempts}",
            )
        for ring in rings:
            if ring.ended_at is None:
                self._break("never two calls to one client", f"{base}: {ring.by}")
                continue
            row = self._attempts[ring.by.removesuffix("-1")]
            if row["ended_at"] is None:
                self._break("one attempt at a time", f"{base}: {ring.by} is not over")
                continue
            if any(
                event["reason_code"] == "moved_to_front" and event["id"] > ended["id"]
                for ended in story
                if ended["attempt_id"] == row["id"] and ended["move"] == "retry"
                for event in story
            ):
                # An operator had it called at once.
                continue
            # The service counts from when it noticed, whatever was set before.
            read_at = self._end_read_at[row["channel_id"]]
            noticed = self._moment(row["ended_at"], read_at)
            waited_s = (self._now - ring.ended_at) + self._steps_s(noticed)
            if waited_s < self.plan.retry_delay_s - _HAIR_S:
                self._break(
                    "no attempt comes sooner than the delay",
                    f"{base} comes {waited_s:.2f} s after {ring.by} ended",
                )

    def _check_guards(self, task: sqlite3.Row, attempt: sqlite3.Row) -> None:
        """Is there room for this call, and does the client want it?"""
        number, base = task["number"], attempt["channel_id"]
        if attempt["id"] > self._blocked.get(number, attempt["id"]):
            self._break("no blocked number is called", f"{number} by {base}")
        rings = len(self.world.asterisk.client(number).rung)
        if 0 < self.plan.calls_per_number <= rings:
            self._break(
                "the limits hold",
                f"{number} by {base}: its phone rang {rings} times, of"
                f" {self.plan.calls_per_number} in a day",
            )
        queues = {id_: row["queue"] for id_, row in self._tasks.items()}
        before = [
            other
            for other in self._attempts.values()
            if other["id"] < attempt["id"]
            and other["disposition"] not in _FREE_OF_CHARGE
        ]
        of_queue = [
            other for other in before if queues[other["task_id"]] == task["queue"]
        ]
        for what, others, most, window_s in (
            ("all", before, self.plan.calls_per_minute, 60),
            (task["queue"], of_queue, self.plan.calls_per_hour, 3600),
        ):
            # Those whose clients are not dialled yet may be dialled at any moment.
            near = sum(
                other["ended_at"] is None
                if other["dialled_at"] is None
                else abs(attempt["started_at"] - other["dialled_at"]) < window_s
                for other in others
            )
            if 0 < most <= near:
                self._break(
                    "the limits hold",
                    f"{base} is one more than {most} of {what} in {window_s} s",
                )

    def _may_be_refused(self, number: str) -> bool:
        """Whether who shows this number need not be called back."""
        called = sum(
            self._tasks[attempt["task_id"]]["number"] == number
            and attempt["disposition"] not in _FREE_OF_CHARGE
            for attempt in self._attempts.values()
        )
        return number in self._blocked or 0 < self.plan.calls_per_number <= called

    def _moment(self, shown: float, read_at: float) -> _Moment:
        """Return the last moment at which the machine's clock showed a time.

        Args:
            shown: the time, as the service wrote it.
            read_at: when it was seen in the database.
        """
        found = None
        edges = [-inf, *(at for at, _ in self.clock_steps), inf]
        for steps, (since, until) in enumerate(pairwise(edges)):
            at = shown - sum(by_s for _, by_s in self.clock_steps[:steps])
            if since - _TICK_S <= at <= min(until, read_at) + _TICK_S:
                found = _Moment(at, steps)
        if found is None:
            self._break("no time is made up", f"{shown} is read at {read_at}")
            return _Moment(read_at, 0)
        return found

    def _steps_s(self, since: _Moment) -> float:
        """Return by how much the machine's clock was set since a moment."""
        return sum(by_s for _, by_s in self.clock_steps[since.steps :])

    def _check_not_busy(self, task: sqlite3.Row, number: str) -> None:
        """A client who talks to us, or was served since, is not called."""
        known = self._now - _NOTICE_S
        if self.calm_since > known:
            return
        asked_at = max(
            self._moment(event["at"], self._read_at[event["id"]]).at
            for event in self._events[task["id"]]
            if event["move"] in ("create", "repeat", "reopen")
        )
        for call in self.calls:
            if call.number != number:
                continue
            alive = call.channel.uniqueid in self.world.asterisk.channels
            if alive and call.channel.since < known:
                self._break(
                    "no client is called who is in a call with us",
                    f"{number} rang in at {self.world.since(call.channel.since)}",
                )
            answered_at = call.answered_at
            if answered_at is not None and (
                max(asked_at, self.calm_since - 1) < answered_at < known
            ):
                self._break(
                    "no client is called who was served since",
                    f"{number} was answered at {self.world.since(answered_at)}",
                )

    @property
    def _skew(self) -> float:
        return self.world.skew_s

    # -- what callers hear, and how their calls end ------------------------

    def _key_is_pressed(self, channel: Channel, key: str) -> None:
        """Check that the service asks nobody for whom an agent is rung."""
        for visit in self.world.asterisk.visits():
            since = visit.ringing_since
            if visit.channel is not channel or since is None:
                continue
            # A ring that began while the link was down is not known.
            if self.calm_since < since < self._now - _SEES_S:
                self._break(
                    "nobody is asked for whom an agent is rung",
                    f"{channel.number}: key {key}, rung since {since - START}",
                )

    def _check_offers(self) -> None:
        """Check who is asked how often, and at which place they are put back."""
        if not self.plan.offers:
            return
        pause_s = float(self.plan.offers["pause"].removesuffix("s"))
        for number, call in enumerate(self.calls):
            seen = self._offers_seen.get(number, 0)
            for at in call.offered_at[seen:]:
                last = self._offered.get(call.number)
                if (
                    last is not None
                    and at - last < pause_s - _PROMISE_S
                    and not self.clock_steps
                ):
                    self._break(
                        "nobody is asked twice within the pause",
                        f"{call.number} at {at - START} and {last - START}",
                    )
                self._offered[call.number] = at
                self._back[number] = at
            self._offers_seen[number] = len(call.offered_at)
            if number in self._back and (call.waiting or call.gone):
                self._check_back(call, self._back.pop(number))

    def _check_back(self, call: LiveCall, asked_at: float) -> None:
        if not call.waiting or self.calm_since > asked_at or call.visit is None:
            return
        joined_at = {one.channel: one.channel.since for one in self.calls}
        ahead = call.visit.queue.visits[: call.visit.position - 1]
        behind = [
            visit.channel.number
            for visit in ahead
            if joined_at.get(visit.channel, -inf) > call.channel.since
        ]
        if behind:
            self._break(
                "one who is asked keeps the place",
                f"{call.number} is behind {behind}, who called later",
            )

    def _hears(self, call: LiveCall, sound: str) -> None:
        if sound == _NOTED:
            self._noted.append(call)
        is_promise = sound in _PROMISES or sound.startswith(_AT_A_TIME)
        if sound == _NOTED or is_promise:
            promise = (_wanted_number(call), f"hears {sound}", self._now)
            self._promises.append(promise)
        if not is_promise:
            return
        if call.asked and not self._says_yes(call):
            self._break(
                "no request without the caller's yes",
                f"{call.number} hears {sound}, pressed {call.given}",
            )
        self._read()
        # An earlier request of the same call may have been taken back.
        for id_, story in reversed(self._events.items()):
            if any(event["linkedid"] == call.channel.uniqueid for event in story):
                self._promised.append((call, id_))
                self._check_priority(call, id_)
                if sound.startswith(_AT_A_TIME):
                    self._check_time_said(call, sound, id_)
                return
        self._break("no promise before its COMMIT", f"{call.number} hears {sound}")

    def _says_yes(self, call: LiveCall) -> bool:
        """Whether a caller who was asked has agreed to a callback."""
        if not self.plan.offers_times:
            return any(prompt == _CONFIRM for prompt, _ in call.given)
        # At the first time, the key of the second is too early.
        return any(
            prompt in _WHEN and key in "12" and (prompt, key) != (AT, "2")
            for prompt, key in call.given
        )

    def _check_slots(self) -> None:
        """No more callers are promised a slot than may be."""
        if not self.plan.offers_times:
            return
        chosen = Counter(
            (task["queue"], task["chosen_at"])
            for task in self._tasks.values()
            if task["status"] in _OPEN and task["chosen_at"] is not None
        )
        for (queue, at), count in chosen.items():
            if count > PER_SLOT:
                self._break(
                    "no more promises in a slot than the settings allow",
                    f"{count} in {queue} at {self.world.since(at)}",
                )

    def _check_time_said(self, call: LiveCall, sound: str, id_: int) -> None:
        """The time that a caller hears is the one that is stored."""
        at = self._tasks[id_]["chosen_at"]
        clock = datetime.fromtimestamp(at, UTC) if at is not None else None
        if clock is None or not {
            f"callback-queue/number-{clock.hour % 12 or 12}",
            f"callback-queue/{'am' if clock.hour < 12 else 'pm'}",
        } <= set(sound.split("&")):
            self._break(
                "the time that is said is the one that is stored",
                f"{call.number} hears {sound}, task {id_} has {clock}",
            )

    def _check_priority(self, call: LiveCall, id_: int) -> None:
        """Check that the caller is in no worse place than in the queue."""
        had, has = int(call.channel.queue_priority or 0), self._tasks[id_]["priority"]
        if has < had:
            self._break(
                "a task has the priority of its caller",
                f"task {id_} has {has}, {call.number} had {had}",
            )

    def _check_places(self) -> None:
        """Look at callers who did not want the callback and are back in line."""
        back = [call for call in self.calls if call.came_back]
        if not back:
            return
        by_channel = {call.channel.uniqueid: call for call in self.calls}
        for call in back:
            came_back, call.came_back = call.came_back, []
            for at, ahead in came_back:
                later = [
                    by_channel[uniqueid].number
                    for uniqueid in ahead
                    if uniqueid in by_channel
                    and by_channel[uniqueid].joined_at > call.joined_at + 1
                ]
                if later and self.calm_since < call.joined_at:
                    self._break(
                        "who goes back to the queue keeps the place",
                        f"{call.number} at {at} is behind {later}",
                    )

    def _check_calls(self) -> None:
        """Note which calls end missed before the service's eyes."""
        for number, call in enumerate(self.calls):
            if not call.gone or number in self._ended_calls:
                continue
            self._ended_calls.add(number)
            promised = any(one is call for one, _ in self._promised)
            if (
                call.answered_at is None
                and not call.refused
                and not promised
                and call not in self._noted
                and call.queue in WITH_CALLBACKS
                and not call.withheld
                and self.calm_since < call.channel.since
            ):
                self._missed.append(_Missed(call, len(self.world.processes)))
        if self._missed:
            self._missed = [one for one in self._missed if self._is_due(one)]

    def _is_due(self, missed: _Missed) -> bool:
        known = self._is_known(missed.call.channel.uniqueid)
        # One that had not been stored is found in the history alone.
        gone = len(self.world.processes) > missed.lives or (
            self.world.processes[-1].dead or self.world.processes[-1].stopped
        )
        return not (known or gone or self._may_be_refused(missed.call.number))

    # -- the end -----------------------------------------------------------

    def check_the_end(self) -> None:
        """Everything has had its time: all must have come to one written end."""
        self._read()
        for id_, task in self._tasks.items():
            story = f"task {id_}: {task['status']}: {_words(task)}"
            if task["status"] in _OPEN:
                self._break("every task ends", story)
            if not _says_why(task):
                self._break("every end has a reason", story)
            if task["status"] == "served" and not any(
                call.number == task["number"] and call.answered_at is not None
                for call in self.calls
            ):
                self._break("served is served", story)
            if task["status"] == "completed" and not any(
                attempt["disposition"] == "ANSWERED"
                for attempt in self._attempts.values()
                if attempt["task_id"] == id_
            ):
                self._break("completed is talked", story)
        for call, id_ in self._promised:
            if self._tasks[id_]["reason_code"] == _TAKEN_BACK:
                self._break("a promise is kept", f"{call.number}: task {id_}")
        for call in self._noted:
            if not (
                self._is_known(call.channel.uniqueid)
                or self._may_be_refused(call.number)
            ):
                self._break("no kept request is lost", f"{call.number}")
        if any(of == "callback-request" for of, _ in self.world.asterisk.astdb):
            self._break("a kept request is taken over once", "it is still kept")
        for missed in self._missed:
            self._break("no missed call is lost", f"{missed.call.number}")
        self._check_doubles()
        self._check_promises()
        self._check_measured()
        self._check_chosen_times()
        if self.broken:
            raise self.broken[0]

    def _check_doubles(self) -> None:
        """One call makes at most one task that stands."""
        made: dict[str, list[int]] = {}
        for id_, story in self._events.items():
            for uniqueid in {event["linkedid"] for event in story} - {""}:
                if self._tasks[id_]["reason_code"] != _TAKEN_BACK:
                    made.setdefault(uniqueid, []).append(id_)
        for uniqueid, ids in made.items():
            for id_ in ids[:-1]:
                # What was asked for in a talk goes on when the talk is over.
                if self._goes_on(uniqueid, ids[-1], id_):
                    ids.remove(id_)
            if len(ids) > 1:
                self._break("one call makes one task", f"{uniqueid}: tasks {ids}")

    def _check_measured(self) -> None:
        """What expected waits follow from is what happened, whatever broke meanwhile.

        Less may be known: nothing is measured while the service is down. An event that
        comes twice counts twice; Asterisk itself sends none twice.
        """
        if self.plan.doubled:
            return
        for row in self._db.execute("SELECT * FROM measured"):
            queue = row["queue"]
            for name, column in (
                ("AgentComplete", "handling_weight"),
                ("AgentConnect", "ring_weight"),
            ):
                told = self.world.asterisk.told
                count = sum(
                    one.name == name and one["Queue"].lower() == queue for one in told
                )
                # Callbacks to an extension are not a queue's.
                if row[column] > count and not queue.startswith("extension:"):
                    words = f"{queue}: {row[column]} of {count} {name}"
                    self._break("each call is measured once", words)

    def _goes_on(self, uniqueid: str, id_: int, former: int) -> bool:
        """Whether a task goes on with what a call asked a former one for."""
        return any(
            event["linkedid"] == uniqueid
            and event["reason_code"] == "requested_while_talking"
            and json.loads(event["reason_params"])["task_id"] == former
            for event in self._events[id_]
        )

    def _check_promises(self) -> None:
        """Whoever was promised a call was called after that, or need not be.

        A call that was answered before the promise is no answer to it.
        """
        for number, words, at in self._promises:
            # From the COMMIT to what is heard of it.
            since = at - _PROMISE_S
            rings = self.world.asterisk.client(number).rung
            called = any(
                (ring.answered_at or ring.ended_at or inf) > since for ring in rings
            )
            served = any(
                call.number == number and (call.answered_at or 0) > since
                for call in self.calls
            )
            if not (
                called
                or served
                or self._may_be_refused(number)
                or any(self._ends_otherwise(task, since) for task in self._of(number))
            ):
                self._break(
                    "a promise is honoured",
                    f"{number} {words} at {self.world.since(at)}, and nobody calls",
                )

    def _of(self, number: str) -> list[sqlite3.Row]:
        return [task for task in self._tasks.values() if task["number"] == number]

    def _ends_otherwise(self, task: sqlite3.Row, since: float) -> bool:
        """Whether a task ended after a moment in a way that needs no call after it."""
        if self._read_at[self._events[task["id"]][-1]["id"]] <= since:
            return False
        if task["status"] in ("cancelled", "expired", "served"):
            return bool(task["reason_code"] != _TAKEN_BACK)
        if task["status"] != "failed":
            return False
        # Nobody could be reached; but not: they talked, and that was the last attempt.
        last = max(
            (row for row in self._attempts.values() if row["task_id"] == task["id"]),
            key=lambda row: int(row["id"]),
            default=None,
        )
        ring = None if last is None else self._ring_of(last["channel_id"])
        return ring is None or ring.answered_at is None

    def story(self) -> str:
        """Tell what the database and the phones have to say."""
        lines: list[str] = []
        for id_, story in self._events.items():
            task = self._tasks[id_]
            lines.append(f"task {id_} for {task['number']}: {task['status']}")
            lines += [
                f"  {self.world.since(e['at']):9.3f} {e['move']}: {_words(e)}"
                for e in story
            ]
        for number, ring in self._rings():
            times: list[Any] = [
                None if at is None else self.world.since(at)
                for at in (ring.at, ring.answered_at, ring.ended_at)
            ]
            lines.append(f"phone of {number} rang by {ring.by}: {times}")
        for call in self.calls:
            ended = None if call.ended_at is None else self.world.since(call.ended_at)
            lines.append(
                f"call {call.channel.uniqueid} of {call.number} into {call.queue} at"
                f" {self.world.since(call.channel.since)}, heard {call.heard},"
                f" answered {call.answered_at is not None}, gone {ended}"
            )
        return "\n".join(lines)


def _words(row: sqlite3.Row) -> str:
    """Return the reason in a row in words."""
    return f"{row['reason_code']} {row['reason_params']}"


def _wanted_number(call: LiveCall) -> str:
    """Return the number that a caller has confirmed, or the caller's own."""
    entered = [keys for prompt, keys in call.given if prompt == _ENTER]
    return entered[-1].removesuffix("#") if entered else call.number


def _says_why(row: sqlite3.Row) -> bool:
    """Whether there is a reason; an operator's own must not be empty."""
    code = row["reason_code"]
    return code != "text" or bool(json.loads(row["reason_params"]).get("text"))
