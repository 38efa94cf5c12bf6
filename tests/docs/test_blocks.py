# SPDX-License-Identifier: MIT
"""Every block of the documentation is tried by a test, or a list says why not."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sqlite3
from contextlib import closing

import pytest

from fastagi.web.api.problems import CODES
from tests.docs.blocks import BLOCKS, ROOT, Block, blocks
from tests.docs.where import NOT_TRIED, TRIED

_LANGUAGES = {
    *("", "sh", "yaml", "ini", "json", "python", "html", "sql", "mermaid"),
    *("nginx", "apache"),
}


def _is_tried(block: Block) -> bool:
    if any((page, block.language) in TRIED for page in ("*", block.page)):
        return True
    return all(
        any(line.startswith(words) for words in NOT_TRIED)
        for line in block.text.splitlines()[:1]
    )


def test_every_block_is_tried_or_a_list_says_why_not() -> None:
    not_tried = [str(one) for one in BLOCKS if one.language and not _is_tried(one)]
    assert not_tried == []


def test_lists_have_nothing_that_is_not_in_the_docs() -> None:
    there = {(page, b.language) for b in BLOCKS for page in ("*", b.page)}
    assert set(TRIED) - there == set()
    first_lines = [b.text.partition("\n")[0] for b in BLOCKS if b.language]
    for words in NOT_TRIED:
        assert any(line.startswith(words) for line in first_lines), words


@pytest.mark.parametrize("name", sorted({*itertools.chain(*TRIED.values())}))
def test_tests_that_try_blocks_exist(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in functions if function else functions


def test_blocks_have_a_known_language() -> None:
    assert {block.language for block in BLOCKS} <= _LANGUAGES


def test_blocks_without_a_language_are_drawings_and_not_commands() -> None:
    drawn = [block for block in BLOCKS if not block.language]
    commands = r"^ *(sudo|callback-queue|curl|make|pip|systemctl) [^─]*$"
    assert [str(b) for b in drawn if re.search(commands, b.text, re.M)] == []


def test_example_of_an_error_of_the_api_is_one() -> None:
    (block,) = blocks("docs/api.md", "json")
    error = json.loads(block.text)
    assert error["code"] in CODES
    assert (error["status"], error["title"]) == (422, "Unprocessable Entity")
    assert {"type", "detail", "errors", "reason"} <= set(error)


def test_queries_of_the_reports_find_calls() -> None:
    of_callers, of_clients = blocks("docs/reports.md", "sql")
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(
            """
            CREATE TABLE queue_log (time, callid, event);
            INSERT INTO queue_log VALUES (1, '1800000000.12', 'ENTERQUEUE');
            INSERT INTO queue_log VALUES (2, 'callback-1800000020-5f0c-2', 'CONNECT');
            CREATE TABLE cdr
                (start, lastdata, disposition, billsec, userfield, dcontext);
            INSERT INTO cdr VALUES (1, 'PJSIP/030@trunk', 'ANSWERED', 71,
                'callback-task-17', 'callback-caller');
            INSERT INTO cdr VALUES (1, 'support', 'ANSWERED', 90,
                'callback-task-17', 'callback-member');
            """
        )
        assert conn.execute(of_callers.text).fetchall() == [
            (1, "1800000000.12", "ENTERQUEUE")
        ]
        assert conn.execute(of_clients.text).fetchall() == [
            (1, "PJSIP/030@trunk", "ANSWERED", 71)
        ]
