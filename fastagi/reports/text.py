# SPDX-License-Identifier: MIT
"""Reports as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import attrs

from fastagi.reports.definitions import DEFINITIONS
from fastagi.reports.values import DayFigures, Report, Totals

#: Spreadsheets take a text that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def report_json(report: Report) -> dict[str, Any]:
    """Return a report as values of JSON, with the definitions of its figures."""
    values = attrs.asdict(report, value_serializer=_plain)
    values["offers"]["outcomes"] = dict(report.offers.outcomes)
    values["definitions"] = {name: one.text for name, one in DEFINITIONS.items()}
    return values


def _plain(_instance: object, _field: object, value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 4)
    return value


def report_csv(report: Report) -> str:
    """Return a report as CSV: a row for each day, and one for the whole range."""
    days = [field.name for field in attrs.fields(DayFigures)][1:]
    totals = [field.name for field in attrs.fields(Totals) if field.name not in days]
    waits = [
        f"{what}_{name}"
        for what in ("gross_wait", "net_wait")
        for name in ("p50_s", "p90_s", "mean_s")
    ]
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(["from", "to", "queues", *days, *totals, *waits])
    queues = " ".join(report.queues)
    for day in report.by_day:
        figures: Iterable[object] = (getattr(day, name) for name in days)
        rows.writerow(map(_cell, [day.day, day.day, queues, *figures]))
    figures = [getattr(report.totals, name) for name in (*days, *totals)]
    figures += [
        getattr(waits, name)
        for waits in (report.gross_wait, report.net_wait)
        for name in ("p50_s", "p90_s", "mean_s")
    ]
    rows.writerow(map(_cell, [report.first, report.last, queues, *figures]))
    return written.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
