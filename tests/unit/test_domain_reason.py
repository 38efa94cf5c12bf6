# SPDX-License-Identifier: MIT
"""Reasons: codes with parameters, their words, and their way through JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastagi.config.listing import listed
from fastagi.config.load import parse_settings
from fastagi.domain.numbers import NumberKind
from fastagi.domain.reason import (
    KINDS,
    SETTINGS,
    TEMPLATES,
    Code,
    Reason,
    because,
    codes_in,
    dump_params,
    load,
    map_texts,
    name_setting,
    pause_in_words,
    said,
)
from fastagi.domain.why_not_yet import CODES

BUSY = because(Code.CLIENT_BUSY, source="SIP 486")
REASONS = [
    (said("the client asked us not to"), "the client asked us not to"),
    (because(Code.NO_AGENT_RUNG), "no agent could be rung"),
    (BUSY, "the client was busy (SIP 486)"),
    (because(Code.CLIENT_BUSY), "the client was busy"),
    (
        because(Code.RETRY, delay_s=1800.0, cause=BUSY),
        "the client was busy (SIP 486); next try in 30 min",
    ),
    (
        because(Code.TALKED_TOO_SHORT, talk_s=3.0, needed_s=5.0, asterisk_ended=True),
        "they talked for 3.0 s at least, until Asterisk ended, less than the 5 s of a"
        " success",
    ),
    (
        because(Code.TOO_OLD, calls=2, tries=1),
        "too old; 2 calls without success, 1 tries without an agent",
    ),
    (because(Code.TOO_OLD, tries=1), "too old; 1 tries without an agent"),
    (because(Code.TOO_OLD), "too old; it was never called"),
    (
        because(
            Code.CALLED_TOO_OFTEN, times=1, again_at="2026-03-01T09:05Z", too_late=True
        ),
        "the number was called once within 24 hours, the most that is allowed; it may"
        " be called again from 2026-03-01 09:05 UTC on, which is too late",
    ),
    (
        because(Code.KIND_NOT_CALLED, kind="premium_rate"),
        "it is a premium-rate number",
    ),
    (
        because(Code.CANCELLED_BY_HAND).with_params(attempt=BUSY),
        "cancelled by hand; the client was busy (SIP 486)",
    ),
    (because(Code.CANCELLED_BY_HAND), "cancelled by hand"),
    (because(Code.CANCELLED_BY_HAND, actor="ada"), "cancelled by hand (ada)"),
    (
        because(Code.CANCELLED_BY_HAND, actor="ada", attempt=BUSY),
        "cancelled by hand (ada); the client was busy (SIP 486)",
    ),
    (
        because(
            Code.REQUESTED_WHILE_TALKING,
            cause=because(Code.REQUESTED_AGAIN_BY_HAND, actor="ada"),
            task_id=3,
        ),
        "asked for again by hand (ada), while the client talked in task 3",
    ),
    (said("asked us not to").with_params(actor="ada"), "asked us not to (ada)"),
    (
        because(Code.CLIENT_RANG_AGAIN, who="PJSIP/alice", attempt_of_served=BUSY),
        "the client rang again and PJSIP/alice answered; the attempt under way: the"
        " client was busy (SIP 486)",
    ),
]


@pytest.mark.parametrize(("reason", "words"), REASONS)
def test_a_reason_in_words(reason: Reason, words: str) -> None:
    assert str(reason) == words


@pytest.mark.parametrize("reason", [reason for reason, _ in REASONS])
def test_a_reason_comes_back_from_the_database_as_it_was(reason: Reason) -> None:
    assert load(reason.code.value, dump_params(reason)) == reason


def test_each_code_has_words_of_its_own() -> None:
    assert set(TEMPLATES) == set(Code)
    every = [template for templates in TEMPLATES.values() for template in templates]
    assert len(set(every)) == len(every)


def test_each_kind_of_number_has_words() -> None:
    assert KINDS.keys() == {kind.value for kind in NumberKind}


@pytest.mark.parametrize("text", ["{cause}", "[ (x)]", "{text}", "a|b", "%s"])
def test_what_an_operator_gave_is_no_template(text: str) -> None:
    assert str(said(text)) == text
    assert str(because(Code.BLOCKED, text=text)) == f"the number is blocked: {text}"


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("of_next_year", '{"x":1}'),
        ("retry", "no JSON"),
        ("retry", "[]"),
        ("retry", '{"cause":{"code":"of_next_year","params":{}}}'),
        ("retry", '{"cause":{}}'),
        ("retry", '{"cause":' * 5_000 + "{}" + "}" * 5_000),
    ],
)
def test_what_is_not_known_is_told_as_it_is(code: str, params: str) -> None:
    reason = load(code, params)
    assert reason.code is Code.TEXT
    assert str(reason) == f"{code} {params}"


@pytest.mark.parametrize(
    "params", ['{"found": 1}', '{"waited_s": 1' + "0" * 400 + "}", '{"who": null}']
)
@pytest.mark.parametrize("code", list(Code))
def test_damaged_parameters_keep_no_list_from_being_shown(
    code: Code, params: str
) -> None:
    assert str(load(code.value, params))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (90, "90 s"),
        (240, "240 s"),
        (300, "5 min"),
        (330, "330 s"),
        (1800.0, "30 min"),
        (5400, "1 h 30 min"),
        (3600, "1 h"),
        (86_400, "1 d"),
        (90_060, "1 d 1 h 1 min"),
    ],
)
def test_a_pause_is_said_in_the_largest_units_if_nothing_is_lost(
    seconds: float, words: str
) -> None:
    assert pause_in_words(seconds) == words
    assert str(because(Code.ASSIGNED, interface="PJSIP/1", wait_s=seconds)) == (
        f"assigned to PJSIP/1 for up to {words}, by hand"
    )


def test_every_refusal_that_names_a_setting_names_one_that_exists() -> None:
    settings = parse_settings(
        "ami: {secret: s}\nqueues: {support: {outbound_channel: 'PJSIP/{number}'}}"
    )
    names = {one.name.removeprefix("queues.support.") for one in listed(settings)}
    for code, setting in SETTINGS.items():
        assert Code(code)
        assert setting in names, setting
        assert name_setting(code) == f" (setting {setting})"
    assert name_setting(Code.NUMBER_WITHHELD) == ""


def test_a_reason_without_its_parameters_still_has_words() -> None:
    assert str(because(Code.RETRY, delay_s=3.0)) == "retry (delay_s: 3.0)"


def test_the_parameters_are_one_line_of_json() -> None:
    reason = because(Code.RETRY, delay_s=30.0, cause=because(Code.NO_AGENT_RUNG))
    assert json.loads(dump_params(reason)) == {
        "delay_s": 30.0,
        "cause": {"code": "no_agent_rung", "params": {}},
    }
    assert list(codes_in(reason)) == [Code.RETRY, Code.NO_AGENT_RUNG]


def test_each_text_in_a_reason_is_changed() -> None:
    reason = because(Code.RETRY, delay_s=1.0, cause=said("a\0b"))
    cleaned = map_texts(reason, lambda text: text.replace("\0", "?"))
    assert str(cleaned) == "a?b; next try in 1 s"


def test_the_docs_list_exactly_the_codes_there_are() -> None:
    home = Path(__file__).parents[2]
    page = home / "docs" / "reasons.md"
    sample = (home / "etc" / "callback-queue.yaml").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", page.read_text(), flags=re.MULTILINE
    )
    assert [code for code, _, _ in rows] == [code.value for code in Code]
    for code, params, meaning in rows:
        assert meaning
        named = set(re.findall(r"`(\w+)`", params))
        used = {
            name or flag
            for template in TEMPLATES[Code(code)]
            for name, flag in re.findall(r"\{(\w+)|\|(\w+)\]", template)
        }
        assert named == used, code
        others = set(re.findall(r"`([\w.]+)`", meaning)) - named
        for setting in others:
            name = setting.rpartition(".")[2]
            assert re.search(rf"^ *#?{name}:", sample, flags=re.MULTILINE), setting


def test_the_docs_have_the_codes_of_why_a_task_is_not_called_yet_in_one_section() -> (
    None
):
    page = Path(__file__).parents[2] / "docs" / "reasons.md"
    _, _, section = page.read_text().partition("\n## Why a task is not called yet\n")
    rows = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert rows == [code.value for code in CODES]
