# SPDX-License-Identifier: MIT
"""The pages Tasks and Story, and what people do there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fastagi.service.commands import (
    AssignTask,
    BulkTasks,
    CancelTask,
    Command,
    MoveTask,
    NoteTask,
    RescheduleTask,
    RetryTask,
)
from fastagi.store import migrate
from fastagi.web.people.access import Role
from fastagi.web.service_client import ServiceDown, ServiceProblem
from tests.lab import past_traffic
from tests.web.console import Browser, browser_in, person
from tests.web.live_state import NOW

#: One of the tasks.
TASK = 3


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A process whose service has some days of traffic."""
    directory = tmp_path_factory.mktemp("tasks")
    url = f"sqlite:///{directory}/callback-queue.db"
    migrate.upgrade(url)
    agents = ["PJSIP/alice", "PJSIP/bob"]
    past_traffic.write(url, NOW, ["support", "sales"], agents, days=2)
    with browser_in(directory) as browser:
        yield browser


@pytest.fixture
def browser(house: Browser) -> Browser:
    """The same, with a supervisor before it and no command given yet."""
    house.who = person(Role.SUPERVISOR)
    house.live.commands.clear()
    house.live.answer = lambda _command: {}
    return house


def _first_of(browser: Browser, queue: str) -> int:
    answer = browser.get(f"/tasks.csv?state=all&queue={queue}")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    return int(rows[-1]["id"])


# -- lists -----------------------------------------------------------------


def test_filters_in_the_address_leave_the_tasks_that_fit(browser: Browser) -> None:
    everything = browser.page("/tasks?state=all")
    assert "failed" in everything
    failed = browser.page("/tasks?state=failed&queue=sales")
    assert failed.count('class="status failed"') == failed.count('<tr id="task-')
    assert 'class="status completed"' not in failed


def test_a_number_is_found_however_it_is_written(browser: Browser) -> None:
    answer = browser.get("/tasks.csv?state=all")
    number = next(csv.DictReader(io.StringIO(answer.text)))["number"]
    digits = number.removeprefix("+49")
    for form in (number, f"0{digits}", f"0{digits[:2]} {digits[2:]}"):
        page = browser.client.get("/tasks", params={"state": "all", "q": form}).text
        assert '<tr id="task-' in page, form


def test_a_viewer_can_not_find_out_a_number_by_searching(browser: Browser) -> None:
    answer = browser.get("/tasks.csv?state=all")
    number = next(csv.DictReader(io.StringIO(answer.text)))["number"]
    browser.who = person(Role.VIEWER)
    page = browser.client.get("/tasks", params={"state": "all", "q": number[1:]}).text
    assert '<tr id="task-' not in page
    assert "•••" in browser.get("/tasks.csv?state=all").text
    assert number not in browser.get("/tasks.csv?state=all").text


@pytest.mark.parametrize(
    "query",
    ["before=-1", "before=99999999999", "since=9999-12-31&until=9999-12-31", "kind=x"],
)
def test_filters_that_make_no_sense_are_left_out(browser: Browser, query: str) -> None:
    browser.page(f"/tasks?{query}")


def test_an_empty_list_says_what_to_do_next(browser: Browser) -> None:
    assert "No client waits to be called back" in browser.page("/tasks")
    assert "Look in all tasks" in browser.page("/tasks?q=000000")


def test_older_tasks_follow_on_the_next_page(browser: Browser) -> None:
    page = browser.page("/tasks?state=all")
    older = page.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    following = browser.page(older.replace("&amp;", "&"))
    first = following.split('<tr id="task-')[1].split('"')[0]
    last = page.rsplit('<tr id="task-', 1)[1].split('"')[0]
    assert int(first) == int(last) - 1


def test_a_name_of_a_caller_is_never_markup_or_a_formula(browser: Browser) -> None:
    import sqlite3

    path = browser.parts.settings.service.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as conn:
        conn.execute(
            "UPDATE task SET name = ? WHERE id = ?",
            ("=cmd('<script>alert(1)</script>')", TASK),
        )
    conn.close()
    for address in ("/tasks?state=all&q=cmd", f"/tasks/{TASK}"):
        page = browser.page(address)
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page
    assert ",'=cmd(" in browser.get("/tasks.csv?state=all&q=cmd").text.replace('"', "")


# -- one task --------------------------------------------------------------


def test_a_story_tells_attempts_answers_and_who_did_it(browser: Browser) -> None:
    found = browser.page("/tasks?state=cancelled")
    task_id = found.split('<tr id="task-')[1].split('"')[0]
    page = browser.page(f"/tasks/{task_id}")
    assert "the client has written an e-mail" in page
    assert "by anna" in page
    found = browser.page("/tasks?state=failed")
    task_id = found.split('<tr id="task-')[1].split('"')[0]
    page = browser.page(f"/tasks/{task_id}")
    assert "Attempt 1" in page and "Attempt 3" in page
    assert "SIP 4" in page


def test_a_story_is_told_in_russian(browser: Browser) -> None:
    found = browser.page("/tasks?state=failed")
    task_id = found.split('<tr id="task-')[1].split('"')[0]
    page = browser.page(f"/tasks/{task_id}", **{"accept-language": "ru"})
    assert "все попытки исчерпаны (3)" in page
    assert "Попытка 1" in page
    assert "next try" not in page


def test_a_task_of_another_queue_is_no_task(browser: Browser) -> None:
    other = _first_of(browser, "support")
    browser.who = person(Role.SUPERVISOR, "sales")
    for path in (f"/tasks/{other}", f"/tasks/{other}/cancel", "/tasks/999999"):
        assert browser.get(path).status_code == 404, path
    answer = browser.post(f"/tasks/{other}/cancel", reason="x")
    assert answer.status_code == 404
    assert not browser.live.commands


@pytest.mark.parametrize(
    ("action", "form", "command", "said"),
    [
        ("cancel", {}, lambda id: CancelTask(id=id, reason="why"), "cancelled"),
        ("retry", {}, lambda id: RetryTask(id=id, note="why"), "retried"),
        ("next", {}, lambda id: MoveTask(id=id, front=True, note="why"), "next"),
        (
            "reschedule",
            {"at": "2026-03-05T10:00"},
            lambda id: RescheduleTask(id=id, at="2026-03-05 10:00", note="why"),
            "moved",
        ),
        (
            "assign",
            {"agent": "PJSIP/alice"},
            lambda id: AssignTask(id=id, agent="PJSIP/alice", note="why"),
            "assigned",
        ),
        (
            "release",
            {},
            lambda id: AssignTask(id=id, release=True, note="why"),
            "released",
        ),
        ("note", {"note": "hm"}, lambda id: NoteTask(id=id, note="hm"), "noted"),
    ],
)
def test_each_action_is_one_command_with_its_reason(
    browser: Browser, action: str, form: dict[str, str], command: Any, said: str
) -> None:
    assert '<form id="form"' in browser.page(f"/tasks/{TASK}/{action}")
    answer = browser.post(f"/tasks/{TASK}/{action}", reason="why", **form)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/tasks/{TASK}?said={said}"
    assert browser.live.commands == [(command(TASK), "anna")]


def test_a_task_is_not_cancelled_without_a_reason(browser: Browser) -> None:
    answer = browser.post(f"/tasks/{TASK}/cancel", reason=" ")
    assert answer.status_code == 422
    assert "Write a reason" in answer.text
    assert not browser.live.commands


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ServiceProblem(409, "illegal-move", "it has ended"), 409, "it has ended"),
        (ServiceDown("it does not run"), 503, "so nothing was changed"),
        (ServiceDown("silence", may_be_done=True), 503, "may be done all the same"),
    ],
)
def test_what_was_not_done_is_said_and_the_form_keeps_its_contents(
    browser: Browser, error: Exception, status: int, words: str
) -> None:
    def refuse(_command: Command) -> Any:
        raise error

    browser.live.answer = refuse
    answer = browser.post(f"/tasks/{TASK}/cancel", reason="a long reason")
    assert answer.status_code == status
    assert words in answer.text
    assert 'value="a long reason"' in answer.text


def test_a_viewer_sees_no_buttons_and_can_not_act(browser: Browser) -> None:
    browser.who = person(Role.VIEWER)
    page = browser.page(f"/tasks/{TASK}")
    assert "/cancel" not in page
    assert browser.post(f"/tasks/{TASK}/cancel", reason="x").status_code == 403
    assert not browser.live.commands


def test_a_viewer_sees_no_number_in_words_either(browser: Browser) -> None:
    found = browser.page("/tasks?state=completed")
    task_id = found.split('<tr id="task-')[1].split('"')[0]
    dialled = re.compile(r"dialling \+49 30 (\S+)")
    full = dialled.search(browser.page(f"/tasks/{task_id}"))
    browser.who = person(Role.VIEWER)
    page = browser.page(f"/tasks/{task_id}")
    hidden = dialled.search(page)
    assert full and full[1].startswith("23125") and "•" not in full[1]
    assert hidden and hidden[1].startswith("23125•••")
    assert full[1][:8] not in page


# -- many tasks ------------------------------------------------------------


def _bulk_answer(command: Command) -> Any:
    if not isinstance(command, BulkTasks):
        return {}
    return {
        "action": "cancel",
        "preview": command.preview,
        "fingerprint": "f1",
        "results": [
            {
                "id": id,
                "number": "+4930",
                "queue": "x",
                "refused": "" if n else "no",
            }
            for n, id in enumerate(command.ids)
        ],
    }


def test_many_tasks_are_changed_after_a_preview(browser: Browser) -> None:
    browser.live.answer = _bulk_answer
    answer = browser.post("/tasks/bulk", action="retry", task=[5, 6])
    assert answer.status_code == 200
    assert "What would happen" in answer.text
    assert "stays as it is" in answer.text
    assert [one.preview for one, _ in browser.live.commands] == [True]  # type: ignore[union-attr]
    browser.live.commands.clear()
    answer = browser.post(
        "/tasks/bulk", action="retry", task=[5, 6], sure="yes", expect="f1", reason="y"
    )
    assert "1 task was changed." in answer.text
    [(command, _)] = browser.live.commands
    assert command == BulkTasks(action="retry", ids=[5, 6], expect="f1", note="y")


def test_tasks_of_other_queues_are_left_out_of_a_bulk_change(browser: Browser) -> None:
    mine, other = _first_of(browser, "sales"), _first_of(browser, "support")
    browser.who = person(Role.SUPERVISOR, "sales")
    browser.live.answer = _bulk_answer
    answer = browser.post("/tasks/bulk", action="cancel", task=[mine, other])
    assert "1 task of another queue is left out" in answer.text
    [(command, _)] = browser.live.commands
    assert command.ids == (mine,)  # type: ignore[union-attr]


def test_a_bulk_change_without_tasks_leads_back(browser: Browser) -> None:
    answer = browser.post("/tasks/bulk", action="cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
