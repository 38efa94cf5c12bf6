# SPDX-License-Identifier: MIT
"""Reports: how many clients asked, how many were reached, how long they waited.

:func:`report` reads one from the database; the web process and the command line use it.
:data:`DEFINITIONS` says what each figure means. Nothing is written here.
"""

from __future__ import annotations

from fastagi.reports.definitions import DEFINITIONS, Definition
from fastagi.reports.query import (
    DEFAULT_GOAL_S,
    FIRST_DAY,
    LAST_DAY,
    LATEST_DAYS,
    ReportQuery,
)
from fastagi.reports.report import report
from fastagi.reports.text import report_csv, report_json
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

__all__ = [
    "DEFAULT_GOAL_S",
    "DEFINITIONS",
    "FIRST_DAY",
    "LAST_DAY",
    "LATEST_DAYS",
    "AgentShare",
    "Band",
    "DayFigures",
    "Definition",
    "HourFigures",
    "Offers",
    "Report",
    "ReportQuery",
    "ResultFigure",
    "Totals",
    "Waits",
    "WeekdayHour",
    "report",
    "report_csv",
    "report_json",
]
