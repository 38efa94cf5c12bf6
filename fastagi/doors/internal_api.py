# SPDX-License-Identifier: MIT
"""The internal API: the requests that the control socket answers.

``POST /v1/commands/<name>`` carries out a command of
:mod:`fastagi.service.commands`; ``GET /v1/live`` tells the live state
(:mod:`fastagi.doors.live_stream`). docs/internal-api.md describes the API.
"""

from __future__ import annotations

from fastagi.doors import codec
from fastagi.doors.http_server import HttpRequest
from fastagi.doors.live_stream import LivePage
from fastagi.errors import CallbackError
from fastagi.service.commands import Dispatch


class NoSuchPage(CallbackError):
    """The internal API has no such path."""

    code = "no-such-page"


class WrongMethod(CallbackError):
    """The internal API has no such method for this path."""

    code = "wrong-method"


class InternalApi:
    """Answers the requests."""

    def __init__(self, dispatch: Dispatch, live: LivePage) -> None:
        self._dispatch = dispatch
        self._live = live

    async def answer(self, request: HttpRequest) -> None:
        """Answer one request.

        Raises:
            CallbackError: it can not be answered; the text says why.
        """
        match request.words:
            case ("v1", "commands", name):
                _check_method(request, b"POST")
                await self._carry_out(name, request)
            case ("v1", "live"):
                _check_method(request, b"GET")
                await self._live.answer(request)
            case _:
                raise NoSuchPage(
                    "there is no such page (there are: /v1/commands/NAME, /v1/live)"
                )

    async def _carry_out(self, name: str, request: HttpRequest) -> None:
        asked = codec.read_request(name, request.body)
        # The client may name another user on whose behalf it acts, as with sudo.
        actor = asked.actor if asked.actor.name else request.actor
        answer = await self._dispatch.do(asked.command, actor)
        await request.say(codec.answer_pieces(answer))


def _check_method(request: HttpRequest, method: bytes) -> None:
    if request.method != method:
        request.setHeader(b"allow", method)
        raise WrongMethod(f"this page takes only {method.decode()}")
