# SPDX-License-Identifier: MIT
"""What a real Asterisk does with the commands of FastAGI that the scripts send."""

from __future__ import annotations

import socket
import threading

from fastagi.wire.agi import encode_command
from tests.lab.lab import Lab
from tests.lab.processes import wait_until

_DIALPLAN = """
[told]
exten => s,1,Answer()
 same => n,Set(A=before)
 same => n,Set(B=before)
 same => n,Set(C=before)
 same => n,AGI(agi://127.0.0.1:{port}/told)
 same => n,Set(GLOBAL(TOLD)=<${{A}}><${{B}}><${{C}}><${{AGISTATUS}}>)
 same => n,Hangup()
"""
_DEADLINE_S = 10.0


def _told(lab: Lab, sent: bytes) -> tuple[bytes, str]:
    """Let a call run AGI() with these bytes; return the reply and the variables."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(_DEADLINE_S)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(_DEADLINE_S)
                block = b""
                while not block.endswith(b"\n\n"):
                    block += connection.recv(4096)
                connection.sendall(sent)
                heard.append(connection.recv(4096))

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        lab.asterisk.set_dialplan(
            extra=_DIALPLAN.format(port=port), global_variables={"TOLD": ""}
        )
        lab.witness.originate("Local/s@told/n")
        thread.join(_DEADLINE_S)
        assert not thread.is_alive()
    found: list[str] = []

    def is_told() -> bool:
        shown = lab.asterisk.cli("dialplan show globals")
        found[:] = [
            line.strip().removeprefix("TOLD=")
            for line in shown.splitlines()
            if line.strip().startswith("TOLD=<")
        ]
        return bool(found)

    wait_until(is_told, _DEADLINE_S, "the call has gone on")
    return heard[0], found[0]


def test_one_command_sets_all_variables(lab: Lab) -> None:
    line = encode_command(
        "EXEC",
        "MSet",
        "A=callback-queue/accepted&digits/1,B=,C=A-z_0.9/:@*#+&",
    )
    reply, told = _told(lab, line)
    assert reply == b"200 result=0\n"
    assert told == ("<callback-queue/accepted&digits/1><><A-z_0.9/:@*#+&><SUCCESS>")


def test_a_second_line_that_comes_with_the_first_is_not_answered(lab: Lab) -> None:
    """So a round trip can only be saved by one command."""
    both = encode_command("SET", "VARIABLE", "A", "1") + encode_command(
        "SET", "VARIABLE", "B", "2"
    )
    reply, _ = _told(lab, both)
    assert reply == b"200 result=1\n"
