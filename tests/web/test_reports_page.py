# SPDX-License-Identifier: MIT
"""The page Reports, on some days of traffic."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator

import pytest

from fastagi.store import migrate
from fastagi.web.people.access import Role
from tests.lab import past_traffic
from tests.web.console import Browser, browser_in, person
from tests.web.live_state import NOW


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A process whose service has some days of traffic."""
    directory = tmp_path_factory.mktemp("reports")
    url = f"sqlite:///{directory}/callback-queue.db"
    migrate.upgrade(url)
    past_traffic.write(url, NOW, ["support", "sales"], ["PJSIP/alice"], days=3)
    with browser_in(directory) as browser:
        yield browser


def _report(browser: Browser, query: str = "") -> dict[str, object]:
    answer = browser.get(f"/reports.json?range=30{query}")
    assert answer.status_code == 200
    return dict(json.loads(answer.text))


def test_each_plot_has_a_table_and_a_sentence(browser: Browser) -> None:
    page = browser.page("/reports?range=30", person(Role.VIEWER))
    assert page.count("data-plot=") == page.count("As a table") == 3
    assert "Half of the clients reached waited at most" in page
    assert "The busiest hour begins at" in page
    assert "Of these, whose call was missed." in page


@pytest.mark.parametrize(
    ("first", "title", "bars", "label"),
    [
        ("2025-11-09", "Clients by day", 120, "9 Nov"),
        ("2025-11-08", "Clients by week", 18, "8 Nov"),
        # 121 weeks, and a day more.
        ("2023-11-13", "Clients by week", 121, "13 Nov"),
        ("2023-11-12", "Clients by month", 29, "Nov 2023"),
    ],
)
def test_a_long_range_is_drawn_by_week_or_month(
    browser: Browser, first: str, title: str, bars: int, label: str
) -> None:
    page = browser.page(f"/reports?first={first}&last=2026-03-08", person(Role.VIEWER))
    (found,) = re.findall(r'aria-label="(Clients by [^"]*)" data-plot="([^"]*)"', page)
    data = json.loads(html.unescape(found[1]))
    assert found[0].startswith(title)
    assert len(data["labels"]) == bars
    assert data["labels"][0] == label
    browser.who = person(Role.SUPERVISOR)
    answer = browser.get(f"/reports.json?first={first}&last=2026-03-08")
    asked = json.loads(answer.text)["totals"]["asked"]
    assert asked
    assert sum(sum(one["values"]) for one in data["series"]) == asked


def test_a_supervisor_of_one_queue_gets_its_figures_only(browser: Browser) -> None:
    browser.who = person(Role.SUPERVISOR)
    everything = _report(browser)
    sales = _report(browser, "&queue=sales")
    browser.who = person(Role.SUPERVISOR, "sales")
    for asked in ("", "&queue=sales", "&queue=support"):
        own = _report(browser, asked)
        assert own["queues"] == ["sales"]
        assert own["totals"] == sales["totals"] != everything["totals"]


def test_the_file_for_a_spreadsheet_has_a_row_for_each_day(browser: Browser) -> None:
    browser.who = person(Role.SUPERVISOR)
    answer = browser.get("/reports.csv?first=2026-03-01&last=2026-03-04")
    assert 'filename="report-2026-03-01-2026-03-04.csv"' in answer.headers.get(
        "content-disposition"
    )
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["from"] for row in rows][:4] == [
        f"2026-03-0{day}" for day in (1, 2, 3, 4)
    ]
    assert int(rows[-1]["asked"]) == sum(int(row["asked"]) for row in rows[:-1])


@pytest.mark.parametrize(
    "query", ["range=x", "first=9999-99-99&last=1", "goal=7", "kind=x", "queue=no"]
)
def test_what_makes_no_sense_in_the_address_is_replaced(
    browser: Browser, query: str
) -> None:
    browser.page(f"/reports?{query}")


def test_a_range_without_clients_says_what_to_do(browser: Browser) -> None:
    page = browser.page("/reports?first=2020-01-01&last=2020-01-02")
    assert "Nobody asked to be called back in this range" in page
    assert "Choose more days" in page
