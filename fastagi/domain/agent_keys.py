# SPDX-License-Identifier: MIT
"""Agents who accept a callback, or not, by a key before the client is dialled.

An agent may accept, put the callback off (``later``), or leave it to another agent
(``cannot``). Someone who presses no key, such as a mailbox, has not answered. Pure
functions and values; the time is always an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from attrs import frozen

from fastagi.domain.preferred_agent import PreferredAgentRules
from fastagi.domain.reason import Code

#: A key that no phone has.
NO_KEY: Final = "-"
#: Reasons of attempts that an agent answered and did not accept.
NOT_ACCEPTED: Final = frozenset(
    {
        Code.AGENT_LATER,
        Code.AGENT_CANNOT,
        Code.AGENT_PRESSED_NO_KEY,
        Code.AGENT_HUNG_UP_BEFORE_DIALLING,
    }
)


class NoKey(StrEnum):
    """How an agent counts who answers and presses no key."""

    #: Like an agent who did not answer: asked again after member_retry_delay.
    NO_ANSWER = "no_answer"
    #: Like an agent who pressed "cannot": others are asked first.
    CANNOT = "cannot"


@frozen(kw_only=True)
class AgentKeyRules:
    """What happens to a task that an agent did not accept, from the settings."""

    #: Delay of a task that an agent put off.
    later_delay: timedelta
    #: Maximum number of times that a task is put off; then "later" means "cannot".
    later_times: int
    #: Time for which an agent who pressed "cannot" is not asked again for the task.
    cannot_pause: timedelta
    no_key: NoKey

    @property
    def refusals(self) -> frozenset[Code]:
        """The reasons after which the agent is not asked again for a while."""
        if self.no_key is NoKey.CANNOT:
            return NOT_ACCEPTED - {Code.AGENT_LATER}
        return frozenset({Code.AGENT_CANNOT})


@frozen
class AgentAnswer:
    """How an agent answered an attempt without accepting it."""

    #: The agent's interface; empty if it is not known.
    member: str
    code: Code
    #: When the attempt ended.
    at: datetime


def refused_until(
    answers: Iterable[AgentAnswer], rules: AgentKeyRules, now: datetime
) -> dict[str, datetime]:
    """Return the agents who are not asked for a task now, and until when."""
    until: dict[str, datetime] = {}
    for answer in answers:
        end = answer.at + rules.cannot_pause
        # A time more than a whole pause ahead was stored before the clock was set back.
        if (
            answer.member
            and answer.code in rules.refusals
            and now < end <= now + rules.cannot_pause
        ):
            until[answer.member] = max(end, until.get(answer.member, end))
    return until


def times_put_off(answers: Iterable[AgentAnswer]) -> int:
    """Return how often a task was put off."""
    return sum(answer.code is Code.AGENT_LATER for answer in answers)


@frozen(kw_only=True)
class AgentsToAsk:
    """The agents of one queue, for a decision whether a task may be begun."""

    #: What a refusal means; None: agents are not asked for a key.
    rules: AgentKeyRules | None = None
    #: Whether the agent who talked to the client last is asked first; None: no.
    preferred: PreferredAgentRules | None = None
    #: Interfaces that could be rung for one more callback now.
    free: frozenset[str]
    #: Interfaces of those who are logged in and not paused.
    logged_in: frozenset[str]
    #: Interfaces of those who are logged in and not paused on other Asterisks.
    elsewhere: frozenset[str] = frozenset()
    #: Whether the attempt waits in line until an agent is free.
    in_line: bool
    #: Whether one of them can be rung alone.
    one_alone: bool = True

    def may_ask(self, refused: Collection[str]) -> bool:
        """Whether an attempt may begin that does not ask the agents in ``refused``."""
        if not refused:
            return True
        refused = frozenset(refused)
        if not self.in_line:
            return bool(self.free - refused)
        return bool(self.logged_in - refused) and not only_refused_are_free(
            self.free, refused
        )

    @property
    def may_ask_alone(self) -> frozenset[str]:
        """The agents for each of whom an attempt may begin that asks nobody else."""
        everybody = self.logged_in | self.free
        if not self.one_alone or len(everybody) <= 1:
            return everybody if self.one_alone else frozenset()
        if not self.in_line:
            return self.free
        return self.logged_in & self.free if self.free else self.logged_in


def only_refused_are_free(free: Set[str], refused: Set[str]) -> bool:
    """Whether an attempt at the head of a line would keep free agents from others.

    Asterisk serves as many callers as agents are free, the first in line first. A
    caller who waits for another agent would hold up those behind.
    """
    return bool(free) and free <= refused
