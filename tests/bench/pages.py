# SPDX-License-Identifier: MIT
"""How long the console and the API take to answer: ``python -m tests.bench.pages``.

Service and web process run on a database with a million ended tasks and 10,000 open
ones: first a SQLite file, then a PostgreSQL server of the tests. A supervisor asks for
each page, a program for each list and report of the API, one after the other, while the
page Live is kept up to date. Prints the median and the 95th percentile of each, and
fails if one takes longer than 300 ms at p95.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import time
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa

from twisted.internet.threads import deferToThread

from fastagi.store.backends import backend_for
from fastagi.web.people.access import Right, Role
from tests.bench.rig import Rig, pause, run
from tests.bench.web_process import WebProcess
from tests.store import measure_reports

#: The longest time at p95, in milliseconds.
_MOST_MS: Final = 300.0
_RIGHTS: Final = (Right.TASKS_READ, Right.NUMBERS_READ, Right.REPORTS_READ)


def _pages(last_task: int, today: date) -> dict[str, str]:
    """Return what is asked for, by the words for it."""
    story = f"/tasks/{last_task // 2}"
    year = f"from={today - timedelta(days=364)}&to={today}"
    every = f"from={today - timedelta(days=1100)}&to={today}"
    ranges = {
        "today": f"from={today}&to={today}",
        "a month": f"from={today - timedelta(days=29)}&to={today}",
        "a year": year,
        "a year of a queue": f"{year}&queue=sales",
        "all years": every,
    }
    tasks = {
        "open": "state=open",
        "open, page 20": f"state=open&before={last_task - 1000}",
        "open of a queue": "state=open&queue=sales",
        "all": "state=all",
        "failed of a queue": "state=failed&queue=vip",
        "a year ago": f"state=all&until={today - timedelta(days=365)}",
        "a number": "state=all&q=490500000",
        "a part of a name": "state=all&q=Grace",
        "a text that is nowhere": "state=all&q=nowhere",
    }
    api = {
        "open": "open=true&limit=200",
        "all": "limit=200",
        "failed of a queue": "status=failed&queue=vip&limit=200",
        "a number": "q=490500000",
        "a text that is nowhere": "q=nowhere",
    }
    return {
        "Live": "/",
        **{f"Tasks: {name}": f"/tasks?{query}" for name, query in tasks.items()},
        "Story": story,
        **{
            f"Reports: {name}": f"/reports?{_of_page(query)}"
            for name, query in ranges.items()
        },
        "Reports: CSV of a year": f"/reports.csv?{_of_page(year)}",
        "Numbers": "/numbers",
        "Numbers: may it be called": "/numbers?number=%2B493012345678",
        "Settings": "/settings",
        "Health": "/health",
        "API, queues": "/api/v1/queues",
        **{f"API, tasks: {name}": f"/api/v1/tasks?{q}" for name, q in api.items()},
        "API, a task": f"/api/v1{story}",
        **{
            f"API, report: {name}": f"/api/v1/reports?{query}"
            for name, query in ranges.items()
        },
    }


def _of_page(query: str) -> str:
    """Return the same range in the words of the page."""
    return query.replace("from=", "first=").replace("to=", "last=")


def _ask(port: int, path: str, header: tuple[str, str]) -> tuple[int, float]:
    """Ask for a page; return its status, and in how many seconds it has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path, headers={header[0]: header[1]})
    answer = connection.getresponse()
    answer.read()
    took_s = time.perf_counter() - began
    connection.close()
    return answer.status, took_s


async def _in_thread(function: Any, *args: Any) -> Any:
    # The reactor of this process plays Asterisk meanwhile.
    return await deferToThread(function, *args)


async def _measure(url: str, options: argparse.Namespace) -> int:
    """Measure with one database; return how many pages were too slow."""
    backend = backend_for(url)
    print(backend.engine.dialect.name, flush=True)
    measure_reports.prepare(url, options.tasks, options.still_open, time.time() - 60)
    with backend.engine.connect() as conn:
        last_task = conn.execute(sa.text("SELECT max(id) FROM task")).scalar_one()
    defaults = {
        "outbound_channel": "PJSIP/{number}@trunk",
        # If it were another, the service would count all days anew.
        "opening_hours": {"time_zone": measure_reports.ZONE.key},
    }
    queues = list(dict.fromkeys(measure_reports.QUEUES))
    rig = Rig({"log": {"level": "warn"}, "defaults": defaults}, queues, url)
    web = None
    too_slow = 0
    try:
        await rig.listen()
        await rig.start()
        web = WebProcess(rig)
        (cookie,) = web.cookies(1, Role.ADMIN)
        (token,) = web.tokens(1, _RIGHTS)
        await web.start()
        program = ("Authorization", f"Bearer {token}")
        # Until the live state is known.
        while (await _in_thread(_ask, web.port, "/api/v1/queues", program))[0] != 200:
            await pause(0.2)
        today = measure_reports.day_of(time.time())
        for name, path in _pages(last_task, today).items():
            header = program if path.startswith("/api/") else ("Cookie", cookie)
            took_ms = []
            for _ in range(options.times):
                status, took_s = await _in_thread(_ask, web.port, path, header)
                if status != 200:
                    raise RuntimeError(f"{path}: {status}")
                took_ms.append(1000 * took_s)
            took_ms.sort()
            p50, p95 = took_ms[len(took_ms) // 2], took_ms[int(0.95 * len(took_ms))]
            late = p95 > _MOST_MS
            too_slow += late
            words = f"p50 {p50:7.1f} ms   p95 {p95:7.1f} ms{'  TOO SLOW' * late}"
            print(f"  {name:32} {words}", flush=True)
    finally:
        if web is not None:
            web.kill()
        rig.close()
    return too_slow


async def measure(options: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    with measure_reports.databases(options.urls) as urls:
        too_slow = [await _measure(url, options) for url in urls]
    return 1 if any(too_slow) else 0


def main() -> int:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=10_000, dest="still_open")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("urls", nargs="*", metavar="URL")
    return run(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
