# SPDX-License-Identifier: MIT
"""Carries out commands of the command line on the database if no service is running."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fastagi.config import dry_run
from fastagi.config.sections import Settings
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.commands import Actor, Answer, Command, Dispatch
from fastagi.service.number_commands import NumberCommands
from fastagi.service.opening_state import OpeningState
from fastagi.service.refusals import Refusals
from fastagi.service.requests import Requests
from fastagi.service.settings_commands import SettingsCommands
from fastagi.service.settings_in_force import SettingsInForce
from fastagi.service.task_changes import NoLine
from fastagi.service.task_commands import TaskCommands
from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore


def do(settings: Settings, command: Command, actor: Actor) -> Answer:
    """Carry out one command and return its answer.

    Raises:
        CallbackError: the command can not be carried out; the text says why.
    """
    # The timers of this clock never run: a command only waits for the database.
    clock = MachineClock(cast(IReactorTime, Clock()))
    about_settings = SettingsCommands(
        settings=SettingsInForce(settings),
        clock=clock,
        dry_run=lambda data: succeed(dry_run.answer(data)),
    ).handlers()
    if type(command) in about_settings:
        return _result(Dispatch(about_settings).do(command, actor))
    # The database is not created here: it would belong to the wrong user.
    migrate.check_current(settings.database.url)
    database = Database(settings.database.url, deliver=None)
    store = TaskStore(database)
    background = Background(clock)
    opening_state = OpeningState(lambda: settings)
    task_commands = TaskCommands(
        store=store,
        requests=Requests(
            store=store,
            clock=clock,
            background=background,
            settings=lambda: settings,
            refusals=Refusals(
                store=store,
                clock=clock,
                background=background,
            ),
            tasks_changed=lambda: None,
        ),
        clock=clock,
        settings=lambda: settings,
        opening_state=opening_state,
        # There is nobody to tell: the service reads the tasks at its next start.
        tasks_changed=lambda: None,
        # The service ends the attempt at its next start.
        withdraw=lambda _task_id, _reason: None,
        withdraw_unanswered=lambda _task_id, _reason: None,
        # Asterisk is not asked.
        position=lambda _task_id: None,
        line=NoLine(),
    )
    number_commands = NumberCommands(
        store=store,
        clock=clock,
        settings=lambda: settings,
        tasks_changed=lambda: None,
        # Without a service no attempt is followed.
        withdraw=lambda _key, _reason: None,
        why_not_queue=lambda queue: opening_state.why_closed(queue, clock.epoch_s()),
    )
    dispatch = Dispatch(task_commands.handlers(), number_commands.handlers())
    try:
        # The database answers at once.
        return _result(dispatch.do(command, actor))
    finally:
        _ = database.close()


def _result(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return the result of work that does not wait for anything."""
    answers: list[Answer | Failure] = []
    _ = Deferred.fromCoroutine(work).addBoth(answers.append)
    (answer,) = answers
    if isinstance(answer, Failure):
        answer.raiseException()
    return answer
