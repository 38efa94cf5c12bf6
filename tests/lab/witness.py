# SPDX-License-Identifier: MIT
"""An independent witness of what Asterisk did: every AMI event, as pyst2 reads it.

It shares no code with the product, so that no fault is in both.

pyst2 reads in threads; of a repeated header it keeps only the last value. It reads its
socket byte by byte, so slowly that with a dozen calls it is seconds late. So this
module gives it a buffer.
"""

from __future__ import annotations

import datetime
import io
import itertools
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import attrs
from asterisk.manager import Event, Manager, ManagerException

from tests.lab.closing import Closing
from tests.lab.config import WITNESS, ManagerUser
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import wait_for_matches

_LONGEST_REPORT = 40
#: Time limit for the answer to an action, in seconds.
ANSWER_S = 30.0

#: Events that a report leaves out: they are long and rarely relevant.
_CHATTER = {"VarSet", "Newexten", "RTCPSent", "RTCPReceived", "TestEvent"}
_CHATTER_HEADERS = {
    "Event",
    "Privilege",
    "ChannelState",
    "DestChannelState",
    "Language",
    "DestLanguage",
    "Priority",
    "DestPriority",
    "BridgeVideoSourceMode",
}


@attrs.frozen
class Seen:
    """One event and when it was received."""

    name: str
    headers: Mapping[str, str]
    #: Seconds on the monotonic clock.
    at: float
    #: The same moment in the format of phones and Asterisk.
    clock: datetime.datetime

    def __getitem__(self, header: str) -> str:
        """Return a header's value, "" when the event has no such header."""
        return self.headers.get(header, "")

    def __str__(self) -> str:
        told = " ".join(
            f"{key}={value}"
            for key, value in self.headers.items()
            if key not in _CHATTER_HEADERS and value not in ("", "<unknown>")
        )
        return f"{self.clock:%H:%M:%S.%f} {self.name} {told}"


Predicate = Callable[[Seen], object]


def event(name: str, **headers: str) -> Predicate:
    """Return a predicate: this event, with these values in these headers."""

    def matches(seen: Seen) -> bool:
        return seen.name == name and all(
            seen[header] == value for header, value in headers.items()
        )

    return matches


class _Link:
    """pyst2's socket, read with a buffer."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._lines = io.BufferedReader(raw)
        self.write = raw.write
        self.flush = raw.flush
        self.fileno = raw.fileno
        # Not the buffer's close, which waits until nobody reads any more.
        self.close = raw.close

    def __iter__(self) -> Iterator[bytes]:
        return self._lines


class _Responses(queue.Queue[Any]):
    """pyst2's responses; pyst2 itself would wait for one without limit."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(block, ANSWER_S if timeout is None else timeout)
        except queue.Empty:
            raise ManagerException(f"no answer within {ANSWER_S} s") from None


class _Manager(Manager):  # type: ignore[misc]
    _sock: Any

    def __init__(self) -> None:
        super().__init__()
        self._response_queue = _Responses()

    def _receive_data(self) -> None:
        self._sock = _Link(self._sock)
        super()._receive_data()

    def message_loop(self) -> None:
        super().message_loop()
        # A thread that asks at this moment is not counted yet among those to notify.
        self._response_queue.put(None)


class Witness(Closing):
    """A logged-in AMI session that stores every event since :meth:`clear`."""

    def __init__(self, port: int, user: ManagerUser = WITNESS) -> None:
        self._port = port
        self._user = user
        self._seen: list[Seen] = []
        self._changed = threading.Condition()
        self._one_action = threading.Lock()
        self._numbers = itertools.count(1)
        self._manager: Manager | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def connect(self) -> None:
        """Log in; every event from now on is stored.

        Raises:
            LabError: Asterisk is not there, or refuses the witness.
        """
        manager = _Manager()
        manager.register_event("*", self._receive)
        try:
            manager.connect("127.0.0.1", self._port)
            manager.login(self._user.name, self._user.secret)
        except ManagerException as error:
            manager.close()
            raise LabError(f"the witness cannot log in: {error}") from error
        self._manager = manager

    def close(self) -> None:
        """End the session; stored events stay."""
        manager, self._manager = self._manager, None
        if manager is None:
            return
        # Not pyst2's logoff: it waits without limit for an answer of a frozen Asterisk,
        # and fails if the answer is fast. The end of the stream stops all its threads.
        with (
            suppress(OSError, ValueError),
            socket.socket(fileno=os.dup(manager._sock.fileno())) as link,
        ):
            link.shutdown(socket.SHUT_RDWR)
        manager.message_thread.join(5)
        manager.event_dispatch_thread.join(5)
        manager.close()

    @property
    def connected(self) -> bool:
        """Whether the session is still open; it ends with Asterisk."""
        return self._manager is not None and self._manager.connected()

    # -- what happened

    def _receive(self, received: Event, _manager: Manager) -> None:
        clock = datetime.datetime.now(datetime.UTC)
        seen = Seen(received.name, dict(received.headers), time.monotonic(), clock)
        with self._changed:
            self._seen.append(seen)
            self._changed.notify_all()

    def events(self, name: str | None = None, **headers: str) -> list[Seen]:
        """Return the events seen so far, in order: all, or those that match."""
        with self._changed:
            everything = list(self._seen)
        if name is None:
            return everything
        return self.matching(event(name, **headers), everything)

    def matching(
        self, predicate: Predicate, among: list[Seen] | None = None
    ) -> list[Seen]:
        """Return the events so far that match the predicate."""
        among = self.events() if among is None else among
        return [one for one in among if predicate(one)]

    def wait_for(
        self, predicate: Predicate, deadline_s: float = 10.0, *, count: int = 1
    ) -> Seen:
        """Wait for the count-th event since :meth:`clear` that matches; return it.

        An event that was seen already counts.

        Raises:
            DeadlinePassed: it did not come; the text holds the latest events.
        """
        found = wait_for_matches(
            self._changed, lambda: self._seen, predicate, deadline_s, count
        )
        if len(found) >= count:
            return found[count - 1]
        raise DeadlinePassed(
            f"{len(found)} of {count} awaited events came within {deadline_s} s; "
            f"the latest events were:\n{self.report()}"
        )

    def fence(self, deadline_s: float = 10.0) -> None:
        """Wait until every event raised before this moment has been received."""
        token = f"{id(self)}-{next(self._numbers)}"
        self.action("UserEvent", UserEvent="LabFence", Token=token)
        self.wait_for(event("UserEvent", Token=token), deadline_s)

    def clear(self) -> None:
        """Discard all events so far."""
        with self._changed:
            self._seen.clear()

    def report(self, most: int = _LONGEST_REPORT) -> str:
        """Return the latest relevant events as text for a person."""
        told = [one for one in self.events() if one.name not in _CHATTER]
        return "\n".join(str(one) for one in told[-most:])

    # -- actions of the test itself

    def action(self, name: str, **headers: str | list[str]) -> dict[str, str]:
        """Send an action and return its response's headers.

        Raises:
            LabError: the session is gone, or Asterisk answered with an error.
        """
        manager = self._manager
        if manager is None:
            raise LabError("the witness is not connected")
        # pyst2 changes the mapping it is given, and matches responses by order only.
        wanted: dict[str, str | list[str]] = {"Action": name, **headers}
        try:
            with self._one_action:
                response = manager.send_action(wanted)
        except ManagerException as error:
            # A late response would be taken for that of the next action.
            self.close()
            raise LabError(f"{name}: {error}") from error
        answer = dict(response.headers)
        if answer.get("Response") == "Error":
            raise LabError(f"{name}: {answer.get('Message')}")
        return answer

    def originate(
        self,
        channel: str,
        *,
        context: str = "lab",
        exten: str = "wait",
        caller_id: str = "",
        variables: Mapping[str, str] | None = None,
        channel_id: str | None = None,
        timeout_s: int = 30,
    ) -> str:
        """Place a call without SIP; return the Uniqueid of its first channel.

        ``originate("Local/support@inbound/n", caller_id='"Eve" <123>')`` is a caller
        who enters the queue `support` and stays.
        """
        unique = channel_id or f"lab-{time.time_ns()}-{next(self._numbers)}"
        headers: dict[str, str | list[str]] = {
            "Channel": channel,
            "Context": context,
            "Exten": exten,
            "Priority": "1",
            "Timeout": str(timeout_s * 1000),
            "Async": "true",
            "ChannelId": unique,
        }
        if channel.startswith("Local/"):
            headers["OtherChannelId"] = f"{unique}-2"
        if caller_id:
            headers["CallerID"] = caller_id
        if variables:
            headers["Variable"] = [f"{key}={val}" for key, val in variables.items()]
        self.action("Originate", **headers)
        return unique

    def hang_up(self, channel: str) -> None:
        """Hang up one channel by its name."""
        self.action("Hangup", Channel=channel)


def bridges_of_the_client_leg(witness: Witness) -> list[str]:
    """Return the bridges in which a callback's caller half met another channel.

    That half is never in a bridge with the agent: the other half is.
    """
    entered = witness.events("BridgeEnter")
    mine = {
        one["BridgeUniqueid"]
        for one in entered
        if one["Uniqueid"].startswith("callback-") and one["Uniqueid"].endswith("-1")
    }
    return [
        one["BridgeUniqueid"]
        for one in entered
        if one["BridgeUniqueid"] in mine and not one["Uniqueid"].startswith("callback-")
    ]
