# SPDX-License-Identifier: MIT
"""A modelled FreePBX: the module runs in PHP, between small models of what it calls.

``*.php`` in this directory are the models; ``signatures.txt`` beside the tests has the
names and parameters of FreePBX that they follow.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from tests.lab.trees import find_php

_MODELS: Final = Path(__file__).parent
_LIMIT_S: Final = 60

#: A queue as FreePBX stores it.
QUEUE: Final[Mapping[str, Any]] = {
    "number": "600",
    "name": "Support",
    "members": ["Local/101@from-queue/n,0,Alice,hint:101@ext-local"],
}
#: The fields of the tab, as a browser sends them.
TAB: Final[Mapping[str, str]] = {
    "callbackqueue_enabled": "yes",
    "callbackqueue_key": "1",
    "callbackqueue_offer": "default",
    "callbackqueue_frequency": "30",
    "callbackqueue_attempts": "",
    "callbackqueue_caller_id": "",
    "callbackqueue_did": "",
    "callbackqueue_outbound": "",
}
#: The fields of the module's page.
PAGE: Final[Mapping[str, str]] = {
    "directory": "/etc/callback-queue/queues.d",
    "service": "127.0.0.1:4574",
    "when_down": "return",
    "outbound": "Local/{number}@from-internal/n",
    "console": "http://127.0.0.1:8573",
    "token": "",
}


class FreePBX:
    """One FreePBX: what it stores remains between two runs of PHP."""

    def __init__(self, module: Path, home: Path) -> None:
        self.module = module
        #: The version of Asterisk, and that of the module queues.
        self.asterisk = "22.10.1"
        self.queues_version = "17.0.1.11"
        #: The label of the Queue() line.
        self.label = "qcall"
        self.queues: list[Mapping[str, Any]] = [QUEUE]
        self.phones: dict[str, str] = {}
        self.store: dict[str, Any] = {}
        self.notifications: dict[str, str] = {}
        self.needs_reload = False
        self.etc, self.library = home / "etc", home / "lib"
        self.settings = home / "queues.d"
        for directory in (self.etc, self.library / "sounds/en", self.settings):
            directory.mkdir(parents=True)
        # PHP may run in another root, which sees /tmp but not the repository.
        self.models = home / "model"
        shutil.copytree(_MODELS, self.models, ignore=shutil.ignore_patterns("*.py*"))

    def run(self, *steps: tuple[str, Any] | tuple[str]) -> list[Any]:
        """Carry out steps of run.php; return the answer of each."""
        given = {
            "module": str(self.module),
            "asterisk": self.asterisk,
            "queues_version": self.queues_version,
            "label": self.label,
            "queues": self.queues,
            "phones": self.phones,
            "config": {"ASTETCDIR": str(self.etc), "ASTVARLIBDIR": str(self.library)},
            "hooks": _hooks(self.module / "module.xml"),
            "store": self.store,
            "notifications": self.notifications,
            "steps": steps,
        }
        done = php(str(self.models / "run.php"), given=json.dumps(given))
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        # PHP writes an empty object as a list.
        self.store = told["store"] or {}
        self.notifications = told["notifications"] or {}
        self.needs_reload |= told["needs_reload"]
        answers: list[Any] = told["answers"]
        return answers

    @property
    def told(self) -> dict[str, str]:
        """What FreePBX's dashboard shows of the module, as text, by id."""
        return {
            name.removeprefix("callbackqueue "): html.unescape(text)
            for name, text in self.notifications.items()
        }

    def save_page(self, **fields: str) -> None:
        """Submit the module's own page."""
        page = {**PAGE, "directory": str(self.settings), **fields}
        self.run(("request", {"display": "callbackqueue", "action": "save", **page}))

    def save_queue(self, queue: str = "600", action: str = "edit", **tab: str) -> None:
        """Submit the page of a queue with these fields in the tab."""
        fields = {f"callbackqueue_{name}": value for name, value in tab.items()}
        request = {"display": "queues", "action": action, "account": queue}
        self.run(("request", {**request, **TAB, **fields}))

    def apply(self) -> tuple[str, str]:
        """Apply Config: return the dialplan, and the lines of the queues."""
        (files,) = self.run(("apply",))
        return files["extensions"], files["queues"]


def php(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run PHP."""
    programs, path = find_php()
    return subprocess.run(
        programs.command(str(path), *arguments),
        input=given,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        env=programs.environment(),
        check=False,
    )


def _hooks(module_xml: Path) -> list[dict[str, str]]:
    """Return the hooks of a module as the framework reads them."""
    hooks = ElementTree.parse(module_xml).getroot().find("hooks")
    assert hooks is not None
    return [
        {
            "calling_class": f"{caller.attrib['namespace']}\\{caller.attrib['class']}",
            "calling_method": method.attrib["callingMethod"],
            "class": method.attrib["class"],
            "method": str(method.text),
        }
        for caller in hooks
        for method in caller
    ]
