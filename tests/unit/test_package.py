# SPDX-License-Identifier: MIT
"""The contents of a wheel are enough for an admin who has only the wheel."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_SHARE: Final = Path("share/callback-queue")


def _shipped() -> dict[Path, Path]:
    """Return the files of setup.cfg's data_files by the place they go to."""
    config = configparser.ConfigParser()
    config.read(_ROOT / "setup.cfg")
    shipped = {}
    for place, patterns in config["options.data_files"].items():
        for pattern in patterns.split():
            found = sorted(_ROOT.glob(pattern))
            assert found, f"setup.cfg: {pattern} names nothing"
            shipped |= {Path(place, path.name): path for path in found}
    return shipped


def _ours(*below: str) -> set[Path]:
    """Return the files below these: those git knows, or would; else all there are."""
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *below],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode == 0:
        found = (Path(line) for line in told.stdout.splitlines())
    else:
        # As it was unpacked from an archive.
        places = (path for name in below for path in (_ROOT / name).rglob("*"))
        found = (path.relative_to(_ROOT) for path in places)
    return {path for path in found if (_ROOT / path).is_file()}


def test_whatever_an_admin_copies_is_in_the_wheel_where_the_docs_look_for_it() -> None:
    prompts = {path for path in _ours("sounds") if path.parent.name == "callback-queue"}
    others = {Path("README.md"), Path("constraints.txt")}
    wanted = {*_ours("dialplan", "etc"), *prompts, *others}
    assert len(prompts) >= 2
    shipped = _shipped()
    assert {_SHARE / path for path in wanted} <= set(shipped)
    assert all(_ROOT / to.relative_to(_SHARE) == it for to, it in shipped.items())


def test_every_link_of_readme_leads_to_a_file_of_the_wheel() -> None:
    links = re.findall(r"\]\(([\w/.-]+)\)", (_ROOT / "README.md").read_text())
    assert "SECURITY.md" in links
    assert {_SHARE / link for link in links} <= set(_shipped())


def test_installation_names_no_file_that_is_not_there() -> None:
    steps = (_ROOT / "docs/install.md").read_text()
    words = {word.strip("`,.;:()") for word in steps.split()}
    named = {w for w in words if w.startswith(("etc/", "dialplan/", "sounds/$"))}
    assert len(named) > 5
    for name in named:
        path = name.replace("$language", "en")
        assert _SHARE / path in _shipped() or any(
            (_SHARE / path) in place.parents for place in _shipped()
        ), name
