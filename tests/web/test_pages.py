# SPDX-License-Identifier: MIT
"""The pages, as somebody who has logged in sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastagi.web.people.access import Role
from tests.web.console import Browser, browser_in, person
from tests.web.live_state import queue as queue_state
from tests.web.live_state import snapshot


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One process for all tests of this module."""
    with browser_in(tmp_path_factory.mktemp("console")) as browser:
        yield browser


def test_live_shows_alarms_with_words_and_limits(browser: Browser) -> None:
    page = browser.page("/", person(Role.SUPERVISOR))
    assert "Oldest callback waits 42 min (limit 30 min)" in page
    assert "No agent takes calls: log in or unpause somebody" in page
    assert "1 queue with an alarm" in page
    assert "open until 19:00" in page


def test_viewers_see_masked_numbers(browser: Browser) -> None:
    page = browser.page("/", person(Role.VIEWER))
    assert "+49 30 123•••" in page
    assert "123456" not in page
    assert "+49 30 123456" in browser.page("/", person(Role.SUPERVISOR))


def test_a_supervisor_of_one_queue_sees_no_other(browser: Browser) -> None:
    page = browser.page("/", person(Role.SUPERVISOR, "sales"))
    assert ">sales</h2>" in page
    assert ">support</h2>" not in page


def test_a_page_is_in_the_language_of_the_browser_or_in_the_chosen_one(
    browser: Browser,
) -> None:
    assert '<html lang="ru"' in browser.page("/", **{"accept-language": "ru-RU,en"})
    answer = browser.get("/look?language=en&back=/tasks")
    assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
    page = browser.page("/", **{"accept-language": "ru-RU,en"})
    assert '<html lang="en"' in page
    browser.client.cookies.clear()


def test_a_page_that_does_not_exist_says_so_in_the_language(browser: Browser) -> None:
    page = browser.get("/nothing", **{"accept-language": "ru"}).text
    assert "Такой страницы нет." in page
    assert "Not found" not in page


def test_a_page_that_the_role_does_not_allow_says_so_in_words(
    browser: Browser,
) -> None:
    browser.who = person(Role.VIEWER)
    answer = browser.get("/settings")
    assert answer.status_code == 403
    assert "403 Not allowed" in answer.text
    assert "Your user may not do this. Ask an administrator" in answer.text
    assert "settings:read" not in answer.text
    page = browser.get("/settings", **{"accept-language": "ru"}).text
    assert "Вашему пользователю это не разрешено." in page
    # A program is told which right it needs.
    answer = browser.get("/settings", accept="application/json")
    assert answer.json()["detail"] == "the right settings:read is missing"


def test_no_callback_is_the_oldest_while_none_waits(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = browser.parts.live.snapshot
    assert state is not None
    since = re.compile(r"\boldest <span")
    for path in ("/", "/wall"):
        assert since.search(browser.page(path, person(Role.SUPERVISOR))), path
    for queue in state["queues"].values():
        # One that is being called is still open.
        monkeypatch.setitem(queue, "callbacks_waiting", 0)
    for path in ("/", "/wall"):
        assert not since.search(browser.page(path)), path


def test_times_of_no_queue_are_in_the_zone_that_all_queues_have(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = browser.parts.live.snapshot
    assert state is not None

    def shown() -> str:
        page = browser.page("/health", person(Role.ADMIN))
        return page.split("<time ")[1].split('">')[0]

    for queue in state["queues"].values():
        monkeypatch.setitem(queue, "time_zone", "Asia/Tokyo")
    assert shown().endswith("JST")
    monkeypatch.setitem(state["queues"]["sales"], "time_zone", "Europe/Berlin")
    assert not shown().endswith("JST")


@pytest.mark.parametrize(
    "back", ["//evil.example", "/\\evil.example", "https://evil.example", "x", "/\n"]
)
def test_the_way_back_never_leads_to_another_host(browser: Browser, back: str) -> None:
    answer = browser.client.get("/look", params={"theme": "dark", "back": back})
    assert answer.headers["location"] == "/"
    browser.client.cookies.clear()


def test_static_files_are_kept_by_browsers_until_they_change(browser: Browser) -> None:
    page = browser.page("/")
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = browser.get(address)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["../../app.py", "%2e%2e/%2e%2e/app.py", "nothing"])
def test_static_paths_lead_to_no_other_file(browser: Browser, name: str) -> None:
    answer = browser.get(f"/static/{name}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_no_page_has_a_script_or_a_style_inside(browser: Browser) -> None:
    page = browser.page("/")
    assert "style=" not in page
    assert "onclick" not in page
    assert page.count("<script ") == page.count("<script src=")
    assert "<style" not in page


def test_a_queue_without_alarms_has_no_words_of_alarm(tmp_path: Path) -> None:
    with browser_in(tmp_path, snapshot(queues={"support": queue_state()})) as browser:
        page = browser.page("/")
        assert "All queues are fine" in page
        assert 'class="alarms"' not in page


_NOBODY = "No agent takes calls: log in or unpause somebody"


@pytest.mark.parametrize("waits", ["callbacks_waiting", "waiting"])
def test_a_queue_whose_only_agent_is_paused_is_not_fine_if_somebody_waits(
    waits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = queue_state(agents=1, free=0, busy=0, paused=1, **{waits: 3})
    with browser_in(tmp_path, snapshot(queues={"support": paused})) as browser:
        assert browser.page("/").count(_NOBODY) == 1
        # The alarm begins only after a minute.
        monkeypatch.setattr(browser.parts.signals.alarms, "current", lambda: ())
        page = browser.page("/")
        assert page.count(_NOBODY) == 1
        assert "1 queue with a warning" in page
        assert "All queues are fine" not in page
        assert _NOBODY in browser.page("/wall")


@pytest.mark.parametrize(
    "changes",
    [{}, {"callbacks_waiting": 3, "open": False}, {"waiting": 1, "busy": 1}],
    ids=["nobody waits", "closed", "another agent talks"],
)
def test_a_queue_whose_paused_agents_are_not_lacking_is_fine(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"agents": 1, "free": 0, "busy": 0, "paused": 1, **changes}
    if changes.get("busy"):
        state["agents"] = 2
    with browser_in(
        tmp_path, snapshot(queues={"support": queue_state(**state)})
    ) as browser:
        monkeypatch.setattr(browser.parts.signals.alarms, "current", lambda: ())
        assert "All queues are fine" in browser.page("/")
