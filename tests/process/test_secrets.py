# SPDX-License-Identifier: MIT
"""Secrets and passwords appear in no log, at any level, and in no output."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fastagi.ami import actions
from fastagi.ami.session import Credentials
from fastagi.config.load import load_settings
from fastagi.doors import client
from fastagi.node.node import credentials_of
from fastagi.service.commands import COMMANDS, CheckSettings, ShowSettings
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser
from tests.harness.messages import message_of, written
from tests.process.program import Program, wait_until

SECRET = "5eb6c1d9-the-secret"
PASSWORD = "77ab-the-password"


@contextmanager
def manager_that_refuses() -> Iterator[tuple[int, list[str]]]:
    """A manager that refuses each login; yields its port and the login actions."""
    asked: list[str] = []

    def talk(client: socket.socket) -> None:
        parser = AmiParser(expect_banner=False)
        client.sendall(b"Asterisk Call Manager/11.0.0\r\n")
        while data := client.recv(4096):
            parser.receive_data(data)
            while (action := parser.next_event()) is not NEED_DATA:
                assert isinstance(action, AmiMessage)
                asked.append(action.get("Action"))
                login = action.get("Action") == "Login"
                answer = [
                    ("Response", "Error" if login else "Success"),
                    ("ActionID", action.action_id),
                    ("Challenge", "123"),
                    ("Message", "Authentication failed" if login else "ok"),
                ]
                client.sendall(written(message_of(answer)))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(30)
                try:
                    talk(client)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        # Wakes the thread, which would wait without limit on a closed socket.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


@pytest.mark.parametrize(("login", "form"), [("plain", "text"), ("md5", "json")])
def test_secret_is_in_nothing_that_is_logged_or_printed(
    login: str, form: str, tmp_path: Path
) -> None:
    with manager_that_refuses() as (port, asked):
        ami: dict[str, Any] = {"port": port, "secret": SECRET, "login": login}
        log = {"level": "debug", "format": form}
        with Program(tmp_path, ami=ami, log=log) as program:
            wait_until(lambda: "Login" in asked, "login")
            wait_until(lambda: "refused the login" in program.said, "line of it")
            said = [
                program.command(*words)[1]
                for words in (["status"], ["check", "--json"])
            ]
        said.append(program.said)
    assert "Authentication failed" in said[1]
    for text in said:
        assert text
        assert SECRET not in text


def test_password_of_the_database_is_in_nothing_that_is_logged_or_printed(
    tmp_path: Path,
) -> None:
    url = f"postgresql://callback:{PASSWORD}@127.0.0.1:1/cb?password={PASSWORD}"
    program = Program(tmp_path, database={"url": url})
    for words in (["run"], ["check", "--json"], ["db", "upgrade"]):
        code, said = program.command(*words)
        assert code == 1
        assert said
        assert PASSWORD not in said


def test_password_that_ends_at_the_wrong_place_is_refused_and_not_printed(
    tmp_path: Path,
) -> None:
    """Splitting such a URL shows the rest of the password as the host."""
    start, rest = "77ab-the", "pass-word"
    program = Program(
        tmp_path,
        database={"url": f"postgresql://callback:{start}@{rest}@127.0.0.1:1/callback"},
        history={"cdr_url": f"mysql://reader:{start}@{rest}@127.0.0.1:1/cdr"},
    )
    for words in (["run"], ["check", "--json"], ["db", "upgrade"]):
        code, said = program.command(*words)
        assert code == (1 if "check" in words else 2)
        assert said.count("write @ in a password as %40") == 2
        assert start not in said
        assert rest not in said


def test_settings_show_neither_whatever_way_they_are_shown(tmp_path: Path) -> None:
    url = f"postgresql://callback:{PASSWORD}@127.0.0.1:1/callback"
    program = Program(tmp_path, ami={"secret": SECRET}, database={"url": url})
    settings = load_settings(program.config, {})
    credentials = credentials_of(settings.ami)
    assert isinstance(credentials, Credentials)
    shown = [
        f"{one!r} {one!s}"
        for one in (
            settings,
            settings.ami,
            settings.database,
            settings.history,
            credentials,
            actions.login_plain(credentials.username, credentials.secret),
        )
    ]
    for text in shown:
        assert SECRET not in text
        assert PASSWORD not in text


def test_secrets_are_in_no_answer_of_the_control_socket(tmp_path: Path) -> None:
    """Not even in the answers about settings, and about files with mistakes."""
    secrets = [f"5eb6c1d9-{number}" for number in range(8)]
    files = [tmp_path / "queue_log_password", tmp_path / "secret"]
    for file, secret in zip(files, secrets[:2], strict=True):
        file.write_text(secret)
        file.chmod(0o600)
    program = Program(
        tmp_path,
        ami={"secret": secrets[2]},
        history={
            "queue_log_url": "mysql://reader@127.0.0.1:1/asterisk",
            "queue_log_password_file": str(files[0]),
            "cdr_url": f"mysql://reader:{secrets[3]}@127.0.0.1:1/cdr",
        },
    )
    text = program.config.read_text()
    url = f"postgresql://u:{secrets[4]}@h/x?sslpassword={secrets[5]}"
    changed = [
        re.sub("url: sqlite:.*", f"url: {url}", text)
        .replace(secrets[2], secrets[6])
        .replace(secrets[3], secrets[7]),
        text.replace(f"secret: {secrets[2]}", f"secret_file: {files[1]}"),
        # A mistake in the line of a secret; more of them: test_config_listing.py.
        text.replace("@127.0.0.1", "@@127.0.0.1"),
    ]
    answers: list[str] = []
    with program, client.Service(str(program.socket), 60) as service:
        for name, kind in COMMANDS.items():
            fields: dict[str, Any] = {"id": 1, "action": "cancel", "ids": [1]}
            fields |= {"queue": "support", "number": "+4930123456"}
            known = {field.name for field in attrs.fields(kind)}
            command = kind(**{key: fields[key] for key in known & fields.keys()})
            try:
                answers.append(f"{name}: {service.do(command)}")
            except client.CommandFailed as error:
                answers.append(f"{name}: {error}")
        answers += [str(service.do(ShowSettings()))]
        answers += [str(service.do(CheckSettings(text=text))) for text in changed]
        answers.append(program.command("settings", "show")[1])
    answers.append(program.said)
    assert len(answers) == len(COMMANDS) + len(changed) + 3
    for answer in answers:
        found = [secret for secret in secrets if secret in answer]
        assert not found, answer
    assert sum("secret" in answer for answer in answers) > 5
