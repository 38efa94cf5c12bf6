# SPDX-License-Identifier: MIT
"""A whole day is read in seconds, and exactly the true missed calls are found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastagi.config.sections import HistorySettings, MissedSettings, Settings
from fastagi.domain.contacts import PastContact, served_after
from fastagi.node.catch_up import find
from tests.harness import world
from tests.recordings.past_calls import FREEPBX, LATER
from tests.recordings.recorded_day import BEGIN, DEATH, LENGTH_S, SUCCESS_S, Day


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this machine into Germany."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def settings(**history: object) -> Settings:
    return world.settings(
        world.queue_settings("support"),
        world.queue_settings("sales"),
        missed=MissedSettings.model_validate({"contexts": ["inbound"]}),
        history=HistorySettings.model_validate(history),
    )


def to_call(given: Settings, since: float) -> dict[str, str]:
    """Return id and client of each call that is to be called back."""
    found = find(given, since, LATER)
    assert (found.troubles, found.remarks) == ((), ())
    contacts: dict[str, list[PastContact]] = {}
    for contact in found.judged.contacts:
        contacts.setdefault(contact.key, []).append(contact)
    return {
        ended.uniqueid: ended.key
        for ended in found.judged.missed
        if ended.ended_at >= since
        and served_after(ended.ended_at, contacts.get(ended.key, ()), SUCCESS_S) is None
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_of_ten_thousand_calls(tmp_path: Path, seed: int) -> None:
    day = Day(seed)
    queue_log, csv = day.write(tmp_path)
    given = settings(
        queue_log=str(queue_log), cdr_csv=str(csv), cdr_columns=tuple(FREEPBX)
    )

    begun = time.process_time()
    found = to_call(given, BEGIN - 60)
    took_s = time.process_time() - begun

    assert found == day.to_call
    assert len(found) > 2000
    # Those whose request is kept are known by these ids to the store.
    assert day.requested & set(found)
    assert took_s < 6


def test_only_the_last_hours_of_it(tmp_path: Path) -> None:
    day = Day(3)
    queue_log, csv = day.write(tmp_path)
    given = settings(
        queue_log=str(queue_log), cdr_csv=str(csv), cdr_columns=tuple(FREEPBX)
    )
    since = BEGIN + LENGTH_S - 2 * 3600
    late = {
        uniqueid: number
        for uniqueid, number in day.to_call.items()
        if float(uniqueid.partition(".")[0]) >= since
    }
    found = to_call(given, since)
    assert late.items() <= found.items() <= day.to_call.items()
    assert 0 < len(found) < len(day.to_call) / 3


def test_callers_in_line_when_asterisk_died(tmp_path: Path) -> None:
    """There is no line of their end and no CDR."""
    day = Day(4, calls=3000)
    queue_log, _ = day.write(tmp_path)
    found = find(settings(queue_log=str(queue_log)), BEGIN - 60, LATER)
    cut = {
        ended.uniqueid
        for ended in found.judged.missed
        if ended.ended_at == DEATH + 60 and ended.uniqueid in day.to_call
    }
    assert cut
