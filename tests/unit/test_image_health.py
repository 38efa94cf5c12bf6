# SPDX-License-Identifier: MIT
"""The health check of a container, with a service that tells its state."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_FILE = Path(__file__).parents[2] / "packaging" / "image" / "health.py"
_LINKED = {"connected": True, "version": "22", "error": ""}


def _health() -> ModuleType:
    spec = spec_from_loader("health", SourceFileLoader("health", str(_FILE)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check(monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, Any]) -> None:
    health = _health()
    monkeypatch.setattr(health, "_ask", lambda *_words: answer)
    health._check_service("control.sock", alive=False)


def _status(**second: object) -> dict[str, Any]:
    nodes = [{"name": "pbx1", **_LINKED}, {"name": "pbx2", **_LINKED, **second}]
    return {"asterisk": _LINKED, "nodes": nodes, "database": "ok"}


def test_service_that_can_call_on_all_its_asterisks_is_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _check(monkeypatch, _status())
    _check(monkeypatch, {"asterisk": _LINKED, "database": "ok"})


@pytest.mark.parametrize("second", [{"connected": False}, {"error": "a namesake"}])
def test_service_that_can_call_on_one_asterisk_is_healthy(
    monkeypatch: pytest.MonkeyPatch, second: Mapping[str, object]
) -> None:
    _check(monkeypatch, _status(**second))


def test_service_that_can_call_on_none_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = _status(error="a namesake")
    answer["nodes"][0] |= {"connected": False}
    words = "pbx1: not connected to Asterisk; pbx2: a namesake"
    with pytest.raises(Exception, match=words):
        _check(monkeypatch, answer)


def test_service_without_its_only_asterisk_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = {"asterisk": {"connected": False, "error": ""}, "database": "ok"}
    with pytest.raises(Exception, match=r"^not connected to Asterisk$"):
        _check(monkeypatch, answer)
