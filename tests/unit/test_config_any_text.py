# SPDX-License-Identifier: MIT
"""Whatever stands in the file, it gives settings or a list of faults in words.

And whatever settings come out, nothing in them can break out of an AMI header, of
the arguments of an application or of a dial string.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastagi.config import queue_layers, sections, source
from fastagi.config.errors import ConfigErrors
from fastagi.config.load import SECRET_VARIABLE, load_settings, parse_settings
from fastagi.config.values import Section

_SAMPLE = (Path(__file__).parents[2] / "etc" / "callback-queue.yaml").read_text("utf-8")
_ALL_ON = re.sub(r"(?m)^( *)#([a-z])", r"\1\2", _SAMPLE)
_JARGON = re.compile(
    r"pydantic|validation|Input should|type=|Traceback|Error\b|NoneType|\bdict\b"
    r"|\bstr\b|mapping|sequence|token|scalar"
)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f,;\"\\|&$`]")

_names = sorted(
    {
        *(
            "ami",
            "fastagi",
            "database",
            "control",
            "asterisk",
            "log",
            "defaults",
            "queues",
        ),
        *sections.AmiSection.model_fields,
        *sections.FastAgiSettings.model_fields,
        *sections.LogSettings.model_fields,
        *queue_layers.QueueLayer.model_fields,
        *queue_layers.Sounds.model_fields,
        *queue_layers.Numbers.model_fields,
        *queue_layers.Hours.model_fields,
        *("url", "socket", "support", "sales", "Support"),
    }
)
#: What is right somewhere, nearly right, or was wrong in somebody's parser.
_nasty = st.sampled_from(
    [
        *("PJSIP/{number}@trunk", "{number}", "${X}", "Local/1@a", "PJSIP/1"),
        *("a&b", "a,b", "a;b", 'a"b', "a\nb", "\r", "\0", "\ud800", "\u2028", "\x85"),
        *('"A" <1>', '"A,B" <1>', "5s", "1h30m", "0", "-5s", "9" * 40),
        *("sqlite:////x", "sqlite:///x", "postgresql://u:p@h/d", "127.0.0.1"),
        *("10.0.0.5/8", "::1/128", "md5", "MD5", "info", "true", "general"),
        *("(", "[0-9]+", "+49", "_X.", "[[a]", "(" * 99, "(?:(?:a{99}){99}){99}"),
        *("09:00-17:00", "9-5", "22:00-02:00", "closed", "12-24", "2027-02-29"),
        *("Europe/Berlin", "/etc/localtime", "..", "Europe/"),
        *("a" * 300, "beep.wav", "../x", "silence/1", "\N{ARABIC-INDIC DIGIT THREE}"),
        *("/x", "/dev/null", "/dev/zero", "/proc/self/mem", "/dev/tty", "/tmp"),
    ]
)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _nasty,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_names) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def _group(section: type[Section]) -> st.SearchStrategy[Any]:
    return st.dictionaries(
        st.sampled_from(list(section.model_fields)), _values, max_size=5
    )


_queue = _group(queue_layers.QueueLayer)
_trees = st.fixed_dictionaries(
    {},
    optional={
        "ami": _group(sections.AmiSection),
        "fastagi": _group(sections.FastAgiSettings),
        "database": _group(sections.DatabaseSettings),
        "log": _group(sections.LogSettings),
        "defaults": _queue,
        "queues": st.dictionaries(st.sampled_from(_names) | _nasty, _queue | _values),
    },
)


def _check(data: str | bytes) -> None:
    try:
        loaded = parse_settings(data, file="cq.yaml", environ={SECRET_VARIABLE: ""})
    except ConfigErrors as wrong:
        assert wrong.problems
        last_line = _count_lines(data) + 1
        lines = str(wrong).split("\n")
        assert len(lines) == len(wrong.problems)
        for line, problem in zip(lines, wrong.problems, strict=True):
            assert line.isprintable()
            assert line.startswith(f"{problem.where}: ")
            number = re.match(r"cq\.yaml(?::(\d+))?(?:: |$)", problem.where)
            assert number is not None
            assert number[1] is None or 1 <= int(number[1]) <= last_line
            # What the file says is shown in quotes; our own words are outside.
            own_words = re.sub(r"\".*\"|'.*'", "", problem.what + problem.remedy)
            assert not _JARGON.search(own_words), own_words
    else:
        _check_settings(loaded)


def _count_lines(data: str | bytes) -> int:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))


def _check_settings(loaded: sections.Settings) -> None:
    hash(loaded)
    repr(loaded)
    for queue in loaded.queues.values():
        for name, value in dict(queue).items():
            if isinstance(value, str):
                quoting = '"' if name == "outbound_caller_id" else ""
                assert not _UNSAFE.search(value.replace(quoting, "")), (name, value)
        for sound in dict(queue.sounds).values():
            assert sound is None or not _UNSAFE.search(sound)
        assert queue.outbound_channel.count("{number}") == 1
        assert bool(queue.target_queue) != bool(queue.target_extension)
        assert bool(queue.state_interface) == bool(queue.target_extension)


@given(st.text())
@settings(deadline=None)
def test_any_text(text: str) -> None:
    _check(text)


@given(st.binary())
@settings(deadline=None)
def test_any_bytes(data: bytes) -> None:
    _check(data)


_signs = st.lists(
    st.sampled_from(
        [
            *"  :-#[]{},&*!|>'\"%@`?\n\n\t\r\\",
            "a",
            "1",
            ": ",
            "\n  ",
            "\n- ",
            "---\n",
            "...\n",
            "ami:\n",
            "queues:\n  a:\n",
            "\ufeff",
            "\x85",
            "\u2028",
        ]
    )
)


@given(_signs)
@settings(deadline=None)
def test_any_signs_of_yaml(parts: list[str]) -> None:
    _check("".join(parts))


@given(st.lists(_signs.map("".join), min_size=1).map(" # ".join))
@example(_SAMPLE)
@example(_ALL_ON)
@example("a: 1  # \ufeff")
@settings(deadline=None)
def test_comments_are_skipped_as_pyyaml_skips_them(text: str) -> None:
    assert _events(text, source.Loader) == _events(text, yaml.SafeLoader)


def _events(text: str, loader: type[yaml.SafeLoader]) -> list[object]:
    """Return what PyYAML's parser finds, and where."""
    events: list[object] = []
    try:
        for event in yaml.parse(text, Loader=loader):
            marks = (event.start_mark, event.end_mark)
            places = [(one.index, one.line, one.column) for one in marks]
            events.append((repr(event), places))
    except yaml.YAMLError as error:
        events.append(str(error))
    return events


@given(st.data())
@settings(deadline=None)
def test_sample_with_something_cut_out_or_put_in(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([_SAMPLE, _ALL_ON]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 40))
        put = data.draw(
            st.text(max_size=5) | _nasty | st.sampled_from(["\n", "\t", ": "])
        )
        text = text[:start] + put + text[end:]
    _check(text)


@given(_trees)
@settings(deadline=None)
@example({"ami": {"secret": "x"}, "queues": {"a": {"outbound_channel": "a/{number}"}}})
def test_any_values_in_their_places(tree: dict[str, Any]) -> None:
    _check(yaml.safe_dump(tree, allow_unicode=True))


@given(
    _nasty | st.text(), st.sampled_from(sorted(queue_layers.QueueLayer.model_fields))
)
@settings(deadline=None)
def test_any_text_in_a_setting_of_a_queue(value: str, name: str) -> None:
    queue = {"outbound_channel": "PJSIP/{number}@trunk", name: value}
    tree = {"ami": {"secret": "s3cret"}, "queues": {"support": queue}}
    _check(json.dumps(tree))


@given(data=st.binary())
@settings(deadline=None)
def test_any_bytes_in_a_file(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigErrors):
        # No handful of bytes is a settings file.
        load_settings(path, {})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 50_000,
        "- " * 100_000,
        "? " * 100_000,
        "a:\n " * 10_000,
        "!" * 200_000,
        "'" * 200_001,
        "&a " * 50_000,
        '"\\U' + "F" * 200_000,
        "%YAML 1." + "9" * 200_000 + "\n---\na",
        "%TAG ! " + "x" * 200_000,
        "a: " + "9" * 200_000,
        "a: -" + "9" * 200_000 + "s",
        "a: &x [*x, *x]\nb: *x",
        "x" * 300_000,
    ],
    ids=range(15),
)
def test_text_made_to_hurt(text: str) -> None:
    _check(text)
