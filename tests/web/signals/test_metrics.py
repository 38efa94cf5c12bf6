# SPDX-License-Identifier: MIT
"""The metrics for Prometheus, and that docs, dashboard and rules fit to them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import sqlalchemy as sa
import yaml
from attrs import evolve
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from fastagi.domain.attempt import Disposition
from fastagi.domain.reason import Code
from fastagi.domain.task import Kind as TaskKind
from fastagi.domain.task import Status
from fastagi.web.people.access import Principal, Right
from fastagi.web.signals.alarms import AlarmKind, Alarms
from fastagi.web.signals.metrics import FAMILIES, OPEN_TASKS, Kind, Metrics
from fastagi.web.signals.settings import AlarmSettings, Level
from fastagi.web.signals.tally import Tally
from tests.store.harness import NOW
from tests.web.api_rig import ADMIN, VIEWER, ApiRig
from tests.web.several_services import add_services
from tests.web.signals.harness import World, in_world
from tests.web.signals.live_state import live_state

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "etc" / "grafana" / "callback-queue.json"
RULES = ROOT / "etc" / "prometheus" / "callback-queue.rules.yaml"
DOCS = ROOT / "docs" / "metrics.md"

#: Every value that a label may have, besides names of queues.
LABELS: dict[str, set[str]] = {
    "status": set(Status),
    "reason": set(Code),
    "result": set(Disposition),
    "kind": set(TaskKind),
    "state": {"free", "ringing", "busy", "wrapping_up", "paused", "unavailable"}
    | {"working", "failing", "disabled"}
    | {"running", "not_running"},
    "reader": {"metrics", "webhooks", "queue_log"},
    "outcome": {"delivered", "refused", "no_answer", "address_refused", "gone"}
    | {"sent", "failed"},
    "alarm": set(AlarmKind),
    "level": set(Level),
}


def parsed(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


async def rendered(world: World, tally: Tally, accept: str = "") -> str:
    alarms = Alarms(
        AlarmSettings(),
        lease=world.lease,
        live=world.live,
        failures=tally.failures,
        now=world.clock,
    )
    await alarms.evaluate()
    metrics = Metrics(
        live=world.live,
        records=world.records,
        state=world.state,
        tally=tally,
        alarms=alarms,
        webhook_outcomes=world.webhooks.outcomes,
        mail_outcomes={"sent": 2},
        lease=world.lease,
        now=world.clock,
    )
    text, _ = await metrics.render(accept)
    return text.decode()


def build_tally(world: World) -> Tally:
    return Tally(
        state=world.state, records=world.records, feed=world.feed, now=world.clock
    )


def test_all_metrics_of_a_busy_service(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        await tally.catch_up()
        await world.add()
        world.service.ask("74951234567", name="Anna Client")
        world.clock.advance(100)
        world.service.call("ANSWERED")
        world.service.ask()
        world.service.call("BUSY")
        world.service.cancel(world.service.ask())
        world.clock.advance(60)
        await tally.catch_up()
        await world.deliver()
        world.live.snapshot = live_state(
            support={"waiting": 3, "free": 1, "paused": 2, "agents": 3}
        )
        text = await rendered(world, tally)
        assert "1234567" not in text and "Anna" not in text
        found = parsed(text)
        assert {name for name in found if name.startswith("callback_")} == set(FAMILIES)
        assert value(found, "callback_sending") == 1
        one = functools.partial(value, found, queue="support")
        assert one("callback_attempts_total", result="BUSY") == 1
        assert one("callback_attempts_total", result="ANSWERED") == 1
        assert one("callback_tasks_new_total", kind="requested") == 3
        assert one("callback_tasks_ended_total", status="completed") == 1
        assert one("callback_open_tasks", status="pending", reason="retry") == 1
        assert one("callback_oldest_task_seconds") == 60
        # 100 s after the request, of which the talk took 9 s.
        assert one("callback_time_to_reach_seconds_sum") == 91
        assert one("callback_time_to_reach_seconds_bucket", le="60.0") == 0
        assert one("callback_time_to_reach_seconds_bucket", le="120.0") == 1
        assert one("callback_time_to_reach_seconds_bucket", le="+Inf") == 1
        assert one("callback_callers_waiting") == 3
        assert one("callback_agents", state="paused") == 2
        assert value(found, "callback_link_up") == 1
        assert (
            value(found, "callback_webhook_deliveries_total", outcome="delivered") == 8
        )
        assert value(found, "callback_webhooks", state="working") == 1
        assert value(found, "callback_event_lag", reader="webhooks") == 0
        assert value(found, "callback_mails_total", outcome="sent") == 2
        alarm = functools.partial(value, found, "callback_alarm", alarm="no_agents")
        assert alarm(level="red") == alarm(level="yellow") == 0
        for family in found.values():
            for sample in family.samples:
                for name, label in sample.labels.items():
                    if name in LABELS:
                        assert label in LABELS[name], (sample, name)
                    else:
                        assert name in {"queue", "le", "version", "service_version"}
        openmetrics = await rendered(world, tally, "application/openmetrics-text")
        assert len(list(parse_openmetrics(openmetrics))) >= len(FAMILIES)

    in_world(tmp_path, test)


def test_metrics_of_several_services(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        found = parsed(await rendered(world, tally))
        assert not found["callback_services"].samples
        assert not found["callback_asterisks_held"].samples
        add_services(world.service.url)
        found = parsed(await rendered(world, tally))
        assert value(found, "callback_services", state="running") == 2
        assert value(found, "callback_services", state="not_running") == 1
        held = functools.partial(value, found, "callback_asterisks_held")
        assert [held(service=name) for name in "abc"] == [2, 0, 0]

    in_world(tmp_path, test)


def test_metrics_while_nothing_can_be_reached(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        world.service.path.unlink()
        world.live.down_since = NOW
        world.clock.advance(3600)
        found = parsed(await rendered(world, tally))
        assert value(found, "callback_service_up") == 0
        assert value(found, "callback_database_up") == 0
        down = {"alarm": "service_down", "queue": ""}
        assert value(found, "callback_alarm", level="red", **down) == 1
        assert not found["callback_link_up"].samples

    in_world(tmp_path, test)


def test_counting_goes_on_where_it_stopped_and_not_before_the_first_start(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        world.service.ask()
        first = build_tally(world)
        await first.catch_up()
        assert not first.created
        world.service.ask()
        await first.catch_up()
        world.service.ask()
        second = build_tally(world)
        await second.catch_up()
        assert [sum(one.created.values()) for one in (first, second)] == [1, 1]

    in_world(tmp_path, test)


def test_failures_of_the_last_hour_are_known_after_a_start(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        assert tally.failures(NOW) is None
        for _ in range(2):
            world.service.ask()
            for _ in range(3):
                world.service.call("BUSY")
                world.clock.advance(1800)
        for one in (tally, build_tally(world)):
            await one.catch_up()
            now = world.clock()
            # The last attempt of the second task ended half an hour ago.
            assert one.failures(now) == {"support": 1}
        world.clock.advance(1801)
        assert not tally.failures(world.clock())

    in_world(tmp_path, test)


def test_note_on_an_ended_task_ends_nothing_again(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        await tally.catch_up()
        task = world.service.ask()
        for _ in range(3):
            world.service.call("BUSY")
            world.clock.advance(60)
        world.service.note(task)
        await tally.catch_up()
        assert sum(tally.ended.values()) == 1
        assert sum(tally.attempts.values()) == 3
        assert tally.failures(world.clock()) == {"support": 1}

    in_world(tmp_path, test)


def test_open_tasks_are_found_by_their_own_index(tmp_path: Path) -> None:
    """Among a million ended tasks this takes milliseconds."""

    def plan(conn: sa.Connection) -> list[str]:
        query = OPEN_TASKS.compile(conn.engine)
        return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]

    async def test(world: World) -> None:
        steps = await world.records.read(plan)
        assert "SCAN task USING INDEX ix_task_open_queue_joined_at" in steps

    in_world(tmp_path, test)


def test_many_queues_share_one_value_of_the_label(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.live.snapshot = live_state(
            **{f"queue{number}": {"waiting": 1} for number in range(300)}
        )
        found = parsed(await rendered(world, build_tally(world)))
        waiting = found["callback_callers_waiting"].samples
        assert len(waiting) == 201
        assert value(found, "callback_callers_waiting", queue="other") == 100

    in_world(tmp_path, test)


# -- who may read them -----------------------------------------------------------


_PROXY = {"X-Forwarded-For": "127.0.0.1"}
_TASKS_ONLY = evolve(ADMIN, rights=frozenset({Right.TASKS_READ}))
_METRICS_ONLY = evolve(ADMIN, rights=frozenset({Right.METRICS}))


@pytest.mark.parametrize(
    ("open_to", "requests"),
    [
        ("[192.0.2.8]", [(None, {}, 401), (_METRICS_ONLY, {}, 200)]),
        ("[192.0.2.8]", [(_TASKS_ONLY, {}, 403), (VIEWER, {}, 403)]),
        ("[127.0.0.0/8]", [(None, {}, 200), (None, _PROXY, 401)]),
    ],
)
def test_metrics_need_the_right_or_a_listed_address(
    tmp_path: Path,
    open_to: str,
    requests: list[tuple[Principal | None, dict[str, str], int]],
) -> None:
    rig = ApiRig(tmp_path, sections=f"metrics: {{open_to: {open_to}}}\n")
    for who, headers, status in requests:
        answer = rig.page("/metrics", who, {"Accept": "text/plain", **headers})
        assert answer.status_code == status
        if status == 200:
            assert answer.headers["content-type"].startswith("text/plain; version=")
            assert "callback_build_info" in parsed(answer.text)
    rig.close()


# -- docs, dashboard, rules --------------------------------------------------------


def test_docs_have_each_metric_with_its_labels() -> None:
    rows = re.findall(
        r"^\| `(callback_\w+)` \| (\w+) \| ([^|]*) \|", DOCS.read_text(), re.M
    )
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in rows
    }
    assert len(rows) == len(documented)
    assert documented == {
        exposed_name(family.name, family.kind): (family.kind.value, family.labels)
        for family in FAMILIES.values()
    }


def exposed_name(name: str, kind: Kind) -> str:
    return f"{name}_total" if kind is Kind.COUNTER else name


def series() -> dict[str, set[str]]:
    """Return the names of all series with their labels."""
    found: dict[str, set[str]] = {}
    for family in FAMILIES.values():
        labels = set(family.labels)
        if family.kind is Kind.HISTOGRAM:
            found[f"{family.name}_bucket"] = labels | {"le"}
            found[f"{family.name}_sum"] = found[f"{family.name}_count"] = labels
        else:
            found[exposed_name(family.name, family.kind)] = labels
    return found


#: Labels that Prometheus adds to every series.
_OF_PROMETHEUS = {"job", "instance"}
#: Variables of Grafana, with a value in place of them.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$queue": "support"}


def check_query(query: str) -> None:
    """Fail unless a query uses only series and labels that exist."""
    for variable, replacement in _VARIABLES.items():
        query = query.replace(variable, replacement)
    assert "$" not in query, query
    check_node(promql_parser.parse(query), query)


def check_node(node: Any, query: str) -> set[str]:
    """Check a part of a query; return the labels that its result may have."""
    match type(node).__name__:
        case "VectorSelector":
            labels = series().get(str(node.name))
            assert labels is not None, f"{query}: there is no metric {node.name}"
            labels = labels | _OF_PROMETHEUS
            for matcher in node.matchers.matchers:
                assert matcher.name in labels, f"{query}: no label {matcher.name}"
                known = LABELS.get(matcher.name)
                if known is not None and str(matcher.op) in ("MatchOp.Equal", "="):
                    assert matcher.value in known, f"{query}: no {matcher.value}"
            return labels
        case "MatrixSelector":
            return check_node(node.vector_selector, query)
        case "SubqueryExpr" | "ParenExpr" | "UnaryExpr":
            return check_node(node.expr, query)
        case "AggregateExpr":
            labels = check_node(node.expr, query)
            if node.param is not None:
                check_node(node.param, query)
            if node.modifier is None:
                return set()
            grouped = set(node.modifier.labels)
            assert grouped <= labels, f"{query}: no labels {grouped - labels}"
            without = "Exclude" in str(node.modifier.type) or "Without" in str(
                node.modifier.type
            )
            return labels - grouped if without else grouped
        case "BinaryExpr":
            return check_node(node.lhs, query) | check_node(node.rhs, query)
        case "Call":
            labels = set()
            for argument in node.args:
                labels |= check_node(argument, query)
            return labels
        case "NumberLiteral" | "StringLiteral":
            return set()
        case other:
            raise AssertionError(f"{query}: {other} is not checked")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> Iterator[dict[str, Any]]:
    for panel in dashboard()["panels"]:
        yield panel
        yield from panel.get("panels", ())


def test_each_query_of_the_dashboard_uses_what_exists() -> None:
    queries = [t["expr"] for panel in panels() for t in panel.get("targets", ())]
    assert len(queries) >= 15
    for query in queries:
        check_query(query)
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(
                r"label_values\((\w+), (\w+)\)", variable["query"]["query"]
            )
            assert inner is not None
            assert inner[2] in series()[inner[1]]


def test_dashboard_has_what_grafana_needs_to_load_it() -> None:
    board = dashboard()
    assert board["uid"] and board["title"] and board["schemaVersion"] >= 36
    assert board["id"] is None, "an id of another Grafana makes the import fail"
    assert [one["name"] for one in board["__inputs"]] == ["DS_PROMETHEUS"]
    ids, taken = [], set()
    for panel in panels():
        ids.append(panel["id"])
        assert panel["title"]
        place = panel["gridPos"]
        assert place["w"] >= 1 and place["h"] >= 1
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"timeseries", "stat", "table", "heatmap", "bargauge"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
        assert panel["description"], "what question does it answer?"
        assert panel["fieldConfig"]["defaults"].keys() & {"unit"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
    assert len(ids) == len(set(ids))


def test_each_rule_uses_what_exists_and_says_what_to_do() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        check_query(rule["expr"])
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} == set(rule["annotations"])
        labels = check_node(promql_parser.parse(rule["expr"]), rule["expr"])
        for text in rule["annotations"].values():
            for label in re.findall(r"\$labels\.(\w+)", text):
                assert label in labels, f"{rule['alert']}: no label {label}"


@pytest.mark.parametrize(
    "query",
    [
        "callback_no_such_metric",
        "sum by (number) (callback_callers_waiting)",
        'callback_agents{state="asleep"}',
        'callback_agents{name="anna"}',
        "rate(callback_attempts[5m])",
    ],
)
def test_query_with_what_does_not_exist_is_found(query: str) -> None:
    with pytest.raises(AssertionError):
        check_query(query)
