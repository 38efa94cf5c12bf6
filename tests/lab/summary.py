# SPDX-License-Identifier: MIT
"""Pytest hooks that print at the end how many tests ran on which real Asterisk.

They run in the process that prints the summary. Under xdist it collects nothing and
starts no Asterisk, so all facts about a test come with the test's report.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.lab.trees import lab_home

#: Names of the properties that tests/asterisk adds to its reports.
MAJOR = "asterisk-major"
VERSION = "asterisk-version"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each version, such as ``Asterisk 22.10.1: 23 tests ran``."""
    ran: dict[int, set[str]] = defaultdict(set)
    skipped: dict[int, set[str]] = defaultdict(set)
    versions: dict[int, str] = {}
    for kind, reports in terminalreporter.stats.items():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if MAJOR not in properties:
                continue
            major = properties[MAJOR]
            if VERSION in properties:
                versions[major] = properties[VERSION]
            if kind == "skipped":
                skipped[major].add(report.nodeid)
            elif getattr(report, "when", "") == "call":
                ran[major].add(report.nodeid)
    for major in sorted({*ran, *skipped}, reverse=True):
        name = versions.get(major, f"{major} (never started; see {lab_home()})")
        terminalreporter.write_line(
            f"Asterisk {name}: {len(ran[major])} tests ran, "
            f"{len(skipped[major])} skipped"
        )
