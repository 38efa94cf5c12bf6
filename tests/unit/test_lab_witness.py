# SPDX-License-Identifier: MIT
"""The tests' witness does not wait for an Asterisk that is gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lab import witness as witness_module
from tests.lab.errors import LabError
from tests.lab.witness import Witness

_DEADLINE_S = 10.0


def _let_in_and_die(server: socket.socket) -> None:
    """Play an Asterisk that greets, accepts a login, and ends at the next action."""
    link, _ = server.accept()
    with link, link.makefile("rb") as sent:
        link.sendall(b"Asterisk Call Manager/9.0.0\r\n")
        _read_action(sent)
        link.sendall(b"Response: Success\r\nMessage: Authentication accepted\r\n\r\n")
        _read_action(sent)


def _read_action(sent: Iterator[bytes]) -> None:
    for line in sent:
        if line == b"\r\n":
            return


@pytest.fixture
def witness() -> Iterator[Witness]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asterisk = threading.Thread(target=_let_in_and_die, args=[server], daemon=True)
        asterisk.start()
        with Witness(server.getsockname()[1]) as witness:
            yield witness
        asterisk.join(_DEADLINE_S)


def test_an_action_ends_when_asterisk_dies_before_it_is_waited_for(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyst2 sends first, and then says that it waits."""
    manager = witness._manager
    assert manager is not None
    outcomes: list[object] = []

    def ask() -> None:
        try:
            outcomes.append(witness.action("Ping"))
        except LabError as error:
            outcomes.append(error)

    monkeypatch.setattr(
        manager._sock, "flush", lambda: manager.message_thread.join(_DEADLINE_S)
    )
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * _DEADLINE_S)

    assert [type(outcome) for outcome in outcomes] == [LabError]
    assert "Connection Terminated" in str(outcomes[0])


def test_action_without_an_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an Asterisk that hangs, but whose kernel keeps the connection."""
    monkeypatch.setattr(witness_module, "ANSWER_S", 0.1)
    ended = threading.Event()

    def hang(server: socket.socket) -> None:
        link, _ = server.accept()
        with link, link.makefile("rb") as sent:
            link.sendall(b"Asterisk Call Manager/9.0.0\r\n")
            _read_action(sent)
            link.sendall(b"Response: Success\r\nMessage: Hello\r\n\r\n")
            ended.wait(_DEADLINE_S)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asterisk = threading.Thread(target=hang, args=[server], daemon=True)
        asterisk.start()
        with Witness(server.getsockname()[1]) as witness:
            with pytest.raises(LabError, match="Ping: no answer within"):
                witness.action("Ping")
            assert not witness.connected
        ended.set()
        asterisk.join(_DEADLINE_S)
