# SPDX-License-Identifier: MIT
"""Fixtures for tests against real Asterisks.

A test that uses `lab` (or `asterisk`) runs once with each version. One Asterisk per
version is started, and reset between two tests.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.lab.asterisk import Asterisk
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.program import FORK
from tests.lab.summary import MAJOR, VERSION

MAJORS = (22, 16)
_PARAMETER = "booted_asterisk"
#: For tests that do not depend on Asterisk's version and take long.
ONLY_22 = pytest.mark.parametrize(
    _PARAMETER, [22], ids=["asterisk22"], indirect=True, scope="session"
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of these tests."""
    config.addinivalue_line("markers", "xdist_group(name): tests for the same worker")
    config.addinivalue_line("markers", "crowd: much happens; runs with few beside it")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Assign the tests of each version to workers of their own.

    With four workers or more, several workers share the tests of a version; each worker
    has its own Asterisk. Tests marked as `crowd` take long: one worker gets all of a
    file, and the files are distributed.
    """
    worker = getattr(config, "workerinput", {"workercount": 1})
    shares = max(1, worker["workercount"] // len(MAJORS))
    for number, item in enumerate(items):
        callspec = getattr(item, "callspec", None)
        if callspec is None or _PARAMETER not in callspec.params:
            continue
        major = callspec.params[_PARAMETER]
        item.user_properties.append((MAJOR, major))
        # The two versions of a test follow each other, so each pair has one number.
        share: object = number // len(MAJORS) % shares
        if item.get_closest_marker("crowd") is not None:
            share = item.path.stem
        item.add_marker(pytest.mark.xdist_group(f"asterisk{major}-{share}"))


@pytest.fixture(
    scope="session", params=MAJORS, ids=[f"asterisk{major}" for major in MAJORS]
)
def booted_asterisk(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    """Start one Asterisk of each version; a missing one is an error, not a skip."""
    try:
        asterisk = Asterisk(request.param)
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        asterisk.start()
        yield asterisk
    finally:
        asterisk.close()


@pytest.fixture
def asterisk(
    booted_asterisk: Asterisk, request: pytest.FixtureRequest
) -> Iterator[Asterisk]:
    """Return a reset Asterisk."""
    booted_asterisk.reset()
    request.node.user_properties.append((VERSION, booted_asterisk.version))
    yield booted_asterisk


@pytest.fixture
def lab(asterisk: Asterisk) -> Iterator[Lab]:
    """Return the laboratory of one test, with the witness already watching."""
    lab = Lab(asterisk, launcher=FORK)
    yield lab
    lab.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of Asterisk, phones and service to the report of a failed test."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and call.when == "call" and isinstance(lab, Lab):
        report.sections += lab.report()
    return report
