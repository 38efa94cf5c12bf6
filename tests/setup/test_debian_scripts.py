# SPDX-License-Identifier: MIT
"""What the Debian package says and deletes when it is removed, after setup."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from fastagi.setup.installation import Installation
from fastagi.setup.material import material
from fastagi.setup.paths import Root
from tests.setup.layouts import ETC, machine, planned

_SCRIPTS: Final = Path(__file__).parents[2] / "packaging/debian"
_WARNING: Final = "Asterisk's files still offer callbacks"
#: What the scripts call to change the system.
_CHANGES: Final = ("userdel", "systemctl", "deb-systemd-invoke", "getent")


def _run(root: Path, name: str, argument: str) -> str:
    """Run a script on the files below a directory; return what it says."""
    programs = root / "programs"
    programs.mkdir(exist_ok=True)
    for program in _CHANGES:
        (programs / program).write_text("#!/bin/sh\nexit 1\n")
        (programs / program).chmod(0o755)
    text = (_SCRIPTS / name).read_text()
    text = re.sub(r"(?<=[\s=])/(?=(?:etc|var|run)/)", f"{root}/", text)
    done = subprocess.run(
        ["sh", "-c", text, name, argument],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def _set_up(root: Path, config_dir: Path) -> Installation:
    machine(root)
    place = root / config_dir.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    (root / ETC.relative_to("/")).rename(place)
    made = Installation(Root(root), config_dir, material())
    made.journal._flush = False
    made.apply(planned(made), datetime(2026, 12, 1, tzinfo=UTC))
    return made


@pytest.mark.parametrize("config_dir", [ETC, Path("/opt/asterisk")])
def test_removing_without_undo_is_warned_of_and_a_purge_keeps_the_copies(
    tmp_path: Path, config_dir: Path
) -> None:
    made = _set_up(tmp_path, config_dir)
    assert _WARNING in _run(tmp_path, "prerm", "remove")
    _run(tmp_path, "postrm", "purge")
    assert not made.settings_path.parent.exists()
    assert (made.journal.directory / "copies").is_dir()


@pytest.mark.parametrize("config_dir", [ETC, Path("/opt/asterisk")])
def test_after_undo_nothing_is_warned_of_and_a_purge_leaves_nothing(
    tmp_path: Path, config_dir: Path
) -> None:
    made = _set_up(tmp_path, config_dir)
    # This file stays, and no file includes it.
    dialplan = tmp_path / config_dir.relative_to("/") / "callback-queue.conf"
    dialplan.write_text(dialplan.read_text() + "; mine\n")
    made.undo()
    assert made.journal.directory.exists()
    assert _run(tmp_path, "prerm", "remove") == ""
    _run(tmp_path, "postrm", "purge")
    assert not made.journal.directory.exists()
