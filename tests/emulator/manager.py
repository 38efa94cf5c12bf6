# SPDX-License-Identifier: MIT
"""Asterisk's side of the manager interface: login, replies, events, and its faults.

Reads what the service writes as ``main/manager.c`` does, shares no code with it, and
answers in the words that were recorded from a real one. What the actions are about
(queues, channels, AstDB) is told by :mod:`tests.emulator.asterisk`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import attrs

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

Header = tuple[str, str]

_MAX_LINE = 1022
_MAX_HEADERS = 128


@attrs.frozen
class Told:
    """An event as Asterisk raised it."""

    at: float
    name: str
    #: The class a manager user must be allowed to read.
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
    """What an action is answered with."""

    headers: tuple[Header, ...] = (("Response", "Success"),)
    #: A list of events, each with its headers; None if the answer is no list.
    items: tuple[tuple[str, tuple[Header, ...]], ...] | None = None
    #: Name of the event behind the list.
    complete: str = ""
    #: To be done when the answer is out.
    then: Callable[[], object] = lambda: None


def success(message: str, **more: str) -> Answer:
    """Answer that it is done."""
    return Answer((("Response", "Success"), ("Message", message), *more.items()))


def error(message: str) -> Answer:
    """Answer that it can not be done."""
    return Answer((("Response", "Error"), ("Message", message)))


def listed(
    message: str, items: Iterable[tuple[str, Sequence[Header]]], complete: str
) -> Answer:
    """Answer with a list of events."""
    return Answer(
        (("Response", "Success"), ("EventList", "start"), ("Message", message)),
        tuple((name, tuple(headers)) for name, headers in items),
        complete,
    )


@attrs.frozen
class Action:
    """What a client asked for."""

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
    #: Actions the user's rights do not allow.
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
    #: Whether connections are taken at all.
    listening: bool = True
    #: Whether every action is refused: ``core stop gracefully``.
    shutting_down: bool = False
    #: When to send an event, in seconds from now: once and at once unless a test
    #: wants it late, twice or never.
    deliver: Callable[[Told], Sequence[float]] = lambda told: (0.0,)
    #: When to answer an action, in seconds from now; never if None. It is done anyway.
    answer_after: Callable[[Action], float | None] = lambda action: 0.0
    sessions: list[_Session] = attrs.field(factory=list)
    #: Everything any client asked for, in order.
    actions: list[tuple[float, Action]] = attrs.field(factory=list)

    def accept(self) -> _Session | None:
        """Return the protocol of a new connection; None refuses it."""
        return _Session(self) if self.listening else None

    def tell(self, told: Told) -> None:
        """Send an event to all who may read it."""
        for session in list(self.sessions):
            session.tell(told)

    def close_all(self) -> None:
        """Close every connection, as a process that ends does."""
        for session in list(self.sessions):
            session.close()

    def boot(self) -> None:
        """All modules are loaded."""
        self.booted = True
        for session in list(self.sessions):
            session.fully_booted()

    def asked(self, name: str) -> list[Action]:
        """Return the actions of that name so far."""
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
        """Send an event, if this user gets it."""
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
        """Say that all is loaded."""
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
        # It is done at once, whenever it is answered.
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
            # Asterisk sleeps a second before it says so, then closes.
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
