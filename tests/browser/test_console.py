# SPDX-License-Identifier: MIT
"""What people do in the console, from a caller who waits to a task that has ended."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, House, PageOpener
from tests.lab.service import says
from tests.lab.witness import event

_CLIENT = "+4930231250"


def test_a_supervisor_follows_a_caller_to_the_end(
    house: House, open_page: PageOpener
) -> None:
    """Sees the caller wait, press 1, the task appear; cancels, retries, moves it."""
    lab = house.lab
    lab.asterisk.cli("queue pause member PJSIP/alice queue support")
    live = open_page("/")
    support = live.locator("section.card", has_text="support")
    expect(support.get_by_text("No agent takes calls")).to_be_visible()
    caller = lab.caller("support", number="+493023125001", keys_as_rtp=True)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum="+493023125001"))
    waiting = support.locator(".tile", has_text="Callers waiting").locator(".figure")
    expect(waiting).to_have_text("1")
    # The mark on the element shows later whether the page was loaded again.
    live.evaluate("window.mark = 1")
    caller.press("1")
    requested = house.service.wait_for(says("requested in queue"))
    task_id = requested["task_id"]
    caller.wait_until_hung_up()
    callbacks = support.locator(".tile", has_text="Callbacks waiting")
    expect(callbacks.locator(".figure")).to_contain_text("1")
    expect(waiting).to_have_text("0")
    assert live.evaluate("window.mark") == 1

    callbacks.locator("a").click()
    row = live.locator(f"#task-{task_id}")
    expect(row).to_contain_text("+49 30 23125001")
    expect(row).to_contain_text("no agent of the queue is logged in and not paused")
    row.get_by_role("link", name=str(task_id)).click()

    _act(live, "Cancel", reason="wrong number", button="Cancel the task")
    expect(live.locator(".title .status")).to_contain_text("cancelled")
    expect(live.locator(".story")).to_contain_text("wrong number")
    expect(live.locator(".story")).to_contain_text("by sue")

    _act(live, "Call again", reason="asked once more")
    expect(live.locator(".title .status")).to_contain_text("waiting")
    expect(live.locator(".story")).to_contain_text("asked once more")
    _act(live, "Call next")
    expect(live.locator(".story")).to_contain_text("moved to the front")

    # A restart loses nothing, neither on the page nor in what is typed.
    live.get_by_role("link", name="Note").click()
    live.locator("#form-note").fill("calls from abroad")
    house.service.stop()
    other = open_page("/")
    expect(other.get_by_text("The callback service can not be reached")).to_be_visible()
    expect(live.locator("#form-note")).to_have_value("calls from abroad")
    house.service.start()
    expect(other.get_by_text("The callback service can not be reached")).to_be_hidden()
    live.locator("dialog").get_by_role("button", name="Note").click()
    expect(live.locator(".story")).to_contain_text("note: calls from abroad")

    client = lab.client("+493023125001")
    agent = lab.agent("alice")
    lab.asterisk.cli("queue unpause member PJSIP/alice queue support")
    agent.wait_for_call()
    client.wait_for_call(deadline_s=15)
    expect(live.locator("#live")).to_contain_text("they talk")
    lab.asterisk.hang_up_everything()
    expect(live.locator(".title .status")).not_to_contain_text("calling")
    assert open_page.complaints == []


def _act(page: Page, name: str, *, reason: str = "", button: str = "") -> None:
    page.locator(".title").get_by_role("link", name=name, exact=True).click()
    dialog = page.locator("dialog")
    expect(dialog).to_be_visible()
    if reason:
        dialog.get_by_label(re.compile("^Reason")).fill(reason)
    dialog.get_by_role("button", name=button or name, exact=True).click()
    expect(page.locator("dialog")).to_be_hidden()


@pytest.mark.parametrize("who", ["root", "vic"])
def test_the_pages_of_a_person_are_those_they_may_see(
    open_page: PageOpener, who: str
) -> None:
    page = open_page("/", who=who)
    names = page.get_by_role("navigation", name="Pages").get_by_role("link")
    shown = [name.strip() for name in names.all_inner_texts()]
    assert ("Settings" in shown) == (who == "root")
    assert ("Numbers" in shown) == (who == "root")


def test_a_page_survives_a_restart_of_the_web_process(
    house: House, open_page: PageOpener
) -> None:
    page = open_page("/tasks?state=all")
    page.locator("#q").fill("half a name")
    lost = page.get_by_text("The connection to the console is lost")
    expect(lost).to_be_hidden()
    house.web.stop()
    expect(lost).to_be_visible()
    house.web.start()
    expect(lost).to_be_hidden()
    expect(page.locator("#q")).to_have_value("half a name")


def test_a_page_whose_session_has_ended_leads_to_the_login(
    house: House, open_page: PageOpener
) -> None:
    link = house.web.add_user("tom", "viewer")
    page = open_page(link.removeprefix(house.web.address), who=None)
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", name="Live", level=1)).to_be_visible()
    house.web.cli("user", "logout", "tom")
    house.web.stop()
    house.web.start()
    expect(page.get_by_label("Password")).to_be_visible()
