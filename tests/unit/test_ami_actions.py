# SPDX-License-Identifier: MIT
"""What the actions look like on the wire."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser
from fastagi.wire.errors import LocalProtocolError
from tests.recordings.dialogue import dialogue_names, read_dialogue


def said_by_client(name: str) -> list[AmiMessage]:
    parser = AmiParser(expect_banner=False)
    parser.receive_data(read_dialogue(name).from_client)
    found: list[AmiMessage] = []
    while (message := parser.next_event()) is not NEED_DATA:
        assert isinstance(message, AmiMessage)
        found.append(message)
    return found


@pytest.mark.parametrize("name", dialogue_names("ami-*-login-md5"))
def test_digest_is_the_one_asterisk_accepted(name: str) -> None:
    parser = AmiParser()
    parser.receive_data(read_dialogue(name).from_asterisk)
    parser.next_event()
    response = parser.next_event()
    assert isinstance(response, AmiMessage)
    login = next(m for m in said_by_client(name) if m.get("Action") == "Login")
    ours = actions.login_md5("callback", "lab-secret", response.get("Challenge"))
    assert sorted(ours.headers) == sorted(
        header for header in login.headers if header[0] not in ("Action", "ActionID")
    )


@pytest.mark.parametrize("name", dialogue_names("ami-*-originate"))
def test_originate_is_as_one_that_asterisk_carried_out(name: str) -> None:
    sent = said_by_client(name)[0]
    ours = actions.originate(
        channel="Local/102@agents",
        context="callback-caller",
        exten="0301234567",
        caller_id=sent.get("CallerID"),
        channel_id="task7-1",
        other_channel_id="task7-2",
        timeout_s=20.0,
        variables={"__CALLBACK_TASK": "7", "CALLBACK_NOTE": "a"},
    )
    assert sorted(ours.headers) == sorted(
        header for header in sent.headers if header[0] not in ("Action", "ActionID")
    )


def test_originate_never_blocks_the_connection() -> None:
    action = actions.originate(channel="Local/1@a", application="Wait", data="1")
    assert action.get("Async") == "true"
    assert action.get("Application") == "Wait"
    assert action.get("Data") == "1"
    assert action.get("Context", "none") == "none"


def test_originate_rings_for_the_time_given_in_seconds() -> None:
    action = actions.originate(channel="Local/1@a", application="Wait", timeout_s=12.5)
    assert action.get("Timeout") == "12500"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"context": "a"},
        {"exten": "1"},
        {"context": "a", "exten": "1", "application": "Wait"},
        {"application": "Wait", "timeout_s": 0},
        {"application": "Wait", "timeout_s": -1.0},
        {"application": "Wait", "variables": {"CALLERID(num)": "1"}},
        {"application": "Wait", "variables": {"": "1"}},
        {"application": "Wait", "variables": {"A,B": "1"}},
        {"application": "Wait", "variables": {"A": "1\r\nAction: Logoff"}},
    ],
)
def test_originate_that_can_not_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        actions.originate(channel="Local/1@a", **wrong)  # type: ignore[arg-type]


def asterisk_separates(text: str) -> list[str]:
    """Split as Asterisk splits the value of a Variable header (main/app.c)."""
    parts, part = [], ""
    brackets = {"(": 0, "[": 0}
    quoted = False
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            part += next(letters, "")
            continue
        if letter == '"':
            quoted = not quoted
            continue
        if letter in "([":
            brackets[letter] += 1
        elif letter in ")]":
            opening = "(" if letter == ")" else "["
            brackets[opening] = max(0, brackets[opening] - 1)
        elif letter == "," and not quoted and not any(brackets.values()):
            parts.append(part)
            part = ""
            continue
        part += letter
    return [*parts, part]


@given(
    st.text(
        st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]),
        max_size=100,
    )
    | st.text('a,"\\()[]= ', max_size=20)
)
def test_any_value_of_a_variable_comes_back_as_it_was(value: str) -> None:
    action = actions.originate(
        channel="Local/1@a", application="Wait", variables={"A": value, "B": "2"}
    )
    assert [asterisk_separates(text) for text in action.all("Variable")] == [
        [f"A={value}"],
        ["B=2"],
    ]


def test_headers_without_a_value_are_left_out() -> None:
    assert actions.queue_status().headers == ()
    assert actions.queue_status(queue="support").headers == (("Queue", "support"),)
    assert actions.db_get("CALLBACK", "").get("Key", "none") == ""
    assert actions.hangup("1.1", cause=16).get("Cause") == "16"


def test_action_is_checked_when_it_is_built() -> None:
    for wrong in ("a\r\nb", "a\0", "x" * 1023, "\udcf6"):
        with pytest.raises(LocalProtocolError):
            Action("Ping", (("X", wrong),))
        with pytest.raises(LocalProtocolError):
            actions.queue_status(wrong)


def test_secrets_are_not_shown() -> None:
    for action in (
        actions.login_plain("callback", "hush-hush"),
        actions.login_md5("callback", "hush-hush", "1234"),
    ):
        assert "hush" not in repr(action)
        assert (action.get("Key") or "hush") not in repr(action)
        assert "callback" in repr(action)


def test_every_builder_makes_an_action_that_can_be_sent() -> None:
    some = {"paused": True, "penalty": 1, "priority": 1, "timeout_s": 5.0}
    for name, builder in inspect.getmembers(actions, inspect.isfunction):
        if name.startswith("_") or builder.__module__ != actions.__name__:
            continue
        needed = {
            parameter.name: some.get(parameter.name, "x")
            for parameter in inspect.signature(builder).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_KEYWORD
        }
        if name == "originate":
            needed["application"] = "x"
        action = builder(**needed)
        assert isinstance(action, Action)
        assert action.encode("id-1").startswith(b"Action: " + action.name.encode())
