# SPDX-License-Identifier: MIT
"""What can go wrong in the store, told apart by what the caller can do about it."""

from __future__ import annotations

from fastagi.errors import CallbackError


class StoreUnavailable(CallbackError):
    """The database can not be used at the moment.

    Nothing may be promised, and nothing was changed; see :class:`CommitUnknown`.
    """


class CommitUnknown(StoreUnavailable):
    """It came while the work was being committed.

    The work may be in the database or not, or get there later: a server that hangs
    does what it was told when it goes on. It is safe to ask for the work again.
    """


class OutOfTime(StoreUnavailable):
    """Whoever asked does not wait for the work any longer, so it was not done.

    It says nothing of the database: others may have been before it.
    """


class LeaseLost(StoreUnavailable):
    """Another process runs the service on this database now.

    Nothing was changed, and nothing may be changed or called any more.
    """


class DatabaseHeld(CallbackError):
    """Another process runs the service on this database."""


class CopyFailed(CallbackError):
    """No copy of the database was made, and nothing is left of it."""


class NoSuchTask(CallbackError):
    """There is no such task."""


class StaleTask(CallbackError):
    """The task or attempt has changed meanwhile; what was to be done is void."""


class AlreadyOpen(CallbackError):
    """Another open task has the same number."""

    def __init__(self, task_id: int) -> None:
        super().__init__(f"task {task_id} is open for the same number")
        self.task_id = task_id


class SchemaMismatch(CallbackError):
    """The database is not of the version this service works with."""


class SchemaOutdated(SchemaMismatch):
    """The database is of an older version."""


class SchemaTooNew(SchemaMismatch):
    """The database was used by a newer version of this service."""


class ForeignDatabase(SchemaMismatch):
    """The database belongs to something else."""
