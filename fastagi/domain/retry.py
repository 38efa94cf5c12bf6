# SPDX-License-Identifier: MIT
"""Decides what happens to a task after an attempt, as a pure function.

The rules of a result come from the settings: ``config/queue_layers.py`` lists in
``RESULTS`` which results have rules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from attrs import field, frozen

from fastagi.domain.agent_keys import AgentKeyRules
from fastagi.domain.attempt import COUNTED, Disposition, Verdict
from fastagi.domain.hours import ALWAYS, OpeningHours
from fastagi.domain.reason import Code, Reason, Value, because
from fastagi.domain.task import CallbackTask, Move


@frozen(kw_only=True)
class ResultRule:
    """The retry rule for one result; None: the general rule applies."""

    #: Maximum number of calls with this result.
    attempts: int | None = None
    #: Time from the end of such a call to the next.
    delay: timedelta | None = None


@frozen(kw_only=True)
class RetryRules:
    """The retry rules, from the settings of the task's queue."""

    #: Maximum number of calls to the client, with any result.
    attempts: int
    #: Time from the end of one call to the client to the next.
    retry_delay: timedelta
    #: Minimum talk time of a success.
    success_duration_s: float
    #: Maximum number of tries in which no agent answered.
    member_attempts: int
    #: Time from such a try to the next; twice as long after two in a row, and so on.
    member_retry_delay: timedelta
    #: The rules for a task that an agent did not accept by a key; None: no keys.
    agent_keys: AgentKeyRules | None = None
    #: When the queue is open, for the reports.
    hours: OpeningHours = ALWAYS
    #: Exceptions for some results.
    by_result: Mapping[Disposition, ResultRule] = field(factory=dict)


@frozen(kw_only=True)
class Decision:
    """The task's next move. ``due_at`` is None when the move ends it."""

    move: Move
    due_at: datetime | None
    why: Reason

    @property
    def reason(self) -> str:
        """The reason in words."""
        return str(self.why)


def decide(
    task: CallbackTask,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    earlier: Sequence[Disposition],
) -> Decision:
    """Return the next move of ``task`` after an attempt with ``verdict``.

    Args:
        task: the stored task; its counters do not include this attempt yet.
        verdict: the result of the attempt.
        rules: the retry rules of the task's queue.
        now: when the attempt ended.
        earlier: results of the attempts before it since the task was put in line, the
            oldest first, without withdrawn ones.
    """
    if verdict.success:
        return Decision(move=Move.COMPLETE, due_at=None, why=verdict.why)
    if task.served:
        # task.why says since then how the client was served.
        why = _with_attempt(task.why, verdict.why, "attempt_of_served")
        return _end(Move.SERVE, why)
    if task.cancel_requested:
        # task.why says since then why the task was cancelled.
        taken_back = task.why.code is Code.TAKEN_BACK
        move = Move.TAKE_BACK if taken_back else Move.CANCEL
        return _end(move, _with_attempt(task.why, verdict.why, "attempt"))
    if now >= task.expires_at and verdict.withdrawn:
        # It waited in line, for example.
        return _end(Move.EXPIRE, too_old(task))
    if now >= task.expires_at:
        return _end(Move.EXPIRE, because(Code.TOO_OLD_FOR_ANOTHER, cause=verdict.why))
    if verdict.withdrawn:
        # Nobody failed to answer, so there is no delay.
        return Decision(move=Move.RETRY, due_at=now, why=verdict.why)
    if verdict.counts:
        return _after_call(task, verdict, rules, now, earlier)
    used, limit = task.member_attempts + 1, rules.member_attempts
    if used >= limit:
        return _end(
            Move.GIVE_UP,
            because(Code.AGENT_TRIES_USED_UP, limit=limit, cause=verdict.why),
        )
    if rules.agent_keys is not None:
        refused = verdict.why.code in rules.agent_keys.refusals
        if verdict.why.code is Code.AGENT_LATER:
            return _retry(verdict, _later(task, rules.agent_keys, now), now)
        if refused and verdict.member:
            # Others may be asked at once: see `AgentsToAsk`.
            return Decision(move=Move.RETRY, due_at=now, why=verdict.why)
    # An agent who did not answer once may answer soon. An agent who did not answer many
    # times is away, and the ringing disturbs others.
    in_a_row = 1 + sum(1 for _ in takewhile(_without_agent, reversed(earlier)))
    return _retry(verdict, in_a_row * rules.member_retry_delay, now)


def is_called_again(
    task: CallbackTask, disposition: Disposition, rules: RetryRules, ends_at: datetime
) -> bool:
    """Whether a call to the client is certainly followed by another one.

    Args:
        task: the stored task; its counters do not include this call yet.
        disposition: the result of the call.
        rules: the retry rules of the task's queue.
        ends_at: when the call ends, at the latest.
    """
    rule = rules.by_result.get(disposition, ResultRule())
    limits = [rules.attempts]
    if rule.attempts is not None:
        # Perhaps all former calls had this result.
        limits.append(rule.attempts)
    delay = rules.retry_delay if rule.delay is None else rule.delay
    return task.attempts + 1 < min(limits) and ends_at + delay < task.expires_at


def too_old(task: CallbackTask) -> Reason:
    """Return why a task expires that is not called at that time."""
    tried: dict[str, Value] = {}
    if task.attempts:
        tried["calls"] = task.attempts
    if task.member_attempts:
        tried["tries"] = task.member_attempts
    return because(Code.TOO_OLD, **tried)


def _later(task: CallbackTask, rules: AgentKeyRules, now: datetime) -> timedelta:
    """Return the delay of a task that an agent put off.

    It is at most half of the time that is left, so that the task is called again before
    it expires.
    """
    return min(rules.later_delay, (task.expires_at - now) / 2)


def _without_agent(disposition: Disposition) -> bool:
    return disposition not in COUNTED


def _after_call(
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
    return _retry(verdict, rules.retry_delay if rule.delay is None else rule.delay, now)


def _retry(verdict: Verdict, delay: timedelta, now: datetime) -> Decision:
    return Decision(
        move=Move.RETRY,
        due_at=now + delay,
        why=because(Code.RETRY, delay_s=delay.total_seconds(), cause=verdict.why),
    )


def _with_attempt(why: Reason, ended: Reason, name: str) -> Reason:
    """Return why a task ends, with the reason of its attempt as a parameter.

    An attempt that was withdrawn because the task ends has the same reason; then it is
    not repeated.
    """
    return why if why == ended else why.with_params(**{name: ended})


def _end(move: Move, why: Reason) -> Decision:
    return Decision(move=move, due_at=None, why=why)
