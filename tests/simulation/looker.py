# SPDX-License-Identifier: MIT
"""Somebody who follows the live state, and compares it with what is really so.

What is really so is what the model of Asterisk knows, and the rows of the database. The
view lags by the pause between two changes, and the service by its COMMITs, so each
statement may be wrong for a moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from fastagi.domain.why_not_yet import NEXT
from fastagi.service.live_state import LiveState
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.emulator.queues import Queue
from tests.harness.live_view import LiveView, without_estimates
from tests.harness.world import ServiceProcess, World, database_without_thread

SAYS: Final = "what a task says it waits for is so"
HOLDS: Final = "a task is not called while what it waits for holds"
CALLED: Final = "a task with nothing in its way is called"
IS_SO: Final = "the live state is as Asterisk and the database have it"
SAME: Final = "a snapshot with all changes is a new snapshot"
#: For how long at most a statement may be wrong while nothing is in trouble.
_WRONG_S: Final = 8.0
#: For how long at most nothing may be in the way of a task that is not called.
_CALLED_S: Final = 12.0
#: How often a new snapshot is taken, and since when nothing must have changed.
_FRESH_EACH_S: Final = 60.0
_QUIET_S: Final = 2.0


@attrs.frozen
class Facts:
    """What is really so, as `tests.simulation.rules` knows it."""

    world: World
    #: Returns the tasks by id, and the attempts by channel id, as rows.
    tasks: Callable[[], Mapping[int, sqlite3.Row]]
    attempts: Callable[[], Mapping[str, sqlite3.Row]]
    #: Returns since when a queue has been closed; None if it is open.
    closed_since: Callable[[str, float], float | None]
    #: Returns whether a channel is a callback that waits for an agent.
    is_ours: Callable[[Any], bool]


class Looker:
    """Follows the live state of each process of the service."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._process: ServiceProcess | None = None
        self._view: LiveView | None = None
        #: Since when statements have been wrong, and tasks not called, by what it is.
        self._wrong_since: dict[tuple[str, str], float] = {}
        self._fresh: tuple[LiveState, LiveView, int] | None = None
        self._fresh_at = 0.0
        self._database: Database | None = None

    @property
    def _now(self) -> float:
        return float(self._facts.world.clock.seconds())

    def close(self) -> None:
        """Close the connection of new snapshots."""
        if self._database is not None:
            self._database.close()

    # -- following -----------------------------------------------------------

    def look(self, calm_since: float) -> tuple[str, str] | None:
        """Compare the view with what is so; return the broken rule and the words.

        Args:
            calm_since: since when nothing has been in trouble.
        """
        process = self._facts.world.processes[-1]
        if process is not self._process:
            self._process, self._view, self._fresh = process, None, None
        is_up = bool(process.started) and not (
            process.dead or process.stopped or process.frozen
        )
        if is_up and (self._view is None or self._view.ended is not None):
            subscription = process.service.live.subscribe()
            self._view = LiveView(subscription, lambda: self._now)
        calm = is_up and calm_since + _WRONG_S < self._now
        state = None if self._view is None else self._view.state
        if not calm or state is None or process.service.node.scheduler is None:
            self._wrong_since.clear()
            self._fresh = None
            return None
        wrong = dict(self._wrong(state))
        for what in self._wrong_since.keys() - wrong.keys():
            del self._wrong_since[what]
        for what, limit_s in wrong.items():
            since = self._wrong_since.setdefault(what, self._now)
            if since + limit_s < self._now:
                rule, words = what
                return rule, f"since {self._facts.world.since(since)}: {words}"
        return self._compare_with_fresh(process)

    def before_call(self, task: sqlite3.Row, calm_since: float) -> str:
        """Return what a task waits for that is called all the same; empty: nothing."""
        state = None if self._view is None else self._view.state
        shown = None if state is None else state["tasks"].get(str(task["id"]))
        if shown is None or calm_since + _WRONG_S > self._now:
            return ""
        why = shown["why_not_yet"]
        if why is not None and self._holds(task, why) is True:
            return f"task {task['id']} waits: {why['words']}"
        return ""

    # -- what is so ------------------------------------------------------------

    def _wrong(self, state: dict[str, Any]) -> dict[tuple[str, str], float]:
        """Return what the view has wrong, and for how long it may be."""
        found: dict[tuple[str, str], float] = {}
        tasks = self._facts.tasks()
        is_open = {
            str(id_): task
            for id_, task in tasks.items()
            if task["status"] in ("pending", "calling")
        }
        for key, task in is_open.items():
            shown = state["tasks"].get(key)
            if shown is None:
                found[IS_SO, f"task {key} is not shown"] = _WRONG_S
                continue
            for name in ("status", "queue", "number", "attempts"):
                if shown[name] != task[name]:
                    words = f"task {key}: {name} is {task[name]}, not {shown[name]}"
                    found[IS_SO, words] = _WRONG_S
            why = shown["why_not_yet"]
            if task["status"] != "pending":
                continue
            if why is None:
                found[CALLED, f"task {key}"] = _CALLED_S
            elif self._holds(task, why) is False:
                found[SAYS, f"task {key}: {why['words']}"] = _WRONG_S
        for key in state["tasks"].keys() - is_open.keys():
            found[IS_SO, f"task {key} is shown and has ended"] = _WRONG_S
        under_way = {
            str(row["id"])
            for row in self._facts.attempts().values()
            if row["ended_at"] is None
        }
        for key in under_way ^ state["attempts"].keys():
            found[IS_SO, f"attempt {key}"] = _WRONG_S
        for uniqueid in self._live_callers() ^ {
            uniqueid
            for uniqueid, caller in state["callers"].items()
            if caller["task_id"] is None and caller["position"] is not None
        }:
            found[IS_SO, f"caller {uniqueid}"] = _WRONG_S
        for interface, agent in state["agents"].items():
            phone = self._facts.world.asterisk.phone(interface)
            is_free = phone.state == "NOT_INUSE"
            if agent["state"] == "free" and not is_free:
                found[IS_SO, f"{interface} is {phone.state}, not free"] = _WRONG_S
            if agent["state"] == "talking" and is_free:
                found[IS_SO, f"{interface} is free, not talking"] = _WRONG_S
        return found

    def _live_callers(self) -> set[str]:
        return {
            visit.channel.uniqueid
            for queue in self._facts.world.asterisk.queues.values()
            if queue.name in self._process_queues
            for visit in queue.visits
            if not visit.over and not self._facts.is_ours(visit)
        }

    @property
    def _process_queues(self) -> set[str]:
        assert self._process is not None
        return set(self._process.service.settings().queues)

    def _holds(self, task: sqlite3.Row, why: dict[str, Any]) -> bool | None:
        """Return whether it is so; None if that can not be told from outside."""
        queue = self._facts.world.asterisk.queues[task["queue"]]
        free = any(queue.can_ring(member) for member in queue.members)
        live = [visit for visit in queue.visits if not self._facts.is_ours(visit)]
        match why["code"]:
            case "no_link" | "queues_not_known" | "no_such_queue" | "calls_on_hold":
                # Nothing is in trouble.
                return False
            case "closed_until":
                return self._facts.closed_since(task["queue"], self._now) is not None
            case "not_due" | "chosen_time_to_come" | "number_limit":
                return bool(task["due_at"] > self._facts.world.wall_clock)
            case "agents_away":
                return _logged_in(queue) == 0
            case "agents_busy":
                return not free
            case "live_callers_first":
                return bool(live) and not (free and len(live) < _free(queue))
            case "agents_claimed":
                return None if free else False
            case "turn_not_near":
                return None if len(queue.visits) >= _logged_in(queue) else False
            case "line_is_full":
                return None if queue.maxlen else False
            case "client_in_a_call":
                return any(
                    channel.number == task["number"]
                    for channel in self._facts.world.asterisk.channels.values()
                )
            case "others_first":
                return self._pending(task["queue"]) > NEXT
            case _:
                return None

    def _pending(self, queue: str) -> int:
        return sum(
            task["queue"] == queue and task["status"] == "pending"
            for task in self._facts.tasks().values()
        )

    # -- new snapshots -----------------------------------------------------------

    def _compare_with_fresh(self, process: ServiceProcess) -> tuple[str, str] | None:
        """Compare the view with a snapshot as a new reader gets it."""
        assert self._view is not None and self._view.state is not None
        if self._fresh is not None:
            live, fresh, id_ = self._fresh
            # What happened just before the new snapshot may not be sent yet.
            if fresh.state is None or fresh.messages[0][0] + _QUIET_S > self._now:
                return None
            self._fresh = None
            live.stop()
            expected = without_estimates(fresh.state)
            seen = without_estimates(self._view.state)
            if id_ == self._view.state["id"] and seen != expected:
                return SAME, _difference(seen, expected)
            return None
        quiet_since = self._view.messages[-1][0]
        if quiet_since + _QUIET_S > self._now or self._fresh_at > self._now:
            return None
        self._fresh_at = self._now + _FRESH_EACH_S
        if self._database is None:
            self._database = database_without_thread(self._facts.world.url)
        former = process.service.live
        live = LiveState(
            store=TaskStore(self._database),
            clock=former._clock,
            background=former._background,
            settings=former._settings,
            owner=former._owner,
            nodes=former._nodes,
            task_states=former._task_states,
            outlook=former._outlook,
            sinks=former._sinks,
        )
        live.started_at = former.started_at
        view = LiveView(live.subscribe(), lambda: self._now)
        # It is not interested in what follows.
        view.sleeps = True
        self._fresh = live, view, self._view.state["id"]
        return None


def _logged_in(queue: Queue) -> int:
    return sum(
        member.phone.registered and not member.paused for member in queue.members
    )


def _free(queue: Queue) -> int:
    return sum(queue.can_ring(member) for member in queue.members)


def _difference(seen: dict[str, Any], expected: dict[str, Any]) -> str:
    """Return the fields that differ."""
    flat, other = dict(_fields(seen)), dict(_fields(expected))
    return "; ".join(
        f"{name}: {flat.get(name)} is {other.get(name)}"
        for name in sorted(flat.keys() | other.keys())
        if flat.get(name) != other.get(name)
    )


def _fields(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind, entities in state.items():
        for key, value in entities.items():
            if kind == "service":
                yield f"{kind} {key}", value
                continue
            for name, one in value.items():
                yield f"{kind} {key} {name}", one
