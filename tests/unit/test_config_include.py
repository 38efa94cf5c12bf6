# SPDX-License-Identifier: MIT
"""Queues in included files: what is read, and the place of each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastagi.config.dry_run import dry_run
from fastagi.config.errors import ConfigErrors
from fastagi.config.listing import Origin, listed
from fastagi.config.load import parse_settings
from fastagi.config.secrecy import unsafe_rights
from fastagi.config.sections import Settings

_OUT = "outbound_channel: PJSIP/{number}@trunk"


def _text(directory: Path, more: str = "") -> str:
    return f"ami: {{secret: x}}\ninclude:\n  queues: {directory}\n{more}"


def _load(directory: Path, more: str = "") -> Settings:
    return parse_settings(_text(directory, more), file="cq.yaml", environ={})


def _told(directory: Path, more: str = "") -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        _load(directory, more)
    return str(raised.value).replace(str(directory), "DIR").splitlines()


def test_queues_of_all_files_are_read_with_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("queues:\n  sales:\n    attempts: 7\n")
    (tmp_path / "a.yaml").write_text('queues:\n  "600": {}\n')
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    for other in (".hidden.yaml", "a.yaml.bak", "notes.txt"):
        (tmp_path / other).write_text("no: [yaml")
    settings = _load(tmp_path, f"defaults:\n  {_OUT}\nqueues:\n  support:\n")
    assert list(settings.queues) == ["support", "600", "sales"]
    assert settings.queue("sales").attempts == 7
    assert settings.queue("600").outbound_channel == "PJSIP/{number}@trunk"


@pytest.mark.parametrize("own", ["", "queues:\n", "queues: {}\n"])
def test_file_without_queues_is_enough_if_others_are_included(
    tmp_path: Path, own: str
) -> None:
    assert list(_load(tmp_path, own).queues) == []
    (tmp_path / "a.yaml").write_text(f"queues:\n  sales:\n    {_OUT}\n")
    assert list(_load(tmp_path, own).queues) == ["sales"]


def test_mistakes_have_the_name_and_the_line_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"queues:\n  sales:\n    {_OUT}\n    attempts: 0\n    colour: red\n"
    )
    (tmp_path / "b.yaml").write_text("queues:\n  support:\n\tattempts: 1\n")
    assert _told(tmp_path, "missed: {queue: other}\n") == [
        'cq.yaml:4: missed.queue: "other" is none of the queues of this file - name it'
        " under queues",
        "DIR/a.yaml:4: queues.sales.attempts: must be 1 or more (got 0)",
        "DIR/a.yaml:5: queues.sales.colour: unknown setting",
        "DIR/b.yaml:3: there is a tab here, and YAML allows only spaces - use spaces",
    ]


def test_only_queues_are_allowed_in_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"ami: {{host: evil}}\ndefaults:\n  {_OUT}\n")
    (tmp_path / "b.yaml").write_text("- sales\n")
    (tmp_path / "c.yaml").write_text("queues: [sales]\n")
    assert [line.partition(" - ")[0] for line in _told(tmp_path)] == [
        "DIR/a.yaml:1: ami: is not allowed here: an included file has queues only",
        "DIR/a.yaml:2: defaults: is not allowed here: an included file has queues only",
        "DIR/b.yaml:1: the file must be a group of settings, one `name: value` on each"
        " line (got a list)",
        "DIR/c.yaml:1: queues: must be a group of settings, one `name: value` on each"
        " line (got a list)",
    ]


def test_queue_in_two_files_is_named_with_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"queues:\n  sales:\n    {_OUT}\n")
    (tmp_path / "b.yaml").write_text(f"queues:\n  sales:\n  SUPPORT:\n    {_OUT}\n")
    assert _told(tmp_path, f"queues:\n  support:\n    {_OUT}\n") == [
        "DIR/b.yaml:2: queues.sales: is given twice, here and in line 2 of DIR/a.yaml"
        " - delete one of the two",
        "DIR/b.yaml:3: queues.SUPPORT: is the same queue as support in line 5 of the"
        " settings file: Asterisk does not tell small letters from capitals - delete"
        " one of the two",
    ]


def test_missing_directory_and_unreadable_files_are_faults(tmp_path: Path) -> None:
    assert _told(tmp_path / "none") == [
        "cq.yaml:3: include.queues: DIR does not exist - mkdir DIR, or delete this line"
    ]
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert _told(tmp_path) == [
        "DIR/d.yaml: is no plain file - put the settings into a plain file there",
        "DIR/gone.yaml: does not exist - try again",
    ]


def test_relative_path_is_refused_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        parse_settings("ami: {secret: x}\ninclude: {queues: queues.d}\n", environ={})
    assert "include.queues" in str(raised.value)


def test_listed_setting_names_the_included_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("queues:\n  sales:\n    attempts: 7\n")
    settings = _load(tmp_path, f"defaults:\n  {_OUT}\n")
    rows = {one.name: one for one in listed(settings)}
    own = rows["queues.sales.attempts"]
    assert (own.origin, own.line, own.file) == (Origin.FILE, 3, str(file))
    shared = rows["queues.sales.outbound_channel"]
    assert (shared.origin, shared.line, shared.file) == (Origin.DEFAULTS, 5, "")


def test_trial_of_a_changed_file_reads_the_included_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("queues:\n  sales:\n    attempts: 0\n")
    text = _text(tmp_path, f"defaults:\n  {_OUT}\n")
    (problem,) = dry_run("cq.yaml", text, text)["problems"]
    # The line of another file is none of the text that is tried.
    assert problem["line"] == 0
    assert problem["where"] == f"{tmp_path}/a.yaml:3: queues.sales.attempts"


def test_included_files_that_everybody_may_change_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"queues:\n  sales:\n    {_OUT}\n")
    config = tmp_path / "cq.yaml.main"
    config.write_text(_text(tmp_path))
    config.chmod(0o640)
    settings = _load(tmp_path)
    assert list(unsafe_rights(str(config), settings, "cq", {})) == []
    file.chmod(0o666)
    (found,) = unsafe_rights(str(config), settings, "cq", {})
    assert (found.where, found.remedy) == (str(file), f"chmod o-w {file}")
