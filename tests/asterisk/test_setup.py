# SPDX-License-Identifier: MIT
"""``callback-queue setup`` on Asterisk with the configuration that Debian ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.asterisk.callback import CLIENT, dispositions, requested, settled
from tests.lab.debian import DebianAsterisk
from tests.lab.lab import Lab
from tests.lab.phones import response
from tests.lab.program import FORK
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import merged
from tests.setup.layouts import tree

#: A talk that is short enough for a test.
QUICK_TALK = {"defaults": {"success_duration": "1s"}}


@pytest.fixture(params=[22, 16], ids=["asterisk22", "asterisk16"])
def debian(request: pytest.FixtureRequest) -> Iterator[DebianAsterisk]:
    """Start an Asterisk with Debian's files and an administrator's queue."""
    asterisk = DebianAsterisk(request.param)
    try:
        asterisk.start()
        yield asterisk
    finally:
        asterisk.close()


@pytest.fixture
def lab(debian: DebianAsterisk) -> Iterator[Lab]:
    """Return the laboratory around it."""
    lab = Lab(debian, launcher=FORK)
    yield lab
    lab.close()


def test_setup_makes_callbacks_work_and_undo_leaves_no_trace(
    lab: Lab, debian: DebianAsterisk, tmp_path: Path
) -> None:
    before = tree(debian.etc)
    done = _setup(
        debian,
        tmp_path,
        *("--yes", "--queue", "support", "--region", "DE"),
        *("--outbound", "Local/{number}@outbound-routes"),
        *("--own-number", "+4930111"),
    )
    assert "Asterisk has read its files again" in done
    # In the laboratory Asterisk runs as root.
    _, _, by_hand = done.partition("To do by hand:\n")
    assert [line for line in by_hand.splitlines() if line.startswith("- ")] == [
        one for one in by_hand.splitlines() if "queue_log" in one
    ]
    assert "callback-enter" in debian.cli("dialplan show inbound")
    alice = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=2500),)))
    service = lab.service(start=False)
    # The settings of setup; only the service's own places are the laboratory's.
    given = yaml.safe_load(
        (debian.root / "etc/callback-queue/callback-queue.yaml").read_text()
    )
    assert given["ami"]["port"] == debian.ports.ami
    assert given["fastagi"]["port"] == debian.ports.agi
    kept = {name: service.settings[name] for name in ("database", "control", "log")}
    places = {"config_dir": str(debian.etc), "sounds_dir": str(debian.sounds_outside())}
    history = {"queue_log": str(debian.root / "var/log/asterisk/queue_log")}
    service.settings = merged(
        given, {**kept, **QUICK_TALK, "asterisk": places, "history": history}
    )
    service.write_settings()
    service.config.chmod(0o640)
    service.start()
    checked = service.cli("check")
    assert (checked.exit_code, checked.err) == (0, ""), checked.out
    assert "WARNING" not in checked.out, checked.out

    debian.cli("queue pause member PJSIP/alice")
    debian.cli("queue pause member PJSIP/bob")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    requested(service, CLIENT)
    debian.cli("queue unpause member PJSIP/alice")
    # The real prompts are heard: "accepted" by the caller, the alert by the agent.
    client.wait_for(response(200, "INVITE", sent=True), 30)
    alice.wait_to_hear(client)
    settled(service, "completed")
    assert dispositions(service) == ["ANSWERED"]
    caller.close()
    service.stop()

    again = _setup(debian, tmp_path, "--yes")
    assert "Nothing to write" in again
    undone = _setup(debian, tmp_path, "--undo")
    assert "Asterisk has read its files again" in undone
    assert tree(debian.etc) == before
    sounds = debian.root / "usr/share/asterisk/sounds"
    assert not list(sounds.rglob("callback-queue"))
    assert "callback-enter" not in debian.cli("dialplan show inbound")
    assert "no existence of" in debian.cli("dialplan show callback-request")
    assert "callback-queue" not in debian.cli("manager show users")


def _setup(debian: DebianAsterisk, cwd: Path, *arguments: str) -> str:
    """Run setup on its machine, and return what it prints."""
    done = FORK.run(
        ["setup", "--root", str(debian.root), *arguments],
        cwd=cwd,
        environment={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        timeout_s=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
