# SPDX-License-Identifier: MIT
"""Chromium, driven by Playwright: the machine's own, or that of the laboratory."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.lab.trees import SHARED, find_browser

#: What Chromium lacks in a tree: a GPU, and the right to make namespaces.
_OPTIONS = ("--disable-gpu", "--font-render-hinting=none", "--no-first-run")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; its end closes all its pages.

    Raises:
        LabError: there is none; the text names the command that installs it.
    """
    programs, path = find_browser()
    with tempfile.TemporaryDirectory(prefix="browser-", dir=SHARED) as home:
        # Playwright starts one program, so the way into the tree is a script.
        script = Path(home) / "chromium"
        command = shlex.join(programs.command(str(path)))
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=script,
                args=_OPTIONS,
                env={**os.environ, **programs.environment(), "HOME": home},
            )
            try:
                yield browser
            finally:
                browser.close()
