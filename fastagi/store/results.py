# SPDX-License-Identifier: MIT
"""What came of changes to stored tasks."""

from __future__ import annotations

from attrs import frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, Status


@frozen
class Recorded:
    """What came of a new task."""

    task: CallbackTask
    #: False: the caller had an open task already, which was kept.
    created: bool
    #: The same call was taken in before, and nothing was changed.
    known: bool = False
    #: The client was being called: by this the request is known until that call is
    #: over, and after it.
    later_id: int | None = None


@frozen
class Refused:
    """Nothing came of a task, and nothing was changed."""

    why: Reason


@frozen
class Begun:
    """A task together with its attempt under way."""

    task: CallbackTask
    attempt: Attempt


@frozen
class Restored:
    """An attempt under way that the database may have lost, as it is stored now."""

    attempt: Attempt
    #: False: it was there.
    anew: bool


@frozen
class Beginnings:
    """What came of due tasks."""

    begun: list[Begun]
    #: Those that could not begin: they ended, or wait until their numbers may be
    #: called again.
    put_off: list[CallbackTask]


@frozen
class Blocked:
    """What came of blocking a number."""

    number: BlockedNumber
    #: False: it was blocked before.
    created: bool
    #: Its open task, which ends.
    task: CallbackTask | None


@frozen
class Counts:
    """How many tasks there are of each status, among some of all."""

    by_status: dict[Status, int]
    #: The last id that was looked at; None: there are no more.
    more_after: int | None
