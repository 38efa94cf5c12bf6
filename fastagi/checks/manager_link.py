# SPDX-License-Identifier: MIT
"""One blocking connection to Asterisk's manager interface, for a single look.

The service's own session connects again for ever and explains nothing; this one tries
once and says exactly what went wrong. Must not know what is asked, or why.
"""

from __future__ import annotations

import socket
import time
from enum import Enum, auto
from types import TracebackType
from typing import Final, Protocol

from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.ami.tls import ManagerTls, TlsFailed
from fastagi.checks.tls_socket import TlsSocket
from fastagi.errors import CallbackError
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser, Banner
from fastagi.wire.errors import RemoteProtocolError

_CHUNK_BYTES: Final = 65536


class Trouble(Enum):
    """Why there is no manager to talk to."""

    NO_ADDRESS = auto()
    REFUSED = auto()
    UNREACHABLE = auto()
    SILENT = auto()
    NOT_ASTERISK = auto()
    LOGIN_REFUSED = auto()
    LOST = auto()
    NO_TLS = auto()


class LinkFailed(CallbackError):
    """There is no connection, or there is none any more.

    Attributes:
        trouble: of which kind.
        remedy: what to do, where the kind alone does not tell.
    """

    def __init__(self, trouble: Trouble, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.trouble = trouble
        self.remedy = remedy


class Connection(Protocol):
    """What is needed of a socket, with or without TLS."""

    def settimeout(self, timeout_s: float, /) -> None:
        """Limit how long each of the other calls may wait."""

    def sendall(self, data: bytes, /) -> None:
        """Send bytes."""

    def recv(self, size: int, /) -> bytes:
        """Wait for bytes; none at the end of the connection."""

    def close(self) -> None:
        """End the connection."""


class Refused(CallbackError):
    """Asterisk answered an action with an error; the text is Asterisk's own."""


class ManagerLink:
    """A connection that is logged in when it is made.

    Args:
        connection: see :func:`connect`; it is closed when the login fails.
        username: a user of manager.conf.
        secret: of that user.
        plain: whether to send the secret itself.
        timeout_s: how long to wait for each answer.

    Raises:
        LinkFailed: the text says why.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        username: str,
        secret: str,
        plain: bool,
        timeout_s: float,
    ) -> None:
        #: Version of the interface, such as 11.0.0 on Asterisk 22.
        self.ami_version = ""
        #: Names of all events that came so far without being asked for.
        self.heard: set[str] = set()
        self._timeout_s = timeout_s
        self._parser = AmiParser()
        self._sent = 0
        self._socket = connection
        try:
            banner = self._receive()
            self.ami_version = banner.ami_version if isinstance(banner, Banner) else ""
            self._log_in(username, secret, plain)
        except BaseException:
            self._socket.close()
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
        self._socket.close()

    def ask(self, action: Action) -> AmiMessage:
        """Send an action and return the response to it.

        Raises:
            Refused: Asterisk says no.
            LinkFailed: there is no answer.
        """
        return self._ask(action, [])

    def ask_list(self, action: Action) -> list[AmiMessage]:
        """Send an action and return the list of events it is answered by.

        Raises:
            Refused: Asterisk says no.
            LinkFailed: there is no answer.
        """
        items: list[AmiMessage] = []
        response = self._ask(action, items)
        action_id = response.action_id
        while response.get("EventList").lower() == "start":
            message = self._receive()
            if not isinstance(message, AmiMessage) or message.action_id != action_id:
                self._hear(message)
            elif message.get("EventList").lower() == "complete":
                break
            else:
                items.append(message)
        return items

    def _log_in(self, username: str, secret: str, plain: bool) -> None:
        try:
            if plain:
                self.ask(actions.login_plain(username, secret))
            else:
                challenge = self.ask(actions.login_challenge()).get("Challenge")
                self.ask(actions.login_md5(username, secret, challenge))
        except Refused as refused:
            raise LinkFailed(Trouble.LOGIN_REFUSED, str(refused)) from refused

    def _ask(self, action: Action, items: list[AmiMessage]) -> AmiMessage:
        self._sent += 1
        action_id = f"callback-check-{self._sent}"
        try:
            self._socket.sendall(action.encode(action_id))
        except OSError as error:
            raise LinkFailed(Trouble.LOST, f"the connection broke: {error}") from error
        while True:
            message = self._receive()
            if (
                isinstance(message, AmiMessage)
                and message.kind == "response"
                and message.action_id == action_id
            ):
                break
            self._hear(message)
        if message.get("Response").lower() == "error":
            raise Refused(message.get("Message") or "no reason given")
        return message

    def _hear(self, message: AmiMessage | Banner) -> None:
        if isinstance(message, AmiMessage) and message.kind == "event":
            self.heard.add(message.event)

    def _receive(self) -> AmiMessage | Banner:
        deadline = time.monotonic() + self._timeout_s
        try:
            while (message := self._parser.next_event()) is NEED_DATA:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                self._socket.settimeout(left_s)
                data = self._socket.recv(_CHUNK_BYTES)
                if not data:
                    raise LinkFailed(Trouble.LOST, "Asterisk closed the connection")
                self._parser.receive_data(data)
        except RemoteProtocolError as error:
            raise LinkFailed(Trouble.NOT_ASTERISK, str(error)) from error
        except TimeoutError:
            raise LinkFailed(
                Trouble.SILENT, f"no answer within {self._timeout_s:g} s"
            ) from None
        except TlsFailed as error:
            raise LinkFailed(Trouble.NO_TLS, error.problem, error.remedy) from error
        except OSError as error:
            raise LinkFailed(Trouble.LOST, f"the connection broke: {error}") from error
        assert isinstance(message, AmiMessage | Banner)
        return message


def connect(
    host: str, port: int, timeout_s: float, tls: ManagerTls | None = None
) -> Connection:
    """Connect to the manager's port, and agree on TLS there if it is given.

    Raises:
        LinkFailed: the text says why.
    """
    try:
        plain = socket.create_connection((host, port), timeout_s)
    except socket.gaierror as error:
        trouble, reason = Trouble.NO_ADDRESS, error.strerror or str(error)
    except ConnectionRefusedError:
        trouble, reason = Trouble.REFUSED, "the connection is refused"
    except TimeoutError:
        trouble, reason = Trouble.UNREACHABLE, f"no answer within {timeout_s:g} s"
    except OSError as error:
        trouble, reason = Trouble.UNREACHABLE, (error.strerror or str(error)).lower()
    else:
        return plain if tls is None else _secured(plain, tls, timeout_s)
    raise LinkFailed(trouble, reason)


def _secured(plain: socket.socket, tls: ManagerTls, timeout_s: float) -> TlsSocket:
    try:
        return TlsSocket(plain, tls, timeout_s)
    except TlsFailed as error:
        raise LinkFailed(Trouble.NO_TLS, error.problem, error.remedy) from error
    except TimeoutError:
        raise LinkFailed(
            Trouble.NO_TLS,
            f"no answer to the TLS handshake within {timeout_s:g} s",
            "see whether this is the port of tlsbindaddr in manager.conf",
        ) from None
    except OSError as error:
        raise LinkFailed(Trouble.LOST, f"the connection broke: {error}") from error
