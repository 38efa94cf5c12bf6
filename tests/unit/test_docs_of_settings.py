# SPDX-License-Identifier: MIT
"""The tables of settings in docs/ are held to the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastagi.checks import dialplan
from fastagi.checks.conf import read_conf
from fastagi.config import queue_layers
from fastagi.config.values import Section

_ROOT = Path(__file__).parents[2]


def _page(name: str) -> str:
    return (_ROOT / "docs" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("page", "name", "section"),
    [
        ("what-a-caller-hears", "offers", queue_layers.Offers),
        ("what-a-caller-hears", "choices", queue_layers.Choices),
        ("clients", "client_key", queue_layers.ClientKey),
    ],
)
def test_table_has_every_setting_of_a_section(
    page: str, name: str, section: type[Section]
) -> None:
    head = re.escape(f"| setting under `{name}` |")
    (rows,) = re.findall(rf"^{head}.*\n\|[-|]+\n((?:\|.*\n)+)", _page(page), re.M)
    named = [
        setting
        for row in rows.splitlines()
        for setting in re.findall(r"`([a-z_]+)`", row.split("|")[1])
    ]
    assert named == list(section.model_fields)


def test_docs_name_the_version_of_the_dialplan() -> None:
    needs = _page("features")
    assert f"version {dialplan.VERSION} of" in needs
    assert f"`NoOp({dialplan.VERSION})`" in needs


def test_context_for_further_keys_leads_to_the_contexts_of_the_service(
    tmp_path: Path,
) -> None:
    text = (_ROOT / "etc/asterisk/extensions.conf").read_text("utf-8")
    (lines,) = re.findall(r"^;\[support-keys\]\n(?:;.*\n)+", text, re.M)
    (tmp_path / "keys.conf").write_text(re.sub("^;", "", lines, flags=re.M))
    section = read_conf(tmp_path, "keys.conf").section("support-keys")
    assert section is not None
    ours = (_ROOT / "dialplan" / dialplan.FILE).read_text("utf-8")
    (included,) = [one.value for one in section.all("include")]
    (extension,) = [one.value for one in section.all("exten")]
    goto = re.search(r"Goto\(([\w-]+),(\d),1\)", extension)
    assert goto is not None
    assert extension.startswith(f"{goto[2]},1,")
    for context in (included, goto[1]):
        assert f"[{context}]" in ours
