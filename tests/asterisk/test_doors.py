# SPDX-License-Identifier: MIT
"""Strangers on the FastAGI port do not disturb the running service."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.asterisk.callback import CLIENT, QUICK, ask, settled
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import Service, merged

pytestmark = pytest.mark.crowd

#: The limits refuse no stranger here: each can connect and misbehave.
OPEN = merged(
    QUICK,
    {
        "fastagi": {
            "max_connections": 10_000,
            "max_connections_per_peer": 10_000,
            "max_rate_per_peer": 100_000,
        }
    },
)
COUNT = 1000
#: Resident memory may differ by this much between 100 and 1,100 strangers.
MAX_GROWTH_KIB = 4096

REQUEST = (
    b"agi_network: yes\nagi_network_script: request\n"
    b"agi_request: agi://127.0.0.1/request\nagi_channel: PJSIP/x-1\n"
    b"agi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1.1\nagi_version: 22.0.0\n"
    b"agi_callerid: unknown\nagi_calleridname: unknown\nagi_callingpres: 0\n"
    b"agi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\nagi_dnid: unknown\n"
    b"agi_rdnis: unknown\nagi_context: callback-request\nagi_extension: 1\n"
    b"agi_priority: 7\nagi_enhanced: 0.0\nagi_accountcode:\nagi_threadid: 1\n"
    b"agi_arg_1: support\nagi_arg_2: 1\n\n"
)


def talk(port: int, data: bytes, *, wait: bool) -> None:
    """Connect, send, perhaps wait for the first command, and cut the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        # A reset in place of an orderly close.
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        try:
            stranger.sendall(data)
            if wait:
                assert stranger.recv(4096).startswith(b"EXEC MSet ")
        except ConnectionError:
            assert not wait


def resident_kib(service: Service) -> int:
    """Return the memory of the service's process."""
    for line in Path(f"/proc/{service.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def growth_kib(service: Service, visit: Callable[[int], None]) -> int:
    """Return by how much the service grows from 100 visits to 1,100."""
    for number in range(100):
        visit(number)
    before = resident_kib(service)
    for number in range(100, 100 + COUNT):
        visit(number)
    return resident_kib(service) - before


def no_connection_is_left(service: Service) -> None:
    """Wait until the service has closed all connections of the strangers."""
    directory = Path(f"/proc/{service.pid}/fd")
    wait_until(lambda: len(list(directory.iterdir())) < 30, 10, "the end of all links")


def still_works(lab: Lab, service: Service) -> None:
    """Let one caller be called back; the log must have no error."""
    lab.agent("alice")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    ask(lab, service)
    settled(service, "completed")
    bad = [
        line
        for line in service.lines
        if line.get("level") in ("error", "critical", "raw") or "traceback" in line
    ]
    assert bad == []


def test_a_thousand_garbage_connections_leave_the_service_working(lab: Lab) -> None:
    service = lab.service(OPEN)
    dice = random.Random(22)

    def visit(_number: int) -> None:
        talk(lab.asterisk.ports.agi, dice.randbytes(dice.randrange(3000)), wait=False)

    assert growth_kib(service, visit) < MAX_GROWTH_KIB
    no_connection_is_left(service)
    still_works(lab, service)


def test_a_thousand_sessions_cut_in_the_middle_leave_the_service_working(
    lab: Lab,
) -> None:
    service = lab.service(OPEN)

    def visit(number: int) -> None:
        # The connection is cut at different places: in the header block, or after a
        # command.
        cut = number % (len(REQUEST) + 1)
        talk(lab.asterisk.ports.agi, REQUEST[:cut], wait=cut == len(REQUEST))

    assert growth_kib(service, visit) < MAX_GROWTH_KIB
    no_connection_is_left(service)
    still_works(lab, service)
