# SPDX-License-Identifier: MIT
"""The connection to the service: HTTP on its Unix socket.

Every command has a connection of its own: one that was kept open may have been closed
by a restart of the service, and a command must not be sent twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import httpx
from attrs import frozen

from fastagi.doors import codec
from fastagi.errors import CallbackError, Problem
from fastagi.service.commands import Actor, Command

Json: TypeAlias = dict[str, Any]

#: Time limits, in seconds: to connect, to carry out a command, and between two pieces
#: of the live stream, which has a heartbeat every ten seconds.
_CONNECT_S: Final = 2.0
_COMMAND_S: Final = 15.0
_HEARTBEAT_S: Final = 25.0
#: Maximum number of commands at once. The service admits 50 connections, and the
#: command line needs some.
_MAX_COMMANDS: Final = 20
#: Maximum length of one message of the live stream, in bytes.
_LONGEST_MESSAGE: Final = 64 * 1024 * 1024
_REMEDY: Final = "see 'systemctl status callback-queue'"


class ServiceProblem(CallbackError):
    """The service answered that it can not carry out the command.

    Attributes:
        status: the HTTP status of its answer.
        code: the kind of the problem, such as ``no-such-task``.
        detail: the problem in words, as the command line prints them.
        reason: why, as code, parameters and words; None: there is no reason.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        reason: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.reason = reason


class ServiceDown(CallbackError):
    """The service can not be reached, or does not answer.

    Attributes:
        may_be_done: whether the command may have been carried out all the same.
    """

    def __init__(
        self, what: str, remedy: str = _REMEDY, *, may_be_done: bool = False
    ) -> None:
        super().__init__(Problem("", what, remedy))
        self.may_be_done = may_be_done


@frozen
class LiveMessage:
    """One message of the live stream.

    Attributes:
        kind: ``snapshot``: the whole state; ``change``: what is different since the
            message before; ``down``: the service can not be reached.
        data: the JSON object of the message.
    """

    kind: Literal["snapshot", "change", "down"]
    data: Mapping[str, Any]


class ServiceClient:
    """Sends commands to the service, and reads its live stream."""

    def __init__(
        self,
        socket: Path,
        *,
        command_s: float = _COMMAND_S,
        heartbeat_s: float = _HEARTBEAT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare; connections are opened when they are needed.

        Args:
            socket: the path of the service's control socket.
            command_s: time limit for a command, in seconds.
            heartbeat_s: time limit between two pieces of the live stream, in seconds.
            transport: in place of the socket, for tests.
        """
        self._socket = socket
        self._command_s = command_s
        limits = httpx.Limits(
            max_connections=_MAX_COMMANDS, max_keepalive_connections=0
        )

        def client(read_s: float, limits: httpx.Limits) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url="http://callback-queue",
                transport=transport
                # There is no TLS on a socket: no certificates have to be loaded.
                or httpx.AsyncHTTPTransport(
                    uds=str(socket), limits=limits, verify=False
                ),
                timeout=httpx.Timeout(read_s, connect=_CONNECT_S, pool=_CONNECT_S),
                # Proxies of the environment are not for a socket of this machine.
                trust_env=False,
            )

        self._commands = client(command_s, limits)
        self._live = client(heartbeat_s, httpx.Limits(max_keepalive_connections=0))

    async def close(self) -> None:
        """Close all connections."""
        await self._commands.aclose()
        await self._live.aclose()

    async def do(
        self, command: Command, actor: str, *, within_s: float | None = None
    ) -> Any:
        """Carry out a command and return its answer, a JSON value.

        Args:
            command: the command.
            actor: the name of the person or token, for the story of the task.
            within_s: time limit in seconds; None: the usual one.

        Raises:
            ServiceProblem: the command can not be carried out.
            ServiceDown: the service does not answer.
        """
        limit_s = self._command_s if within_s is None else within_s
        with self._troubles(limit_s):
            async with asyncio.timeout(limit_s + 2 * _CONNECT_S):
                answer = await self._commands.post(
                    f"/v1/commands/{command.NAME}",
                    json=codec.body_json(command, Actor(actor)),
                    timeout=httpx.Timeout(limit_s, connect=_CONNECT_S, pool=_CONNECT_S),
                )
        return _value_of(answer)

    async def stream(self) -> AsyncIterator[LiveMessage]:
        """Yield the live messages until the service closes the stream.

        Raises:
            ServiceProblem: the service refuses the stream.
            ServiceDown: the service can not be reached, does not send a heartbeat, or
                has closed the stream.
        """
        with self._troubles(None):
            async with self._opened_stream() as answer:
                async for message in _messages(answer.aiter_bytes()):
                    yield message
        raise ServiceDown("the service has closed the live stream")

    @asynccontextmanager
    async def _opened_stream(self) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"}
        async with self._live.stream("GET", "/v1/live", headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                _value_of(answer)
            yield answer

    def _troubles(self, limit_s: float | None) -> _Troubles:
        return _Troubles(self._socket, limit_s)


class _Troubles:
    """Converts errors of the connection to `ServiceDown`."""

    def __init__(self, socket: Path, limit_s: float | None) -> None:
        self._socket = socket
        self._limit_s = limit_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        match error:
            case httpx.ConnectError():
                raise self._not_connected(error) from error
            case httpx.PoolTimeout():
                raise ServiceDown(
                    f"{_MAX_COMMANDS} commands wait for the service already",
                    "try again in some seconds",
                ) from error
            case httpx.ConnectTimeout():
                raise ServiceDown("the service does not take connections") from error
            case httpx.TimeoutException() | TimeoutError():
                what = "the service does not answer"
                if self._limit_s is not None:
                    what += f" within {self._limit_s:g} s"
                raise ServiceDown(what, may_be_done=True) from error
            case httpx.TransportError() | OSError():
                raise ServiceDown(
                    "the connection to the service was lost", may_be_done=True
                ) from error

    def _not_connected(self, error: httpx.ConnectError) -> ServiceDown:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, PermissionError):
                return ServiceDown(
                    f"the socket {self._socket} may not be opened",
                    "run this process as the same user as the service",
                )
            cause = cause.__cause__ or cause.__context__
        return ServiceDown(
            "the service does not run",
            f"start it with 'systemctl start callback-queue' (nothing answers at"
            f" {self._socket})",
        )


def _value_of(answer: httpx.Response) -> Any:
    """Return the value of an answer.

    Raises:
        ServiceProblem: it is an error.
    """
    try:
        value = answer.json()
    except ValueError:
        value = None
    if answer.is_success:
        return value
    said = value if isinstance(value, dict) else {}
    raise ServiceProblem(
        answer.status_code,
        str(said.get("code") or "failed"),
        str(said.get("detail") or said.get("title") or "the service failed"),
        reason if isinstance(reason := said.get("reason"), dict) else None,
    )


async def _messages(pieces: AsyncIterator[bytes]) -> AsyncIterator[LiveMessage]:
    """Yield the messages of a text/event-stream.

    Lines are split here, because httpx also splits at characters such as U+2028.
    """
    unread, kind, data = bytearray(), "", b""
    async for piece in pieces:
        unread += piece
        if len(unread) > _LONGEST_MESSAGE:
            raise ServiceDown("the service sends a message that is far too long")
        if b"\n" not in piece:
            continue
        *lines, rest = bytes(unread).split(b"\n")
        unread = bytearray(rest)
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if kind in {"snapshot", "change"} and data:
                    yield LiveMessage(kind, _object(data))  # type: ignore[arg-type]
                kind, data = "", b""
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                kind = value.decode()
            elif name == b"data":
                data = data + b"\n" + value if data else value


def _object(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServiceDown(
            "the service sends something that is no JSON object",
            "install the same version of the service and of the web process, and"
            " restart both",
        )
    return value
