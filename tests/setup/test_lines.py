# SPDX-License-Identifier: MIT
"""Changes of Asterisk's files by lines, and taking them out again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.setup.lines import (
    BEGIN,
    END,
    Edit,
    Insert,
    Misplaced,
    Replace,
    edited,
    last_header,
    number_of_lines,
    without_ours,
)

_TEXT = "[a]\r\nx = 1\n;-- [b]\n--;\n[a](t)\ny=2"


def test_everything_else_stays_byte_for_byte() -> None:
    text = edited(_TEXT, [Insert(2, ("new = 1",))])
    assert text == (f"[a]\r\nx = 1\n{BEGIN}\nnew = 1\n{END}\n;-- [b]\n--;\n[a](t)\ny=2")
    assert without_ours(text) == _TEXT


def test_a_replaced_line_is_put_back() -> None:
    text = edited(_TEXT, [Replace(1, ("[c]", "[d]"))])
    assert text.startswith(f"{BEGIN}\n; was: [a]\r\n[c]\n[d]\n{END}\nx = 1\n")
    assert without_ours(text) == _TEXT


def test_a_last_line_without_a_newline_gets_one() -> None:
    text = edited("y=2", [Insert(1, ("z=3",))])
    assert text == f"y=2\n{BEGIN}\nz=3\n{END}\n"


def test_an_empty_file_gets_lines() -> None:
    assert edited("", [Insert(0, ("z=3",))]) == f"{BEGIN}\nz=3\n{END}\n"


@given(
    st.lists(st.text("ab;[]=\r -", max_size=6), max_size=8),
    st.data(),
)
def test_what_is_put_in_is_taken_out(lines: list[str], data: st.DataObject) -> None:
    text = "".join(f"{line}\n" for line in lines)
    places = st.integers(0, number_of_lines(text))
    edits: list[Edit] = [
        Insert(at, ("new = 1",)) for at in data.draw(st.lists(places, max_size=3))
    ]
    if lines:
        chosen = data.draw(st.sets(st.integers(1, len(lines)), max_size=3))
        edits += [Replace(at, ("one", "two")) for at in chosen]
    assert without_ours(edited(text, edits)) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{BEGIN}\nx\n", 1),
        (f"x\n{END}\n", 2),
        (f"{BEGIN}\nx\n{BEGIN}\n{END}\n", 1),
    ],
)
def test_markers_that_do_not_belong_together_are_not_guessed_at(
    text: str, line: int
) -> None:
    with pytest.raises(Misplaced) as raised:
        without_ours(text)
    assert raised.value.line == line
    assert f"file:{line}" in str(raised.value.problem("file"))


def test_new_lines_go_behind_the_last_option_of_a_section() -> None:
    text = "[support](!)\na=1\n[support](t)\nb=2\n;c=3\n\n;[x]\n[next]\nd=4\n"
    header = last_header(text, "SUPPORT")
    assert header is not None
    assert (header.line, header.last) == (3, 4)


def test_a_header_in_a_comment_is_none() -> None:
    assert last_header(";[support]\n;--\n[support]\n--;\n", "support") is None
