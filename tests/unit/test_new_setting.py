# SPDX-License-Identifier: MIT
"""What it takes to add a setting or a section: done for real, in a copy of the code.

A setting is declared in one place, told to the admin in the sample and used where it
matters: three files. A section is declared in one place, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECTIONS: Final = "fastagi/config/sections.py"
QUEUE_LAYERS: Final = "fastagi/config/queue_layers.py"
TARGETS: Final = "fastagi/node/targets.py"
SAMPLE: Final = "etc/callback-queue.yaml"
SAMPLE_TEST: Final = "tests/unit/test_config_sample.py"
#: By file: the text after which something is added, and what.
Additions = dict[str, list[tuple[str, str]]]

SETTING: Final[Additions] = {
    QUEUE_LAYERS: [
        (
            'wrapuptime: Annotated[timedelta, span("0", "1h")] = timedelta(0)\n',
            '    breather: Annotated[timedelta, span("0", "5m")] = timedelta(0)\n',
        )
    ],
    SAMPLE: [
        (
            "  #wrapuptime: 20s\n",
            "\n  # How long an agent has a rest besides.\n"
            "  # Unit: time, 0 to 5m\n  # Default: 0s\n  #breather: 3s\n",
        )
    ],
    TARGETS: [("wrapuptime_s=about.wrapuptime_s", " + about.breather.total_seconds()")],
}
SECTION: Final[Additions] = {
    SECTIONS: [
        (
            '    """What the service writes into queue_log, for reports."""\n\n'
            "    queue_log: Switch = True\n",
            '\n\nclass WebSettings(Section):\n    """Where the console is."""\n\n'
            "    enabled: Switch = False\n    listening_port: Port = 8080\n",
        ),
        (
            "    reports: ReportSettings = attrs.field(factory=ReportSettings)\n",
            "    web: WebSettings = attrs.field(factory=WebSettings)\n",
        ),
    ],
    SAMPLE: [
        (
            "  #queue_log: false\n",
            "\n# The console.\nweb:\n"
            "  # Whether there is one.\n  # Unit: true or false\n  # Default: false\n"
            "  #enabled: true\n\n"
            "  # Where it listens.\n  # Unit: count, 1 to 65535\n  # Default: 8080\n"
            "  #listening_port: 80\n",
        )
    ],
}

#: Run in the copy, with what is to be shown and files of settings.
SHOW: Final = """
import json
import sys
import fastagi
from fastagi.config.errors import ConfigErrors
from fastagi.config.load import load_settings
from fastagi.node.targets import targets

def shown(path):
    try:
        settings = load_settings(path, {})
        return str(eval(sys.argv[1]))
    except ConfigErrors as errors:
        return str(errors).replace(f"{path}:", "")

print(json.dumps([fastagi.__file__, *map(shown, sys.argv[2:])]))
"""
NEEDED: Final = (
    "ami: {secret: s3cret}\n"
    "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
)


class Copy:
    """A copy of the code, the sample and the test of the sample."""

    def __init__(self, directory: Path, additions: Additions) -> None:
        self._root = directory / "copy"
        self._directory = directory
        # With the byte code, which Python uses as long as a file is not changed.
        shutil.copytree(ROOT / "fastagi", self._root / "fastagi")
        for name in (SAMPLE, SAMPLE_TEST):
            (self._root / name).parent.mkdir(parents=True)
            shutil.copy(ROOT / name, self._root / name)
        for name, pieces in additions.items():
            file = self._root / name
            text = file.read_text("utf-8")
            for before, added in pieces:
                assert text.count(before) == 1, (name, before)
                text = text.replace(before, before + added)
            file.write_text(text, "utf-8")

    def shows(self, what: str, *settings: str) -> list[str]:
        """Return what an expression about settings is, or all faults, for each text."""
        files = []
        for number, text in enumerate(settings):
            files.append(self._directory / f"{number}.yaml")
            files[-1].write_text(text)
        done = self._run("-c", SHOW, what, *map(str, files))
        assert done.returncode == 0, done.stderr
        where, *shown = json.loads(done.stdout)
        assert Path(where).is_relative_to(self._root)
        return shown

    def test_of_the_sample(self, new: str) -> subprocess.CompletedProcess[str]:
        """Run the tests of one setting, and of all settings."""
        which = f"{new} or nothing_else"
        return self._run(
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", which, SAMPLE_TEST)
        )

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self._root,
            # The test of the sample needs no plugin of pytest.
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )


def test_a_new_setting_is_read_merged_refused_and_used(tmp_path: Path) -> None:
    copy = Copy(tmp_path, SETTING)
    own = NEEDED.replace("support: {", "support: {breather: 4s, wrapuptime: 1s, ")
    assert copy.shows(
        "targets(settings)[0].wrapuptime_s",
        NEEDED,
        f"defaults: {{breather: 3s}}\n{NEEDED}",
        f"defaults: {{breather: 3s}}\n{own}",
        f"defaults:\n  breather: 6m\n{NEEDED}",
        f"defaults:\n  breathr: 6m\n{NEEDED}",
    ) == [
        "0.0",
        "3.0",
        "5.0",
        "2: defaults.breather: must be 5m or less (got 6m)",
        "2: defaults.breathr: unknown setting - did you mean breather?",
    ]
    told = copy.test_of_the_sample("breather")
    assert told.returncode == 0, told.stdout


def test_a_new_section_is_read_and_refused(tmp_path: Path) -> None:
    copy = Copy(tmp_path, SECTION)
    assert copy.shows(
        "settings.web",
        NEEDED,
        f"web: {{enabled: true}}\n{NEEDED}",
        f"web:\n  listening_port: 0\n{NEEDED}",
        f"wep:\n{NEEDED}",
        f"log:\n  listening_port: 1\n{NEEDED}",
    ) == [
        "enabled=False listening_port=8080",
        "enabled=True listening_port=8080",
        "2: web.listening_port: must be 1 or more (got 0)",
        "1: wep: unknown setting - did you mean web?",
        "2: log.listening_port: unknown setting - it belongs under web",
    ]
    told = copy.test_of_the_sample("listening_port")
    assert told.returncode == 0, told.stdout


def test_a_setting_that_the_sample_does_not_have_is_found(tmp_path: Path) -> None:
    """The tests above rely on this: the test of the sample reads the copy."""
    copy = Copy(tmp_path, {QUEUE_LAYERS: SETTING[QUEUE_LAYERS]})
    told = copy.test_of_the_sample("breather")
    assert told.returncode == 1
    assert "defaults.breather" in told.stdout
