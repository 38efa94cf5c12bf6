# SPDX-License-Identifier: MIT
"""What becomes of a task after an attempt, as a pure function."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from fastagi.calls.attempt import Verdict
from fastagi.calls.task import CallbackTask, Move


@frozen(kw_only=True)
class RetryRules:
    """How often and how soon; from the settings of the task's queue."""

    #: Calls to the caller before we give up.
    attempts: int
    #: From the end of one call to the caller to the next.
    retry_delay: timedelta
    #: Least talk time of a success.
    success_duration_s: float
    #: Tries in which no member answered before we give up.
    member_attempts: int
    #: From such a try to the next.
    member_retry_delay: timedelta


@frozen(kw_only=True)
class Decision:
    """The task's next move. ``due_at`` is None when the move ends it."""

    move: Move
    due_at: datetime | None
    reason: str


def decide(
    task: CallbackTask, verdict: Verdict, rules: RetryRules, now: datetime
) -> Decision:
    """Return what becomes of ``task`` after an attempt with ``verdict``.

    Args:
        task: as stored, its counters not yet including this attempt.
        verdict: how the attempt ended.
        rules: of the task's queue.
        now: when it ended.
    """
    if verdict.success:
        return Decision(move=Move.COMPLETE, due_at=None, reason=verdict.reason)
    if task.served:
        # Why it was served is what the task says of itself since.
        return _end(
            Move.SERVE, f"{task.reason}; the attempt under way: {verdict.reason}"
        )
    if task.cancel_requested:
        return _end(Move.CANCEL, f"cancelled by hand; {verdict.reason}")
    if now >= task.expires_at:
        return _end(Move.EXPIRE, f"too old for another attempt; {verdict.reason}")
    if verdict.counts:
        used, limit = task.attempts + 1, rules.attempts
        delay, what = rules.retry_delay, "attempts"
    else:
        used, limit = task.member_attempts + 1, rules.member_attempts
        delay, what = rules.member_retry_delay, "tries to reach an agent"
    if used >= limit:
        return _end(Move.GIVE_UP, f"all {limit} {what} used up; {verdict.reason}")
    return Decision(
        move=Move.RETRY,
        due_at=now + delay,
        reason=f"{verdict.reason}; next try in {delay.total_seconds():g} s",
    )


def _end(move: Move, reason: str) -> Decision:
    return Decision(move=move, due_at=None, reason=reason)
