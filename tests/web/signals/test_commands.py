# SPDX-License-Identifier: MIT
"""``callback-queue web webhook`` and ``callback-queue web mail``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastagi.command.cli import main
from tests.docs.blocks import blocks
from tests.web.signals.harness import Clock, Service
from tests.web.signals.test_crash import Counting


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings on new databases; the service's has three events."""
    service = Service(tmp_path / "callback-queue.db", Clock())
    for _ in range(3):
        service.ask()
        service.clock.advance(60)
    service.close()
    path = tmp_path / "web.yaml"
    path.write_text(
        f"service: {{database_url: 'sqlite:///{service.path}'}}\n"
        f"database: {{url: 'sqlite:///{tmp_path}/web.sqlite3'}}\n"
        "webhooks: {allowed_addresses: [127.0.0.1]}\n"
    )
    return path


def run(settings: Path, *words: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["web", *words, "-c", str(settings)])
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_life_of_a_webhook_on_the_command_line(settings: Path) -> None:
    assert "web webhook add" in run(settings, "webhook", "list").output
    receiver = Counting()
    added = run(settings, "webhook", "add", "crm", receiver.url, "--event", "task.*")
    assert added.output.splitlines()[1].startswith("whsec_")
    assert "200" in run(settings, "webhook", "test", "crm").output
    assert receiver.next().startswith("msg_1_test_")
    receiver.close()
    failed = run(settings, "webhook", "test", "crm", exit_code=1)
    assert "connect" in failed.output.lower()
    rotated = run(settings, "webhook", "rotate", "crm").output.splitlines()[1]
    assert rotated != added.output.splitlines()[1]
    run(settings, "webhook", "disable", "crm")
    listed = run(settings, "webhook", "list").output
    assert "state: disabled: disabled by hand" in listed
    assert "whsec_" not in listed
    replayed = run(settings, "webhook", "replay", "crm", "--since", "2")
    assert "2 events" in replayed.output
    run(settings, "webhook", "enable", "crm")
    (as_json,) = json.loads(run(settings, "webhook", "list", "--json").output)
    assert as_json["status"] == "working"
    assert as_json["replay"] == {"next": 2, "last": 3}
    assert as_json["numbers"] == "masked"
    time = "2026-03-01T12:00:30+00:00"
    later = run(settings, "webhook", "replay", "crm", "--since", time)
    assert "2 events" in later.output
    run(settings, "webhook", "remove", "crm")
    assert json.loads(run(settings, "webhook", "list", "--json").output) == []


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ("webhook test nobody", 1, "there is no webhook nobody"),
        ("webhook add x ftp://example.org/", 1, "must begin with https://"),
        ("webhook add x https://e.org/ --event task.x", 1, "no message has the type"),
        ("webhook replay x --since yesterday", 2, "'yesterday' is neither a time"),
        ("mail test", 1, "mail.host and mail.to are not set"),
    ],
)
def test_mistake_on_the_command_line_is_named(
    settings: Path, words: str, exit_code: int, message: str
) -> None:
    result = run(settings, *words.split(), exit_code=exit_code)
    assert message in " ".join(result.output.split())


def test_database_that_can_not_be_read_is_named(settings: Path) -> None:
    (settings.parent / "callback-queue.db").unlink()
    words = ("webhook", "add", "crm", "https://example.org/")
    assert "does not exist" in run(settings, *words, exit_code=1).output


def test_commands_of_the_docs_work(settings: Path) -> None:
    receiver = Counting()
    first, *_ = blocks("docs/webhooks.md", "sh")
    for line in first.text.splitlines():
        line = line.replace("https://crm.example.com/callbacks", receiver.url)
        _sudo, _program, _web, *words = shlex.split(line)
        run(settings, *words)
    assert receiver.next().startswith("msg_1_test_")
    receiver.close()
