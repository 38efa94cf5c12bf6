# SPDX-License-Identifier: MIT
"""Every example of settings in the documentation is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fastagi.config.load import parse_settings
from fastagi.config.sections import SECTIONS
from fastagi.setup.answers import read_answers
from fastagi.web import settings as web_settings
from tests.docs.blocks import BLOCKS, ROOT, Block

_YAML = [block for block in BLOCKS if block.language == "yaml"]
#: The page whose examples are of web.yaml, which has sections of the same names.
_OF_WEB = "docs/web.md"
#: What an example leaves out.
_ENOUGH: dict[str, dict[str, object]] = {
    "ami": {"secret": "x"},
    "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
    "queues": {"support": {}},
}


def _kind(block: Block) -> str:
    names = set(yaml.safe_load(block.text))
    if "scrape_configs" in names:
        return "Prometheus"
    if block.page == "docs/setup.md":
        return "answers"
    if block.page == _OF_WEB:
        return "web process"
    assert names <= {*SECTIONS, "nodes", "queues"}, f"{block}: unknown sections"
    return "service"


def _of(kind: str) -> pytest.MarkDecorator:
    found = [block for block in _YAML if _kind(block) == kind]
    return pytest.mark.parametrize("block", found, ids=str)


def _with_files(block: Block, home: Path) -> str:
    """Return the example with its files in a folder of the test."""
    for name in ("queue-log-password", "cdr-password", "oidc-secret"):
        (home / name).write_text("secret")
        (home / name).chmod(0o600)
    (home / "queues.d").mkdir()
    return block.text.replace("/etc/callback-queue/", f"{home}/")


@_of("service")
def test_example_of_settings_is_valid(block: Block, tmp_path: Path) -> None:
    given = yaml.safe_load(_with_files(block, tmp_path))
    merged = {**_ENOUGH, **given}
    for name in ("ami", "defaults"):
        merged[name] = {**_ENOUGH[name], **given.get(name, {})}
    if "nodes" in given:
        del merged["ami"]
    parse_settings(yaml.safe_dump(merged), environ={})


@_of("web process")
def test_example_of_settings_of_the_web_process_is_valid(
    block: Block, tmp_path: Path
) -> None:
    given = yaml.safe_load(_with_files(block, tmp_path))
    if "oidc" in given:
        given.setdefault("web", {"public_url": "https://callback.example.com"})
    web_settings.parse(yaml.safe_dump(given))


@_of("Prometheus")
def test_prometheus_is_told_our_address_and_our_rules(block: Block) -> None:
    given = yaml.safe_load(block.text)
    (job,) = given["scrape_configs"]
    (target,) = job["static_configs"]
    port = web_settings.ListenSettings().port
    assert target["targets"] == [f"127.0.0.1:{port}"]
    (rules,) = given["rule_files"]
    assert (ROOT / "etc/prometheus" / Path(rules).name).exists()


@_of("answers")
def test_setup_understands_the_answers(block: Block) -> None:
    assert list(read_answers(block.text, "answers.yaml").queues or ()) == [
        *("support", "sales")
    ]
