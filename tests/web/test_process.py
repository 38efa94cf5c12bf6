# SPDX-License-Identifier: MIT
"""``callback-queue web`` as a process: start, stop, and what keeps it from starting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from fastagi.command import web as command
from fastagi.command.cli import main
from fastagi.web.run import CannotListen, listen
from fastagi.web.settings import parse
from tests.lab import program
from tests.web.help import load_forks, running


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(directory: Path, web: str) -> Path:
    path = directory / "web.yaml"
    path.write_text(
        f"database: {{url: 'sqlite:///{directory}/web.sqlite3'}}\nweb: {{{web}}}\n"
    )
    return path


@contextmanager
def _supervisor(directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(directory / "notify"))
        supervisor.settimeout(30)
        yield supervisor


@contextmanager
def _running(directory: Path, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the process; return when it has told the supervisor that it listens."""
    with _supervisor(directory) as supervisor:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastagi.command.cli", "web", "run", "-c", path],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
        )
        try:
            assert supervisor.recv(100) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.communicate()


def _second(path: Path) -> subprocess.CompletedProcess[str]:
    load_forks()
    return program.run_fork(
        ["web", "run", "-c", str(path)],
        cwd=path.parent,
        environment=os.environ,
        timeout_s=60,
    )


def test_it_answers_refuses_a_second_one_and_stops_with_exit_code_0(
    tmp_path: Path,
) -> None:
    port = _free_port()
    path = _settings(tmp_path, f"port: {port}")
    with _running(tmp_path, path) as process:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/nothing")
        assert answer.status_code == 404
        second = _second(path)
        assert second.returncode == 1
        assert f"127.0.0.1:{port} can not be listened on" in second.stderr
        assert "is another callback-queue web running?" in second.stderr
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0
    assert f"listens on 127.0.0.1:{port}" in log
    assert log.rstrip().endswith("callback-queue web stops")


def test_it_listens_on_a_unix_socket_for_its_group(tmp_path: Path) -> None:
    where = tmp_path / "web.sock"
    web = f"socket: {where}, public_url: 'https://cb.example.com'"
    path = _settings(tmp_path, web)
    with running(tmp_path, path) as process:
        assert where.stat().st_mode & 0o777 == 0o660
        transport = httpx.HTTPTransport(uds=str(where))
        with httpx.Client(transport=transport) as client:
            assert client.get("https://cb.example.com".replace("s:", ":"))
        with pytest.raises(CannotListen, match="is in use; is another"):
            listen(parse(path.read_text()).web)
        process.terminate()
        assert process.wait(30) == 0
    assert not where.exists()


def test_without_its_libraries_it_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "_NEEDED", ("fastapi", "no_such_library"))
    ran = CliRunner().invoke(main, ["web", "run"])
    assert ran.exit_code == 2
    assert "not installed (no_such_library)" in ran.output
    assert "pip install 'asterisk-callback-queue[web]'" in ran.output


def test_a_mistake_in_the_settings_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text("web:\n  port: 80800\n  lisen: 127.0.0.1\n")
    ran = CliRunner().invoke(main, ["web", "run", "-c", str(path)])
    assert ran.exit_code == 2
    assert ran.output.splitlines() == [
        f"{path}:2: web.port: must be 65535 or less (got 80800)",
        f"{path}:3: web.lisen: unknown setting - did you mean listen?",
    ]


def test_without_a_subcommand_the_variable_names_the_settings_file(
    tmp_path: Path,
) -> None:
    path = _settings(tmp_path, "port: x")
    ran = CliRunner().invoke(
        main, ["web"], env={"CALLBACK_QUEUE_WEB_CONFIG": str(path)}
    )
    assert ran.exit_code == 2
    assert f"{path}:2: web.port" in ran.output


def test_a_settings_file_that_was_named_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    ran = CliRunner().invoke(main, ["web", "run", "-c", str(path)])
    assert ran.exit_code == 2
    assert "does not exist - copy the sample etc/callback-queue-web.yaml" in ran.output
