# SPDX-License-Identifier: MIT
"""One login to Asterisk's manager interface, for checks that wait for each answer.

Protocol, login and TLS are those of the service. Unlike the service's session, this
connects once, on its own reactor, which runs only during a wait, and reports the kind
of a failure. It does not interpret requests or answers.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from functools import cache
from types import TracebackType
from typing import TypeVar

import attrs

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionRefusedError,
    UserError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from fastagi.ami.actions import Action
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.protocol import AmiProtocol
from fastagi.ami.session import Credentials, authenticate
from fastagi.ami.tls import ManagerTls, TlsClientEndpoint, TlsFailed
from fastagi.errors import CallbackError, Problem
from fastagi.wire.ami import AmiMessage, Banner
from fastagi.wire.errors import RemoteProtocolError

T = TypeVar("T")


class Trouble(Enum):
    """Why there is no connection to the manager."""

    NO_ADDRESS = auto()
    REFUSED = auto()
    UNREACHABLE = auto()
    SILENT = auto()
    NOT_ASTERISK = auto()
    LOGIN_REFUSED = auto()
    LOST = auto()
    NO_TLS = auto()


class LinkFailed(CallbackError):
    """There is no connection, or it was lost.

    Attributes:
        trouble: the kind of failure.
        problem: the problem; without a remedy if the kind alone determines it.
    """

    def __init__(
        self, trouble: Trouble, problem: str | Problem, remedy: str = ""
    ) -> None:
        super().__init__(problem, remedy)
        self.trouble = trouble

    def __str__(self) -> str:
        """Return the problem without the remedy; the caller may know a better one."""
        return self.problem.without_remedy


class Refused(CallbackError):
    """Asterisk answered an action with an error; the text is Asterisk's."""


@attrs.frozen(kw_only=True)
class Where:
    """Where a manager listens, and how long to wait for it.

    Attributes:
        tls: the trusted CAs and the server's name; None for clear text.
        timeout_s: time-out for the connection, and for each answer.
    """

    host: str
    port: int
    timeout_s: float
    tls: ManagerTls | None = None


class ManagerLink:
    """A connection to the manager, logged in by the constructor.

    Args:
        where: see `Where`.
        user: the manager user to log in as.

    Raises:
        LinkFailed: the text says why.
    """

    def __init__(self, where: Where, user: Credentials) -> None:
        #: Version of the interface, such as 11.0.0 on Asterisk 22.
        self.ami_version = ""
        #: Names of all unsolicited events so far.
        self.heard: set[str] = set()
        self._timeout_s = where.timeout_s
        self._protocol = _wait(_connect(where, self._build))
        try:
            self._log_in(user)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ManagerLink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._protocol.drop("the check is over")
        _wait(self._protocol.when_closed())

    def ask(self, action: Action) -> AmiMessage:
        """Send an action and return the response to it.

        Raises:
            Refused: Asterisk says no.
            LinkFailed: there is no answer.
        """
        return self._answer(self._protocol.send(action))

    def ask_list(self, action: Action) -> list[AmiMessage]:
        """Send an action and return the list of events it is answered by.

        Raises:
            Refused: Asterisk says no.
            LinkFailed: there is no answer, or it does not end in time.
        """
        return self._answer(self._protocol.send_list(action))

    def _build(self) -> AmiProtocol:
        return AmiProtocol(
            clock=_reactor(),
            on_event=lambda message: self.heard.add(message.event),
            action_timeout_s=self._timeout_s,
        )

    def _log_in(self, user: Credentials) -> None:
        self.ami_version = self._answer(self._greeting()).ami_version
        try:
            self._answer(authenticate(self._protocol, user))
        except Refused as refused:
            raise LinkFailed(Trouble.LOGIN_REFUSED, str(refused)) from refused

    def _answer(self, answer: Awaitable[T]) -> T:
        """Wait for an answer; convert its errors to LinkFailed."""
        try:
            return _wait(answer)
        except ActionFailed as error:
            reason = error.response.get("Message") or "no reason given"
            raise Refused(reason) from error
        except ActionTimedOut as error:
            raise _silence(error.timeout_s) from None
        except NotConnected as error:
            raise self._lost() from error

    async def _greeting(self) -> Banner:
        banner = self._protocol.when_banner()
        try:
            return await banner.addTimeout(self._timeout_s, _reactor())
        except TimeoutError:
            raise _silence(self._timeout_s) from None

    def _lost(self) -> LinkFailed:
        match self._protocol.end_error:
            case RemoteProtocolError() as error:
                return LinkFailed(Trouble.NOT_ASTERISK, str(error))
            case TlsFailed() as error:
                return LinkFailed(Trouble.NO_TLS, error.problem)
            case ConnectionDone():
                return LinkFailed(Trouble.LOST, "Asterisk closed the connection")
        reason = self._protocol.end_reason
        return LinkFailed(Trouble.LOST, f"the connection broke: {reason}")


def _silence(timeout_s: float) -> LinkFailed:
    return LinkFailed(Trouble.SILENT, f"no answer within {timeout_s:g} s")


async def _connect(where: Where, build: Callable[[], AmiProtocol]) -> AmiProtocol:
    """Try each address of the host; the failure of the last one counts."""
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        reason = error.strerror or str(error)
        raise LinkFailed(Trouble.NO_ADDRESS, reason) from error
    for number, (family, _type, _protocol, _name, address) in enumerate(found, 1):
        kind = TCP6ClientEndpoint if family is socket.AF_INET6 else TCP4ClientEndpoint
        endpoint = kind(_reactor(), str(address[0]), where.port, where.timeout_s)
        try:
            return await _connect_to(endpoint, where, build)
        except LinkFailed:
            if number == len(found):
                raise
    raise LinkFailed(Trouble.NO_ADDRESS, f"{where.host} has no address")


async def _connect_to(
    endpoint: IStreamClientEndpoint, where: Where, build: Callable[[], AmiProtocol]
) -> AmiProtocol:
    if where.tls is not None:
        endpoint = TlsClientEndpoint(endpoint, where.tls, _reactor())
    within = f"within {where.timeout_s:g} s"
    connecting = endpoint.connect(Factory.forProtocol(build))
    time_limit = _reactor().callLater(where.timeout_s, connecting.cancel)
    try:
        protocol = await connecting
    except TlsFailed as error:
        problem = error.problem
        if not time_limit.active():
            problem = attrs.evolve(problem, what=f"{problem.what} {within}")
        raise LinkFailed(Trouble.NO_TLS, problem) from error
    except ConnectionRefusedError:
        raise LinkFailed(Trouble.REFUSED, "the connection is refused") from None
    except (UserError, ConnectingCancelledError):
        raise LinkFailed(Trouble.UNREACHABLE, f"no answer {within}") from None
    except ConnectError as error:
        reason = str(error.args[0] or error).lower()
        raise LinkFailed(Trouble.UNREACHABLE, reason) from error
    finally:
        if time_limit.active():
            time_limit.cancel()
    assert isinstance(protocol, AmiProtocol)
    return protocol


# -- waiting


@cache
def _reactor() -> PollReactor:
    """Return a new reactor, as the process's own may have run before."""
    return PollReactor()


def _wait(awaitable: Awaitable[T]) -> T:
    """Run the reactor until there is a result; every awaitable has a time-out."""
    outcome: list[T | Failure] = []

    async def run() -> T:
        return await awaitable

    ended = Deferred.fromCoroutine(run()).addBoth(outcome.append)
    while not ended.called:
        _reactor().iterate(_reactor().timeout() or 0.0)
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result
