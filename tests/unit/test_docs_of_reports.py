# SPDX-License-Identifier: MIT
"""docs/reports.md, the definitions and the values of a report name the same figures."""

from __future__ import annotations

import re

import attrs

from fastagi.reports import DEFINITIONS, Report, Totals
from tests.store.harness import ROOT

#: What says what the report is about, and is no figure.
ABOUT = {
    *("queues", "zones", "first", "last", "kind", "goal_s", "totals"),
    *("previous_first", "previous_last"),
}


def test_the_docs_have_the_definitions_of_the_code() -> None:
    docs = (ROOT / "docs/reports.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| (.+) \|$", docs, flags=re.MULTILINE)
    assert rows == [(one.name, one.title, one.text) for one in DEFINITIONS.values()]


def test_every_figure_of_a_report_has_a_definition() -> None:
    figures = {field.name for field in attrs.fields(Report)} - ABOUT
    figures |= {field.name for field in attrs.fields(Totals)}
    assert figures == set(DEFINITIONS)


def test_definitions_are_names_of_figures() -> None:
    for name, one in DEFINITIONS.items():
        assert name == one.name
        assert one.text.endswith(".")
