# SPDX-License-Identifier: MIT
"""The agent who talked to a client last is asked first, for a while.

The decision is part of the task's history, so it survives a restart: the event that
begins the wait (`PREFERRED_AGENT_FIRST`) has the agent and how long the wait is, and
each other code in :data:`DECIDED` ends it. Pure functions and values; the time is
always an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import frozen

from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.domain.task import CallbackTask

#: Codes of the events that decide whether the task waits for one agent.
DECIDED: Final = frozenset(
    {
        Code.PREFERRED_AGENT_FIRST,
        Code.PREFERRED_AGENT_AWAY,
        Code.PREFERRED_AGENT_NOT_FREE,
        Code.PREFERRED_AGENT_DID_NOT_TAKE,
    }
)


@frozen(kw_only=True)
class PreferredAgentRules:
    """Who is asked first, and for how long, from the settings."""

    #: How long ago the talk may have ended.
    talked_within: timedelta
    #: Maximum time for which a task that is due waits for this agent.
    wait: timedelta


#: Until when an agent is asked to whom a task was assigned without an end.
FOREVER: Final = datetime.max.replace(tzinfo=UTC)


@frozen
class PreferredAgent:
    """The only agent who is asked for a task, until a time."""

    interface: str
    until: datetime
    #: Whether an operator assigned the task to this agent.
    assigned: bool = False


def assigned_agent(task: CallbackTask) -> PreferredAgent | None:
    """Return the agent to whom an operator assigned a task; None: to nobody."""
    if not task.assigned_to:
        return None
    return PreferredAgent(
        task.assigned_to, task.assigned_until or FOREVER, assigned=True
    )


def first(interface: str, rules: PreferredAgentRules) -> Reason:
    """Return the reason of the event with which the wait for an agent begins."""
    wait_s = rules.wait.total_seconds()
    return because(Code.PREFERRED_AGENT_FIRST, interface=interface, wait_s=wait_s)


def waits_for_agent(agent: PreferredAgent) -> Reason:
    """Return the reason why a due task is not called: it waits for one agent."""
    code = Code.WAITS_FOR_ASSIGNED if agent.assigned else Code.WAITS_FOR_AGENT
    why = because(code, interface=agent.interface)
    if agent.until == FOREVER:
        return why
    return why.with_params(until=utc_minute(agent.until))


def preferred_agent(why: Reason, at: datetime) -> PreferredAgent | None:
    """Return the agent for whom a task waits, or has waited.

    Args:
        why: the reason of the task's last event in :data:`DECIDED`.
        at: the time of that event.

    Returns:
        None if the task waits for nobody.
    """
    interface, wait_s = why.params.get("interface"), why.params.get("wait_s")
    if (
        why.code is not Code.PREFERRED_AGENT_FIRST
        or not isinstance(interface, str)
        or not isinstance(wait_s, int | float)
    ):
        return None
    return PreferredAgent(interface, at + timedelta(seconds=wait_s))


def why_over(
    agent: PreferredAgent,
    now: datetime,
    *,
    is_logged_in: bool,
    was_asked: bool,
) -> Reason | None:
    """Return why a task does not wait for an agent any more; None if it does.

    Args:
        agent: the agent.
        now: the current time.
        is_logged_in: whether the agent is logged in and not paused.
        was_asked: whether the agent's phone rang for the task, and the agent did not
            accept the callback.
    """
    if agent.assigned:
        return assignment_over(agent, now)
    if was_asked:
        code = Code.PREFERRED_AGENT_DID_NOT_TAKE
    elif not is_logged_in:
        code = Code.PREFERRED_AGENT_AWAY
    elif now >= agent.until:
        code = Code.PREFERRED_AGENT_NOT_FREE
    else:
        return None
    return because(code, interface=agent.interface)


def assignment_over(agent: PreferredAgent, now: datetime) -> Reason | None:
    """Return why any agent is asked for an assigned task; None if none other is.

    Logging out, a pause and a phone that is not answered do not end an assignment.
    """
    if now < agent.until:
        return None
    return because(Code.ASSIGNMENT_OVER, interface=agent.interface)
