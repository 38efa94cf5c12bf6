# SPDX-License-Identifier: MIT
"""The control socket after a crash of its service."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.process.program import Program, wait_until

#: A new process id space: the program is process 1, as in a container.
IN_A_CONTAINER = ("unshare", "--user", "--map-current-user", "--pid", "--fork")


def answers(program: Program) -> bool:
    return program.command("tasks", "list")[0] == 0 and program.socket.exists()


def leave_a_socket(path: Path) -> None:
    """Create the remains of a killed process: a socket on which nobody listens."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def test_service_killed_with_a_process_id_that_is_in_use_again_starts(
    tmp_path: Path,
) -> None:
    program = Program(tmp_path)
    leave_a_socket(program.socket)
    lock = program.socket.with_name("control.sock.lock")
    # Locked as in version 0.1.0. Meanwhile another process has that id.
    lock.symlink_to(str(os.getpid()))

    with program:
        wait_until(lambda: answers(program), "answer on the control socket")

    assert not lock.is_symlink()


def test_service_that_is_process_1_starts_after_it_was_killed(tmp_path: Path) -> None:
    program = Program(tmp_path, runs_in=IN_A_CONTAINER)
    for _ in range(2):
        program.begin()
        wait_until(program.listens, "FastAGI port")
        wait_until(lambda: answers(program), "answer on the control socket")
        (child,) = (
            Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        )
        os.kill(int(child), signal.SIGKILL)
        program.end()


def test_second_service_does_not_take_the_control_socket_of_the_first(
    tmp_path: Path,
) -> None:
    with Program(tmp_path) as first:
        wait_until(lambda: answers(first), "answer on the control socket")
        other = tmp_path / "other"
        other.mkdir()
        second = Program(other, control={"socket": str(first.socket)})

        code, said = second.command("run")

        assert code == 1
        assert f"{first.socket} can not be listened on" in said
        assert answers(first)


@pytest.mark.parametrize("old_lock", [False, True])
def test_service_does_not_remove_a_file_that_is_no_socket(
    tmp_path: Path, *, old_lock: bool
) -> None:
    program = Program(tmp_path)
    program.socket.parent.mkdir()
    program.socket.write_text("somebody's")
    if old_lock:
        program.socket.with_name("control.sock.lock").symlink_to("1")

    code, said = program.command("run")

    assert code == 1
    assert f"{program.socket} can not be listened on" in said
    assert program.socket.read_text() == "somebody's"
