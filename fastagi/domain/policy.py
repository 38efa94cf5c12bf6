# SPDX-License-Identifier: MIT
"""How long tasks of a queue may wait, and what the number of a client is dialled with.

The settings of a queue make these values (``config/queue_layers.py``); nothing here
knows how they are written in the file. The time is always an argument.
"""

from __future__ import annotations

import enum
import re
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from fastagi.domain.hours import OpeningHours
from fastagi.domain.task import Kind

#: The longest time before a missed call in which the queue may have been closed.
LONGEST_CLOSED: Final = timedelta(days=7)

_TO_DIAL: Final = re.compile(r"[+*#]?[0-9*#]{1,40}")


class CarryOver(enum.StrEnum):
    """Which tasks do not grow older while their queue is closed."""

    NONE = "none"
    MISSED = "missed"
    ALL = "all"


@frozen(kw_only=True)
class ExpiryRules:
    """How long the tasks of one queue may wait; from its settings."""

    #: From a request to its expiry.
    request_expiry: timedelta
    #: From a missed call to its expiry.
    missed_window: timedelta
    hours: OpeningHours
    carry_over: CarryOver

    def expires_at(self, kind: Kind, at: datetime) -> datetime:
        """Return when a task that was made at a moment is too old.

        A task that an operator adds does not grow older while the queue is closed,
        whatever the settings say: the operator wants it to be called.
        """
        if kind is Kind.MISSED:
            lasts, carried = self.missed_window, self._carries_missed_calls
        else:
            lasts = self.request_expiry
            carried = kind is Kind.MANUAL or self.carry_over is CarryOver.ALL
        return self.hours.after(at, lasts) if carried else at + lasts

    def missed_since(self, now: datetime) -> datetime:
        """Return when the oldest missed call ended that is not too old yet.

        Where missed calls are carried over, that is at most :data:`LONGEST_CLOSED`
        ago, or the missed window if that is longer.
        """
        if not self._carries_missed_calls or self.missed_window >= LONGEST_CLOSED:
            return now - self.missed_window
        return self.hours.before(now, self.missed_window, now - LONGEST_CLOSED)

    @property
    def _carries_missed_calls(self) -> bool:
        return self.carry_over in (CarryOver.MISSED, CarryOver.ALL)


def dial_string(template: str, number: str) -> str:
    """Return the channel that calls a number.

    Args:
        template: with ``{number}`` where the number is to stand.
        number: of the client.

    Raises:
        ValueError: the number holds a character that no number has. It should have
            been refused long before; this is the last check before it is dialled.
    """
    if not template or not _TO_DIAL.fullmatch(number):
        raise ValueError("this is no number to dial, or nothing to dial it with")
    return template.replace("{number}", number)
