# SPDX-License-Identifier: MIT
"""How long tasks of a queue may wait, and which channel dials a client.

The values come from the settings of a queue (``config/queue_layers.py``). The time is
always an argument.
"""

from __future__ import annotations

import enum
import re
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from fastagi.domain.hours import OpeningHours
from fastagi.domain.task import Kind

#: Maximum age of a missed call that is carried over while its queue is closed.
LONGEST_CLOSED: Final = timedelta(days=7)

_TO_DIAL: Final = re.compile(r"[+*#]?[0-9*#]{1,40}")


class First(enum.StrEnum):
    """Who is called first."""

    AGENT = "agent"
    CLIENT = "client"
    #: The client if enough agents are free, else an agent.
    AUTO = "auto"


class CarryOver(enum.StrEnum):
    """For which tasks time in which their queue is closed does not count."""

    NONE = "none"
    MISSED = "missed"
    ALL = "all"


@frozen(kw_only=True)
class ExpiryRules:
    """How long the tasks of one queue may wait, from its settings."""

    #: Time from a request to its expiry.
    request_expiry: timedelta
    #: Time from a missed call to its expiry.
    missed_window: timedelta
    hours: OpeningHours
    carry_over: CarryOver

    def expires_at(self, kind: Kind, at: datetime) -> datetime:
        """Return when a task that is created at a time expires.

        For a task that an operator adds, closed time never counts, whatever the
        settings say: the operator wants the client to be called.
        """
        if kind is Kind.MISSED:
            lasts, carried = self.missed_window, self._carries_missed_calls
        else:
            lasts = self.request_expiry
            carried = kind is Kind.MANUAL or self.carry_over is CarryOver.ALL
        return self.hours.after(at, lasts) if carried else at + lasts

    def missed_since(self, now: datetime) -> datetime:
        """Return since when missed calls are not too old to be called back.

        If missed calls are carried over, that is at most :data:`LONGEST_CLOSED` ago, or
        the missed window if that is longer.
        """
        if not self._carries_missed_calls or self.missed_window >= LONGEST_CLOSED:
            return now - self.missed_window
        return self.hours.before(now, self.missed_window, now - LONGEST_CLOSED)

    @property
    def _carries_missed_calls(self) -> bool:
        return self.carry_over in (CarryOver.MISSED, CarryOver.ALL)


def dial_string(template: str, number: str) -> str:
    """Return the dial string that calls a number.

    Args:
        template: a dial string with ``{number}`` in it.
        number: the number of the client.

    Raises:
        ValueError: the number contains a character that no number has. This is the last
            check before it is dialled; earlier ones should have refused it.
    """
    if not template or not _TO_DIAL.fullmatch(number):
        raise ValueError("this is no number to dial, or nothing to dial it with")
    return template.replace("{number}", number)
