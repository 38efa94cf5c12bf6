# SPDX-License-Identifier: MIT
"""Events are parsed as a real Asterisk writes them, with any text of a caller."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from fastagi.ami import events
from fastagi.ami.events import (
    LISTENED,
    READ_CLASSES,
    AmiEvent,
    ExtensionStatus,
    QueueEntry,
    QueueMember,
    QueueMemberStatus,
    Reload,
    Shutdown,
    headers_of,
)
from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser
from tests.harness.messages import message_of
from tests.recordings.dialogue import dialogue_names, read_dialogue

#: Headers that Asterisk writes only of a call that is forwarded, and events that are in
#: no recording; tests/asterisk/test_manager_user.py has the latter.
_NOT_RECORDED = {"forward", "forwarded", "agentsaid", "clientsaid"}
_NO_RECORDING = {ExtensionStatus, Reload}

KINDS = [
    *LISTENED,
    events.CoreShowChannel,
    events.QueueParams,
    events.QueueMember,
    events.QueueEntry,
    events.DBGetResponse,
]


def recorded(version: str) -> Iterator[AmiMessage]:
    """Yield every message of an Asterisk that is in the recordings."""
    for name in dialogue_names(f"*-{version}-*"):
        parser = AmiParser(expect_banner=False)
        parser.receive_data(read_dialogue(name).from_asterisk + b"\r\n\r\n")
        while (message := parser.next_event()) is not NEED_DATA:
            if isinstance(message, AmiMessage):
                yield message


@pytest.fixture(scope="module")
def written() -> dict[tuple[str, str], set[str]]:
    """Return the headers in small letters, by version and name of the event."""
    found: dict[tuple[str, str], set[str]] = {}
    for version in ("16.28", "22.10"):
        for message in recorded(version):
            names = {name.lower() for name, _ in message.headers}
            found.setdefault((version, message.event), set()).update(names)
    return found


@pytest.mark.parametrize("version", ["16.28", "22.10"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_asterisk_writes_every_header_that_is_read(
    kind: type[AmiEvent], version: str, written: dict[tuple[str, str], set[str]]
) -> None:
    if kind in _NO_RECORDING:
        assert (version, kind.__name__) not in written
        return
    assert headers_of(kind) - _NOT_RECORDED <= written[version, kind.__name__]


def test_every_kind_of_event_is_in_one_of_the_tables() -> None:
    known = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, AmiEvent)
    }
    shared = {AmiEvent, events.MemberState, events.MemberEvent}
    assert known - shared == set(KINDS)
    assert sorted(one for names in READ_CLASSES.values() for one in names) == [
        kind.__name__ for kind in LISTENED
    ]


def test_texts_become_what_they_mean() -> None:
    headers = [
        ("Event", "QueueMemberStatus"),
        ("Queue", "support"),
        ("MemberName", "Alice"),
        ("Interface", "PJSIP/alice"),
        ("Status", "1"),
        ("Paused", "1"),
        ("PausedReason", "lunch"),
        ("LastPause", "1795377400"),
        ("InCall", "1"),
        ("LastCall", "1795377441"),
        ("Wrapuptime", "15"),
    ]
    assert QueueMemberStatus.parse(message_of(headers)) == QueueMemberStatus(
        queue="support",
        member_name="Alice",
        interface="PJSIP/alice",
        status="1",
        paused=True,
        paused_reason="lunch",
        last_pause=1795377400.0,
        in_call=True,
        last_call=1795377441.0,
        wrapuptime_s=15.0,
    )


def test_a_member_of_a_list_has_the_names_that_events_have() -> None:
    member = QueueMember.parse(
        message_of([("Location", "PJSIP/alice"), ("Name", "Alice")])
    )
    assert (member.interface, member.member_name) == ("PJSIP/alice", "Alice")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "NaN", "0x10", " 1", "1\n"])
def test_what_is_no_number_is_none(text: str) -> None:
    message = AmiMessage(f"Event: QueueEntry\r\nWait: {text}".encode())
    assert QueueEntry.parse(message).wait_s == 0.0


@pytest.mark.parametrize(
    ("text", "priority"), [("5", 5), ("-3", -3), ("", 0), ("1.5", 0), ("9" * 5000, 0)]
)
def test_a_priority_may_be_negative(text: str, priority: int) -> None:
    message = AmiMessage(f"Event: QueueEntry\r\nPriority: {text}".encode())
    assert QueueEntry.parse(message).priority == priority


@pytest.mark.parametrize(
    ("text", "restart"), [("True", True), ("False", False), ("", False), ("2", False)]
)
def test_a_flag_is_set_only_by_what_asterisk_writes(text: str, restart: bool) -> None:
    assert Shutdown.parse(message_of([("Restart", text)])).restart is restart


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_message_is_too_strange_to_be_read(kind: type[AmiEvent]) -> None:
    strange = ["", "\0\x1b[2J", "9" * 5000, "\u0663", "Tr\u00fce", "<unknown>"]
    for text in strange:
        raw = "\r\n".join(f"{name}: {text}" for name in headers_of(kind)).encode()
        event = kind.parse(AmiMessage(raw))
        for name, _, read in events._columns(kind):
            value = getattr(event, name)
            assert value == text if read is str else isinstance(value, float | int)
    assert kind.parse(AmiMessage(b"")) is not None


def test_events_can_not_be_changed() -> None:
    """Several trackers get the same event."""
    event = QueueEntry.parse(AmiMessage(b""))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.queue = "other"  # type: ignore[misc]
