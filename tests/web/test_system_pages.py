# SPDX-License-Identifier: MIT
"""The pages Settings and Health."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fastagi.service.commands import CheckSettings, Command, RunCheck, ShowSettings
from fastagi.store import migrate
from fastagi.web.people.access import Role
from fastagi.web.service_client import ServiceDown
from tests.web.console import Browser, browser_in, person
from tests.web.several_services import add_services

_INCLUDED = "/etc/callback-queue/queues.d/freepbx.yaml"
_SETTINGS = {
    "file": "/etc/callback-queue/callback-queue.yaml",
    "loaded_at": "2026-03-04T08:00:00.000+00:00",
    "settings": [
        {
            "name": name,
            "value": value,
            "default": default,
            "origin": origin,
            "line": line,
            "file": _INCLUDED if name == "queues.sales.attempts" else "",
            "secret": secret,
            "needs_restart": False,
            "waits_for_restart": waits,
        }
        for name, value, default, origin, line, secret, waits in (
            ("ami.secret", None, None, "file", 7, True, False),
            ("ami.port", 5039, 5038, "file", 6, False, True),
            ("queues.support.attempts", 5, 3, "defaults", 41, False, False),
            ("queues.sales.attempts", 6, 3, "file", 2, False, False),
            ("number_plan.own_numbers", ["+493012345678"], [], "file", 9, False, False),
            ("log.level", "info", "info", "built_in", None, False, False),
        )
    ],
}
_CHECK = {
    "at": "2026-03-04T14:29:00.000+00:00",
    "took_s": 2.1,
    "findings": [
        {
            "area": "settings",
            "level": "ok",
            "where": "",
            "problem": "",
            "remedy": "",
            "checked": True,
        },
        {
            "area": "sounds",
            "level": "fault",
            "where": "accepted.wav",
            "problem": "there is no such file",
            "remedy": "copy sounds/en",
            "checked": True,
        },
    ],
}


def _answer(command: Command) -> Any:
    match command:
        case ShowSettings():
            return _SETTINGS
        case RunCheck():
            return _CHECK
        case CheckSettings() if "attempts: x" in command.text:
            problem = {"line": 3, "where": "a.b", "problem": "no number", "remedy": "1"}
            return {**_NOTHING, "problems": [problem]}
        case CheckSettings() if "attempts: 7" in command.text:
            change = {
                "name": "queues.support.attempts",
                "before": 5,
                "after": 7,
                "line": 3,
                "needs_restart": True,
                "secret": False,
            }
            return {**_NOTHING, "changes": [change], "queues_added": ["night"]}
        case _:
            return _NOTHING


_NOTHING: dict[str, list[Any]] = {
    "problems": [],
    "changes": [],
    "queues_added": [],
    "queues_removed": [],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A process whose service answers as above."""
    with browser_in(tmp_path_factory.mktemp("system")) as browser:
        yield browser


@pytest.fixture
def browser(house: Browser) -> Browser:
    """The same, with an administrator before it."""
    house.who = person(Role.ADMIN)
    house.live.answer = _answer
    return house


def test_each_setting_has_its_value_its_default_and_its_line(browser: Browser) -> None:
    page = browser.page("/settings")
    row = page.split("<code>queues.support.attempts</code>")[1].split("</tr>")[0]
    assert "<code>5</code>" in row
    assert "<code>3</code>" in row
    assert "line 41, for all queues" in row
    assert _INCLUDED not in row
    row = page.split("<code>queues.sales.attempts</code>")[1].split("</tr>")[0]
    assert f"line 2: <code>{_INCLUDED}</code>" in row
    assert "1 changed setting takes effect at the next start" in page
    assert "log.level" not in page
    assert "log.level" in browser.page("/settings?all=true")
    assert "log.level" in browser.page("/settings?q=LEVEL")
    assert "ami.port" not in browser.page("/settings?q=LEVEL")


def test_a_secret_is_named_and_not_shown(browser: Browser) -> None:
    row = browser.page("/settings").split("<code>ami.secret</code>")[1]
    assert "secret" in row.split("</tr>")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("attempts: x", ["1 mistake", "Line 3", "a.b", "no number"]),
        ("attempts: 7", ["No mistakes", "New queue: night", "at the next start"]),
        ("attempts: 5", ["nothing would be different"]),
    ],
)
def test_a_changed_file_can_be_tried(
    browser: Browser, text: str, words: list[str]
) -> None:
    answer = browser.post("/settings/check", text=f"a:\r\n{text}")
    assert all(word in answer.text for word in words), answer.text
    [command] = [
        one for one, _ in browser.live.commands if isinstance(one, CheckSettings)
    ]
    assert command.text == f"a:\n{text}"
    browser.live.commands.clear()
    # What was pasted stays in the form.
    assert text in answer.text


def test_health_shows_findings_with_what_to_do(browser: Browser) -> None:
    page = browser.page("/health")
    assert 'hx-get="/health/check"' in page
    assert "sent by this process" in page
    page = browser.page("/health/check")
    assert "1 fault" in page
    assert "there is no such file" in page
    assert "copy sounds/en" in page


def test_health_says_how_to_check_what_the_service_may_not_read(
    browser: Browser,
) -> None:
    problem = "/etc/asterisk/queues.conf can not be read"
    unread = {
        "area": "queues",
        "level": "warning",
        "where": "queues.conf",
        "problem": problem,
        "remedy": "run this check as root",
        "checked": False,
    }
    answered = {**_CHECK, "findings": [unread]}
    browser.live.answer = lambda command: answered
    page = browser.page("/health/check")
    assert "1 point not checked" in page
    assert "sudo callback-queue check" in page
    assert "1 warning" not in page
    assert "Everything that was checked is good" not in page


def test_the_alarms_of_health_are_in_the_language_and_zone_of_the_page(
    browser: Browser,
) -> None:
    page = browser.page("/health", **{"accept-language": "ru"})
    alarms = page.split('id="alarms"')[1].split("</section>")[0]
    assert "sales: Самая старая заявка ждёт 42 мин" in alarms
    assert "queue" not in alarms
    # The queues are in Berlin, whose time differs by an hour from that of UTC.
    assert "15:30" in alarms


def test_without_the_service_the_pages_say_what_to_do(browser: Browser) -> None:
    def down(_command: Command) -> Any:
        raise ServiceDown("the service does not run")

    browser.live.answer = down
    for path in ("/settings", "/health/check"):
        page = browser.get(path).text
        assert "The callback service can not be reached" in page, path


def test_the_support_bundle_has_neither_numbers_nor_people(browser: Browser) -> None:
    answer = browser.get("/health/bundle.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    whole = "".join(texts.values())
    assert set(texts) == {"versions.json", "check.json", "settings.json", "live.json"}
    assert "+493012345678" not in whole
    assert "+493055555" not in whole
    assert "Ada" not in whole
    assert "Alice" not in whole
    assert json.loads(texts["live.json"])["queues"]["support"]["waiting"] == 2


@pytest.mark.parametrize("path", ["/settings", "/health", "/health/bundle.zip"])
def test_only_administrators_see_these_pages(browser: Browser, path: str) -> None:
    browser.who = person(Role.SUPERVISOR)
    assert browser.get(path).status_code == 403


def _node(name: str, error: str = "", *, connected: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "connected": connected,
        "version": "22.10.1",
        "error": error,
        "calls_under_way": 0,
    }


def _with_nodes(browser: Browser, *nodes: dict[str, Any]) -> None:
    state = browser.parts.live.snapshot
    assert state is not None
    state["service"]["nodes"] = list(nodes)


def test_each_asterisk_is_on_health_with_its_link(browser: Browser) -> None:
    _with_nodes(
        browser, _node("pbx1"), _node("pbx2", "no route to host", connected=False)
    )
    page = browser.page("/health")
    assert "<dt>Asterisk pbx1</dt>" in page
    assert "<dt>Asterisk pbx2</dt>" in page
    assert "no route to host" in page
    assert "No connection to the Asterisk pbx2." in page
    assert "No connection to Asterisk." not in page


def test_of_one_asterisk_no_name_is_shown(browser: Browser) -> None:
    _with_nodes(browser, _node("default"))
    page = browser.page("/health")
    assert "<dt>Asterisk</dt>" in page
    assert "No connection" not in page


def test_without_any_link_no_callback_is_placed_at_all(browser: Browser) -> None:
    _with_nodes(browser, _node("pbx1", connected=False), _node("pbx2", connected=False))
    assert "No connection to Asterisk." in browser.page("/")


def _services_part(page: str) -> str:
    return page.split('id="services"')[1].split("</section>")[0]


def _row(part: str, name: str) -> str:
    return part.split(f"<span>{name}")[1].split("</tr>")[0]


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Browser]:
    """A process whose service is one of three."""
    url = f"sqlite:///{tmp_path}/callback-queue.db"
    migrate.upgrade(url)
    add_services(url)
    with browser_in(tmp_path) as browser:
        yield browser


def test_services_on_one_database_are_on_health(several: Browser) -> None:
    part = _services_part(several.page("/health"))
    asked = _row(part, "a")
    assert "asked by this page" in asked
    assert "pbx, process 812" in asked
    assert "pbx1 <" in asked and "pbx2 <" in asked
    # Of pbx2 only.
    assert asked.count("no link") == 1
    assert asked.index("pbx2") < asked.index("no link")
    other = _row(part, "b")
    assert "no Asterisk" in other
    assert "<code>queues.sales.attempts</code> (and of 1 more queue)" in other
    assert "5, but 3 at a" in other
    assert "sudo systemctl reload callback-queue" in part
    assert "No service holds the Asterisk pbx3." in part


def test_a_service_that_does_not_run_is_marked_in_words(several: Browser) -> None:
    gone = _row(_services_part(several.page("/health")), "c")
    assert "does not run" in gone
    assert "<time" in gone.split('data-label="Last seen"')[1].split("</td>")[0]
    assert "other version" in gone
    assert "other version" not in _row(_services_part(several.page("/health")), "b")
    russian = several.page("/health", **{"accept-language": "ru"})
    assert "не работает" in _row(_services_part(russian), "c")
    assert "не работает" not in _row(_services_part(russian), "b")


def test_services_are_on_health_while_the_own_one_can_not_be_reached(
    several: Browser,
) -> None:
    with mock.patch.object(type(several.parts.live), "snapshot", None):
        part = _services_part(several.page("/health"))
    assert "asked by this page" not in part
    assert "pbx-b, process 77" in part


def test_one_service_with_one_asterisk_is_in_no_table(browser: Browser) -> None:
    _with_nodes(browser, _node("default"))
    assert 'id="services"' not in browser.page("/health")


def test_one_service_with_two_asterisks_says_that_it_holds_them(
    browser: Browser,
) -> None:
    _with_nodes(browser, _node("pbx1"), _node("pbx2"))
    part = _services_part(browser.page("/health"))
    assert "pbx1<br>pbx2" in part
    assert "Other settings" not in part
