# SPDX-License-Identifier: MIT
"""The page Numbers: who may block numbers, and what is kept about one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fastagi.service.commands import Command, EraseNumber, ExportNumber
from fastagi.web.people.access import Role
from fastagi.web.service_client import ServiceProblem
from tests.web.console import Browser, browser_in, person

_NUMBER = "+49301234567"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser_in(tmp_path_factory.mktemp("numbers")) as browser:
        yield browser


@pytest.fixture
def sent(house: Browser) -> list[Command]:
    """The commands that the service gets."""
    commands: list[Command] = []

    def answer(command: Command) -> Any:
        commands.append(command)
        return {"number": _NUMBER, "tasks": []}

    house.live.answer = answer
    return commands


@pytest.fixture
def browser(house: Browser, sent: list[Command]) -> Browser:
    house.who = person(Role.ADMIN)
    return house


def _page(browser: Browser, path: str = "/numbers") -> str:
    """Return the page; its lists are empty, as there is no database of tasks."""
    return str(browser.get(path).text)


def test_who_has_some_queues_only_is_told_who_blocks_numbers(browser: Browser) -> None:
    form = 'action="/numbers/block"'
    browser.who = person(Role.SUPERVISOR)
    assert form in _page(browser)
    browser.who = person(Role.SUPERVISOR, "support")
    page = _page(browser)
    assert form not in page
    assert "Ask somebody who has all queues." in page
    assert browser.post("/numbers/block", number=_NUMBER).status_code == 403


def test_what_is_kept_about_a_number_is_saved_as_a_file(
    browser: Browser, sent: list[Command]
) -> None:
    answer = browser.post("/numbers/export", number=_NUMBER)
    assert json.loads(answer.text)["number"] == _NUMBER
    assert _NUMBER not in answer.headers["content-disposition"]
    assert sent == [ExportNumber(number=_NUMBER)]


def test_a_number_is_erased_only_by_somebody_who_is_sure(
    browser: Browser, sent: list[Command]
) -> None:
    answer = browser.post("/numbers/erase", number=_NUMBER, block="keep")
    assert answer.status_code == 422
    assert "Say that you are sure" in answer.text and _NUMBER in answer.text
    assert sent == []
    answer = browser.post("/numbers/erase", number=_NUMBER, block="keep", sure="1")
    assert answer.status_code == 303
    assert sent == [EraseNumber(number=_NUMBER, block="keep")]
    assert "The number is erased." in _page(browser, answer.headers["location"])


def test_why_a_number_is_not_erased_stands_above_the_form(browser: Browser) -> None:
    def refuse(command: Command) -> Any:
        raise ServiceProblem(409, "illegal-move", "task 7 of this number is open")

    browser.live.answer = refuse
    answer = browser.post("/numbers/erase", number=_NUMBER, sure="1")
    assert answer.status_code == 409
    assert "task 7 of this number is open" in answer.text and _NUMBER in answer.text


def test_supervisors_neither_read_nor_erase_what_is_kept(browser: Browser) -> None:
    browser.who = person(Role.SUPERVISOR)
    assert "/numbers/erase" not in _page(browser)
    for operation in ("erase", "export"):
        answer = browser.post(f"/numbers/{operation}", number=_NUMBER, sure="1")
        assert answer.status_code == 403


def test_number_may_be_called_but_its_queue_is_closed(browser: Browser) -> None:
    checked: dict[str, Any] = {
        "queue": "support",
        "number": _NUMBER,
        "may_be_called": True,
        "why_not": [],
        "dialled": _NUMBER,
        "dial_string": "",
        "region": "DE",
        "limits": [],
        "open_task": None,
        "last_refusal": None,
    }
    browser.live.answer = lambda command: checked
    path = "/numbers?number=%2B49301234567&queue=support"
    assert "It may be called now." in _page(browser, path)
    why = {"code": "closed_until", "params": {}, "words": "the queue stays closed"}
    checked["not_now"] = why
    page = _page(browser, path)
    assert "It may be called, but not now:</strong> the queue stays closed" in page
    assert "It may be called now." not in page
