# SPDX-License-Identifier: MIT
"""Which settings several services should have alike, and how differences are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from fastagi.config import agreement
from fastagi.config.agreement import Shared
from fastagi.config.load import parse_settings
from fastagi.config.sections import SECTIONS, Settings
from fastagi.domain.difference import Difference

_SECRET = "5eb6c1d9"
#: What a service on another machine may have otherwise, in each section.
_OF_A_MACHINE: dict[str, dict[str, Any]] = {
    "fastagi": {"listen": "10.0.0.1", "allowed_peers": ["10.0.0.0/8"]},
    "database": {"url": f"postgresql+psycopg://u:{_SECRET}@db/callback"},
    "instance": {"name": "a", "nodes": ["berlin"]},
    "control": {"socket": "/run/other.sock", "stop_timeout": "9s"},
    "log": {"level": "debug", "mask_numbers": True},
}


def parsed(text: str | dict[str, Any]) -> Settings:
    data = text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False)
    return parse_settings(data.encode(), environ={})


def base() -> dict[str, Any]:
    return {
        "ami": {"host": "10.0.0.2", "secret": _SECRET},
        "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
        "queues": {"support": {"attempts": 4}, "sales": {}},
    }


def two_nodes() -> dict[str, Any]:
    return {
        name: {"ami": {"host": name, "secret": "x"}, "history": {"enabled": False}}
        for name in ("berlin", "bonn")
    }


def shared(settings: Settings) -> Shared:
    return Shared(
        agreement.of_no_queue(settings),
        {name: agreement.of_queue(settings, name) for name in settings.queues},
    )


def differences(here: dict[str, Any], there: dict[str, Any]) -> list[Difference]:
    return agreement.compare(shared(parsed(here)), shared(parsed(there)))


def test_every_section_is_compared_or_named_as_one_that_may_differ() -> None:
    compared = {*agreement.COMPARED}
    assert compared == {"limits", "missed", "number_plan", "reports", "retention"}
    assert compared | agreement.OF_A_MACHINE | {"defaults", "include"} == {*SECTIONS}


@pytest.mark.parametrize("section", _OF_A_MACHINE)
def test_what_depends_on_the_machine_makes_no_difference(section: str) -> None:
    here = {**base(), "nodes": two_nodes()}
    del here["ami"]
    there = {**here, section: _OF_A_MACHINE[section]}
    if section == "instance":
        here["database"] = there["database"] = _OF_A_MACHINE["database"]
    assert parsed(here) != parsed(there)
    assert differences(here, there) == []


def test_how_an_asterisk_is_reached_makes_no_difference() -> None:
    here = {**base(), "ami": {"host": "127.0.0.1", "port": 5039, "secret": "other"}}
    here["history"] = {"queue_log": "/mnt/queue_log", "cdr_csv": "/mnt/Master.csv"}
    here["asterisk"] = {"config_dir": "/mnt/etc"}
    assert differences(here, base()) == []


def test_no_secret_is_among_what_is_stored() -> None:
    settings = {**base(), **_OF_A_MACHINE}
    settings["instance"] = {"name": "a"}
    settings["history"] = {"cdr_url": f"mysql://u:{_SECRET}@db/asterisk"}
    assert _SECRET not in shared(parsed(settings)).as_json()


def test_each_setting_that_differs_is_told_with_both_values() -> None:
    there = base()
    there["queues"]["support"]["attempts"] = 7
    there["limits"] = {"calls_per_minute": 5}
    there["missed"] = {"contexts": ["from-trunk"]}
    found = differences(base(), there)
    assert [one.words("instance b (host)") for one in found] == [
        "limits.calls_per_minute is 120 here and 5 at instance b (host)",
        'missed.contexts is [] here and ["from-trunk"] at instance b (host)',
        "queues.support.attempts is 4 here and 7 at instance b (host)",
    ]


def test_difference_of_many_queues_is_told_once() -> None:
    names = ["q1", "q2", "q3", "600"]
    here, there = base(), base()
    here["queues"] = {name: {} for name in names}
    there["queues"] = {**here["queues"], "q3": {"attempts": 9}}
    there["defaults"] = {**there["defaults"], "attempts": 1}
    found = differences(here, there)
    assert [(one.name, one.more, one.there) for one in found] == [
        ("queues.q1.attempts", 2, 1),
        ("queues.q3.attempts", 0, 9),
    ]
    assert "queues.q1.attempts (and of 2 more queues) is 5 here and 1 at x" in (
        found[0].words("x")
    )


def test_queue_that_only_one_has_is_told_once() -> None:
    there = base()
    del there["queues"]["sales"]
    (found,) = differences(base(), there)
    assert found.words("b") == (
        'queues is ["support", "sales"] here and ["support"] at b'
    )


def test_order_of_asterisks_matters() -> None:
    nodes = two_nodes()
    here = {**base(), "nodes": nodes}
    del here["ami"]
    there = {**here, "nodes": dict(reversed(nodes.items()))}
    found = differences(here, there)
    assert [one.name for one in found] == ["nodes"]


def test_settings_of_an_asterisk_differ_but_for_how_it_is_reached() -> None:
    here = {**base(), "nodes": {"berlin": {"ami": {"secret": "x"}}}}
    del here["ami"]
    there = {**here, "nodes": {"berlin": {"ami": {"host": "h", "secret": "y"}}}}
    assert differences(here, there) == []
    there["nodes"]["berlin"] |= {"gone_after": "7m", "outbound_channel": "a/{number}"}
    assert [(one.name, one.here, one.there) for one in differences(here, there)] == [
        ("nodes.berlin.outbound_channel", None, "a/{number}"),
        ("nodes.berlin.gone_after", "5m", "7m"),
    ]


def test_setting_that_the_other_version_does_not_know_makes_no_difference() -> None:
    here = shared(parsed(base()))
    there = json.loads(here.as_json())
    del there["general"]["limits.calls_per_minute"]
    there["queues"]["support"]["new_in_0_3"] = True
    other = Shared.from_json(json.dumps(there))
    assert agreement.compare(here, other) == []
    assert agreement.compare(other, here) == []


def test_text_and_digest_are_the_same_for_the_same_settings() -> None:
    texts = [shared(parsed(base())).as_json() for _ in range(2)]
    assert texts[0] == texts[1]
    assert agreement.digest_of(texts[0]) == agreement.digest_of(texts[1])
    other = shared(parsed({**base(), "limits": {"calls_per_number": 1}})).as_json()
    assert agreement.digest_of(other) != agreement.digest_of(texts[0])
    assert Shared.from_json(texts[0]) == shared(parsed(base()))


def test_long_value_is_cut() -> None:
    words = Difference("x", "a" * 100, None).words("b")
    assert words == f"x is {'a' * 60}... here and not set at b"
