# SPDX-License-Identifier: MIT
"""Which lines with Queue() setup leads through callback-enter, and which not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastagi.checks.conf import read_conf, stripped_lines
from fastagi.setup.queue_lines import queue_lines, steps, through_callback_enter


def _found(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    """Return the number of each line, and why it is left as it is."""
    (tmp_path / "extensions.conf").write_text(text)
    conf = read_conf(tmp_path, "extensions.conf")
    assert not conf.stops
    return [
        (int(line.where.rpartition(":")[2]), line.by_hand.what if line.by_hand else "")
        for line in queue_lines(steps(conf.sections), ["support"])
    ]


@pytest.mark.parametrize(
    ("raw", "new"),
    [
        (
            " same => n,Queue(support,tc,,,600)",
            (
                " same => n,Gosub(callback-enter,s,1(support,tc,,,600))",
                " same => n,Queue(${CALLBACK_QUEUE_ARGS})",
            ),
        ),
        (
            "exten => _6[0,1]X,1(in),queue( support , t )",
            (
                "exten => _6[0,1]X,1(in),Gosub(callback-enter,s,1( support , t ))",
                "exten => _6[0,1]X,n,Queue(${CALLBACK_QUEUE_ARGS})",
            ),
        ),
        (
            "\tsame=n(again),Queue(support,,,a\\;b,$[${X} * 2]) ; the (agents)",
            (
                "\tsame=n(again),Gosub(callback-enter,s,1("
                "support,,,a\\;b,$[${X} * 2]))",
                "\tsame=n,Queue(${CALLBACK_QUEUE_ARGS})",
            ),
        ),
    ],
)
def test_two_lines_replace_it(raw: str, new: tuple[str, str]) -> None:
    ((_, stripped),) = stripped_lines(raw.encode())
    assert through_callback_enter(raw, stripped) == new


@pytest.mark.parametrize(
    "raw",
    [
        " same => n,Queue(support) ;-- a comment begins",
        " same => n+2,Queue(support)",
        " same => n,ExecIf(1?Queue(support))",
    ],
)
def test_an_unusual_line_is_not_replaced(raw: str) -> None:
    ((_, stripped),) = stripped_lines(raw.encode())
    assert through_callback_enter(raw, stripped) is None


def test_lines_of_the_queue_are_found_whatever_case_they_are_in(tmp_path: Path) -> None:
    text = "[a]\nexten => 1,1,queue(SUPPORT)\nexten => 2,1,Queue(sales)\n"
    assert _found(tmp_path, text) == [(2, "")]


def test_a_line_that_leads_through_callback_enter_is_done(tmp_path: Path) -> None:
    text = (
        "[a]\nexten => 1,1,Gosub(callback-enter,s,1(support))\n"
        " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n"
    )
    assert _found(tmp_path, text) == []


def test_a_line_of_a_template_is_found_once(tmp_path: Path) -> None:
    text = "[t](!)\nexten => 1,1,Queue(support)\n[a](t)\n[b](t)\n"
    assert _found(tmp_path, text) == [(2, "")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "[a]\nexten => 1,1,Answer()\nexten => 1,2,Queue(support)\n"
            "exten => 1,3,Hangup()\n",
            "the priorities behind it are numbered",
        ),
        (
            "[a]\nexten => 1,1,Answer()\n same => n,Queue(support)\n"
            " same => n,GotoIf($[1]?4)\n same => n,Hangup()\n",
            "something jumps to a number behind it",
        ),
        (
            "[a]\nexten => 1,1,Answer()\n same => n,Queue(support)\n"
            " same => n,Hangup()\n[b]\nexten => 2,1,Goto(a,1,3)\n",
            "something jumps to a number behind it",
        ),
        (
            "[a]\nexten => 1,1,Answer()\n same => n,Queue(support)\n"
            " same => n,Goto($[${PRIORITY} - 1])\n",
            "its extension computes with ${PRIORITY}",
        ),
        (
            "[a]\nexten => 1,1,Answer()\n same => n,GotoIf($[${X} = 1]?+3:again)\n"
            " same => n(again),Queue(support)\n same => n,Hangup()\n",
            "its extension has a jump by a number of lines",
        ),
        (
            "[a]\nexten => 1,1,Answer()\n same => n,Queue(support)\n"
            " same => n,Goto(a,1,-2)\n",
            "its extension has a jump by a number of lines",
        ),
        (
            # The line is in both contexts, and may not be changed in the first one.
            "[t](!)\nexten => 1,1,Answer()\n same => n,Queue(support)\n"
            "[a](t)\nexten => 1,3,Hangup()\n[b](t)\n",
            "the priorities behind it are numbered",
        ),
        (
            "[a]\nexten => 1,1,NoOp()\n same => n,ExecIf(1?Queue(support))\n",
            "Queue() runs within another application",
        ),
        (
            "[a]\nexten => 1,1,NoOp()\n same => n,Queue(${WHICH})\n",
            "its queue is known only during a call",
        ),
        (
            "[a]\nexten => 1,1,Queue(support)\n[a]\nexten => 1,1,Queue(support,t)\n",
            "its extension is written twice",
        ),
    ],
)
def test_a_line_is_left_where_a_new_one_would_move_others(
    tmp_path: Path, text: str, why: str
) -> None:
    left = _found(tmp_path, text)
    assert left
    assert all(why in reason for _, reason in left)


def test_jumps_before_the_line_and_to_labels_do_not_matter(tmp_path: Path) -> None:
    text = (
        "[a]\nexten => 1,1,Answer()\n same => n(again),Queue(support,t)\n"
        " same => n,Goto(again)\n same => n,GotoIf($[1]?1:again)\n"
        "[b]\nexten => 2,1,Goto(a,1,1)\n same => n,Goto(b,2,3)\n same => n,Hangup()\n"
        "exten => 600,1,Set(X=3)\n same => n,Dial(PJSIP/3,10)\n"
        "exten => 601,1,Goto(+1)\n same => n,Dial(PJSIP/3,10)\n"
    )
    assert _found(tmp_path, text) == [(3, "")]
