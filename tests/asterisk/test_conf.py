# SPDX-License-Identifier: MIT
"""The parser of Asterisk's files agrees with GetConfig of real Asterisks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastagi.ami.actions import Action
from fastagi.ami.session import Credentials
from fastagi.checks.conf import Conf, read_conf
from fastagi.checks.link import ManagerLink, Refused, Where
from fastagi.wire.ami import AmiMessage
from tests.asterisk.conf_cases import CASES, NAME
from tests.lab.asterisk import Asterisk
from tests.lab.config import WITNESS
from tests.lab.processes import wait_until

#: Asterisk's error for a line that it refuses; for others it only warns.
_STOP = (
    r"(?:no closing|does not exist|No category context|Invalid escape).*"
    r" line (\d+) of (\S+)"
)
#: A section: its name, whether it is a template, and its options.
Shown = tuple[str, bool, list[tuple[str, str]]]


@pytest.fixture
def link(asterisk: Asterisk) -> Iterator[ManagerLink]:
    where = Where(host="127.0.0.1", port=asterisk.ports.ami, timeout_s=10)
    with ManagerLink(
        where, Credentials(username=WITNESS.name, secret="lab-witness")
    ) as one:
        yield one


def shown(answer: AmiMessage) -> list[Shown]:
    sections: dict[str, Shown] = {}
    for header, value in answer.headers:
        kind, _, number = header.partition("-")
        if kind == "Category":
            sections[number] = (value, False, [])
        elif kind == "IsTemplate":
            name, _, options = sections[number]
            sections[number] = (name, True, options)
        elif kind == "Line":
            # A name may begin with "=".
            equals = value.index("=", 1)
            option = (value[:equals], value[equals + 1 :])
            sections[number.partition("-")[0]][2].append(option)
    return list(sections.values())


def read(conf: Conf) -> list[Shown]:
    return [
        (one.name, one.is_template, [(each.name, each.value) for each in one.options])
        for one in conf.sections
    ]


def put(etc: Path, name: str) -> None:
    """Leave only the files of a case in the directory."""
    shutil.rmtree(etc / "case.d", ignore_errors=True)
    for file, text in CASES[name].items():
        path = etc / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def said_by(link: ManagerLink, file: str = NAME) -> list[Shown] | str:
    """Return Asterisk's contents of the file, or why it refuses the file."""
    action = Action("GetConfig", (("Filename", file), ("Filter", "TEMPLATES=include")))
    try:
        return shown(link.ask(action))
    except Refused as refused:
        return str(refused)


def logged_by(asterisk: Asterisk, link: ManagerLink, number: int) -> str:
    """Return Asterisk's log while it reads the file.

    A thread of Asterisk writes the log in order. So the log is complete once it names a
    second file that was requested afterwards.
    """
    last = f"case-{number}-is-read.conf"
    (asterisk.home / "etc" / last).write_text("[not closed\n")
    before = len(asterisk.log)
    said_by(link)
    said_by(link, last)
    wait_until(lambda: last in asterisk.log[before:], 10, f"{last} in Asterisk's log")
    log = asterisk.log[before:]
    return log[: max(log.rfind("\n", 0, log.index(last)), 0)]


def test_files_are_read_as_asterisk_reads_them(
    asterisk: Asterisk, link: ManagerLink
) -> None:
    etc = asterisk.home / "etc"
    differ: dict[str, object] = {}
    for name in CASES:
        put(etc, name)
        said, conf = said_by(link), read_conf(etc, NAME)
        ours = "Config file has invalid format" if conf.refused else read(conf)
        if said != ours:
            differ[name] = (said, ours)
    assert differ == {}


def test_line_that_stops_asterisk_is_the_one_it_names_in_its_log(
    asterisk: Asterisk, link: ManagerLink
) -> None:
    etc = asterisk.home / "etc"
    stopped = 0
    for number, name in enumerate(CASES):
        put(etc, name)
        log = logged_by(asterisk, link, number)
        named = [f"{file}:{line}" for line, file in re.findall(_STOP, log)]
        told = [stop.problem.where for stop in read_conf(etc, NAME).stops]
        # For a missing include it names no line.
        assert set(named) <= set(told), name
        stopped += len(named)
    assert stopped > 15
