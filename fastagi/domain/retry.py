# SPDX-License-Identifier: MIT
"""What becomes of a task after an attempt, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from attrs import field, frozen

from fastagi.domain.attempt import COUNTED, Disposition, Verdict
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask, Move


@frozen(kw_only=True)
class ResultRule:
    """How often and how soon after one kind of result; None: as after any other."""

    #: Calls to the caller that may end so before we give up.
    attempts: int | None = None
    #: From the end of such a call to the next.
    delay: timedelta | None = None


@frozen(kw_only=True)
class RetryRules:
    """How often and how soon; from the settings of the task's queue."""

    #: Calls to the caller before we give up, whatever they come to.
    attempts: int
    #: From the end of one call to the caller to the next.
    retry_delay: timedelta
    #: Least talk time of a success.
    success_duration_s: float
    #: Tries in which no member answered before we give up.
    member_attempts: int
    #: From such a try to the next; after two in a row twice as long, and so on.
    member_retry_delay: timedelta
    #: What is different after some results.
    by_result: Mapping[Disposition, ResultRule] = field(factory=dict)


@frozen(kw_only=True)
class Decision:
    """The task's next move. ``due_at`` is None when the move ends it."""

    move: Move
    due_at: datetime | None
    why: Reason

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.why)


def decide(
    task: CallbackTask,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    earlier: Sequence[Disposition],
) -> Decision:
    """Return what becomes of ``task`` after an attempt with ``verdict``.

    Args:
        task: as stored, its counters not yet including this attempt.
        verdict: how the attempt ended.
        rules: of the task's queue.
        now: when it ended.
        earlier: how the attempts before it ended, from the first since the task was
            put in line; without those that were withdrawn.
    """
    if verdict.success:
        return Decision(move=Move.COMPLETE, due_at=None, why=verdict.why)
    if task.served:
        # Why it was served is what the task says of itself since.
        return _end(Move.SERVE, _both(task.why, verdict.why, "attempt_of_served"))
    if task.cancel_requested:
        # Likewise.
        taken_back = task.why.code is Code.TAKEN_BACK
        move = Move.TAKE_BACK if taken_back else Move.CANCEL
        return _end(move, _both(task.why, verdict.why, "attempt"))
    if now >= task.expires_at:
        return _end(Move.EXPIRE, because(Code.TOO_OLD_FOR_ANOTHER, cause=verdict.why))
    if verdict.withdrawn:
        # Nobody failed to answer: it may go on as soon as what ended it is over.
        return Decision(move=Move.RETRY, due_at=now, why=verdict.why)
    if verdict.counts:
        return _after_a_call(task, verdict, rules, now, earlier)
    used, limit = task.member_attempts + 1, rules.member_attempts
    if used >= limit:
        return _end(
            Move.GIVE_UP,
            because(Code.AGENT_TRIES_USED_UP, limit=limit, cause=verdict.why),
        )
    # Who did not answer just now may do so in a moment. Who has not answered many
    # times is not there, and the phone disturbs those who are.
    in_a_row = 1 + sum(1 for _ in takewhile(_without_agent, reversed(earlier)))
    return _again(verdict, in_a_row * rules.member_retry_delay, now)


def _without_agent(disposition: Disposition) -> bool:
    return disposition not in COUNTED


def _after_a_call(
    task: CallbackTask,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    earlier: Sequence[Disposition],
) -> Decision:
    rule = rules.by_result.get(verdict.disposition, ResultRule())
    ended_so = 1 + earlier.count(verdict.disposition)
    if rule.attempts is not None and ended_so >= rule.attempts:
        if rule.attempts == 1:
            return _end(
                Move.GIVE_UP, because(Code.RESULT_NOT_TRIED_AGAIN, cause=verdict.why)
            )
        return _end(
            Move.GIVE_UP,
            because(
                Code.RESULT_ATTEMPTS_USED_UP, limit=rule.attempts, cause=verdict.why
            ),
        )
    if task.attempts + 1 >= rules.attempts:
        return _end(
            Move.GIVE_UP,
            because(Code.ATTEMPTS_USED_UP, limit=rules.attempts, cause=verdict.why),
        )
    return _again(verdict, rules.retry_delay if rule.delay is None else rule.delay, now)


def _again(verdict: Verdict, delay: timedelta, now: datetime) -> Decision:
    return Decision(
        move=Move.RETRY,
        due_at=now + delay,
        why=because(Code.RETRY, delay_s=delay.total_seconds(), cause=verdict.why),
    )


def _both(why: Reason, ended: Reason, name: str) -> Reason:
    """Return why a task ends and how its attempt ended, where that is another reason.

    An attempt that was withdrawn because the task ends has the same.
    """
    return why if why == ended else why.with_params(**{name: ended})


def _end(move: Move, why: Reason) -> Decision:
    return Decision(move=move, due_at=None, why=why)
