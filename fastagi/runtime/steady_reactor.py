# SPDX-License-Identifier: MIT
"""A reactor whose timers do not mind when somebody sets the machine's clock.

Twisted's own times its calls by the machine's clock: when that is set back by an hour,
each timer sleeps an hour longer, and with it every time-out, ping and retry.
"""

from __future__ import annotations

import time

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor


class SteadyReactor(EPollReactor):
    """Counts the seconds since the machine started, whatever its clock shows."""

    def seconds(self) -> float:
        """Return the reading that timers are set by."""
        return time.monotonic()


def install() -> SteadyReactor:
    """Make it the reactor of this process, and return it.

    Raises:
        ReactorAlreadyInstalledError: the process has another one.
    """
    reactor = SteadyReactor()
    installReactor(reactor)
    return reactor
