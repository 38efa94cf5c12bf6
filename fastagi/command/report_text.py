# SPDX-License-Identifier: MIT
"""A report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from fastagi.reports import DEFINITIONS, Report, Totals, Waits

#: Figures that are counts, in the order in which they are printed.
_COUNTS: Final = (
    *("asked", "requested", "missed", "manual", "repeats"),
    *("reached", "failed", "expired", "cancelled", "served", "open"),
)
_SHARES: Final = ("reached_share", "first_try_share", "goal_share")
_WIDTH: Final = 24
#: Maximum number of days with a row.
_MAX_DAYS: Final = 31


def report_text(report: Report, *, explain: bool = False) -> str:
    """Return a report as text, each figure with that of the days before."""
    return "\n".join(_lines(report, explain))


def _lines(report: Report, explain: bool) -> Iterator[str]:
    queues = ", ".join(report.queues) or "no queue"
    yield f"{report.first} to {report.last} ({', '.join(report.zones)}): {queues}"
    before = report.previous
    if before is not None:
        yield f"in brackets: {report.previous_first} to {report.previous_last}"
    yield ""
    for name in _COUNTS:
        yield _line(name, _number(report.totals, name), before, _number)
        yield from _explained(name, explain)
    yield ""
    for name in (*_SHARES, "tries_per_success"):
        value = _ratio(report.totals, name)
        if name == "goal_share":
            value += f" of {_span(report.goal_s)}"
        yield _line(name, value, before, _ratio)
        yield from _explained(name, explain)
    yield ""
    for name, waits in (
        ("gross_wait", report.gross_wait),
        ("net_wait", report.net_wait),
    ):
        yield f"{DEFINITIONS[name].title:{_WIDTH}} {_waits(waits)}"
        yield from _explained(name, explain)
    if report.offers.made:
        offers = report.offers
        share = _percent(offers.acceptance)
        yield f"{'offers':{_WIDTH}} {offers.made}, accepted {offers.accepted} ({share})"
        yield from _explained("offers", explain)
    yield from _table("results", [(r.result, r.count, r.share) for r in report.results])
    yield from _explained("results", explain)
    yield from _table("agents", [(a.agent, a.reached, a.share) for a in report.agents])
    yield from _explained("agents", explain)
    yield from _days(report)


def _line(name: str, value: str, before: Totals | None, of: object) -> str:
    assert callable(of)
    line = f"{DEFINITIONS[name].title:{_WIDTH}} {value:>8}"
    return line if before is None else f"{line}  ({of(before, name)})"


def _number(totals: Totals, name: str) -> str:
    return f"{getattr(totals, name):,}"


def _ratio(totals: Totals, name: str) -> str:
    value = getattr(totals, name)
    if name in _SHARES:
        return _percent(value)
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _waits(waits: Waits) -> str:
    if waits.p50_s is None or waits.p90_s is None or waits.mean_s is None:
        return "-"
    return (
        f"median {_span(waits.p50_s)}, p90 {_span(waits.p90_s)}, mean"
        f" {_span(waits.mean_s)}"
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{rest} s"


def _table(name: str, rows: list[tuple[str, int, float]]) -> Iterator[str]:
    if rows:
        yield ""
        yield DEFINITIONS[name].title
        for what, count, share in rows:
            yield f"  {what:{_WIDTH - 2}} {count:>8,}  {_percent(share):>7}"


def _days(report: Report) -> Iterator[str]:
    if len(report.by_day) > _MAX_DAYS:
        yield ""
        yield "for each day: --csv or --json"
        return
    heads = ("asked", "reached", "failed", "expired", "cancelled", "served", "open")
    yield ""
    yield "day        " + "".join(f"{head:>10}" for head in heads)
    for day in report.by_day:
        yield f"{day.day} " + "".join(f"{getattr(day, head):>10,}" for head in heads)


def _explained(name: str, explain: bool) -> Iterator[str]:
    if explain:
        yield textwrap.indent(textwrap.fill(DEFINITIONS[name].text, 76), "    ")
