# SPDX-License-Identifier: MIT
"""Sends commands to the running service, over its control socket.

It uses only the standard library, so that a command starts quickly.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Self

from fastagi.doors import codec
from fastagi.errors import CallbackError
from fastagi.service.commands import (
    Actor,
    BulkTasks,
    CheckSettings,
    Command,
    RunCheck,
)

#: Time limit for each part of the answer, in seconds.
TIMEOUT_S: Final = 10.0
#: The same for commands that take long.
_SLOW: Final[Mapping[type, float]] = {
    BulkTasks: 300.0,
    CheckSettings: 30.0,
    RunCheck: 90.0,
}
#: How a service of 0.1.0 answers, whose control socket does not speak HTTP.
_OTHER_PROTOCOL: Final = '{"ok":'
#: Process id, user id and group id of the other side (unix(7), SO_PEERCRED).
_CREDENTIALS: Final = struct.Struct("3i")
_NOBODY: Final = Actor()


class NoService(CallbackError):
    """No service listens on the control socket."""


class SocketRefused(CallbackError):
    """This user may not open the control socket."""


class NoAnswer(CallbackError):
    """The service does not answer, or closes the connection before it has."""


class OtherVersion(CallbackError):
    """The service is of a version that has another protocol."""


class OtherProgram(CallbackError):
    """Another program listens on the control socket."""


class CommandFailed(CallbackError):
    """The service did not carry out the command; the text says why.

    Attributes:
        code: the kind of the error, such as ``no-such-task``.
    """

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code


class Service:
    """An open connection to the service, as a context manager."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        """Connect.

        Args:
            path: the control socket.
            timeout_s: time limit for each part of an answer, in seconds.

        Raises:
            NoService: no service listens there.
            SocketRefused: this user may not open the socket.
            NoAnswer: the socket can not be used.
        """
        self._path = path
        self._http = http.client.HTTPConnection("callback-queue", timeout=timeout_s)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout_s)
        self._link = self._http.sock = link
        try:
            link.connect(path)
        except OSError as error:
            self._http.close()
            raise _why_not_connected(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def credentials(self) -> tuple[int, int, int]:
        """Process id, user id and group id of the service, as the kernel knows them."""
        found = self._link.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        pid, uid, gid = _CREDENTIALS.unpack(found)
        return pid, uid, gid

    def do(self, command: Command, actor: Actor = _NOBODY) -> Any:
        """Let the service carry out a command; return its answer.

        Args:
            command: the command.
            actor: who gives it; without a name: the user of this process.

        Raises:
            CommandFailed: the service did not carry it out; the text says why.
            NoAnswer: it did not answer, or not completely.
            OtherVersion: it is of another version.
            OtherProgram: it is another program.
        """
        try:
            return self._do(command.NAME, codec.write_body(command, actor))
        except (ConnectionError, http.client.IncompleteRead):
            raise NoAnswer(
                "the service closed the connection without an answer; see its log"
            ) from None
        except OSError as error:
            raise NoAnswer(f"the service does not answer: {error}") from None
        except http.client.BadStatusLine as error:
            if str(error).startswith(_OTHER_PROTOCOL):
                raise OtherVersion(
                    "the running service is of an older version than this command -"
                    " restart it with 'systemctl restart callback-queue'"
                ) from None
            raise self._other_program() from None
        except (http.client.HTTPException, ValueError):
            raise self._other_program() from None

    def _do(self, name: str, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        # If this fails, the service has answered already: it refuses the connection.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._http.request("POST", f"/v1/commands/{name}", body, headers)
        response = self._http.getresponse()
        answer = json.loads(response.read())
        if response.status == HTTPStatus.OK:
            return answer
        if not isinstance(answer, dict) or "detail" not in answer:
            raise ValueError("this is no answer of the service")
        raise CommandFailed(str(answer["detail"]), str(answer.get("code")))

    def _other_program(self) -> OtherProgram:
        return OtherProgram(
            f"another program answers on {self._path}, not callback-queue - correct"
            " control.socket, or stop that program"
        )


def do(path: str, command: Command, actor: Actor = _NOBODY) -> Any:
    """Let the service carry out one command; return its answer.

    Raises:
        CallbackError: see `Service` and `Service.do`.
    """
    with Service(path, _SLOW.get(type(command), TIMEOUT_S)) as service:
        return service.do(command, actor)


def _why_not_connected(path: str, error: OSError) -> CallbackError:
    match error:
        case FileNotFoundError() | NotADirectoryError() | ConnectionRefusedError():
            return NoService(f"no service listens on {path}")
        case PermissionError():
            return SocketRefused(
                f"this user may not open {path} - run the command with sudo"
            )
        case _:
            # The path is too long, or the service hangs and its backlog is full.
            return NoAnswer(f"{path} can not be used: {error}")
