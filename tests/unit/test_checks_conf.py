# SPDX-License-Identifier: MIT
"""Asterisk's configuration files are read as Asterisk reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.checks.conf import Conf, ConfUnreadable, read_conf


def _read(directory: Path, text: str | bytes, **others: str) -> Conf:
    data = text.encode() if isinstance(text, str) else text
    (directory / "queues.conf").write_bytes(data)
    for name, content in others.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".conf").write_text(content)
    return read_conf(directory, "queues.conf")


def _values(conf: Conf, section: str) -> list[tuple[str, str]]:
    found = conf.section(section)
    assert found is not None
    return [(option.name, option.value) for option in found.options]


def test_options_have_names_values_and_places(tmp_path: Path) -> None:
    conf = _read(tmp_path, "; head\n[support]\n\ncontext = a ; why\nmember => X/1,0\n")
    section = conf.section("support")
    assert section is not None
    assert section.where == f"{tmp_path}/queues.conf:2"
    assert _values(conf, "support") == [("context", "a"), ("member", "X/1,0")]
    assert section.options[0].where == f"{tmp_path}/queues.conf:4"


def test_last_of_several_counts_and_all_are_kept(tmp_path: Path) -> None:
    section = _read(tmp_path, "[a]\nMember=>1\ncontext=x\nmember=>2\n").section("a")
    assert section is not None
    assert section.get("member").value == "2"  # type: ignore[union-attr]
    assert [one.value for one in section.all("member")] == ["1", "2"]
    assert section.get("nothing") is None


def test_case_of_a_section_does_not_matter(tmp_path: Path) -> None:
    assert _read(tmp_path, "[Support]\n").section("sUPPORT") is not None


def test_semicolon_can_be_escaped(tmp_path: Path) -> None:
    conf = _read(tmp_path, "[a]\nsecret = x\\;y;z ; comment\n")
    assert _values(conf, "a") == [("secret", "x;y")]


@pytest.mark.parametrize(
    "text",
    [
        "[a]\n;--\ncontext = no\n--;\nx = 1\n",
        "[a]\n;-- context = no --; x = 1\n",
        "[a]\nx = 1 ;-- context = no\nstill no = 1\n --;\n",
        "[a]\n;-- one ;-- two --;\ncontext = no\n--; x = 1\n",
        "[a]\n;--- no block\nx = 1\n",
    ],
)
def test_block_comments_are_passed_over(tmp_path: Path, text: str) -> None:
    assert _values(_read(tmp_path, text), "a") == [("x", "1")]


def test_a_section_has_what_its_templates_have(tmp_path: Path) -> None:
    text = (
        "[one](!)\nx = 1\ny = 1\n[two](!,one)\ny = 2\n[a](two)\nz = 3\n[b](one,two)\n"
    )
    conf = _read(tmp_path, text)
    assert _values(conf, "a") == [("x", "1"), ("y", "1"), ("y", "2"), ("z", "3")]
    assert [name for name, _ in _values(conf, "b")] == ["x", "y", "x", "y", "y"]
    assert conf.section("one") is None


def test_a_section_can_be_continued(tmp_path: Path) -> None:
    conf = _read(tmp_path, "[a]\nx = 1\n[b]\n[a](+)\nx += 2\n")
    assert _values(conf, "a") == [("x", "1 2")]


def test_files_are_included_in_place(tmp_path: Path) -> None:
    conf = _read(
        tmp_path,
        '[a]\n#include "more.conf"\n#include <d/*.conf> ; all\nlast = 1\n',
        more="first = 1\n[b]\n",
        d__two="two = 2\n",
        d__one="one = 1\n",
    )
    # Lines after an #include belong to the section before it.
    assert _values(conf, "a") == [("first", "1"), ("last", "1")]
    assert _values(conf, "b") == [("one", "1"), ("two", "2")]
    assert conf.gaps == []
    assert [path.name for path in conf.files] == [
        "queues.conf",
        "more.conf",
        "one.conf",
        "two.conf",
    ]


def _stops(conf: Conf) -> list[tuple[str, str]]:
    return [(Path(one.problem.where).name, one.problem.what) for one in conf.stops]


def test_what_a_program_makes_is_not_known(tmp_path: Path) -> None:
    text = "#tryinclude gone.conf\n#exec /bin/date\n[a](gone)\n[gone](+)\n"
    conf = _read(tmp_path, text)
    file = tmp_path / "queues.conf"
    # The sections may be in the output of the program.
    assert conf.gaps == [
        f"{file}:2: made by a program: /bin/date",
        f"{file}:3: [gone] is not found",
        f"{file}:4: [gone] is not found",
    ]
    assert conf.stops == []
    (tmp_path / "asterisk.conf").write_text("[options]\nexecincludes = no\n")
    assert _stops(_read(tmp_path, text))[0][0] == "queues.conf:3"
    assert _read(tmp_path, "#exec /bin/date\n").gaps == []


def test_file_that_may_not_be_read_is_a_gap_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "huge.conf").touch()
    os.truncate(tmp_path / "huge.conf", 1 << 30)
    conf = _read(tmp_path, "#include huge.conf\n[a]\nx = 1\n")
    assert conf.gaps == [
        f"{tmp_path}/queues.conf:1: {tmp_path}/huge.conf is far too large"
    ]
    assert _values(conf, "a") == [("x", "1")]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("#include gone.conf\n", 1, "there is no file "),
        ("[a]\n#include e/*.conf\n", 2, "there is no file "),
        ("before = 1\n[a]\n", 1, "before = 1 stands before any section"),
        ("[a]\nx = 1\n[broken\n", 3, "[broken has no closing ]"),
        ("[a](b\n", 1, "[a] has no closing )"),
        ("[600](+)\n", 1, "there is no section [600] above to add to"),
        ("[t](!)\n[t](+)\n", 2, "[t] above is a template, and (+) adds to none"),
        ("[a](t)\n[t](!)\n", 1, "there is no section [t] above to take options"),
        ("[t](!)\n[a](t, t)\n", 2, "there is no section [ t] above: the blank counts"),
    ],
)
def test_mistake_in_the_file_itself_refuses_it(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    conf = _read(tmp_path, text)
    ((where, said),) = _stops(conf)
    assert conf.refused
    assert conf.sections == []
    assert where == f"queues.conf:{line}"
    assert said.startswith(problem)
    assert conf.stops[0].problem.remedy


def test_mistake_in_an_included_file_loses_the_rest_of_it(tmp_path: Path) -> None:
    conf = _read(
        tmp_path,
        "[600]\n#include post.conf\nx = 1\n",
        post="[600](+)\ny = 1\n[601](+)\n[602]\n",
    )
    assert not conf.refused
    assert [one.name for one in conf.sections] == ["600"]
    assert _values(conf, "600") == [("y", "1"), ("x", "1")]
    assert _stops(conf) == [
        ("post.conf:3", "there is no section [601] above to add to")
    ]


def test_a_file_that_includes_itself_has_an_end(tmp_path: Path) -> None:
    conf = _read(tmp_path, "#include queues.conf\n[a]\n")
    assert _stops(conf) == [("queues.conf:1", "files are included too deeply")]


def test_lines_asterisk_only_warns_of_are_passed_over(tmp_path: Path) -> None:
    text = "[a]\nnonsense\nnonsense]\n= 1\n# include x\n#unknown\nx = 1\n"
    conf = _read(tmp_path, text)
    assert _values(conf, "a") == [("x", "1")]
    assert conf.stops == []


def test_names_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    conf = _read(tmp_path, b"[J\xf6rg]\r\nx = 1\r\n")
    assert _values(conf, "Jörg") == [("x", "1")]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfUnreadable, match="does not exist") as raised:
        read_conf(tmp_path, "queues.conf")
    assert raised.value.missing


def test_pipe_in_the_place_of_a_file_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "queues.conf")
    with pytest.raises(ConfUnreadable, match="is no plain file"):
        read_conf(tmp_path, "queues.conf")


@given(
    st.lists(
        st.sampled_from(
            [
                *("[a]", "[b](a)", "[b](!)", "[a](+)", ";--", "--;", ";", "\\;", "x=1"),
                *("=>", "(", ")", "[", "]", "=", ">", "#", "#exec x", "\n", " ", "é"),
                *("\x85", "\0"),
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_no_text_is_too_strange(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    conf = _read(tmp_path_factory.getbasetemp(), text)
    assert all(section.options is not None for section in conf.sections)
