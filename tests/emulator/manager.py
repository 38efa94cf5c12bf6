# SPDX-License-Identifier: MIT
"""Asterisk's side of the manager interface: login, responses, events, and its faults.

Parses what the service writes in the way of ``main/manager.c``, without code of the
service, and answers in recorded words of a real Asterisk.
:mod:`tests.emulator.asterisk` supplies the contents (queues, channels, AstDB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import attrs

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fastagi.runtime.sockets import send_without_delay

Header = tuple[str, str]

_MAX_LINE = 1022
_MAX_HEADERS = 128


@attrs.frozen
class Told:
    """An event as Asterisk raised it."""

    at: float
    name: str
    #: The class of events that a manager user must be allowed to read.
    privilege: str
    headers: tuple[Header, ...]

    def __getitem__(self, header: str) -> str:
        """Return a header's value, "" when there is none."""
        return dict(self.headers).get(header, "")

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.headers if value)
        return f"{self.at:.3f} {self.name} {shown}"


@attrs.frozen
class Answer:
    """The response to an action."""

    headers: tuple[Header, ...] = (("Response", "Success"),)
    #: The events of a list, each with its headers; None if the response is no list.
    items: tuple[tuple[str, tuple[Header, ...]], ...] | None = None
    #: The name of the event that ends the list.
    complete: str = ""
    #: Called after the response was sent.
    then: Callable[[], object] = lambda: None


def success(message: str, **more: str) -> Answer:
    """Return a success response."""
    return Answer((("Response", "Success"), ("Message", message), *more.items()))


def error(message: str) -> Answer:
    """Return an error response."""
    return Answer((("Response", "Error"), ("Message", message)))


def listed(
    message: str, items: Iterable[tuple[str, Sequence[Header]]], complete: str
) -> Answer:
    """Return a response with a list of events."""
    return Answer(
        (("Response", "Success"), ("EventList", "start"), ("Message", message)),
        tuple((name, tuple(headers)) for name, headers in items),
        complete,
    )


@attrs.frozen
class Action:
    """An action sent by a client."""

    name: str
    headers: tuple[Header, ...]

    def get(self, name: str) -> str:
        """Return the first value of a header, "" when there is none."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), "")

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [v for n, v in self.headers if n.lower() == name.lower()]


@attrs.frozen(kw_only=True)
class User:
    """A section of manager.conf."""

    name: str = "callback-queue"
    secret: str = "secret"
    read: frozenset[str] = frozenset({"agent", "call", "user", "cdr", "system"})
    #: Actions that the user's rights do not allow.
    denied: frozenset[str] = frozenset()


Handler = Callable[[Action], Answer]


@attrs.define(eq=False)
class FakeManager:
    """The manager port of one Asterisk."""

    clock: Clock
    version: str
    handlers: dict[str, Handler]
    user: User = attrs.field(factory=User)
    #: Whether all modules are loaded.
    booted: bool = True
    #: Whether connections are accepted at all.
    listening: bool = True
    #: Whether every action is refused: ``core stop gracefully``.
    shutting_down: bool = False
    #: When to send an event, as a list of delays in seconds. By default once without
    #: delay; a test can make it late, repeated or lost.
    deliver: Callable[[Told], Sequence[float]] = lambda told: (0.0,)
    #: When to answer an action, as a delay in seconds; None: never. The action is
    #: performed in any case.
    answer_after: Callable[[Action], float | None] = lambda action: 0.0
    sessions: list[_Session] = attrs.field(factory=list)
    #: Every action that any client sent, in order.
    actions: list[tuple[float, Action]] = attrs.field(factory=list)

    def accept(self) -> _Session | None:
        """Return the protocol of a new connection; None refuses it."""
        return _Session(self) if self.listening else None

    def tell(self, told: Told) -> None:
        """Send an event to all clients whose user may read it."""
        for session in list(self.sessions):
            session.tell(told)

    def close_all(self) -> None:
        """Close every connection, as at the end of the process."""
        for session in list(self.sessions):
            session.close()

    def boot(self) -> None:
        """Finish loading: all modules are loaded from now on."""
        self.booted = True
        for session in list(self.sessions):
            session.fully_booted()

    def asked(self, name: str) -> list[Action]:
        """Return the actions of this name so far."""
        return [action for _, action in self.actions if action.name == name]


class _Session(Protocol):
    """One connection of a client."""

    def __init__(self, manager: FakeManager) -> None:
        self._manager = manager
        self._clock = manager.clock
        self._unread = b""
        self._challenge = ""
        self._logged_in = False
        self._closed = False
        self._events = True

    def connectionMade(self) -> None:
        send_without_delay(self.transport)
        self._manager.sessions.append(self)
        major = int(self._manager.version.split(".")[0])
        ami = {16: "5.0.4", 22: "11.0.0"}.get(major, "11.0.0")
        self._write(f"Asterisk Call Manager/{ami}\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        self._unread += data
        while b"\r\n\r\n" in self._unread and not self._closed:
            message, _, self._unread = self._unread.partition(b"\r\n\r\n")
            self._read(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        if self in self._manager.sessions:
            self._manager.sessions.remove(self)

    def close(self) -> None:
        """Close from Asterisk's side."""
        self._closed = True
        assert self.transport is not None
        self.transport.loseConnection()

    def tell(self, told: Told) -> None:
        """Send an event if this user may read it."""
        if not (self._logged_in and self._events):
            return
        if told.privilege not in self._manager.user.read:
            return
        headers = (
            ("Event", told.name),
            ("Privilege", f"{told.privilege},all"),
            *told.headers,
        )
        for delay_s in self._manager.deliver(told):
            if delay_s:
                self._clock.callLater(delay_s, self._send, headers)
            else:
                self._send(headers)

    def fully_booted(self) -> None:
        """Send FullyBooted."""
        told = Told(
            self._clock.seconds(),
            "FullyBooted",
            "system",
            (("Uptime", "1"), ("LastReload", "1"), ("Status", "Fully Booted")),
        )
        self.tell(told)

    # -- inside ------------------------------------------------------------

    def _read(self, message: bytes) -> None:
        lines = message.split(b"\r\n")
        if any(len(line) > _MAX_LINE for line in lines):
            raise AssertionError(f"Asterisk refuses a line as long as in {message!r}")
        if len(lines) > _MAX_HEADERS:
            raise AssertionError(f"Asterisk refuses {len(lines)} headers")
        headers = []
        for line in lines:
            name, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
            if not colon:
                raise AssertionError(f"no header: {line!r}")
            headers.append((name, value.strip()))
        action = Action(dict(headers).get("Action", ""), tuple(headers))
        self._manager.actions.append((self._clock.seconds(), action))
        self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        own: dict[str, Handler] = {
            "Challenge": self._challenge_for,
            "Login": self._log_in,
            "Logoff": self._log_off,
        }
        if self._manager.shutting_down:
            self._reply(action, error("Asterisk is shutting down"))
        elif action.name in own:
            self._reply(action, own[action.name](action))
        elif not self._logged_in:
            self._reply(action, error("Permission denied"))
        else:
            self._reply(action, self._answer(action))

    def _answer(self, action: Action) -> Answer:
        if action.name in self._manager.user.denied:
            return error("Permission denied")
        if action.name == "Events":
            self._events = action.get("EventMask").lower() not in ("off", "no", "false")
            return Answer(
                (("Response", "Success"), ("Events", "On" if self._events else "Off"))
            )
        handler = self._manager.handlers.get(action.name)
        if handler is None:
            return error(
                f"Invalid/unknown command: {action.name}."
                " Use Action: ListCommands to show available commands."
            )
        return handler(action)

    def _reply(self, action: Action, answer: Answer) -> None:
        if not answer.headers:
            return
        delay_s = self._manager.answer_after(action)
        if delay_s:
            self._clock.callLater(delay_s, self._send_answer, action, answer)
        elif delay_s is not None:
            self._send_answer(action, answer)
        # The action is performed at once, however late its response is.
        answer.then()

    def _send_answer(self, action: Action, answer: Answer) -> None:
        action_id = action.get("ActionID")
        own = (("ActionID", action_id),) if action_id else ()
        response, *rest = answer.headers
        self._send((response, *own, *rest))
        if answer.items is None:
            return
        for name, headers in answer.items:
            self._send((("Event", name), *headers, *own))
        count = ("ListItems", str(len(answer.items)))
        self._send((("Event", answer.complete), *own, ("EventList", "Complete"), count))

    def _challenge_for(self, action: Action) -> Answer:
        self._challenge = "753201456"
        return Answer((("Response", "Success"), ("Challenge", self._challenge)))

    def _log_in(self, action: Action) -> Answer:
        user = self._manager.user
        digest = hashlib.md5(
            (self._challenge + user.secret).encode(), usedforsecurity=False
        ).hexdigest()
        if action.get("AuthType").upper() == "MD5":
            right = bool(self._challenge) and action.get("Key") == digest
        else:
            right = action.get("Secret") == user.secret
        if action.get("Username") != user.name or not right:
            # Asterisk waits a second before it says so, then closes.
            self._clock.callLater(1, self._refuse, action)
            return Answer(())
        return Answer(
            (("Response", "Success"), ("Message", "Authentication accepted")),
            then=self._logged_in_now,
        )

    def _logged_in_now(self) -> None:
        self._logged_in = True
        if self._manager.booted:
            self.fully_booted()

    def _refuse(self, action: Action) -> None:
        if not self._closed:
            self._send_answer(action, error("Authentication failed"))
            self.close()

    def _log_off(self, action: Action) -> Answer:
        return Answer(
            (("Response", "Goodbye"), ("Message", "Thanks for all the fish.")),
            then=self.close,
        )

    def _send(self, headers: Sequence[Header]) -> None:
        lines = [f"{name}: {value}" for name, value in headers]
        text = "\r\n".join([*lines, "", ""])
        self._write(text.encode("utf-8", "surrogateescape"))

    def _write(self, data: bytes) -> None:
        if self._closed:
            return
        assert self.transport is not None
        self.transport.write(data)
