# SPDX-License-Identifier: MIT
"""The messages between systemd and the service while it starts and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.process.program import Program, wait_until

_DEADLINE_S = 30.0
#: Importing these takes most of a second.
_SLOW = {"pydantic", "phonenumbers", "sqlalchemy", "twisted", "yaml"}


def takes_sighup(pid: int) -> bool:
    """Return whether SIGHUP no longer ends the process (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    assert caught, status
    return bool(int(caught[1], 16) >> (signal.SIGHUP - 1) & 1)


def test_nothing_slow_is_imported_before_a_reload_is_harmless() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, fastagi.command.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=_DEADLINE_S,
    )
    assert set(done.stdout.split()) & _SLOW == set()


def test_reloads_at_every_moment_of_a_start_do_not_end_it(tmp_path: Path) -> None:
    program = Program(tmp_path, forked=False)
    with program.begun() as pid:
        wait_until(lambda: takes_sighup(pid), "handler of SIGHUP")

        def listens() -> bool:
            os.kill(pid, signal.SIGHUP)
            return program.listens()

        wait_until(listens, "FastAGI port")
        wait_until(lambda: "settings loaded again" in program.said, "reload")


def test_reload_during_the_start_is_done_after_it(tmp_path: Path) -> None:
    program = Program(tmp_path, forked=False)
    # A warning then shows in the log as soon as the settings are read.
    program.config.chmod(0o644)
    with closing(sqlite3.connect(tmp_path / "data/callback-queue.db")) as other:
        # The service waits for this lock, as for an upgrade.
        other.execute("BEGIN EXCLUSIVE")
        with program.begun() as pid:
            wait_until(lambda: "chmod" in program.said, "word of the log")
            program.write_settings(queues={"support": {}, "sales": {}})
            os.kill(pid, signal.SIGHUP)
            assert not program.listens()
            other.rollback()
            wait_until(program.listens, "FastAGI port")
            wait_until(lambda: "settings loaded again" in program.said, "reload")
            status = json.loads(program.command("status", "--json")[1])
            assert set(status["queues"]) == {"support", "sales"}


def test_log_warns_of_a_missing_number_plan_at_start_and_reload(
    tmp_path: Path,
) -> None:
    def warnings() -> list[str]:
        return [line for line in program.said.splitlines() if "number_plan." in line]

    plan = {"region": "DE", "own_numbers": [r"\+4930123456"]}
    with Program(tmp_path) as program:
        at_start = warnings()
        assert len(at_start) == 2
        assert "number_plan.region: it is not set: what is expensive" in at_start[0]
        assert "number_plan.own_numbers: no number of your own is known" in at_start[1]
        os.kill(program.pid, signal.SIGHUP)
        wait_until(lambda: len(warnings()) == 4, "warnings of the reload")
        program.write_settings(number_plan=plan)
        os.kill(program.pid, signal.SIGHUP)
        wait_until(lambda: program.said.count("settings loaded again") == 2, "reload")
        assert len(warnings()) == 4


@pytest.fixture(params=["path", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, str]]:
    """Yield a socket like systemd's, and the service's NOTIFY_SOCKET."""
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@callback-queue-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name.replace("@", "\0"))
        heard.settimeout(_DEADLINE_S)
        yield heard, name


def test_supervisor_is_told_when_the_service_listens_and_when_it_stops(
    supervisor: tuple[socket.socket, str], tmp_path: Path
) -> None:
    heard, name = supervisor
    program = Program(tmp_path, forked=False, environ={"NOTIFY_SOCKET": name})
    with program.begun():
        assert heard.recv(4096) == b"READY=1"
        assert program.listens()
        assert program.end() == 0
        assert heard.recv(4096) == b"STOPPING=1"


def test_service_that_can_not_listen_is_never_called_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        program = Program(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        with socket.create_server(("127.0.0.1", program.agi_port)):
            code, said = program.command("run")
        assert code == 1, said
        told = b""
        with pytest.raises(BlockingIOError):
            while True:
                told += heard.recv(4096)
        assert b"READY" not in told


def test_supervisor_that_went_away_harms_nobody(tmp_path: Path) -> None:
    program = Program(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with program:
        wait_until(lambda: "READY=1 can not be sent" in program.said, "warning")


def test_pipe_in_place_of_the_settings_does_not_hold_up_the_service(
    tmp_path: Path,
) -> None:
    with Program(tmp_path) as program:
        program.config.unlink()
        os.mkfifo(program.config)
        os.kill(program.pid, signal.SIGHUP)
        told = f"{program.config}: is no plain file"
        wait_until(lambda: told in program.said, "word of the pipe")
        wait_until(
            lambda: "the old ones stay in force" in program.said, "former settings"
        )
        assert program.listens()
