# SPDX-License-Identifier: MIT
"""Settings that contradict ``first``, and a key that can not be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastagi.config.errors import ConfigErrors
from tests.harness.checking import settings


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        (
            {"first": "client", "agent_keys": {"enabled": True}},
            "client cannot be combined with agent_keys",
        ),
        (
            {"first": "client", "target_extension": "PJSIP/101"},
            "client cannot be combined with target_extension",
        ),
        (
            {"first": "auto", "agent_keys": {"enabled": True}},
            "auto cannot be combined with agent_keys",
        ),
        ({"client_key": {"key": "#"}}, "is #, which ends the input"),
    ],
)
def test_contradiction_is_named(
    tmp_path: Path, defaults: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigErrors) as raised:
        settings(tmp_path, defaults=defaults)
    assert words in str(raised.value)


def test_fairness_does_not_apply_to_clients_who_are_dialled_first(
    tmp_path: Path,
) -> None:
    given = settings(tmp_path, defaults={"first": "client", "fairness": "place"})
    assert not given.queue("support").keeps_place


def test_fairness_applies_to_clients_who_are_sometimes_dialled_first(
    tmp_path: Path,
) -> None:
    given = settings(tmp_path, defaults={"first": "auto", "fairness": "place"})
    assert given.queue("support").keeps_place
