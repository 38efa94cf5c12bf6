# SPDX-License-Identifier: MIT
"""Commands of the command line when no service is running: on the database alone."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fastagi.config.model import Settings
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.commands import Actor, Answer, Command, Dispatch
from fastagi.service.number_commands import NumberCommands
from fastagi.service.refusals import Refusals
from fastagi.service.requests import Requests
from fastagi.service.task_commands import TaskCommands
from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore


def do(settings: Settings, command: Command, actor: Actor) -> Answer:
    """Carry out one command and return its answer.

    Raises:
        CallbackError: it can not be done; the text says why.
    """
    # Not made here: it would belong to whoever gives the command.
    migrate.check_current(settings.database.url)
    # Its timers never run: a command waits for nothing but the database.
    clock = MachineClock(cast(IReactorTime, Clock()))
    database = Database(settings.database.url, deliver=None)
    store = TaskStore(database)
    background = Background(clock)
    desk = TaskCommands(
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
        # Nobody to tell: the next start of the service looks for itself.
        tasks_changed=lambda: None,
        # The service ends the attempt when it follows it again.
        withdraw=lambda _task_id, _reason: None,
    )
    number_desk = NumberCommands(
        store=store,
        clock=clock,
        settings=lambda: settings,
        tasks_changed=lambda: None,
        # No call of ours is followed by anybody.
        withdraw=lambda _key, _reason: None,
    )
    dispatch = Dispatch(desk.handlers(), number_desk.handlers())
    answers: list[Answer | Failure] = []
    work = dispatch.do(command, actor)
    _ = Deferred.fromCoroutine(work).addBoth(answers.append)
    _ = database.close()
    # The database answers at once, so the coroutine has ended by now.
    (answer,) = answers
    if isinstance(answer, Failure):
        answer.raiseException()
    return answer
