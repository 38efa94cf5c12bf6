# SPDX-License-Identifier: MIT
"""The sample settings file cannot rot: what its comments say is held to the code.

Before each setting stands its meaning, then a line ``# Unit: ...``, then a line
``# Default: ...`` with the value as YAML (or words in parentheses where the default
is no value), then the setting with an example, behind ``#`` if it is not needed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from attrs import frozen

from fastagi.config import queue_layers, sections
from fastagi.config.durations import format_duration, parse_duration
from fastagi.config.errors import ConfigErrors
from fastagi.config.load import load_settings, parse_settings
from fastagi.config.values import Section
from fastagi.domain.people import PERSON_TECHNOLOGIES

_PATH = Path(__file__).parents[2] / "etc" / "callback-queue.yaml"
_TEXT = _PATH.read_text("utf-8")
_LINES = _TEXT.split("\n")
_SETTING = re.compile(
    r"^(?P<indent> *)(?P<off>#?)(?P<name>[a-z_]+):(?: (?P<value>.*))?$"
)
_SECTIONS: dict[str, type[Section]] = {
    **sections.SECTIONS,
    "ami.tls": sections.AmiTls,
    "defaults.sounds": queue_layers.Sounds,
    "defaults.choices": queue_layers.Choices,
    "defaults.numbers": queue_layers.Numbers,
    "defaults.opening_hours": queue_layers.Hours,
    "defaults.chosen_time": queue_layers.ChosenTime,
    "defaults.offers": queue_layers.Offers,
    "defaults.agent_keys": queue_layers.AgentKeys,
    "defaults.client_key": queue_layers.ClientKey,
    "defaults.whisper": queue_layers.Whisper,
    "defaults.preferred_agent": queue_layers.PreferredAgent,
    "defaults.retry": queue_layers.Retry,
    **{
        f"defaults.retry.{result}": type(field.default)
        for result, field in queue_layers.Retry.model_fields.items()
    },
}
#: Defaults that are no value, with what the code has in their place.
_IN_WORDS = {
    "instance.name": "(none)",
    "ami.secret": "(none; one of the three places is needed)",
    "ami.secret_file": "(none)",
    "ami.port": "(5038, and with tls 5039)",
    "ami.tls.ca_file": "(those of the system)",
    "ami.tls.server_name": "(the same as host)",
    "fastagi.max_connections_per_peer": (
        "(three quarters of max_connections; all of them if there is one peer)"
    ),
    "number_plan.region": "(none)",
    "defaults.sounds.offer": "(put together)",
    "missed.person_technologies": "(telephones and telephone lines, as above)",
    "missed.queue": "(the first of the queues below)",
    "history.queue_log_url": "(none)",
    "history.queue_log_password_file": "(none)",
    "history.cdr_csv": "(none)",
    "history.cdr_url": "(none)",
    "history.cdr_password_file": "(none)",
    "include.queues": "(none)",
    "defaults.target_queue": "(the queue the caller was in)",
    "defaults.target_extension": "(none; a queue takes them)",
    "defaults.state_interface": "(the same as target_extension)",
    "defaults.outbound_channel": "(none; it must be given)",
    "defaults.opening_hours.time_zone": "(that of this machine)",
    **dict.fromkeys(
        (f"defaults.opening_hours.{day}" for day in queue_layers.DAYS_OF_WEEK),
        "(as for monday)",
    ),
    "defaults.opening_hours.monday": (
        "(open all day; closed if some other day of the week has hours)"
    ),
    **{
        f"defaults.retry.{result}.{name}": f"(the same as {same})"
        for result in queue_layers.Retry.model_fields
        for name, same in (("attempts", "attempts above"), ("delay", "retry_delay"))
        if (result, name) != ("invalid_number", "attempts")
    },
}
#: Further settings that an example needs.
_NEEDS = {
    "defaults.state_interface": ["defaults.target_extension"],
    "ami.tls.ca_file": ["ami.tls.enabled"],
    "instance.name": ["database.url"],
    "instance.nodes": ["instance.name", "database.url"],
    "ami.tls.server_name": ["ami.tls.enabled"],
    "history.queue_log_password_file": ["history.queue_log_url"],
    "history.cdr_password_file": ["history.cdr_url"],
}


@frozen
class _Entry:
    line: int
    path: str
    off: bool
    value: str
    comment: list[str]

    def told(self, word: str) -> str:
        (line,) = [c for c in self.comment if c.startswith(f"{word}: ")]
        return line.removeprefix(f"{word}: ")


def _entries() -> Iterator[_Entry]:
    """Find the settings in the part before ``queues``, with their comments."""
    groups: list[str] = []
    comment: list[str] = []
    for number, line in enumerate(_LINES[: _LINES.index("queues:")]):
        if found := _SETTING.match(line):
            groups = groups[: len(found["indent"]) // 2]
            path = ".".join([*groups, found["name"]])
            if found["value"] is None:
                groups.append(found["name"])
            else:
                yield _Entry(number, path, bool(found["off"]), found["value"], comment)
            comment = []
        elif line.strip().startswith("# "):
            comment.append(line.strip()[2:])
        else:
            comment = []


_ENTRIES = {entry.path: entry for entry in _entries()}
_each_entry = pytest.mark.parametrize("entry", _ENTRIES.values(), ids=list(_ENTRIES))


def _field(path: str) -> tuple[type[Section], str]:
    group, _, name = path.rpartition(".")
    return _SECTIONS[group], name


def _turn_on(*paths: str) -> str:
    lines = list(_LINES)
    for path in paths:
        line = lines[_ENTRIES[path].line]
        lines[_ENTRIES[path].line] = line.replace("#", "", 1)
    return "\n".join(lines)


def test_sample_loads_as_it_is() -> None:
    settings = load_settings(_PATH, {})
    assert list(settings.queues) == ["support"]


def test_sample_as_it_is_changes_no_default() -> None:
    shortest = (
        "ami:\n  secret: change-me\n"
        "defaults:\n  outbound_channel: PJSIP/{number}@trunk\n"
        "queues:\n  support:\n"
    )
    assert load_settings(_PATH, {}) == parse_settings(shortest, environ={})


def test_every_setting_is_in_the_sample_and_nothing_else() -> None:
    known = {
        f"{group}.{name}"
        for group, section in _SECTIONS.items()
        for name in section.model_fields
    }
    assert set(_ENTRIES) == known - set(_SECTIONS)
    assert len(list(_entries())) == len(_ENTRIES)


@_each_entry
def test_setting_has_its_meaning_unit_and_default(entry: _Entry) -> None:
    meaning, unit, default = (
        entry.comment[:-2],
        entry.comment[-2],
        entry.comment[-1],
    )
    assert meaning
    assert meaning[-1].endswith(".")
    assert unit.startswith("Unit: ")
    assert default.startswith("Default: ")


@_each_entry
def test_default_in_the_comment_is_the_default_in_the_code(entry: _Entry) -> None:
    section, name = _field(entry.path)
    built_in = getattr(section(), name)
    if entry.path in _IN_WORDS:
        assert entry.told("Default") == _IN_WORDS[entry.path]
        assert built_in is None
        return
    value = yaml.safe_load(f"value: {entry.told('Default')}")["value"]
    assert getattr(section.model_validate({name: value}), name) == built_in


@_each_entry
def test_only_what_has_no_default_is_turned_on(entry: _Entry) -> None:
    assert entry.off == (entry.path not in ("ami.secret", "defaults.outbound_channel"))


@_each_entry
def test_example_works_and_is_not_the_default(entry: _Entry, tmp_path: Path) -> None:
    if not entry.off:
        return
    text = _turn_on(entry.path, *_NEEDS.get(entry.path, []))
    if entry.path == "ami.secret_file":
        text = text.replace('  secret: "change-me"\n', "")
    if entry.path.endswith(("secret_file", "password_file")):
        secret = tmp_path / "secret"
        secret.write_text("other")
        secret.chmod(0o600)
        text = text.replace(entry.value, str(secret))
    if entry.path == "include.queues":
        text = text.replace(entry.value, str(tmp_path))
    before, after = load_settings(_PATH, {}), parse_settings(text, environ={})
    if entry.path.startswith("defaults."):
        assert before.queue("support") != after.queue("support")
        name = entry.path.removeprefix("defaults.")
        found = operator.attrgetter(name)
        assert found(before.queue("support")) != found(after.queue("support"))
    else:
        found = operator.attrgetter(entry.path)
        assert found(before) != found(after)


def _bounded() -> Iterator[object]:
    for entry in _ENTRIES.values():
        found = re.fullmatch(
            r"(?:time|count|digits), (\w+) to (\w+)", entry.told("Unit")
        )
        if found:
            yield pytest.param(entry.path, found[1], found[2], id=entry.path)


@pytest.mark.parametrize(("path", "lowest", "highest"), list(_bounded()))
def test_bounds_in_the_comment_are_the_bounds_in_the_code(
    path: str, lowest: str, highest: str
) -> None:
    section, name = _field(path)

    def takes(value: object) -> bool:
        try:
            section.model_validate({name: value})
        except ValueError:
            return False
        return True

    if lowest.isdigit() and highest.isdigit():
        low, high = int(lowest), int(highest)
        assert takes(low)
        assert takes(high)
        assert not takes(low - 1)
        assert not takes(high + 1)
    else:
        assert takes(lowest)
        assert takes(highest)
        one = parse_duration("1s")
        assert not takes(format_duration(parse_duration(highest) + one))
        if parse_duration(lowest):
            assert not takes(format_duration(parse_duration(lowest) - one))


def test_each_time_and_count_tells_its_bounds() -> None:
    kinds = {entry.path: entry.told("Unit") for entry in _ENTRIES.values()}
    bounded = {param.id for param in _bounded()}  # type: ignore[attr-defined]
    for path, kind in kinds.items():
        assert (path in bounded) == kind.startswith(("time,", "count,", "digits,")), (
            path
        )


def test_examples_under_the_queues_work_too() -> None:
    start = _LINES.index("queues:")
    lines = _LINES[:start] + [line.replace("#", "", 1) for line in _LINES[start:]]
    settings = parse_settings("\n".join(lines), environ={})
    support, sales = settings.queue("support"), settings.queue("sales")
    assert support.attempts == 10
    assert support.outbound_caller_id == '"Support" <+4930123456>'
    assert support.sounds.accepted == "custom/support-will-call-you"
    assert sales.target_extension == "PJSIP/201"


def test_lines_are_short_enough_to_read() -> None:
    assert [line for line in _LINES if len(line) > 88 or line != line.rstrip()] == []


def test_technologies_of_persons_are_those_in_the_code() -> None:
    comment = " ".join(_ENTRIES["missed.person_technologies"].comment)
    listed = re.search(r"the default, which is (.*?)\.", comment)
    assert listed is not None
    assert tuple(re.split(r", | and ", listed[1])) == PERSON_TECHNOLOGIES


def test_a_mistake_in_the_sample_would_be_found() -> None:
    """The tests above rely on this: an enabled line is really read."""
    text = _turn_on("log.level").replace("level: debug", "level: debugg")
    with pytest.raises(ConfigErrors, match=r"log\.level"):
        parse_settings(text, environ={})
