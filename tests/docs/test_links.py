# SPDX-License-Identifier: MIT
"""Links and names of files lead to something, and the index has every page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

_LINK = re.compile(r"\]\((?!\w+:)(?P<path>[\w./-]*)(?:#(?P<anchor>[\w-]+))?\)")
#: A page as code, error messages, samples and comments name it.
_PAGE = re.compile(r"\bdocs/[\w-]+\.(?:md|json)\b(?:#(?P<anchor>[\w-]+))?")


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub, and our site, make of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: str) -> None:
    here = ROOT / page
    for link in _LINK.finditer(here.read_text("utf-8")):
        target = (here.parent / link["path"]).resolve() if link["path"] else here
        assert target.exists(), f"{page}: {link[0]}"
        if link["anchor"]:
            assert link["anchor"] in _anchors(target), f"{page}: {link[0]}"


def _files() -> list[Path]:
    """Return the files of the repository that people write."""
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode == 0:
        found = [ROOT / line for line in told.stdout.splitlines()]
    else:
        # As it was unpacked from an archive.
        names = ("dialplan", "docs", "etc", "fastagi", "sounds", "tests", "tools")
        found = [path for name in names for path in (ROOT / name).rglob("*")]
    suffixes = {".py", ".md", ".yaml", ".conf", ".service", ".cfg", ".html"}
    suffixes.add(".sysusers")
    return [path for path in found if path.suffix in suffixes and path.is_file()]


def test_every_page_that_is_named_anywhere_exists() -> None:
    missing = []
    for path in _files():
        for named in _PAGE.finditer(path.read_text("utf-8")):
            page = ROOT / named[0].partition("#")[0]
            anchor = named["anchor"]
            if not page.exists() or (anchor and anchor not in _anchors(page)):
                missing.append(f"{path.relative_to(ROOT)}: {named[0]}")
    assert missing == []


def test_the_index_lists_every_page_of_the_site_once() -> None:
    index = (ROOT / "docs/index.md").read_text("utf-8").partition("## All pages")[2]
    listed = [
        str((ROOT / "docs" / link["path"]).resolve().relative_to(ROOT))
        for link in _LINK.finditer(index)
        if not link["anchor"]
    ]
    assert sorted(listed) == sorted({*PAGES} - {"README.md", "docs/index.md"})


def test_readme_is_one_page() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) < 140
    for part in ("## Try it", "## Install", "## How it compares", "## Read on"):
        assert part in lines
