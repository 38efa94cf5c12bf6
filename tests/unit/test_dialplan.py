# SPDX-License-Identifier: MIT
"""The names in ``fastagi.dialplan`` and those in the dialplan are the same."""

from __future__ import annotations

import re
from pathlib import Path

from fastagi import dialplan

FILE = Path(__file__).parents[2] / "dialplan" / "callback-queue.conf"
CODE = "\n".join(
    line for line in FILE.read_text().splitlines() if not line.startswith(";")
)
#: Set and read by the dialplan or the admin alone.
ITS_OWN = {
    "CALLBACK_AGENT_PROMPTS",
    "CALLBACK_AGENT_SAID",
    "CALLBACK_ADDRESS",
    "CALLBACK_ADDRESSES",
    "CALLBACK_AGI",
    "CALLBACK_AGI_ANSWERED",
    "CALLBACK_ALERT_STATUS",
    "CALLBACK_ANSWER",
    "CALLBACK_ANSWERED_AT",
    "CALLBACK_ARGS_BEFORE",
    "CALLBACK_ARGS_BEHIND",
    "CALLBACK_ARGS_TIMEOUT",
    "CALLBACK_ASKED_AT",
    "CALLBACK_ASKED",
    "CALLBACK_ASK_UNTIL",
    "CALLBACK_CALLS",
    "CALLBACK_CHOOSES",
    "CALLBACK_CLIENT_ASKED",
    "CALLBACK_CLIENT_PRESSED",
    "CALLBACK_CLIENT_SAID",
    "CALLBACK_ENTERED",
    "CALLBACK_ENTERED_AT",
    "CALLBACK_KEPT",
    "CALLBACK_KEY",
    "CALLBACK_LAST",
    "CALLBACK_LINE",
    "CALLBACK_LOCAL",
    "CALLBACK_FORWARDED",
    "CALLBACK_NOTED",
    "CALLBACK_OFFER_KEY",
    "CALLBACK_QUEUE",
    "CALLBACK_QUEUE_ARGS",
    "CALLBACK_QUEUE_TIMEOUT",
    "CALLBACK_RETURN",
    "CALLBACK_SHARE",
    "CALLBACK_SIP",
    "CALLBACK_PRESSED",
    "CALLBACK_TALK_MS",
    "CALLBACK_TIMEOUT",
    "CALLBACK_TIME_LEFT",
    "CALLBACK_WHEN_DOWN",
}


def contexts() -> set[str]:
    """Return the contexts of the dialplan."""
    return set(re.findall(r"^\[([^\]]+)\]", CODE, re.MULTILINE))


def test_every_context_the_service_names_is_there() -> None:
    assert {
        dialplan.ENTER_CONTEXT,
        dialplan.REQUEST_CONTEXT,
        dialplan.OFFER_CONTEXT,
        dialplan.MEMBER_CONTEXT,
        dialplan.CALLER_CONTEXT,
        dialplan.AGENT_CONTEXT,
        dialplan.SKIP_CONTEXT,
        dialplan.CONFIRM_CONTEXT,
        dialplan.LINE_CONTEXT,
        dialplan.NO_FORWARD_CONTEXT,
        dialplan.OUTCOME_CONTEXT,
    } <= contexts()


def test_every_context_begins_with_our_name() -> None:
    assert all(name.startswith("callback-") for name in contexts())


def test_every_variable_of_the_dialplan_is_known() -> None:
    used = set(re.findall(r"CALLBACK_[A-Z_]+", CODE))
    shared = {variable.value for variable in dialplan.Variable}
    assert used - ITS_OWN == shared


def test_every_answer_the_dialplan_looks_for_is_one_the_service_gives() -> None:
    asked = set(re.findall(r'"\$\{CALLBACK_STATUS\}" = "([A-Z]+)"', CODE))
    # Empty: it gave none.
    assert asked - {""} == {
        dialplan.Answer.ACCEPTED.value,
        dialplan.Answer.ALREADY.value,
        dialplan.Answer.CHOOSE.value,
    }


def test_everything_an_agent_can_say_is_known_to_the_service() -> None:
    said = set(re.findall(r"Set\(CALLBACK_AGENT_SAID=([A-Z]+)\)", CODE))
    assert said == {one.value for one in dialplan.AgentSaid}


def test_everything_that_comes_of_asking_a_client_is_known_to_the_service() -> None:
    said = set(re.findall(r"SHARED\(CALLBACK_CLIENT_SAID,[^)]*\)=([A-Z_]+)[)-]", CODE))
    assert said == {one.value for one in dialplan.ClientSaid}


def test_every_path_the_dialplan_asks_is_one_the_service_serves() -> None:
    asked = set(re.findall(r"Gosub\(callback-ask,s,1\((\w+)[,)]", CODE))
    asked |= set(re.findall(r"AGI\(\$\{CALLBACK_ADDRESS\}/(\w+),", CODE))
    assert asked == {path.value for path in dialplan.Path}


def test_the_service_presses_a_key_that_the_request_context_has() -> None:
    request = CODE.partition(f"[{dialplan.REQUEST_CONTEXT}]")[2].partition("\n[")[0]
    assert f"exten => {dialplan.OFFER_KEY},1," in request


def test_the_outcome_is_kept_and_said_under_the_names_the_service_reads() -> None:
    assert f"DB({dialplan.OUTCOME_FAMILY}/" in CODE
    assert f"={dialplan.DIALLING})" in CODE
    assert f"UserEvent({dialplan.OUTCOME_EVENT}," in CODE


def test_a_kept_request_is_where_the_service_looks_for_it_and_can_be_forgotten() -> (
    None
):
    assert f"Set(DB({dialplan.REQUEST_FAMILY}/" in CODE
    assert f"DB_DELETE({dialplan.REQUEST_FAMILY}/" in CODE
    assert f"UserEvent({dialplan.KEPT_EVENT},Key:" in CODE
    forget = CODE.partition(f"[{dialplan.FORGET_CONTEXT}]")[2].partition("\n[")[0]
    assert f"exten => {dialplan.FORGET_REQUEST_EXTEN},1," in forget
