# SPDX-License-Identifier: MIT
"""Many callers who press 1 at the same time, and the answer to each within a second.

One loop over non-blocking sockets: a thread for each caller would be the bottleneck.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import attrs

from fastagi.dialplan import Variable
from tests.emulator.agi_client import AsteriskAgi

#: Time limit of the dialplan's request, in seconds: callback-ask.
DIALPLAN_S = 1.0

#: The service answered that it cannot serve the caller.
FAILURE = "failure"
#: The service did not answer in time.
TIMED_OUT = "timed out"


@attrs.define(eq=False)
class _Caller:
    """One call in the dialplan."""

    number: str
    channel: AsteriskAgi
    connection: socket.socket
    ends_at: float

    @property
    def told(self) -> str:
        """The answer on which the dialplan acts."""
        status = self.channel.variables.get(Variable.STATUS, "")
        if status:
            return status
        return FAILURE if self.channel.agistatus == "FAILURE" else TIMED_OUT


def press_at_once(
    port: int, numbers: Sequence[str], *, within_s: float = 0.0
) -> dict[str, str]:
    """Let callers press 1; return the answer to each, by number.

    Args:
        port: the port of FastAGI.
        numbers: the callers' numbers.
        within_s: they press evenly within this time.
    """
    waiting = selectors.DefaultSelector()
    callers: list[_Caller] = []
    began = time.monotonic()
    left = list(enumerate(numbers))[::-1]
    open_ones = 0
    while left or open_ones:
        now = time.monotonic()
        while left and now >= began + within_s * left[-1][0] / len(numbers):
            index, number = left.pop()
            caller = _press(port, number, f"{began:.6f}.{index}")
            callers.append(caller)
            waiting.register(caller.connection, selectors.EVENT_WRITE, caller)
            open_ones += 1
        for key, events in waiting.select(0.002):
            caller = key.data
            if events & selectors.EVENT_WRITE:
                waiting.modify(caller.connection, selectors.EVENT_READ, caller)
                with suppress(OSError):
                    caller.connection.send(caller.channel.start())
                continue
            data = b""
            with suppress(OSError):
                data = caller.connection.recv(4096)
            reply = caller.channel.receive(data) if data else b""
            if not data:
                caller.channel.connection_lost()
            with suppress(OSError):
                caller.connection.send(reply)
            if caller.channel.ended:
                _end(waiting, caller)
                open_ones -= 1
        for caller in [
            key.data
            for key in list(waiting.get_map().values())
            if time.monotonic() > key.data.ends_at
        ]:
            _end(waiting, caller)
            open_ones -= 1
    waiting.close()
    return {caller.number: caller.told for caller in callers}


def _press(port: int, number: str, uniqueid: str) -> _Caller:
    channel = AsteriskAgi(
        args=("support", "1", uniqueid),
        headers={"agi_uniqueid": uniqueid, "agi_callerid": number},
    )
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    return _Caller(number, channel, connection, time.monotonic() + DIALPLAN_S)


def _end(waiting: selectors.BaseSelector, caller: _Caller) -> None:
    waiting.unregister(caller.connection)
    caller.connection.close()
