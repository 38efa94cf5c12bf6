# SPDX-License-Identifier: MIT
"""A Unix socket on which the command line asks the running service.

One JSON object a line in, one a line out: ``{"command": "status"}`` gives
``{"ok": true, "result": …}`` or ``{"ok": false, "error": "…"}``. Only the user who
runs the service can open the socket.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver

from fastagi.errors import CallbackError
from fastagi.service.background import Background

#: Longer requests are refused: ours have a few dozen bytes.
_MAX_REQUEST: Final = 16_384

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


class _ControlProtocol(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = _MAX_REQUEST
    _log = Logger()

    def __init__(self, commands: Mapping[str, Command], background: Background) -> None:
        self._commands = commands
        self._background = background

    def lineReceived(self, line: bytes) -> None:
        """One request: answer it when its work is done."""
        self._background.start("a command of the command line", self._serve(line))

    async def _serve(self, line: bytes) -> None:
        self.sendLine(json.dumps(await self._answer(line)).encode())

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": "not a command of this service"}
        try:
            return {"ok": True, "result": await command(request)}
        except CallbackError as error:
            return {"ok": False, "error": str(error)}
        except Exception:
            self._log.failure("command {command} failed", command=request["command"])
            return {"ok": False, "error": "the service failed; see its log"}


class ControlFactory(Factory):
    """Builds one protocol for each connection of the command line."""

    noisy = False

    def __init__(self, commands: Mapping[str, Command], background: Background) -> None:
        self._commands = commands
        self._background = background

    def buildProtocol(self, addr: IAddress | None) -> _ControlProtocol:
        """Return a protocol for a new connection."""
        protocol = _ControlProtocol(self._commands, self._background)
        protocol.factory = self
        return protocol
