# SPDX-License-Identifier: MIT
"""The FastAGI port on a real socket: strangers, slow peers, and two peers.

Every address of 127.0.0.0/8 is this machine, so a test can have three peers.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.burst import press_at_once
from tests.process.program import Program, wait_until

ASTERISK, OTHER_ASTERISK, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
#: One peer may have six of eight connections.
CONNECTIONS, SHARE = 8, 6
RATE = 40
HEADERS = (
    b"agi_network: yes\nagi_network_script: request\n"
    b"agi_request: agi://127.0.0.1/request\nagi_channel: PJSIP/x-1\n"
    b"agi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1.1\nagi_version: 22.0.0\n"
    b"agi_callerid: unknown\nagi_calleridname: unknown\nagi_callingpres: 0\n"
    b"agi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\nagi_dnid: unknown\n"
    b"agi_rdnis: unknown\nagi_context: callback-request\nagi_extension: 1\n"
    b"agi_priority: 7\nagi_enhanced: 0.0\nagi_accountcode:\nagi_threadid: 1\n"
    b"agi_arg_1: support\nagi_arg_2: 1\n\n"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    doors = {
        "max_connections": CONNECTIONS,
        "max_connections_per_peer": SHARE,
        "max_rate_per_peer": RATE,
        "allowed_peers": [f"{ASTERISK}/32", f"{OTHER_ASTERISK}/32"],
    }
    with Program(tmp_path_factory.mktemp("doors"), fastagi=doors) as program:
        yield program


def call(program: Program, host: str) -> socket.socket:
    """Connect from this address."""
    connection = socket.create_connection(
        ("127.0.0.1", program.agi_port), 10, source_address=(host, 0)
    )
    connection.settimeout(10)
    return connection


def heard(connection: socket.socket) -> bytes:
    """Return all bytes until the connection is closed."""
    data = b""
    try:
        while part := connection.recv(4096):
            data += part
    except ConnectionResetError:
        # The service closed without reading all of our bytes.
        return data
    return data


def is_served(program: Program, host: str) -> bool:
    """Send a request, and return whether a command comes back."""
    with call(program, host) as connection:
        connection.sendall(HEADERS)
        return connection.recv(4096).startswith(b"EXEC MSet")


def second(program: Program) -> None:
    """Wait until earlier connections no longer count for the rate limit."""
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 1.05, "next second")


def test_stranger_is_closed_at_once_without_a_byte(program: Program) -> None:
    for says in (b"", HEADERS, b"GET / HTTP/1.1\r\n\r\n"):
        begun = time.monotonic()
        with call(program, STRANGER) as connection:
            try:
                connection.sendall(says)
            except ConnectionError:
                continue
            assert heard(connection) == b""
        # Long before the time limits of allowed peers.
        assert time.monotonic() - begun < 2
    log = program.said
    assert log.count("closed unanswered") == 1
    assert f"the latest from {STRANGER}: it is not in fastagi.allowed_peers" in log


def test_peer_that_takes_all_it_gets_leaves_room_for_another(program: Program) -> None:
    second(program)
    with ExitStack() as stack:
        slow = [stack.enter_context(call(program, ASTERISK)) for _ in range(20)]
        for connection in slow[:SHARE]:
            connection.sendall(HEADERS[:40])
        # They are refused at once, so that Asterisk can continue with the caller.
        for connection in slow[SHARE:]:
            assert heard(connection) == b"failure\n"
        assert is_served(program, OTHER_ASTERISK)
        # Those who never finish their request are disconnected in the end.
        for connection in slow[:SHARE]:
            assert heard(connection) == b"failure\n"
    assert "fastagi.max_connections_per_peer of them" in program.said
    wait_until(lambda: is_served(program, ASTERISK), "room for the first again")


def test_peer_that_connects_too_often_is_told_so(program: Program) -> None:
    second(program)
    said = []
    for _ in range(3 * RATE):
        with call(program, ASTERISK) as connection:
            connection.sendall(b"agi_network: yes\nagi_network_script: x\n\n")
            connection.shutdown(socket.SHUT_WR)
            said.append(heard(connection))
    assert is_served(program, OTHER_ASTERISK)
    assert set(said) <= {b"failure\n", b""}
    log = program.said
    assert "more in a second than fastagi.max_rate_per_peer" in log
    second(program)
    assert is_served(program, ASTERISK)


# -- a burst ---------------------------------------------------------------

BURST = 500


@pytest.mark.stopwatch
def test_five_hundred_who_press_within_half_a_second_are_all_accepted(
    tmp_path: Path,
) -> None:
    with Program(tmp_path, log={"level": "info"}) as program:
        numbers = [f"4930{n:07}" for n in range(BURST)]
        told = press_at_once(program.agi_port, numbers, within_s=0.25)
        code, listed = program.command("tasks", "list", "--limit", "1000")

    assert Counter(told.values()) == {"ACCEPTED": BURST}
    assert code == 0
    assert sum(number in listed for number in numbers) == BURST


def test_request_that_lay_unread_for_its_callers_second_stores_nothing(
    tmp_path: Path,
) -> None:
    with Program(tmp_path, log={"level": "info"}) as program:
        os.kill(program.pid, signal.SIGSTOP)
        try:
            told = press_at_once(program.agi_port, [f"4930{n:07}" for n in range(20)])
        finally:
            os.kill(program.pid, signal.SIGCONT)
        assert Counter(told.values()) == {"timed out": 20}
        wait_until(
            lambda: program.said.count("too busy to read it") == 20,
            "word of each of them",
        )
        code, listed = program.command("tasks", "list", "--all")
    assert code == 0
    assert "4930" not in listed


def test_more_than_may_ask_at_once_are_told_so_and_store_nothing(
    tmp_path: Path,
) -> None:
    few = {"max_connections": 20}
    with Program(tmp_path, fastagi=few, log={"level": "info"}) as program:
        # These connections use up the limit and send no request.
        with ExitStack() as stack:
            held = [stack.enter_context(call(program, ASTERISK)) for _ in range(20)]
            begun = time.monotonic()
            told = press_at_once(program.agi_port, [f"4930{n:07}" for n in range(60)])
            assert time.monotonic() - begun < 3
            assert len(held) == 20
        code, listed = program.command("tasks", "list")
    # A connection that was closed just now may have made room for one of them.
    assert set(told.values()) <= {"failure", "ACCEPTED"}
    accepted = {number for number, word in told.items() if word == "ACCEPTED"}
    assert len(accepted) <= 2
    assert code == 0
    assert {number for number in told if number in listed} == accepted


def test_used_up_file_descriptors_are_told_once_and_so_is_their_end(
    tmp_path: Path,
) -> None:
    limit = ("prlimit", "--nofile=64:64")
    with Program(tmp_path, runs_in=limit, log={"level": "info"}) as program:
        assert "and fastagi.max_connections: 1000 needs 1128" in program.said
        with ExitStack() as stack:
            held = [stack.enter_context(call(program, ASTERISK)) for _ in range(80)]
            # Refused with a message or, in the worst case, without.
            assert heard(held[-1]) in {b"failure\n", b""}
            told = "no file descriptors are left for more FastAGI connections"
            wait_until(lambda: told in program.said, "line in the log")
            assert "LimitNOFILE" in program.said
            # The rest of the service still works.
            assert program.command("tasks", "list")[0] == 0
        wait_until(
            lambda: (
                "there are file descriptors for FastAGI connections again"
                in program.said
            ),
            "line that it is over",
        )
        assert is_served(program, ASTERISK)
    assert program.said.count(told) == 1
    assert program.said.count("connections again") == 1
