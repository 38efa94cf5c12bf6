# SPDX-License-Identifier: MIT
"""When a caller who waits in a queue is offered a callback.

Pure functions: the node collects the facts about each caller and asks again when they
have changed, or when :func:`next_look_in_s` says so. All times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen


class Trigger(StrEnum):
    """Why a callback is offered."""

    #: No agent of the queue is logged in, or all are paused.
    NO_AGENTS = "no agents"
    #: The queue has closed while the caller was waiting.
    CLOSED = "closed"
    #: The caller has waited long.
    WAITED = "waited"
    #: The expected wait is long.
    EXPECTED_WAIT = "expected wait"
    #: Many callers are ahead.
    POSITION = "position"


class OfferOutcome(StrEnum):
    """What the caller did."""

    #: The caller is being asked, or it is not known what the caller did.
    ASKED = "asked"
    #: The caller pressed the key, and the request is stored.
    ACCEPTED = "accepted"
    #: The caller pressed the key, but the request was refused or could not be stored.
    REFUSED = "refused"
    #: The caller pressed another key, or went back from the questions after the key.
    DECLINED = "declined"
    #: The caller pressed no key.
    TIMED_OUT = "timed out"
    HUNG_UP = "hung up"


@frozen(kw_only=True)
class OfferRules:
    """The settings of a queue; None: this alone is no reason for an offer."""

    #: No offer earlier than this after joining.
    not_before_s: float
    #: The caller has waited this long.
    after_s: float | None
    #: The expected wait is longer.
    wait_over_s: float | None
    #: The position is higher.
    position_over: int | None
    at_closing: bool
    without_agents: bool
    #: No offer if an agent is expected for the caller within this time.
    unless_within_s: float
    #: The least time between two offers to one number.
    pause_s: float


@frozen(kw_only=True)
class Waiting:
    """The facts about a caller who waits."""

    waited_s: float
    #: From 1.
    position: int
    #: How much longer it will take; None: not known.
    expected_wait_s: float | None = None
    #: Number of agents who are logged in and not paused.
    agents: int
    #: Number of agents who are free now or will be within ``unless_within_s``. Agents
    #: who did not answer when they were rung for this caller are not counted.
    agents_soon: int
    #: Whether an agent's phone rings for the caller.
    is_ringing: bool
    is_open: bool
    #: Whether the queue was open when the caller joined.
    joined_open: bool
    #: Time since the last offer to the same number; None: there was none.
    since_offer_s: float | None = None


def may_be_asked(rules: OfferRules, caller: Waiting) -> bool:
    """Return whether a caller may be asked now, if there is a reason."""
    return not (
        caller.is_ringing
        or _is_served_soon(rules, caller)
        or caller.waited_s < rules.not_before_s
        or _pause_left_s(rules, caller) > 0
    )


def trigger_of(rules: OfferRules, caller: Waiting) -> Trigger | None:
    """Return why a callback is offered to a caller now; None: it is not."""
    if not may_be_asked(rules, caller):
        return None
    return next(_triggers(rules, caller), None)


def next_look_in_s(rules: OfferRules, caller: Waiting) -> float | None:
    """Return when the answer may change because time passes; None: it does not."""
    moments = [
        rules.not_before_s - caller.waited_s,
        _pause_left_s(rules, caller),
    ]
    if rules.after_s is not None:
        moments.append(rules.after_s - caller.waited_s)
    return min((moment for moment in moments if moment > 0), default=None)


def _triggers(rules: OfferRules, caller: Waiting) -> Iterator[Trigger]:
    if rules.without_agents and not caller.agents:
        yield Trigger.NO_AGENTS
    if rules.at_closing and caller.joined_open and not caller.is_open:
        yield Trigger.CLOSED
    if rules.after_s is not None and caller.waited_s >= rules.after_s:
        yield Trigger.WAITED
    wait_s = caller.expected_wait_s
    if (
        rules.wait_over_s is not None
        and wait_s is not None
        and wait_s > rules.wait_over_s
    ):
        yield Trigger.EXPECTED_WAIT
    if rules.position_over is not None and caller.position > rules.position_over:
        yield Trigger.POSITION


def _is_served_soon(rules: OfferRules, caller: Waiting) -> bool:
    if not caller.agents:
        return False
    if caller.agents_soon >= caller.position:
        return True
    wait_s = caller.expected_wait_s
    return wait_s is not None and wait_s < rules.unless_within_s


def _pause_left_s(rules: OfferRules, caller: Waiting) -> float:
    if caller.since_offer_s is None:
        return 0.0
    return rules.pause_s - caller.since_offer_s


@frozen(kw_only=True)
class Offer:
    """One offer to one caller."""

    at: datetime
    queue: str
    #: The caller ID, without unsafe characters.
    number: str
    position: int
    #: In seconds; None: not known.
    expected_wait_s: float | None
    trigger: Trigger
    #: Linkedid of the call.
    linkedid: str
    outcome: OfferOutcome = OfferOutcome.ASKED
    #: When the outcome was known; None: it is not.
    ended_at: datetime | None = None
    #: Id in the database; 0 before it is stored.
    id: int = field(default=0, eq=False)
