# SPDX-License-Identifier: MIT
"""Which events of tasks an Asterisk writes into its queue_log, and under which name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.domain.attempt import DEFAULT_NODE, Disposition
from fastagi.domain.queue_log_entries import EventRow, entries
from fastagi.domain.task import Kind, Move, Status
from fastagi.node.catch_up import mark_of
from fastagi.node.queue_log_sink import QueueLogSink

ASKED = EventRow(
    event_id=1,
    at=datetime(2026, 11, 3, tzinfo=UTC),
    move=Move.CREATE,
    status=Status.PENDING,
    asked=Kind.REQUESTED,
    task_id=1,
    queue="support",
    number="+4930123456",
)


def ended_on(node: str) -> EventRow:
    return EventRow(
        event_id=2,
        at=datetime(2026, 11, 3, tzinfo=UTC),
        move=Move.COMPLETE,
        status=Status.COMPLETED,
        task_id=1,
        queue="support",
        number="+4930123456",
        channel_id="callback-1-ab",
        node=node,
        disposition=Disposition.ANSWERED,
    )


def sink(**of_node: object) -> QueueLogSink:
    return QueueLogSink(
        manager=cast(AmiSession, None),
        settings=lambda: cast(Settings, None),
        member_name=str,
        **of_node,  # type: ignore[arg-type]
    )


def test_the_only_asterisk_writes_every_event() -> None:
    only = sink()
    assert only.name == "queue_log"
    for event in (ASKED, ended_on(DEFAULT_NODE), ended_on("gone")):
        assert only.entries(event) == entries(event) != ()


def test_another_asterisk_writes_only_what_it_takes() -> None:
    berlin = sink(part="berlin", takes=lambda node: node == "berlin")
    assert berlin.name == "queue_log:berlin"
    assert berlin.entries(ASKED) == berlin.entries(ended_on(DEFAULT_NODE)) == ()
    assert berlin.entries(ended_on("berlin")) == entries(ended_on("berlin"))


def test_rows_of_a_service_with_one_asterisk_stay_those_of_the_default_node() -> None:
    assert mark_of(DEFAULT_NODE) == "history"
    assert mark_of("berlin") == "history:berlin"
