# SPDX-License-Identifier: MIT
"""Several Asterisks in the settings, and what each of them uses of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastagi.config.errors import ConfigErrors
from fastagi.config.listing import Origin, listed
from fastagi.config.load import parse_settings
from fastagi.config.secrecy import unsafe_rights
from fastagi.config.sections import Settings

_TWO = """\
nodes:
  pbx1:
    ami: {host: 10.0.0.1, secret: one}
    history: {queue_log: /var/log/pbx1}
  pbx2:
    ami: {host: 10.0.0.2, secret: two}
    outbound_channel: PJSIP/{number}@trunk2
    outbound_caller_id: "+4930999888"
    history: {queue_log: /var/log/pbx2, cdr_csv: /var/log/cdr2}
    asterisk: {config_dir: /etc/pbx2}
defaults: {outbound_channel: "PJSIP/{number}@trunk1", outbound_caller_id: "030111222"}
queues:
  support:
  sales: {nodes: [PBX2]}
"""
_ONE = """\
ami: {host: 10.0.0.1, secret: one}
queues: {support: {outbound_channel: "PJSIP/{number}@trunk"}}
"""


def _load(text: str) -> Settings:
    return parse_settings(text, environ={})


def test_the_only_asterisk_is_the_default_node_and_uses_the_settings_as_they_are() -> (
    None
):
    settings = _load(_ONE)
    (node,) = settings.all_nodes
    assert settings.nodes == ()
    assert (node.name, node.ami, node.history) == (
        "default",
        settings.ami,
        settings.history,
    )
    assert settings.of_node(node) is settings.at_node(node) is settings


def test_each_node_has_its_own_link_and_histories() -> None:
    settings = _load(_TWO)
    first, second = settings.all_nodes
    assert [node.name for node in settings.nodes] == ["pbx1", "pbx2"]
    assert first.ami.secret.get_secret_value() == "one"
    for node in (first, second):
        for view in (settings.at_node(node), settings.of_node(node)):
            assert view.ami == node.ami
            assert view.history == node.history
            assert view.asterisk == node.asterisk
    assert second.history.queue_log_file == "/var/log/pbx2"
    # What asks for the one Asterisk gets the first.
    assert (settings.ami, settings.history) == (first.ami, first.history)


def test_clients_are_called_from_the_nodes_of_their_queue() -> None:
    settings = _load(_TWO)
    first, second = map(settings.of_node, settings.nodes)
    assert list(first.queues) == ["support"]
    assert list(second.queues) == ["support", "sales"]
    # A call may be in progress for a queue that was on this node before.
    assert first.queue("sales").nodes == ("PBX2",)
    assert [list(settings.at_node(node).queues) for node in settings.nodes] == [
        ["support", "sales"]
    ] * 2


def test_channel_and_caller_id_of_a_node_count_before_those_of_the_queue() -> None:
    settings = _load(_TWO)
    first, second = map(settings.of_node, settings.nodes)
    assert first.queue("support").outbound_channel == "PJSIP/{number}@trunk1"
    assert first.queue("support").outbound_number == "030111222"
    assert second.queue("support").outbound_channel == "PJSIP/{number}@trunk2"
    assert second.queue("support").outbound_number == "+4930999888"


def test_number_that_clients_of_a_node_see_is_an_own_number() -> None:
    rules = _load(_TWO).number_rules(_load(_TWO).queues["support"])
    assert {"4930999888", "030111222"} <= {*rules.own_keys}


def test_queue_needs_no_channel_if_all_its_nodes_have_one() -> None:
    settings = _load(
        "nodes: {pbx1: {ami: {secret: x}, outbound_channel: 'PJSIP/{number}@t'}}\n"
        "queues: {support: }\n"
    )
    (node,) = settings.nodes
    queue = settings.of_node(node).queues["support"]
    assert queue.outbound_channel == "PJSIP/{number}@t"


def test_settings_of_each_node_are_listed_without_its_secret() -> None:
    settings = _load(_TWO)
    rows = {row.name: row for row in listed(settings)}
    assert not any(name.startswith(("ami.", "history.")) for name in rows)
    assert rows["nodes.pbx2.ami.host"].value == "10.0.0.2"
    assert rows["nodes.pbx2.ami.host"].needs_restart
    assert rows["nodes.pbx2.outbound_channel"].line == 7
    assert rows["nodes.pbx1.outbound_channel"].value is None
    secret = rows["nodes.pbx2.ami.secret"]
    assert (secret.value, secret.is_secret, secret.origin) == (None, True, Origin.FILE)
    assert secret.secret == "two"


def test_file_with_the_secret_of_one_node_is_not_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(_TWO)
    file.chmod(0o644)
    settings = parse_settings(_TWO, file=str(file), environ={})
    (problem,) = unsafe_rights(str(file), settings, "callback-queue", {})
    assert problem.what.startswith("it holds the secret")


def test_nodes_that_differ_are_other_settings() -> None:
    assert _load(_TWO) == _load(_TWO)
    assert _load(_TWO) != _load(_TWO.replace("10.0.0.2", "10.0.0.3"))
    assert hash(_load(_TWO)) == hash(_load(_TWO))


def _fault(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(text, environ=environ or {})
    (problem,) = caught.value.problems
    return str(problem)


def test_default_in_capitals_is_another_name() -> None:
    for name in ("Default", "DEFAULT"):
        text = _fault(_TWO.replace("pbx1:", f"{name}:", 1))
        assert f"nodes.{name}: differs from default in capitals only" in text
    assert _load(_TWO.replace("pbx1:", "default:", 1)).nodes[0].name == "default"


@pytest.mark.parametrize(
    "variable",
    [
        "CALLBACK_QUEUE_AMI_SECRET",
        "CALLBACK_QUEUE_CDR_PASSWORD",
        "CALLBACK_QUEUE_QUEUE_LOG_PASSWORD",
    ],
)
def test_secret_in_the_environment_is_not_ignored_beside_nodes(variable: str) -> None:
    text = _fault(_TWO, {variable: "secret"})
    assert f"nodes: {variable} in the environment cannot stand beside it" in text
