# SPDX-License-Identifier: MIT
"""Reads a report from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from fastagi.domain.offers import OfferOutcome
from fastagi.domain.tally import BANDS, Tally, add, day_of
from fastagi.domain.task import Kind
from fastagi.reports.query import ReportQuery
from fastagi.reports.values import (
    AgentShare,
    Band,
    DayFigures,
    HourFigures,
    Offers,
    Report,
    ResultFigure,
    Totals,
    Waits,
    WeekdayHour,
)
from fastagi.store import tallies

_KINDS: Final = tuple(kind.value for kind in Kind)
_ONE_DAY: Final = timedelta(days=1)
_HOURS: Final = range(24)
_WEEKDAYS: Final = range(7)
#: The figures of a day besides its kinds.
_OF_DAY: Final = (*tallies.COUNTS, "open")
#: Each kind, with the key of the number of its tasks of a day.
_OF_KINDS: Final = [(kind.value, tallies.asked_of(kind)) for kind in Kind]
_NOTHING: Final[Tally] = Counter()


def report(conn: sa.Connection, query: ReportQuery) -> Report:
    """Return a report. Only reads, in a transaction or outside of one."""
    known = tallies.zones(conn, query.zones)
    queues = {
        queue: known.get(queue) or ZoneInfo(query.zones.get(queue, tallies.NO_ZONE))
        for queue in (known if query.queues is None else query.queues)
    }
    first = _first_day(conn, query, queues)
    kinds = tuple(Kind) if query.kind is None else (query.kind,)
    counted = tallies.count(conn, queues, first, query.last, each_day_of=kinds)
    total = _sum(counted.total, query.kind)
    previous, before = None, None
    if query.compare and query.first is not None:
        span = query.last - first + _ONE_DAY
        before = (first - span, first - _ONE_DAY)
        former = tallies.count(conn, queues, *before)
        previous = _totals(former.total, query)
    return Report(
        queues=tuple(queues),
        zones=tuple(sorted({zone.key for zone in queues.values()})),
        first=first,
        last=query.last,
        kind=None if query.kind is None else query.kind.value,
        goal_s=query.goal_s,
        totals=_totals(counted.total, query),
        previous=previous,
        previous_first=before[0] if before else None,
        previous_last=before[1] if before else None,
        gross_wait=_waits(total, "gross"),
        net_wait=_waits(total, "net"),
        results=_results(total),
        offers=_offers(counted.total.get(tallies.NO_KIND, Counter())),
        agents=_agents(total),
        by_day=tuple(_days(counted.by_day, first, query)),
        by_hour=_hours(total),
        by_weekday_hour=_weekday_hours(total),
    )


def _first_day(
    conn: sa.Connection, query: ReportQuery, queues: Mapping[str, ZoneInfo]
) -> date:
    if query.first is not None:
        return query.first
    oldest = tallies.oldest(conn)
    if oldest is None or not queues:
        return query.last
    first = min(day_of(oldest, zone) for zone in queues.values())
    return min(first.replace(day=1), query.last)


def _sum(by_kind: Mapping[str, Tally], kind: Kind | None) -> Tally:
    """Return the numbers of one kind of tasks, or of all."""
    total: Tally = Counter()
    for one, tally in by_kind.items():
        if one != tallies.NO_KIND and kind in (None, one):
            add(total, tally)
    return total


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _totals(by_kind: Mapping[str, Tally], query: ReportQuery) -> Totals:
    total = _sum(by_kind, query.kind)
    decided = total["reached"] + total["failed"] + total["expired"]
    return Totals(
        asked=total["asked"],
        **_kinds(by_kind, query.kind),
        repeats=total["repeats"],
        reached=total["reached"],
        failed=total["failed"],
        expired=total["expired"],
        cancelled=total["cancelled"],
        served=total["served"],
        open=total["open"],
        reached_share=_share(total["reached"], decided),
        first_try_share=_share(total["first_try"], total["reached"]),
        tries_per_success=_share(total["tries_of_reached"], total["reached"]),
        tries=total["tries"],
        goal_share=_goal_share(total, query.goal_s, decided),
    )


def _kinds(by_kind: Mapping[str, Tally], kind: Kind | None) -> dict[str, int]:
    return {
        one: by_kind[one]["asked"] if kind in (None, one) and one in by_kind else 0
        for one in _KINDS
    }


def _goal_share(total: Tally, goal_s: int, decided: int) -> float | None:
    """Return the share of clients reached within the goal.

    Talks of older versions, whose net waits are not known, are left out.
    """
    within = sum(total[f"net:{limit}"] for limit in BANDS if limit <= goal_s)
    return _share(within, decided - (total["reached"] - total["net_n"]))


def _waits(total: Tally, what: str) -> Waits:
    count = total[f"{what}_n"]
    bands = [Band(up_to_s=limit, count=total[f"{what}:{limit}"]) for limit in BANDS]
    bands.append(Band(up_to_s=None, count=total[f"{what}:longer"]))
    return Waits(
        count=count,
        mean_s=_share(total[f"{what}_ms"] / 1000, count),
        p50_s=_percentile(bands, count, 0.5),
        p90_s=_percentile(bands, count, 0.9),
        total_s=total[f"{what}_ms"] / 1000,
        bands=tuple(bands),
    )


def _percentile(bands: Iterable[Band], count: int, share: float) -> float | None:
    """Return the wait that this share of the waits does not exceed.

    Within a band it is interpolated. In the last band, which has no limit, it is the
    limit of the band before.
    """
    if not count:
        return None
    wanted, below, begins_s = share * count, 0, 0.0
    for band in bands:
        if below + band.count >= wanted and band.count:
            if band.up_to_s is None:
                return begins_s
            within = (wanted - below) / band.count
            return begins_s + within * (band.up_to_s - begins_s)
        below += band.count
        begins_s = begins_s if band.up_to_s is None else float(band.up_to_s)
    return begins_s


def _by_name(total: Tally, prefix: str) -> dict[str, int]:
    """Return the numbers whose keys begin with a word, by the rest of the key."""
    found = {}
    for key, number in total.items():
        word, colon, name = key.partition(":")
        if colon and word == prefix:
            found[name] = number
    return found


def _results(total: Tally) -> tuple[ResultFigure, ...]:
    counts = _by_name(total, "result")
    whole = sum(counts.values())
    return tuple(
        ResultFigure(result=result, count=count, share=count / whole)
        for result, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    )


def _agents(total: Tally) -> tuple[AgentShare, ...]:
    counts, talks = _by_name(total, "agent"), _by_name(total, "talk_ms")
    whole = sum(counts.values())
    return tuple(
        AgentShare(
            agent=agent,
            reached=count,
            share=count / whole,
            talk_s=talks.get(agent, 0) / 1000,
        )
        for agent, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    )


def _offers(total: Tally) -> Offers:
    counts = _by_name(total, "offer")
    made, accepted = sum(counts.values()), counts.get(OfferOutcome.ACCEPTED.value, 0)
    return Offers(
        made=made,
        accepted=accepted,
        acceptance=_share(accepted, made),
        outcomes=tuple(
            (outcome.value, counts.get(outcome.value, 0)) for outcome in OfferOutcome
        ),
    )


def _days(
    by_day: Mapping[date, Tally], first: date, query: ReportQuery
) -> Iterable[DayFigures]:
    """Yield the figures of every day, those without tasks too."""
    for number in range((query.last - first).days + 1):
        day = first + number * _ONE_DAY
        total = by_day.get(day, _NOTHING)
        yield DayFigures(
            day=day,
            **{kind: total.get(key, 0) for kind, key in _OF_KINDS},
            **{name: total.get(name, 0) for name in _OF_DAY},
        )


def _weekday_hours(total: Tally) -> tuple[WeekdayHour, ...]:
    return tuple(
        WeekdayHour(
            weekday=weekday,
            hour=hour,
            asked=total[f"asked_at:{weekday}:{hour}"],
            reached=total[f"reached_at:{weekday}:{hour}"],
        )
        for weekday in _WEEKDAYS
        for hour in _HOURS
    )


def _hours(total: Tally) -> tuple[HourFigures, ...]:
    return tuple(
        HourFigures(
            hour=hour,
            asked=sum(total[f"asked_at:{day}:{hour}"] for day in _WEEKDAYS),
            reached=sum(total[f"reached_at:{day}:{hour}"] for day in _WEEKDAYS),
        )
        for hour in _HOURS
    )
