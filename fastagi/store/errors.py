# SPDX-License-Identifier: MIT
"""The errors of the store, one class for each way to handle them."""

from __future__ import annotations

from typing import Self

from attrs import evolve

from fastagi.errors import CallbackError, Problem


class StoreUnavailable(CallbackError):
    """The database cannot be used at the moment.

    Nothing was changed (see also :class:`CommitUnknown`), so nothing may be promised.

    Attributes:
        database_problem: the problem without the name of the step that found it.
    """

    code = "database"

    def __init__(self, problem: str | Problem = "", remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.database_problem = self.problem

    def in_step(self, name: str) -> Self:
        """Return the same error for a step of the work, which its text names first."""
        problem = self.problem
        where = f"{name}: {problem.where}" if problem.where else name
        error = type(self)(evolve(problem, where=where))
        error.database_problem = self.database_problem
        return error


class CommitUnknown(StoreUnavailable):
    """The database failed during a COMMIT.

    The work may be in the database, or not, or appear there later: a server that hangs
    carries on when it recovers. It is safe to request the work again.

    Attributes:
        result: what the work returns if it is in the database.
    """

    result: object = None

    def with_result(self, result: object) -> Self:
        """Set the result, and return the error."""
        self.result = result
        return self


class OutOfTime(StoreUnavailable):
    """The caller's time ran out before the work began, so it was not done.

    This does not mean that the database has failed: other requests may have been first.
    """


class LeaseLost(StoreUnavailable):
    """Another process has taken the lease on this database.

    Nothing was changed. This process must not change anything or place calls any more.
    """


class DatabaseHeld(CallbackError):
    """Another process runs the service on this database."""


class CopyFailed(CallbackError):
    """No copy of the database was made; no partial copy is left."""


class TryAgain(Exception):
    """The function lost a race against another process and must run again.

    Only the functions raise it; the code that made the request never sees it.
    """


class NoSuchTask(CallbackError):
    """There is no such task."""

    code = "no-such-task"


class StaleTask(CallbackError):
    """The task or attempt has changed meanwhile, so nothing was done."""

    code = "illegal-move"


class NotAssigned(CallbackError):
    """The task is assigned to nobody, so it can not be released."""

    code = "illegal-move"


class NotInLine(CallbackError):
    """A task can not be moved behind another one, which has no place in its line."""

    code = "illegal-move"


class AlreadyOpen(CallbackError):
    """Another open task has the same number."""

    code = "illegal-move"

    def __init__(self, task_id: int) -> None:
        super().__init__(f"task {task_id} is open for the same number")
        self.task_id = task_id


class AskedAgain(CallbackError):
    """The client asked again while the command waited, so the task was not ended."""

    code = "illegal-move"


class SchemaMismatch(CallbackError):
    """The database does not have the version that this service works with."""


class SchemaOutdated(SchemaMismatch):
    """The database has an older version."""


class SchemaTooNew(SchemaMismatch):
    """The database has a version that is newer than this service."""


class ForeignDatabase(SchemaMismatch):
    """The database belongs to another program."""
