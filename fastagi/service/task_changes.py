# SPDX-License-Identifier: MIT
"""What an operator may change in a task, one by one or many at a time.

Each method checks what the settings and Asterisk know, and returns an
:class:`OperatorChange`. `TaskCommands` carries them out, in one transaction or many.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import sqlalchemy as sa
from attrs import evolve, frozen

from fastagi.config.durations import parse_duration
from fastagi.config.errors import BadValue
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.chosen_time import BadTime, read_time, waits_for, why_not_at
from fastagi.domain.erasure import ERASED
from fastagi.domain.names import folded
from fastagi.domain.numbers import why_not_any_more
from fastagi.domain.reason import Code, Reason, because, said, utc_minute
from fastagi.domain.task import CallbackTask, IllegalMove, Kind, Move, Status
from fastagi.domain.turns import Turn, in_front_of
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    BadRequest,
    BulkAction,
    BulkTasks,
    NoSuchQueue,
    NumberRefused,
    WrongState,
    shown,
)
from fastagi.store import lifecycle, places, preferred_agents
from fastagi.store.changes import Change
from fastagi.store.results import Refused


class Line(Protocol):
    """The lines in Asterisk's queues, and the agents there."""

    def live_turns(self, queue: str) -> Sequence[Turn]:
        """Return the turns of live callers among whom tasks of a queue wait in line."""

    def waits_in_line(self, task_id: int) -> bool:
        """Return whether a task only waits in line in Asterisk's queue."""

    def task_moved(self, task: CallbackTask) -> None:
        """Let a task take its new place in line."""

    def interface_of(self, queue: str, agent: str) -> str:
        """Return the interface of an agent who takes callbacks of a queue.

        Raises:
            NoSuchAgent: there is none, or several have this name.
            WrongState: the agents are not known, or none can be rung alone.
        """


class NoLine:
    """Without the running service nobody waits in line, and no agent is known."""

    def live_turns(self, queue: str) -> Sequence[Turn]:
        """Return no turns."""
        return ()

    def waits_in_line(self, task_id: int) -> bool:
        """Return False."""
        return False

    def task_moved(self, task: CallbackTask) -> None:
        """Do nothing: the service reads the places at its next start."""

    def interface_of(self, queue: str, agent: str) -> str:
        """Refuse every agent."""
        raise WrongState(
            "the agents are known only to the running service - start it with"
            " 'systemctl start callback-queue'"
        )


@frozen(kw_only=True)
class OperatorChange:
    """One change of one task, checked and ready to be carried out."""

    #: What is logged.
    what: Reason
    apply: Change
    #: Called with the task after the COMMIT.
    afterwards: Callable[[CallbackTask], None] = lambda _task: None


class TaskChanges:
    """Prepares the changes of operators."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Callable[[], Settings],
        withdraw: Callable[[int, Reason], None],
        withdraw_unanswered: Callable[[int, Reason], None],
        line: Line,
    ) -> None:
        """Store the parts; see `TaskCommands`."""
        self._clock = clock
        self._settings = settings
        self._withdraw = withdraw
        self._withdraw_unanswered = withdraw_unanswered
        self._line = line

    def check_fields(self, command: BulkTasks) -> None:
        """Check what is wrong for every task, whatever it is.

        Raises:
            BadRequest: a field of the action is missing or wrong.
            BadTime: ``at`` is no time.
        """
        match command.action:
            case BulkAction.RESCHEDULE:
                if bool(command.at) == command.now:
                    raise BadRequest("at, with a time, or now is needed, and not both")
                if command.at:
                    # The zone of a queue only decides which moment is meant.
                    read_time(command.at, self._clock.now(), UTC)
            case BulkAction.ASSIGN:
                if not command.agent:
                    raise BadRequest("agent is needed, or the action release")
                _duration(command.duration)
            case BulkAction.NOTE if not command.note:
                raise BadRequest("note is empty")
            case _:
                pass

    def cancel(self, task_id: int, reason: str, actor: Actor) -> OperatorChange:
        """Cancel a task, and end its attempt unless client and agent are talking."""
        why = said(reason) if reason else because(Code.CANCELLED_BY_HAND)
        began_s = self._clock.steady()

        def withdraw(task: CallbackTask) -> None:
            if task.cancel_requested:
                self._withdraw(task.id, task.why)

        return OperatorChange(
            what=why,
            apply=partial(
                lifecycle.cancel,
                task_id=task_id,
                why=actor.named_in(why),
                now=self._clock.now(),
                waited_s=lambda: self._clock.steady() - began_s,
            ),
            afterwards=withdraw,
        )

    def retry(self, task: CallbackTask, actor: Actor) -> OperatorChange:
        """Put a task back in line: due at once, with no attempts counted."""
        return self._put_back(task, because(Code.REOPENED_BY_HAND), actor)

    def reschedule(
        self, task: CallbackTask, at: str, now: bool, actor: Actor
    ) -> OperatorChange:
        """Move a task to another time, or make it due at once.

        Raises:
            WrongState: the client is being called or was reached already.
            NumberRefused: the settings do not allow the number any more.
            BadTime: the time can not be chosen.
        """
        if bool(at) == now:
            raise BadRequest("give either at, with a time, or now")
        chosen_at = self.chosen_at(at, self.queue(task.queue))
        return self._put_back(task, moved_to(chosen_at), actor, chosen_at)

    def _put_back(
        self,
        task: CallbackTask,
        why: Reason,
        actor: Actor,
        chosen_at: datetime | None = None,
    ) -> OperatorChange:
        """Put a task in line, at a chosen time or now."""
        now = self._clock.now()
        if task.status is Status.CALLING:
            raise WrongState(
                f"task {task.id} has a call under way - wait for its end, or end the"
                f" call with 'callback-queue tasks cancel {task.id}'"
            )
        if task.number == ERASED:
            raise WrongState(
                f"the number of task {task.id} was erased - add a new task with"
                " 'callback-queue tasks add'"
            )
        if task.status in {Status.COMPLETED, Status.SERVED}:
            raise WrongState(
                f"a task that is {task.status} can not be put back in line: the client"
                " was reached - for one more call, give 'callback-queue tasks add"
                f" {shlex.quote(task.queue)} {task.number}'"
            )
        settings = self.queue(task.queue)
        rules = self._settings().number_rules(settings)
        if refusal := why_not_any_more(task.number, task.number_key, rules):
            raise NumberRefused(
                f"{task.number} is not called any more: {refusal}", refusal
            )
        story = actor.named_in(why)
        return OperatorChange(
            what=why,
            apply=partial(
                lifecycle.retry,
                task_id=task.id,
                why=story if chosen_at is None else waits_for(chosen_at, story),
                now=now,
                expires_at=settings.expiry_rules.expires_at(
                    Kind.MANUAL, chosen_at or now
                ),
                chosen_at=chosen_at,
                call_by=settings.chosen_time.call_by(chosen_at),
            ),
        )

    def move(
        self, task: CallbackTask, front: bool, behind: int | None, actor: Actor
    ) -> OperatorChange:
        """Move a task to the front of its queue, or right behind another one.

        Raises:
            BadRequest: the fields do not say which.
            WrongState: a call is under way.
            IllegalMove: the task has ended.
        """
        if front == (behind is not None):
            raise BadRequest("give either front, or behind, with the id of a task")
        if not task.is_open:
            raise IllegalMove(task.status, Move.MOVE)
        in_line = self._line.waits_in_line(task.id)
        if task.status is Status.CALLING and not in_line:
            raise WrongState(
                f"task {task.id} has a call under way, so it has its turn already; see"
                f" 'callback-queue tasks show {task.id}'"
            )
        self.queue(task.queue)
        now, queues = self._clock.now(), self._same_line(task.queue)
        apply: Change
        if behind is not None:
            why = because(Code.MOVED_BEHIND, task_id=behind)
            apply = partial(
                places.move_behind,
                task_id=task.id,
                other_id=behind,
                why=actor.named_in(why),
                now=now,
                queues=queues,
                in_line=in_line,
            )
        else:
            why = because(Code.MOVED_TO_FRONT)
            live = self._line.live_turns(task.queue)
            apply = partial(
                places.move_to_front,
                task_id=task.id,
                why=actor.named_in(why),
                now=now,
                queues=queues,
                live=in_front_of(live) if live else None,
                in_line=in_line,
            )
        return OperatorChange(what=why, apply=apply, afterwards=self._line.task_moved)

    def assign(
        self, task: CallbackTask, agent: str, duration: str, actor: Actor
    ) -> OperatorChange:
        """Let only one agent be asked for a task.

        Raises:
            BadRequest: a field is wrong.
            NoSuchAgent: the queue has no such agent.
            WrongState: no agent can be rung alone.
            IllegalMove: the task has ended.
        """
        if not agent:
            raise BadRequest("give an agent, or release")
        if not task.is_open:
            raise IllegalMove(task.status, Move.ASSIGN)
        queue = self.queue(task.queue)
        now = self._clock.now()
        interface = self._line.interface_of(task.queue, agent)
        why = because(Code.ASSIGNED, interface=interface)
        until = None
        if wait := _duration(duration):
            # Else the time might be over before the agent can be asked.
            begins = max(now, task.due_at)
            until = (queue.hours.next_opening(begins) or begins) + wait
            why = why.with_params(wait_s=wait.total_seconds())
        return OperatorChange(
            what=why,
            apply=partial(
                preferred_agents.assign,
                task_id=task.id,
                interface=interface,
                until=until,
                why=actor.named_in(why),
                now=now,
            ),
            afterwards=self._ask_anew,
        )

    def release(self, task_id: int, actor: Actor) -> OperatorChange:
        """Let any agent be asked for a task again."""
        why = because(Code.RELEASED_BY_HAND)
        return OperatorChange(
            what=why,
            apply=partial(
                preferred_agents.release,
                task_id=task_id,
                why=actor.named_in(why),
                now=self._clock.now(),
            ),
            afterwards=self._ask_anew,
        )

    def note(self, task_id: int, text: str, actor: Actor) -> OperatorChange:
        """Write a note to the history of a task.

        Raises:
            BadRequest: the note is empty.
        """
        if not text:
            raise BadRequest("the note is empty")
        return OperatorChange(
            what=because(Code.NOTE, text=text),
            apply=self._note(task_id, text, actor),
        )

    def with_note(
        self, change: OperatorChange, task_id: int, text: str, actor: Actor
    ) -> OperatorChange:
        """Write a note, unless it is empty, to the history after a change of a task."""
        if not text:
            return change
        note = self._note(task_id, text, actor)

        def apply(conn: sa.Connection) -> CallbackTask | Refused:
            done = change.apply(conn)
            if isinstance(done, CallbackTask):
                note(conn)
            return done

        return evolve(change, apply=apply)

    def _note(self, task_id: int, text: str, actor: Actor) -> Change:
        return partial(
            lifecycle.note,
            task_id=task_id,
            why=actor.named_in(because(Code.NOTE, text=text)),
            now=self._clock.now(),
        )

    def _ask_anew(self, task: CallbackTask) -> None:
        """End an attempt that no agent has answered, so that the right one is asked."""
        if task.status is Status.CALLING:
            self._withdraw_unanswered(task.id, because(Code.ASSIGNMENT_CHANGED))

    # -- what the settings say ---------------------------------------------

    def chosen_at(self, text: str, queue: QueueSettings) -> datetime | None:
        """Return the time that an operator chose; None: as soon as possible.

        Raises:
            BadTime: it is no time, or no callback can be placed then.
        """
        if not text:
            return None
        now = self._clock.now()
        at = read_time(text, now, queue.zone)
        if why_not := why_not_at(
            at, now, queue.hours, queue.zone, queue.chosen_time.days_ahead
        ):
            raise BadTime(why_not)
        return at

    def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue.

        Raises:
            NoSuchQueue: it is not in the settings.
        """
        settings = self._settings().queues.get(name)
        if settings is None:
            known = ", ".join(sorted(self._settings().queues))
            raise NoSuchQueue(
                f"no queue {shown(name)} in the settings (there are: {known})"
            )
        return settings

    def _same_line(self, name: str) -> list[str]:
        """Return the queues whose tasks wait in the same line as those of a queue."""
        key = _line_key(self.queue(name))
        queues = self._settings().queues.values()
        return [queue.name for queue in queues if _line_key(queue) == key]


def _duration(text: str) -> timedelta | None:
    """Return for how long an agent is asked alone; None: until the task is released.

    Raises:
        BadRequest: it is no duration.
    """
    if not text:
        return None
    try:
        wait = parse_duration(text)
    except BadValue as error:
        raise BadRequest(f"duration {error}") from None
    if not wait:
        raise BadRequest("duration must be more than 0")
    return wait


def _line_key(queue: QueueSettings) -> tuple[str, str]:
    """Return what is the same for queues whose callbacks go to the same agents."""
    extension = queue.target_extension
    return extension, "" if extension else folded(queue.target_queue)


def moved_to(chosen_at: datetime | None) -> Reason:
    """Return the reason of a task that an operator moves to a time, or to now."""
    why = because(Code.RESCHEDULED_BY_HAND)
    if chosen_at is None:
        return why
    return why.with_params(chosen_at=utc_minute(chosen_at))
