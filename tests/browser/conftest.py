# SPDX-License-Identifier: MIT
"""One Asterisk, one service, one web process and one browser for all tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import frozen
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.lab import past_traffic
from tests.lab.asterisk import Asterisk
from tests.lab.browser import chromium
from tests.lab.config import Queue
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.program import FORK
from tests.lab.service import Service
from tests.lab.web import Web

PASSWORD = "four words and a cat"
#: How long a page may take to show what has happened, in milliseconds.
WITHIN_MS = 15_000
expect.set_options(timeout=WITHIN_MS)
_QUEUES = (
    Queue(name="support", members=("alice",)),
    Queue(name="sales", members=("carol",)),
)
_SETTINGS = {
    "defaults": {
        "retry_delay": "1h",
        "opening_hours": {"time_zone": "Europe/Berlin"},
    },
    "number_plan": {"region": "DE"},
}

#: An alarm that begins at once.
_WEB_SETTINGS = {"alarms": {"no_agents": {"yellow": "1s", "red": "2s"}}}


@frozen
class House:
    """All that runs, and the people who have logged in.

    Attributes:
        lab: Asterisk and its phones.
        service: the service.
        web: the web process.
        sessions: the state of a browser of each person who has logged in.
    """

    lab: Lab
    service: Service
    web: Web
    sessions: dict[str, Path]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def house(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Start all of it; an administrator, a supervisor and a viewer log in."""
    try:
        asterisk = Asterisk(22, queues=_QUEUES)
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
    sessions = tmp_path_factory.mktemp("sessions")
    try:
        asterisk.start()
        lab = Lab(asterisk, launcher=FORK)
        service = lab.service(_SETTINGS)
        past_traffic.write(
            service.settings["database"]["url"],
            datetime.now(UTC),
            ["support", "sales"],
            ["PJSIP/alice", "PJSIP/carol"],
            days=2,
        )
        with Web(service, _WEB_SETTINGS) as web:
            found = House(lab, service, web, {})
            _log_in(browser, found, sessions, "root", web.first_link())
            for name, role in (("sue", "supervisor"), ("vic", "viewer")):
                _log_in(browser, found, sessions, name, web.add_user(name, role))
            yield found
        lab.close()
    finally:
        asterisk.close()


def _log_in(
    browser: Browser, house: House, sessions: Path, name: str, link: str
) -> None:
    """Set a password by a one-time link, which logs in."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(link)
        if page.locator("#name").is_editable():
            page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.fill("#again", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_selector("#live, .cards, h1")
        house.sessions[name] = sessions / f"{name}.json"
        context.storage_state(path=house.sessions[name])


@pytest.fixture
def open_page(browser: Browser, house: House) -> Iterator[PageOpener]:
    """Open pages, which are closed after the test."""
    opener = PageOpener(browser, house)
    yield opener
    opener.close()


class PageOpener:
    """Opens pages for somebody, on some screen."""

    def __init__(self, browser: Browser, house: House) -> None:
        self._browser = browser
        self._house = house
        self._contexts: list[BrowserContext] = []
        #: What scripts have complained about.
        self.complaints: list[str] = []

    def __call__(
        self,
        path: str = "/",
        *,
        who: str | None = "sue",
        width: int = 1280,
        height: int = 800,
        theme: str = "light",
        language: str = "en",
    ) -> Page:
        """Return a page."""
        context = self._browser.new_context(
            base_url=self._house.web.address,
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            locale=language,
            storage_state=self._house.sessions[who] if who else None,
        )
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        page.goto(path)
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()

    def _note(self, message: object) -> None:
        text = getattr(message, "text", "")
        # Chromium says so of each answer that is no success, such as a wrong form.
        if getattr(message, "type", "") == "error" and "Failed to load" not in text:
            self.complaints.append(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs to the report of a failed test."""
    report = yield
    house = getattr(item, "funcargs", {}).get("house")
    if report.failed and isinstance(house, House):
        report.sections += [("web", house.web.report()), *house.lab.report()]
    return report
