# SPDX-License-Identifier: MIT
"""The parts of ``make bench-door`` measure what they say, and all doors answer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.door import DOORS, Syncs, Taken, lines_of, press

_REPOSITORY = Path(__file__).resolve().parents[2]
_with_compiler = pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("cc")),
    reason="the program that plays the callers is in C, and there is no compiler",
)


@contextmanager
def server(answers: dict[int, list[bytes]]) -> Iterator[tuple[int, list[list[bytes]]]]:
    """Serve connections one by one, the n-th with these bytes in its turns.

    Yields:
        The port, and what came on each connection: the header block and each reply.
    """
    heard: list[list[bytes]] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:

        def serve() -> None:
            for number in sorted(answers):
                connection, _ = listening.accept()
                with connection:
                    came = [connection.recv(4096)]
                    for data in answers[number]:
                        connection.sendall(data)
                        came.append(connection.recv(4096))
                    heard.append(came)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(10)
        assert not thread.is_alive()


@_with_compiler
def test_callers_are_counted_by_what_they_are_told() -> None:
    set_status = b"SET VARIABLE CALLBACK_STATUS "
    given = {
        0: [b"SET VARIABLE CALLBACK_PROMPT a/b\n", set_status + b"ACCEPTED\n"],
        1: [b"failure\n"],
        2: [set_status + b'"REFUSED"\n'],
        3: [],
        4: [b'EXEC MSet "CALLBACK_PROMPT=a,CALLBACK_STATUS=ACCEPTED"\n'],
    }
    with server(given) as (port, heard):
        taken = press(port, 1, len(given), 7)

    assert taken.told == Counter(ACCEPTED=2, FAILURE=1, REFUSED=1, CLOSED=1)
    assert taken.in_vain == 3
    assert heard[0][1:] == [b"200 result=1\n"] * 2
    assert heard[4][1:] == [b"200 result=0\n"]
    blocks = [came[0] for came in heard]
    assert all(block.endswith(b"\n\n") for block in blocks)
    for number, block in enumerate(blocks, 7):
        assert b"agi_callerid: 4930%08d\n" % number in block


@_with_compiler
def test_a_second_line_waits_for_what_comes_behind_it() -> None:
    """As in Asterisk, which reads both lines and looks at one."""
    both = b"SET VARIABLE A 1\nSET VARIABLE CALLBACK_STATUS ACCEPTED\n"
    with server({0: [both, b"NOOP\n"]}) as (port, heard):
        taken = press(port, 1, 1, 0)

    assert taken.told == Counter(ACCEPTED=1)
    # The answer to the second line came only after the third.
    assert heard[0][1] == b"200 result=1\n"


@_with_compiler
def test_a_wait_lasts_from_the_connect_to_the_status() -> None:
    gate = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                gate.wait(0.2)
                connection.sendall(b"SET VARIABLE CALLBACK_STATUS ACCEPTED\n")
                connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        taken = press(listening.getsockname()[1], 1, 1, 0)
        thread.join(10)

    assert 200 <= taken.last_ms < 5000
    assert taken.p50_ms == taken.p99_ms == taken.last_ms


@_with_compiler
def test_each_write_to_the_disk_is_slowed_down_and_counted(tmp_path: Path) -> None:
    syncs = Syncs(tmp_path, 30)
    program = (
        "import os, sqlite3, time\n"
        f"conn = sqlite3.connect({str(tmp_path / 'x.db')!r}, isolation_level=None)\n"
        "conn.execute('PRAGMA journal_mode=WAL')\n"
        "conn.execute('PRAGMA synchronous=FULL')\n"
        "conn.execute('CREATE TABLE x (y)')\n"
        f"file = os.open({str(tmp_path / 'y')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "print(time.monotonic())\n"
        "for _ in range(5): conn.execute('INSERT INTO x VALUES (1)')\n"
        "os.fsync(file)\n"
        "os.fdatasync(file)\n"
        "print(time.monotonic())\n"
    )
    before = syncs.count
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **syncs.environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    began, ended = map(float, done.stdout.split())
    assert before == 0
    assert syncs.count >= 7
    assert ended - began >= 7 * 0.03


def test_medians_of_rounds_are_compared_with_the_fastest_other_door() -> None:
    def taken(rate: float, vain: int = 0) -> Taken:
        told = Counter(ACCEPTED=100 - vain, FAILURE=vain)
        return Taken(100 / rate, [*range(1, 101)], told, syncs=50)

    own, first, second = DOORS
    lines = lines_of(
        50,
        {
            own: [taken(300), taken(330), taken(900)],
            first: [taken(100), taken(110), taken(120)],
            second: [taken(90, vain=1), taken(90), taken(90, vain=2)],
        },
    )
    assert lines[-1] == "  ratio to the fastest other: 3.00"
    assert "330/s" in lines[1]
    assert "p50   50.50 ms   p99   99.00 ms   last  100.00 ms" in lines[1]
    assert "0.50 fsync each" in lines[1]
    assert "vain" not in lines[1]
    assert lines[3].endswith("3 in vain")


@_with_compiler
@pytest.mark.parametrize("name", DOORS)
def test_door_promises_every_caller_a_callback_and_syncs_for_it(name: str) -> None:
    # In a separate process, as a reactor runs only once.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.door"),
            *("--rounds", "1", "--callers", "1", "--count", "20", "--only", name),
        ],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (line,) = (line for line in done.stdout.splitlines() if name in line)
    assert "vain" not in line
    # Nothing is promised before its COMMIT.
    words = line.split()
    assert float(words[words.index("fsync") - 1]) >= 1.0, line
