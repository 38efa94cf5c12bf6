# SPDX-License-Identifier: MIT
"""Sums of stored counts are remembered, and never out of date."""

from __future__ import annotations

import json
from unittest.mock import patch

from fastagi.store.sums import Sums

ONE = '{"asked":1,"reached":1}'
TWO = '{"asked":2}'


def test_sum_is_calculated_once_whatever_the_order_of_the_rows() -> None:
    sums = Sums(8)
    assert sums.of([ONE, TWO]) == {"asked": 3, "reached": 1}
    with patch.object(json, "loads", side_effect=AssertionError):
        assert sums.of([TWO, ONE]) == {"asked": 3, "reached": 1}


def test_other_rows_have_another_sum() -> None:
    sums = Sums(8)
    assert sums.of([ONE, TWO])["asked"] == 3
    assert sums.of([ONE, TWO, TWO])["asked"] == 5
    assert sums.of([ONE, TWO.replace("2", "7")])["asked"] == 8
    assert sums.of([]) == {}


def test_only_the_latest_sums_are_kept() -> None:
    sums = Sums(2)
    for row in (ONE, TWO):
        sums.of([row])
    # The first one is asked for again, so the second one is the oldest.
    sums.of([ONE])
    sums.of(['{"asked":9}'])
    with patch.object(json, "loads", wraps=json.loads) as loads:
        sums.of([ONE])
        assert not loads.called
        assert sums.of([TWO]) == {"asked": 2}
        assert loads.called
