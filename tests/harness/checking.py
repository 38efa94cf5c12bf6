# SPDX-License-Identifier: MIT
"""Helpers for tests of ``callback-queue check``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fastagi.ami.session import Credentials
from fastagi.checks.finding import Finding, Notes
from fastagi.checks.link import ManagerLink, Where
from fastagi.config.load import parse_settings
from fastagi.config.sections import Settings
from tests.emulator.scripted_manager import ScriptedManager


def settings(home: Path, **sections: Any) -> Settings:
    """Return settings whose Asterisk directories are below a directory of the test."""
    given: dict[str, Any] = {
        "ami": {"secret": "s3cret"},
        "asterisk": {
            "config_dir": str(home / "etc"),
            "sounds_dir": str(home / "sounds"),
        },
        # A technology of which ``check`` does not check the endpoint.
        "defaults": {"outbound_channel": "DAHDI/g0/{number}"},
        "queues": {"support": {}},
    }
    for name, section in sections.items():
        given[name] = {**given.get(name, {}), **section}
    return parse_settings(yaml.safe_dump(given), environ={})


def write(path: Path, text: str) -> None:
    """Write a file; create its directory first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def log_in(manager: ScriptedManager, timeout_s: float = 5.0) -> ManagerLink:
    """Return a link to a scripted manager."""
    return ManagerLink(
        Where(host="127.0.0.1", port=manager.port, timeout_s=timeout_s),
        Credentials(username="callback-queue", secret="s3cret"),
    )


def told(notes: Notes | Iterable[Finding]) -> list[str]:
    """Return findings as "level: where: problem - remedy"; without findings "ok"."""
    return [
        "ok"
        if finding.is_ok
        else f"{finding.level}: {finding.where}: {finding.what} - {finding.remedy}"
        for finding in notes
    ]


def only(notes: Notes | Iterable[Finding]) -> str:
    """Return the only finding."""
    (text,) = told(notes)
    return text
