# SPDX-License-Identifier: MIT
"""Pictures of the console for the docs: ``python -m tests.lab.screenshots``.

Runs what ``make console`` runs for a minute, and takes each page in light or dark
colours, on a desk or a phone, in English or Russian.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from tests.lab.browser import chromium
from tests.lab.console import Town
from tests.lab.errors import LabError
from tests.lab.program import FORK

IMAGES: Final = Path(__file__).parents[2] / "docs/images"
_PASSWORD: Final = "four words and a cat"
_DESK: Final = (1280, 800)
_PHONE: Final = (390, 844)
_SCREEN: Final = (1920, 1080)
_LIVE_S: Final = 60.0

#: For each picture: the path, the size, the theme, the language, what to click.
_PICTURES: Final[dict[str, tuple[str, tuple[int, int], str, str, str]]] = {
    "live": ("/", _DESK, "light", "en", ""),
    "live-phone": ("/", _PHONE, "light", "en", ""),
    "live-russian-phone": ("/", _PHONE, "dark", "ru", ""),
    "wall": ("/wall", _SCREEN, "dark", "en", ""),
    "tasks": ("/tasks?state=all", _DESK, "dark", "en", ""),
    "tasks-phone": ("/tasks", _PHONE, "light", "en", ""),
    "story": ("STORY", _DESK, "light", "en", ""),
    "story-action": ("STORY", _DESK, "dark", "en", "#action-note"),
    "story-phone": ("STORY", _PHONE, "dark", "ru", ""),
    "reports": ("/reports?range=7", (1280, 1100), "light", "en", ""),
    "reports-phone": ("/reports?range=7", (390, 1400), "dark", "en", ""),
    "numbers": ("/numbers?number=%2B493023125999", _DESK, "light", "en", ""),
    "numbers-phone": ("/numbers", _PHONE, "dark", "en", ""),
    "settings": ("/settings", _DESK, "light", "en", ""),
    "settings-phone": ("/settings", _PHONE, "dark", "en", ""),
    "health": ("/health/check", _DESK, "dark", "en", ""),
    "health-phone": ("/health/check", _PHONE, "light", "en", ""),
}


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.screenshots")
    parser.add_argument("--to", type=Path, default=IMAGES, help="the folder")
    parser.add_argument(
        "--seconds", type=float, default=_LIVE_S, help="of calls before"
    )
    parser.add_argument("names", nargs="*", help="which pictures; else all")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    try:
        with Town(launcher=FORK, say=print) as town, chromium() as browser:
            session = _log_in(browser, town)
            town.live(options.seconds)
            for name in options.names or _PICTURES:
                _take(browser, town, session, options.to / f"{name}.png", name)
                print(name, flush=True)
    except LabError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def _log_in(browser: Browser, town: Town) -> Any:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(town.web.first_link())
        page.fill("#name", "anna")
        page.fill("#password", _PASSWORD)
        page.fill("#again", _PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_selector("#live")
        return context.storage_state()


def _take(browser: Browser, town: Town, session: Any, path: Path, name: str) -> None:
    address, (width, height), theme, language, click = _PICTURES[name]
    with browser.new_context(
        base_url=town.web.address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        locale=language,
        timezone_id="Europe/Berlin",
        storage_state=None if address == "/login" else session,
    ) as context:
        page = context.new_page()
        page.goto(_story(page, town) if address == "STORY" else address)
        page.wait_for_load_state("networkidle" if "reports" in address else "load")
        if click:
            page.click(click)
            page.wait_for_selector("dialog[open]")
        page.screenshot(path=path)


def _story(page: Page, town: Town) -> str:
    """Return the address of a task that was reached after some attempts."""
    page.goto("/tasks?state=completed")
    rows = page.locator("tbody tr").filter(has=page.locator("td.numeric", has_text="3"))
    link = (rows if rows.count() else page.locator("tbody tr")).first.locator("th a")
    return str(link.get_attribute("href"))


if __name__ == "__main__":
    sys.exit(main())
