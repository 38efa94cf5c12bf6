# SPDX-License-Identifier: MIT
"""The settings of the web process, and their sample."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from attrs import frozen

from fastagi.command import web as command
from fastagi.config.errors import ConfigErrors
from fastagi.web import settings
from fastagi.web.settings import SECTIONS, WebSettings, parse

_SAMPLE = Path(__file__).parents[2] / "etc" / "callback-queue-web.yaml"
_LINES = _SAMPLE.read_text().splitlines()
_SETTING = re.compile(r"  (?P<off>#?)(?P<name>[a-z_]+): (?P<value>.+)")


@frozen
class _Entry:
    line: int
    section: str
    name: str
    off: bool
    comment: list[str]

    def told(self, word: str) -> str:
        (line,) = [c for c in self.comment if c.startswith(f"{word}: ")]
        return line.removeprefix(f"{word}: ")


def _entries() -> Iterator[_Entry]:
    section, comment = "", list[str]()
    for number, line in enumerate(_LINES):
        if found := re.fullmatch(r"([a-z_]+):", line):
            section = found[1]
        elif entry := _SETTING.fullmatch(line):
            off = bool(entry["off"])
            yield _Entry(number, section, entry["name"], off, comment)
        comment = [*comment, line.strip()[2:]] if line.startswith("  # ") else []


_ENTRIES = list(_entries())
_each_entry = pytest.mark.parametrize(
    "entry", _ENTRIES, ids=[f"{e.section}.{e.name}" for e in _ENTRIES]
)


def test_the_sample_as_it_is_changes_no_default() -> None:
    assert settings.load(_SAMPLE) == WebSettings()


def test_the_sample_has_every_setting_and_nothing_else() -> None:
    known = {(name, field) for name, s in SECTIONS.items() for field in s.model_fields}
    assert {(entry.section, entry.name) for entry in _ENTRIES} == known
    assert len(_ENTRIES) == len(known)


@_each_entry
def test_a_setting_has_its_meaning_unit_and_default(entry: _Entry) -> None:
    assert entry.off
    assert entry.comment[-3].endswith(".")
    assert entry.comment[-2].startswith("Unit: ")
    told = entry.told("Default")
    built_in = getattr(SECTIONS[entry.section](), entry.name)
    if told.startswith("("):
        assert built_in is None
        return
    value = yaml.safe_load(f"value: {told}")["value"]
    section = SECTIONS[entry.section].model_validate({entry.name: value})
    assert getattr(section, entry.name) == built_in


#: Further settings that an example needs.
_NEEDS = {
    ("web", "listen"): ("web", "public_url"),
    ("web", "socket"): ("web", "public_url"),
    ("oidc", "issuer"): ("oidc", "client_id"),
    ("proxy_login", "user_header"): ("web", "proxies"),
}


@_each_entry
def test_an_example_works_and_is_not_the_default(entry: _Entry, tmp_path: Path) -> None:
    lines = list(_LINES)
    needed = _NEEDS.get((entry.section, entry.name))
    for each in _ENTRIES:
        if each is entry or (each.section, each.name) == needed:
            lines[each.line] = lines[each.line].replace("#", "", 1)
    text = "\n".join(lines)
    if entry.name == "client_secret_file":
        secret = tmp_path / "secret"
        secret.write_text("other")
        secret.chmod(0o600)
        text = text.replace("/etc/callback-queue/oidc-secret", str(secret))
    found = getattr(parse(text), entry.section)
    default = getattr(WebSettings(), entry.section)
    assert getattr(found, entry.name) != getattr(default, entry.name)


def test_lines_of_the_sample_are_short_enough_to_read() -> None:
    assert [line for line in _LINES if len(line) > 88 or line != line.rstrip()] == []


def test_an_empty_file_means_the_defaults() -> None:
    assert parse("") == WebSettings()
    assert parse("").origin == "http://127.0.0.1:8573"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- web", "must be groups of settings"),
        ("wep: {}", "wep: unknown setting - did you mean web?"),
        ("log: {proxies: []}", "log.proxies: unknown setting - it belongs under web"),
        ("web: {listen: 0.0.0.0}", "web.listen: needs public_url"),
        ("web: {socket: /run/x}", "web.socket: needs public_url"),
        ("web: {public_url: cb.example.com}", "must be an address such as https://"),
        ("web: {public_url: 'https://h/callbacks'}", "must have no path and no user"),
        ("web: {public_url: 'https://u@h'}", "must have no path and no user"),
        ("web: {proxies: 127.0.0.1}", "must be a list"),
        ("database: {url: 'sqlite:///:memory:'}", "must name a file"),
        ("web: \t1", "there is a tab here"),
        ("oidc: {issuer: 'http://sso.example.com'}", "must start with https://"),
        ("oidc: {issuer: 'https://sso.example.com'}", "oidc.client_id: is missing"),
        ("oidc: {client_secret_file: /nowhere}", "/nowhere does not exist"),
        ("proxy_login: {user_header: 'X User'}", "may hold only letters, digits and -"),
        ("proxy_login: {user_header: X-User}", "needs web.proxies or web.socket"),
        ("oidc: {admins: all}", "must be a list"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("web.yaml:1: ")


def test_a_public_url_is_the_origin_of_the_pages() -> None:
    found = parse("web: {public_url: 'https://CB.example.com/', listen: 0.0.0.0}")
    assert found.origin == "https://cb.example.com"
    assert found.is_https
    assert parse("web: {listen: '::1'}").origin == "http://[::1]:8573"


def test_the_command_line_and_the_settings_name_the_same_file() -> None:
    assert command.DEFAULT_FILE == settings.DEFAULT_FILE
    assert command.FILE_VARIABLE == settings.FILE_VARIABLE
