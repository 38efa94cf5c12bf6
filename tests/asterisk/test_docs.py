# SPDX-License-Identifier: MIT
"""Commands and lines of Asterisk's files that the documentation shows."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner

from fastagi.command import cli
from tests.asterisk.callback import pause
from tests.docs.blocks import BLOCKS, Block, blocks
from tests.docs.where import ON_ASTERISK
from tests.lab.asterisk import Asterisk
from tests.lab.lab import Lab
from tests.lab.service import Service

#: Numbers of tasks in the examples.
_TASKS = 17
#: A line that is one command of ours.
_COMMAND = re.compile(r"(?:sudo )?(?:/opt/callback-queue/bin/)?callback-queue (.*)")
#: Commands whose exit code tells something, and does not mean a failure.
_MAY_SAY_NO = ("numbers check", "check")


def _today_at_eight() -> str:
    """Return the time zone in which it is eight o'clock."""
    ahead = (8 - datetime.now(UTC).hour + 12) % 24 - 12
    # In these names the sign is the other way round.
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


def _commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    found = [_COMMAND.fullmatch(line) for line in lines]
    commands = [shlex.split(one[1], comments=True) for one in found if one]
    # Installing is tried in tests/setup and tests/docs/test_machine.py.
    return [words for words in commands if words[0] != "setup"]


def _documented(lab: Lab) -> Service:
    """Start a service with the queue, the agents and the tasks of the examples."""
    pause(lab, "support")
    home = lab.asterisk.home
    service = lab.service(
        {
            "asterisk": {
                "config_dir": str(home / "etc"),
                "sounds_dir": str(home / "data/sounds"),
            },
            "number_plan": {"region": "DE", "own_numbers": ["4930999999"]},
            "defaults": {"opening_hours": {"time_zone": _today_at_eight()}},
        }
    )
    service.config.chmod(0o640)
    for number in range(_TASKS):
        service.ask("tasks.add", queue="support", number=f"+493055501{number:02}")
    return service


def test_commands_of_the_docs_work(lab: Lab, tmp_path: Path) -> None:
    service = _documented(lab)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    names = {
        "2026-12-01": tomorrow,
        "PJSIP/ada": "PJSIP/alice",
        "Ada Lovelace": "PJSIP/alice",
        "FILE": str(service.config),
        "DIR": str(tmp_path),
    }

    def run(words: list[str]) -> None:
        given = [
            re.sub("|".join(names), lambda found: names[found[0]], word)
            for word in words
        ]
        done = CliRunner().invoke(
            cli.main, given, env={"CALLBACK_QUEUE_CONFIG": str(service.config)}
        )
        may_say_no = " ".join(words).startswith(_MAY_SAY_NO)
        assert done.exit_code in ({0, 1} if may_say_no else {0}), (
            f"{given}: {done.output}"
        )

    tried = 0
    for page in ON_ASTERISK:
        for block in blocks(page, "sh"):
            for words in _commands(block):
                run(words)
                tried += 1
        # The examples of each page stand for themselves.
        CliRunner().invoke(
            cli.main,
            ["numbers", "unblock", "+4930123456", "-c", str(service.config)],
        )
    assert tried > 40


def test_asterisk_takes_the_lines_of_the_docs_without_a_word(
    asterisk: Asterisk,
) -> None:
    etc = asterisk.home / "etc"
    ini = [block for block in BLOCKS if block.language == "ini"]
    lines_of = {
        name: [block for block in ini if re.search(pattern, block.text, re.M)]
        for name, pattern in {
            "queues": r"^context = |^\[600\]\(\+\)",
            "manager": "^tlsenable",
            "cdr": "^unanswered",
            "globals": "^CALLBACK_AGI",
            "dialplan": "=> ",
        }.items()
    }
    assert sorted(map(str, ini)) == sorted(
        str(block) for found in lines_of.values() for block in found
    )

    # Lines without a section belong into one of the reader's.
    queues = "[general]\n[600]\n[support]\n"
    for block in lines_of["queues"]:
        text = re.sub(r"^; .*\n", "", block.text, flags=re.M)
        text = text.replace("[support]", "[support](+)")
        queues += text if text.startswith("[") else f"[support](+)\n{text}"
    (etc / "queues.conf").write_text(queues)

    dialplan = "[globals]\n"
    for block in lines_of["globals"]:
        dialplan += block.text
    dialplan += '#include "callback-queue.conf"\n'
    seen: set[str] = set()
    for number, block in enumerate(lines_of["dialplan"]):
        text = block.text.replace('#include "callback-queue.conf"\n', "")
        if not re.search(r"^\[", text, re.M):
            text = f"[reader-{number}]\nexten => s,1,NoOp()\n{text}"
        # Pages show contexts of the same name; they are alternatives.
        for name in re.findall(r"^\[([\w-]+)\]", text, re.M):
            if name in seen:
                text = text.replace(f"[{name}]", f"[{name}-{number}]")
            seen.add(name)
        dialplan += text + "\n"
    dialplan += "[from-pstn]\nexten => _X!,1,Hangup()\nexten => s,1,Hangup()\n"
    (etc / "extensions.conf").write_text(dialplan)
    (etc / "cdr.conf").write_text("".join(one.text for one in lines_of["cdr"]))

    asterisk.cli("dialplan reload")
    asterisk.cli("module reload app_queue.so")
    asterisk.cli("module reload cdr")
    assert "WARNING" not in asterisk.log
    assert "ERROR" not in asterisk.log
    for context in seen:
        assert f"Context '{context}'" in asterisk.cli(f"dialplan show {context}")
    assert "callback-request" in (etc / "queues.conf").read_text()
    assert "unanswered calls:" in asterisk.cli("cdr show status").lower()
