# SPDX-License-Identifier: MIT
"""Every page: readable for all, by keyboard alone, on a phone, in Russian."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from fastagi.web.console.languages import LANGUAGES
from tests.browser.conftest import House, PageOpener

_AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
_STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_PHONE = {"width": 390, "height": 844}

#: Elements that do not fit on the screen, except those that scroll by themselves.
_TOO_WIDE = """[...document.querySelectorAll('main *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .filter(one => !one.closest(
        '.table, .scrolls, .hidden-visually, .plot, pre, details:not([open])'))
    .map(one => one.outerHTML.slice(0, 99))"""
#: Every page of the console, with an ended task, forms and answers of forms.
PAGES = (
    "/",
    "/tasks",
    "/tasks?state=failed",
    "/tasks/2",
    "/tasks/2/reschedule",
    "/tasks/2/note",
    "/tasks/new",
    "/reports?range=7",
    "/numbers",
    "/numbers?number=%2B4930231251&queue=support",
    "/settings",
    "/health",
    "/account",
    "/access",
    "/wall",
    "/no-such-page",
)


@pytest.fixture(scope="module")
def page(browser: Any, house: House) -> Any:
    """One page for all of these tests."""
    opener = PageOpener(browser, house)
    yield opener(who="root")
    opener.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_everybody(house: House, page: Page, path: str) -> None:
    """Nothing for axe to find in either theme; nothing too wide for a phone."""
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    page.goto(path)
    if "range" in path:
        page.wait_for_selector(".u-wrap")
    page.evaluate(_AXE.read_text())
    assert _found(page, {"type": "tag", "values": _STANDARD}) == []
    page.emulate_media(color_scheme="dark")
    assert _found(page, {"type": "rule", "values": ["color-contrast"]}) == []
    page.set_viewport_size(_PHONE)  # type: ignore[arg-type]
    assert page.evaluate(_TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]


def _found(page: Page, rules: dict[str, object]) -> list[str]:
    run = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"
    violations = page.evaluate(run, rules)["violations"]
    return [
        f"{one['id']}: {node['html'][:150]} {node['failureSummary']}"
        for one in violations
        for node in one["nodes"]
    ]


def test_the_console_is_in_russian_for_who_wants_it(open_page: PageOpener) -> None:
    page = open_page("/tasks?state=all", who="root", language="ru-RU")
    names = page.get_by_role("navigation", name="Страницы").get_by_role("link")
    expect(names).to_contain_text(["Сейчас", "Заявки", "Отчёты", "Номера"])
    expect(page.locator("tbody")).to_contain_text("говорили")
    page.get_by_role("link", name=LANGUAGES["en"]).click()
    expect(page.get_by_role("heading", name="Tasks", level=1)).to_be_visible()


def test_the_keyboard_alone_is_enough(open_page: PageOpener) -> None:
    """Skip to the content, open a task, open a form, leave it, choose dark colours."""
    page = open_page("/tasks?state=completed", who="root")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    _tab_to(page, "tbody th a")
    page.keyboard.press("Enter")
    expect(page.locator(".story")).to_be_visible()
    _tab_to(page, "#action-note")
    page.keyboard.press("Enter")
    note = page.locator("#form-note")
    expect(note).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator("#action-note")).to_be_focused()
    _tab_to(page, 'a[href*="theme=dark"]')
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert open_page.complaints == []


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"the key Tab does not lead to {selector}")


def test_a_wall_link_opens_the_wall_and_nothing_else(
    house: House, open_page: PageOpener
) -> None:
    address = house.web.add_wall_link("lobby", "support")
    page = open_page(address.removeprefix(house.web.address), who=None)
    expect(page.locator("section.card")).to_have_count(1)
    expect(page.locator("section.card")).to_contain_text("support")
    page.goto("/tasks")
    expect(page.get_by_role("heading", level=1)).to_have_text("403 Not allowed")
