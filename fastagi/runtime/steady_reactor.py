# SPDX-License-Identifier: MIT
"""A reactor whose timers do not depend on the machine's clock.

Twisted's reactor uses the machine's clock: if that is set back by an hour, every timer
(time-outs, pings, retries) fires an hour late.
"""

from __future__ import annotations

import time

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor


class SteadyReactor(EPollReactor):
    """A reactor that counts the seconds since the machine started."""

    def seconds(self) -> float:
        """Return the time that timers use."""
        return time.monotonic()


def install() -> SteadyReactor:
    """Install it as the reactor of this process, and return it.

    Raises:
        ReactorAlreadyInstalledError: the process already has a reactor.
    """
    reactor = SteadyReactor()
    installReactor(reactor)
    return reactor
