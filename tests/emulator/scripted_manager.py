# SPDX-License-Identifier: MIT
"""A manager that answers a blocking client by a script, over a pair of sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser, Header
from tests.harness.messages import message_of, written

#: What follows a response: None for the response alone, else the list of events.
Answer = Sequence[Sequence[Header]]
Script = Mapping[str, Callable[[AmiMessage], Answer]]


def success(*headers: Header) -> Sequence[Header]:
    """A response that is no error."""
    return (("Response", "Success"), *headers)


def error(text: str) -> Sequence[Header]:
    """A response that is one."""
    return (("Response", "Error"), ("Message", text))


def listing(*items: Sequence[Header]) -> Answer:
    """A response with its list of events."""
    end = (("Event", "Complete"), ("EventList", "Complete"))
    return (success(("EventList", "start")), *items, end)


class ScriptedManager:
    """Reads actions in a thread and answers each as its script says.

    Messages of an answer get the action's id, but for those that have one of their
    own: an empty one for an event nobody asked for.
    """

    def __init__(self, script: Script, banner: bytes = b"") -> None:
        self.asked: list[AmiMessage] = []
        self.client, self._socket = socket.socketpair()
        self._script = {
            "challenge": lambda _: (success(("Challenge", "123")),),
            "login": lambda _: (success(),),
            **{name.lower(): answer for name, answer in script.items()},
        }
        self._banner = banner or b"Asterisk Call Manager/11.0.0\r\n"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> ScriptedManager:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self._thread.join(10)
        self._socket.close()

    def hang_up(self) -> None:
        """Send nothing any more; what comes is still read."""
        self._socket.shutdown(socket.SHUT_WR)

    def _serve(self) -> None:
        parser = AmiParser(expect_banner=False)
        with suppress(BrokenPipeError):
            self._socket.sendall(self._banner)
        while data := self._receive():
            parser.receive_data(data)
            while (action := parser.next_event()) is not NEED_DATA:
                assert isinstance(action, AmiMessage)
                self.asked.append(action)
                self._answer(action)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionError:
            return b""

    def _answer(self, action: AmiMessage) -> None:
        name = action.get("Action").lower()
        answer = self._script.get(name, lambda _: (error("Invalid/unknown command"),))
        for message in answer(action):
            names = {header.lower() for header, _ in message}
            own = () if "actionid" in names else (("ActionID", action.action_id),)
            headers = [*message, *own]
            with suppress(BrokenPipeError):
                self._socket.sendall(written(message_of(headers)))
