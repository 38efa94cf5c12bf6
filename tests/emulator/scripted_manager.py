# SPDX-License-Identifier: MIT
"""A manager on its own port that answers one client by a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser, Header
from tests.harness.messages import message_of, written

#: The events of the list after a response; None: a response without a list.
Answer = Sequence[Sequence[Header]]
Script = Mapping[str, Callable[[AmiMessage], Answer]]


def success(*headers: Header) -> Sequence[Header]:
    """Return a success response."""
    return (("Response", "Success"), *headers)


def error(text: str) -> Sequence[Header]:
    """Return an error response."""
    return (("Response", "Error"), ("Message", text))


def listing(*items: Sequence[Header]) -> Answer:
    """Return a response with its list of events."""
    end = (("Event", "Complete"), ("EventList", "Complete"))
    return (success(("EventList", "start")), *items, end)


class ScriptedManager:
    """Reads actions in a thread and answers each as its script says.

    Messages of an answer get the action's id, except those that have their
    own: an empty one for an event outside any list.
    """

    def __init__(self, script: Script, banner: bytes = b"") -> None:
        self.asked: list[AmiMessage] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._closes = False
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
        # Stop waiting for a client that does not connect.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()

    def hang_up(self) -> None:
        """Close the connection of the next client without a message."""
        self._closes = True

    def _serve(self) -> None:
        with suppress(OSError):
            client, _address = self._listening.accept()
            with client:
                # As Asterisk does: otherwise an answer of several messages waits for
                # the acknowledgement of its first one, 40 ms.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self._closes:
                    self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        parser = AmiParser(expect_banner=False)
        client.sendall(self._banner)
        while data := client.recv(65536):
            parser.receive_data(data)
            while (action := parser.next_event()) is not NEED_DATA:
                assert isinstance(action, AmiMessage)
                self.asked.append(action)
                self._answer(client, action)

    def _answer(self, client: socket.socket, action: AmiMessage) -> None:
        name = action.get("Action").lower()
        answer = self._script.get(name, lambda _: (error("Invalid/unknown command"),))
        for message in answer(action):
            names = {header.lower() for header, _ in message}
            own = () if "actionid" in names else (("ActionID", action.action_id),)
            headers = [*message, *own]
            client.sendall(written(message_of(headers)))
