# SPDX-License-Identifier: MIT
"""What each figure of a report means, to be printed beside it.

``docs/reports.md`` has the same table; a test compares them.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Definition:
    """What one figure means.

    Attributes:
        name: the name of the figure in the JSON of a report.
        title: the figure in a few words, as the head of a column.
        text: what it means.
    """

    name: str
    title: str
    text: str


_ALL: Final = (
    Definition(
        "asked",
        "asked",
        "Clients to be called back, each once, however often they asked again and"
        " however often they were called. They count on the day and in the hour in"
        " which the service stored the request. Requests whose callers were not told"
        " that they will be called do not count.",
    ),
    Definition(
        "requested",
        "pressed the key",
        "Of these, who pressed the key in the queue, also if a call of theirs had been"
        " missed before.",
    ),
    Definition("missed", "missed", "Of these, whose call was missed."),
    Definition(
        "manual",
        "added by hand",
        "Of these, whom an operator or a program added.",
    ),
    Definition(
        "repeats",
        "asked again",
        "How often clients asked again, or were missed again, while they were to be"
        " called back already. These requests are not in 'asked'.",
    ),
    Definition(
        "reached",
        "reached",
        "Agent and client talked for at least success_duration. A machine or a mailbox"
        " that was recognised is never a success.",
    ),
    Definition(
        "failed",
        "failed",
        "Given up: all attempts were used up, or the number can not be called.",
    ),
    Definition("expired", "expired", "The request became too old."),
    Definition("cancelled", "cancelled", "Cancelled, or the number was blocked."),
    Definition(
        "served",
        "served meanwhile",
        "The client reached a person in another way before the callback: rang again,"
        " or was called by hand.",
    ),
    Definition("open", "open", "Still to be called."),
    Definition(
        "reached_share",
        "share reached",
        "reached / (reached + failed + expired). Clients who were served meanwhile,"
        " cancelled or are still open needed no callback, or not yet.",
    ),
    Definition(
        "first_try_share",
        "first try",
        "The share of the clients reached who were reached in the first call to them.",
    ),
    Definition(
        "tries_per_success",
        "calls per client reached",
        "Calls to clients who were reached / clients reached. A try in which the"
        " client was not dialled is no call.",
    ),
    Definition(
        "tries", "calls", "Calls to all clients of the range whose callback has ended."
    ),
    Definition(
        "goal_share",
        "within the goal",
        "Clients reached whose net wait is within the goal / (reached + failed +"
        " expired).",
    ),
    Definition(
        "gross_wait",
        "gross wait",
        "From when the client asked until agent and client talk. Median (p50) and p90"
        " are interpolated within the bands of the distribution.",
    ),
    Definition(
        "net_wait",
        "net wait",
        "For how long the queue was open from when the callback was due until agent"
        " and client talk. It is due when the client asked, or at the chosen time. The"
        " opening hours are those in force at the talk. Not known for talks before"
        " version 0.2.",
    ),
    Definition(
        "results",
        "results of the attempts",
        "How the attempts for the clients of the range ended, in the words of 'tasks"
        " show', without those that the service withdrew before dialling the client.",
    ),
    Definition(
        "offers",
        "offers",
        "Callbacks that were offered to waiting callers in the range, and the share"
        " that was accepted: the caller pressed the key and was told that the request"
        " is stored.",
    ),
    Definition(
        "agents",
        "agents",
        "How many of the clients reached each agent talked to, and for how long.",
    ),
    Definition(
        "by_day",
        "by day",
        "By the day on which the client asked, in the time zone of the queue. A day on"
        " which clocks are changed has 23 or 25 hours.",
    ),
    Definition(
        "by_hour",
        "by hour",
        "By the hour in which the client asked, as a clock in the time zone of the"
        " queue shows it. An hour that occurs twice counts as one.",
    ),
    Definition(
        "by_weekday_hour",
        "by weekday and hour",
        "The same for each day of the week; 0 is Monday.",
    ),
    Definition(
        "previous",
        "the days before",
        "The same figures for as many days immediately before the range.",
    ),
)

#: Every figure by its name.
DEFINITIONS: Final = {definition.name: definition for definition in _ALL}
