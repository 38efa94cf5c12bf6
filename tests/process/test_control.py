# SPDX-License-Identifier: MIT
"""The control socket of the real process, and misbehaving clients."""

from __future__ import annotations

import json
import os
import pwd
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastagi.doors.http_server import MAX_CONNECTIONS
from tests.harness.control_client import AnswerReader, HttpAnswer, command_bytes
from tests.process.program import Program, wait_until

_DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("control")) as program:
        yield program


def call(program: Program) -> socket.socket:
    """Open a connection to the control socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_DEADLINE_S)
    connection.connect(str(program.socket))
    return connection


def answer_to(connection: socket.socket) -> HttpAnswer:
    """Read until an answer is complete."""
    reader = AnswerReader()
    while data := connection.recv(65_536):
        for answer in reader.feed(data):
            return answer
    raise AssertionError("the service closed the connection without an answer")


def ask(program: Program, command: str, body: bytes = b"{}") -> HttpAnswer:
    """Send a command; return the answer."""
    head = f"POST /v1/commands/{command} HTTP/1.1\r\nHost: x\r\n"
    with call(program) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return answer_to(connection)


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("status", b"[" * 16_000),
        ("tasks.show", b'{"id": 3000000000}'),
        ("tasks.show", b'{"id": 1e400}'),
        ("tasks.add", b'{"queue": "support", "number": "\\ud800"}'),
        ("tasks.cancel", b'{"id": 1, "reason": "a\\u0000b"}'),
        ("status", b"\0\xff"),
    ],
)
def test_nonsense_gets_an_answer_and_no_traceback(
    program: Program, command: str, body: bytes
) -> None:
    answer = ask(program, command, body)
    assert (answer.status, answer.value["code"]) == (400, "bad-request")
    assert "see its log" not in answer.value["detail"]
    assert "Traceback" not in program.said


def test_log_says_who_gave_a_command(program: Program) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    body = b'{"queue": "support", "number": "+4930123456"}'
    assert ask(program, "tasks.add", body).status == 200
    wait_until(lambda: f"added by hand ({me})" in program.said, "word of who it was")


def test_many_who_send_half_a_request_and_hang_up_harm_nobody(program: Program) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(call(program)).sendall(b"POST /v1/comm")
        assert ask(program, "status").status == 200
    for _ in range(10):
        with ExitStack() as stack:
            # At most as many as the kernel lets wait at a socket.
            for _ in range(20):
                stack.enter_context(call(program)).sendall(command_bytes("status"))
        assert ask(program, "status").status == 200


def test_who_asks_and_asks_and_does_not_read_is_held_up_alone(program: Program) -> None:
    request = command_bytes("status").replace(b"Connection: close\r\n", b"")
    with call(program) as greedy:
        greedy.setblocking(False)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += greedy.send(request * 1000)
        except BlockingIOError:
            pass
        # The rest waits in the client, so the service needs no memory for its answers.
        assert sent < 5_000_000
        assert ask(program, "status").status == 200


def test_who_is_one_too_many_is_told_so(program: Program) -> None:
    def fill(stack: ExitStack) -> bool:
        calls = [stack.enter_context(call(program)) for _ in range(MAX_CONNECTIONS)]
        # Answered even before it has sent anything.
        with call(program) as late:
            assert answer_to(late).value["code"] == "busy"
        # The service may not have seen yet that clients of other tests are gone.
        refused, _, _ = select.select(calls, [], [], 0)
        if refused:
            stack.close()
        return not refused

    with ExitStack() as stack:
        wait_until(lambda: fill(stack), "full set of connections")
        code, text = program.command("status")
        assert (code, text) == (
            1,
            f"{MAX_CONNECTIONS} commands are being carried out already - try again\n",
        )
    wait_until(lambda: ask(program, "status").status == 200, "free connection")


def test_command_line_of_version_0_1_0_is_told_to_restart_the_service(
    program: Program,
) -> None:
    with call(program) as connection:
        connection.sendall(b'{"command": "status"}\n')
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline())
    assert answer["ok"] is False
    assert "restart it with 'systemctl restart callback-queue'" in answer["error"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tasks", "show", "3000000000"], "1<=x<=2147483647"),
        (["tasks", "add", "support", "a\udcff"], "number holds a control character"),
        (["numbers", "block", "1\x0123"], "number holds a control character"),
        (["tasks", "retry", "1", "--json"], ""),
    ],
)
def test_command_line_tells_it_without_a_traceback(
    program: Program, words: list[str], told: str
) -> None:
    code, text = program.command(*words)
    assert told in text
    assert "Traceback" not in text
    assert (code == 0) == (not told)


def test_commands_reach_the_service_while_the_settings_file_has_a_mistake(
    tmp_path: Path,
) -> None:
    with Program(tmp_path) as program:
        program.write_settings(queues={"support": {"attemps": 3}})
        code, said = program.command("status")
        # Exit code 1: there is no Asterisk.
        assert code == 1
        assert "queues.support.attemps: unknown setting" in said
        assert "the running service has its earlier settings in force" in said
        assert "Asterisk:  NOT CONNECTED" in said
        code, said = program.command("tasks", "add", "support", "0301234567")
        assert code == 0
        assert "task 1 added" in said
        program.config.write_text("queues: [")
        code, said = program.command("status")
        assert code == 2
        assert "a service that runs has its earlier settings in force" in said
    program.write_settings(queues={"support": {"attemps": 3}})
    code, said = program.command("tasks", "list")
    assert code == 2
    assert "earlier settings" not in said


def test_story_of_a_task_says_who_gave_each_command(program: Program) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    number = "+4930999999"

    def do(command: str, **fields: object) -> Any:
        answer = ask(program, command, json.dumps(fields).encode())
        assert answer.status == 200, answer
        return answer.value

    add = {"queue": "support", "number": number}
    task_id = do("tasks.add", **add)["task"]["id"]
    do("tasks.add", **add, actor="ada")
    do("tasks.cancel", id=task_id, reason="asked us not to", actor="ada")
    do("tasks.retry", id=task_id, actor="bob")
    do("numbers.block", number=number, actor="bob")

    shown = do("tasks.show", id=task_id)
    assert [event["text"] for event in shown["history"]] == [
        f"added by hand ({me})",
        "asked for again by hand (ada)",
        "asked us not to (ada)",
        "put back in line by hand (bob)",
        "the number is blocked (bob)",
    ]
    assert [event["reason_code"] for event in shown["history"]] == [
        "added_by_hand",
        "requested_again_by_hand",
        "text",
        "reopened_by_hand",
        "blocked",
    ]
    assert shown["history"][1]["reason_params"] == {"actor": "ada"}
    assert shown["task"]["reason"] == "the number is blocked (bob)"
