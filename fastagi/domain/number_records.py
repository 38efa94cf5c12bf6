# SPDX-License-Identifier: MIT
"""What is stored about a number, and how much of it was erased."""

from __future__ import annotations

from attrs import frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.offers import Offer
from fastagi.domain.task import CallbackTask, TaskEvent


@frozen(kw_only=True)
class Erased:
    """How much was erased: tasks, rows of other tables, events of other tasks."""

    tasks: int
    others: int
    mentions: int


@frozen(kw_only=True)
class TaskRecord:
    """One task of a number."""

    task: CallbackTask
    attempts: tuple[Attempt, ...]
    history: tuple[TaskEvent, ...]
    #: The linkedids of the calls that asked for it.
    linkedids: tuple[str, ...]


@frozen(kw_only=True)
class NumberRecords:
    """Everything that is stored about a number."""

    tasks: tuple[TaskRecord, ...]
    refusals: tuple[Refusal, ...]
    offers: tuple[Offer, ...]
    blocked: BlockedNumber | None
    #: The agent who talked to the client last, and when; None: none is stored.
    last_talk: tuple[str, float] | None
    #: When the caller entered another number.
    entered_at: tuple[float, ...]
    #: Other tasks whose histories contain the number.
    mentioned_in: tuple[int, ...] = ()
