# SPDX-License-Identifier: MIT
"""The page Reports: figures of a range with what they mean, plots, CSV and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import Enum
from typing import Annotated, Any, Final

from attrs import frozen
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from fastagi.domain.task import Kind
from fastagi.reports import (
    DEFAULT_GOAL_S,
    DEFINITIONS,
    FIRST_DAY,
    LAST_DAY,
    Report,
    ReportQuery,
    report,
    report_csv,
    report_json,
)
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.languages import N_
from fastagi.web.console.say import Say
from fastagi.web.people.access import Right
from fastagi.web.records import RecordsUnavailable

router = APIRouter()

_ONE_DAY: Final = timedelta(days=1)
#: Goals that may be chosen, in seconds.
GOALS: Final = (300, 600, 900, 1800, 3600, 7200, 14400)
#: Ranges that may be chosen: the word in the address, and the words on the page.
RANGES: Final[Mapping[str, str]] = {
    "today": N_("Today"),
    "yesterday": N_("Yesterday"),
    "7": N_("7 days"),
    "30": N_("30 days"),
    "month": N_("This month"),
    "before": N_("Last month"),
}
_WEEKDAYS: Final = (
    N_("Monday"), N_("Tuesday"), N_("Wednesday"), N_("Thursday"), N_("Friday"),
    N_("Saturday"), N_("Sunday"),
)  # fmt: skip
_OUTCOMES: Final[Mapping[str, str]] = {
    "accepted": N_("accepted"),
    "declined": N_("stayed in line"),
    "timed out": N_("pressed no key"),
    "refused": N_("refused"),
    "hung up": N_("hung up"),
    "asked": N_("being asked"),
}
#: How dark a cell of the heat map is, from a share of the fullest one on.
_SHADES: Final = ((0.75, "h4"), (0.45, "h3"), (0.2, "h2"), (0.0, "h1"))
#: Waits that the plot of times shows, in seconds.
_WAITS: Final = (60, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@frozen(kw_only=True)
class Chosen:
    """What the address of the page asks for.

    Attributes:
        range: one of `RANGES`, or empty if days are given.
        first, last: the days, both included.
        queue: the name of a queue; empty: all.
        kind: how tasks came about; empty: all.
        goal_s: within how many seconds clients are to be reached.
    """

    range: str
    first: date
    last: date
    queue: str
    kind: str
    goal_s: int

    def query(self, **changes: object) -> dict[str, object]:
        """Return the query of an address for the same report, with changes."""
        days: dict[str, object] = (
            {"range": self.range}
            if self.range
            else {"first": self.first.isoformat(), "last": self.last.isoformat()}
        )
        goal = "" if self.goal_s == DEFAULT_GOAL_S else self.goal_s
        return {
            **days,
            "queue": self.queue,
            "kind": self.kind,
            "goal": goal,
            **changes,
        }


def _days_of(word: str, today: date) -> tuple[date, date]:
    match word:
        case "today":
            return today, today
        case "yesterday":
            return today - _ONE_DAY, today - _ONE_DAY
        case "30":
            return today - 29 * _ONE_DAY, today
        case "month":
            return today.replace(day=1), today
        case "before":
            last = today.replace(day=1) - _ONE_DAY
            return last.replace(day=1), last
        case _:
            return today - 6 * _ONE_DAY, today


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if FIRST_DAY <= found <= LAST_DAY else None


def chosen_of(
    frame: Annotated[Frame, Depends(framed(Right.REPORTS_READ))],
    range: str = "7",
    first: str = "",
    last: str = "",
    queue: str = "",
    kind: str = "",
    goal: int = DEFAULT_GOAL_S,
) -> tuple[Frame, Chosen]:
    """Return what is asked for; what makes no sense is replaced by the usual."""
    zone = frame.say.zone(frame.zone(queue))
    today = frame.say.now.astimezone(zone).date()
    begin, end = _day(first), _day(last)
    if begin and end:
        word, days = "", (min(begin, end), max(begin, end))
    else:
        word = range if range in RANGES else "7"
        days = _days_of(word, today)
    chosen = Chosen(
        range=word,
        first=days[0],
        last=days[1],
        queue=queue if not queue or frame.who.may(Right.REPORTS_READ, queue) else "",
        kind=kind if kind in set(Kind) else "",
        goal_s=goal if goal in GOALS else DEFAULT_GOAL_S,
    )
    return frame, chosen


Asked = Annotated[tuple[Frame, Chosen], Depends(chosen_of)]


async def _read(frame: Frame, chosen: Chosen) -> Report:
    own = frame.who.queues
    if chosen.queue:
        queues: tuple[str, ...] | None = (chosen.queue,)
    else:
        queues = None if own is None else tuple(sorted(own))
    snapshot = frame.snapshot
    zones = (
        {name: str(queue["time_zone"]) for name, queue in snapshot["queues"].items()}
        if snapshot
        else {}
    )
    query = ReportQuery(
        queues=queues,
        first=chosen.first,
        last=chosen.last,
        kind=Kind(chosen.kind) if chosen.kind else None,
        goal_s=chosen.goal_s,
        zones=zones,
    )
    found: Report = await frame.parts.records.read(report, query)
    return found


@router.get("/reports")
async def reports(asked: Asked) -> Response:
    """Show the report on a range."""
    frame, chosen = asked
    found, problem = None, ""
    try:
        found = await _read(frame, chosen)
    except RecordsUnavailable as error:
        problem = str(error)
    shown = _shown(frame.say, found) if found else {}
    return frame.page(
        "reports.html",
        "/reports",
        chosen=chosen,
        report=found,
        problem=problem,
        ranges=RANGES,
        goals=GOALS,
        kinds=[kind.value for kind in Kind],
        definitions=DEFINITIONS,
        status=503 if problem else 200,
        **({"figures": (), "plots": (), "heat": (), "outcomes": ()} | shown),
    )


@router.get("/reports.csv")
async def reports_csv(asked: Asked) -> Response:
    """Return the report as a file for a spreadsheet."""
    frame, chosen = asked
    text = report_csv(await _read(frame, chosen))
    return Response(
        "\ufeff" + text,
        media_type="text/csv; charset=utf-8",
        headers=_as_file(chosen, "csv"),
    )


@router.get("/reports.json")
async def reports_json(asked: Asked) -> Response:
    """Return the report as JSON, with the definitions of its figures."""
    frame, chosen = asked
    values = report_json(await _read(frame, chosen))
    return JSONResponse(values, headers=_as_file(chosen, "json"))


def _as_file(chosen: Chosen, suffix: str) -> dict[str, str]:
    name = f"report-{chosen.first}-{chosen.last}.{suffix}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


# -- what the page shows ---------------------------------------------------


@frozen(kw_only=True)
class Figure:
    """One figure with the same of the days before.

    Attributes:
        name: its name in `DEFINITIONS`.
        value: the figure in words.
        before: the figure of the days before, in words; empty: not known.
    """

    name: str
    value: str
    before: str


@frozen(kw_only=True)
class Plot:
    """One plot, with its values as a table and in a sentence.

    Attributes:
        id: its id on the page.
        title: its title.
        summary: what it shows, in a sentence.
        head: the heads of the table; the first is that of the rows.
        rows: the rows of the table, as they are shown.
        data: what the script draws.
        name: the name of its definition.
    """

    id: str
    title: str
    summary: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: Mapping[str, Any]
    name: str


def _shown(say: Say, found: Report) -> dict[str, Any]:
    plots = [_by_day(say, found), _waits(say, found), _by_hour(say, found)]
    if found.first == found.last:
        plots = plots[1:]
    return {
        "figures": _figures(say, found),
        "plots": plots,
        "heat": _heat(say, found),
        "outcomes": [
            (say.gettext(_OUTCOMES.get(name, name)), count)
            for name, count in found.offers.outcomes
        ],
    }


def _figures(say: Say, found: Report) -> list[Figure]:
    before = found.previous

    def figure(name: str, show: Any) -> Figure:
        value = show(getattr(found.totals, name))
        former = show(getattr(before, name)) if before else ""
        return Figure(name=name, value=value, before=former)

    def one_decimal(value: float | None) -> str:
        return say.decimal(value)

    return [
        figure("asked", say.whole),
        figure("reached", say.whole),
        figure("reached_share", say.share),
        figure("first_try_share", say.share),
        figure("goal_share", say.share),
        Figure(name="gross_wait", value=say.span(found.gross_wait.p50_s), before=""),
        Figure(name="net_wait", value=say.span(found.net_wait.p50_s), before=""),
        figure("failed", say.whole),
        figure("expired", say.whole),
        figure("served", say.whole),
        figure("cancelled", say.whole),
        figure("open", say.whole),
        figure("tries_per_success", one_decimal),
        figure("repeats", say.whole),
    ]


#: What became of clients, in the order in which the bars are stacked.
_STACK: Final = (
    ("reached", N_("reached")),
    ("served", N_("served meanwhile")),
    ("cancelled", N_("cancelled")),
    ("failed", N_("failed")),
    ("expired", N_("expired")),
    ("open", N_("open")),
)


class _Bars(Enum):
    """What each bar of the plot covers. The value is the most days of such a plot."""

    DAY = 120
    WEEK = 7 * 121
    MONTH = 366 * 200

    def begin(self, day: date) -> date:
        """Return the first day of the bar to which a day belongs."""
        if self is _Bars.DAY:
            return day
        if self is _Bars.WEEK:
            return day - day.weekday() * _ONE_DAY
        return day.replace(day=1)


def _by_day(say: Say, found: Report) -> Plot:
    busiest = max(found.by_day, key=lambda day: day.asked, default=None)
    summary = ""
    if busiest is not None and busiest.asked:
        summary = say.ngettext(
            "Most clients asked on %(day)s: %(num)s.",
            "Most clients asked on %(day)s: %(num)s.",
            busiest.asked,
            day=say.day(busiest.day),
        )
    unit = next(unit for unit in _Bars if len(found.by_day) <= unit.value)
    bars = _bars(found, unit)
    title, head = {
        _Bars.DAY: (
            say.gettext("Clients by day, and what became of them"),
            say.gettext("Day"),
        ),
        _Bars.WEEK: (
            say.gettext("Clients by week, and what became of them"),
            say.gettext("Week from"),
        ),
        _Bars.MONTH: (
            say.gettext("Clients by month, and what became of them"),
            say.gettext("Month"),
        ),
    }[unit]
    by_month = unit is _Bars.MONTH
    names = [say.gettext(words) for _, words in _STACK]
    return Plot(
        id="by-day",
        title=title,
        summary=summary,
        head=[head, say.gettext("asked"), *names],
        rows=[
            [
                say.month(begin) if by_month else say.day(begin),
                *(say.whole(counts[field]) for field in ("asked", *dict(_STACK))),
            ]
            for begin, counts in bars.items()
        ],
        data={
            "kind": "stacked",
            "labels": [
                say.month(begin) if by_month else say.short_day(begin) for begin in bars
            ],
            "series": [
                {"label": name, "values": [counts[field] for counts in bars.values()]}
                for (field, _), name in zip(_STACK, names, strict=True)
            ],
        },
        name="by_day",
    )


def _bars(found: Report, unit: _Bars) -> dict[date, Counter[str]]:
    """Return the numbers of each bar by the first of its days in the report."""
    bars: dict[date, Counter[str]] = {}
    for one in found.by_day:
        counts = bars.setdefault(max(unit.begin(one.day), found.first), Counter())
        for field in ("asked", *dict(_STACK)):
            counts[field] += getattr(one, field)
    return bars


def _waits(say: Say, found: Report) -> Plot:
    rows, shares = [], []
    for limit in _WAITS:
        share = _within(found, limit)
        shares.append(None if share is None else round(100 * share, 1))
        rows.append([say.span(limit), say.share(share)])
    summary = say.gettext("Nobody was reached in this range.")
    if found.gross_wait.count:
        summary = say.gettext(
            "Half of the clients reached waited at most %(p50)s, nine of ten at most"
            " %(p90)s.",
            p50=say.span(found.gross_wait.p50_s),
            p90=say.span(found.gross_wait.p90_s),
        )
    return Plot(
        id="waits",
        title=say.gettext("Time to reach: share of clients reached within"),
        summary=summary,
        head=[say.gettext("within"), say.gettext("share")],
        rows=rows,
        data={
            "kind": "line",
            "unit": "%",
            "labels": [say.span(limit) for limit in _WAITS],
            "series": [{"label": say.gettext("reached within"), "values": shares}],
        },
        name="gross_wait",
    )


def _within(found: Report, limit: int) -> float | None:
    waits = found.gross_wait
    if not waits.count:
        return None
    short = (
        b.count for b in waits.bands if b.up_to_s is not None and b.up_to_s <= limit
    )
    return sum(short) / waits.count


def _by_hour(say: Say, found: Report) -> Plot:
    asked, reached = say.gettext("asked"), say.gettext("reached")
    busiest = max(found.by_hour, key=lambda hour: hour.asked, default=None)
    summary = ""
    if busiest is not None and busiest.asked:
        summary = say.gettext(
            "The busiest hour begins at %(hour)s: %(asked)s clients asked.",
            hour=str(busiest.hour) + ":00",
            asked=say.whole(busiest.asked),
        )
    return Plot(
        id="by-hour",
        title=say.gettext("By the hour in which clients asked"),
        summary=summary,
        head=[say.gettext("Hour"), asked, reached],
        rows=[
            [f"{one.hour}:00", say.whole(one.asked), say.whole(one.reached)]
            for one in found.by_hour
        ],
        data={
            "kind": "bars",
            "labels": [str(one.hour) for one in found.by_hour],
            "series": [
                {"label": asked, "values": [one.asked for one in found.by_hour]},
                {"label": reached, "values": [one.reached for one in found.by_hour]},
            ],
        },
        name="by_hour",
    )


def _heat(say: Say, found: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return rows of the heat map: the day of the week, and cells with their shade."""
    most = max((one.asked for one in found.by_weekday_hour), default=0)
    cells = {(one.weekday, one.hour): one.asked for one in found.by_weekday_hour}
    if not most:
        return []
    return [
        (
            say.gettext(name),
            [_cell(say, cells.get((day, hour), 0), most) for hour in range(24)],
        )
        for day, name in enumerate(_WEEKDAYS)
    ]


def _cell(say: Say, count: int, most: int) -> tuple[str, str]:
    if not count:
        return "", ""
    shade = next(shade for share, shade in _SHADES if count / most >= share)
    return say.whole(count), shade
