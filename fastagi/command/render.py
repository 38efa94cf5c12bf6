# SPDX-License-Identifier: MIT
"""The output of the command line for people, with times in the local time zone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastagi.domain.expected_wait import rounded_minutes
from fastagi.domain.reason import name_setting, parse_utc_minute, pause_in_words

if TYPE_CHECKING:
    # Only for type checkers: importing the checks takes a while.
    from fastagi.checks.finding import Finding

_KINDS = {
    "requested": "The client asked to be called back.",
    "missed": "A call of the client was missed.",
    "manual": "The callback was asked for by hand.",
}


def tasks(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of tasks."""
    if not rows:
        return "no tasks"
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "TASK": lambda task: str(task["id"]),
        "STATUS": lambda task: str(task["status"]),
        "NUMBER": lambda task: str(task["number"]),
        "QUEUE": lambda task: str(task["queue"]),
        "WAITING SINCE": lambda task: "-" if _is_ahead(task) else _joined(task),
    }
    # Most installations have no chosen times, so their tables have no column for them.
    if any(task.get("chosen_at") for task in rows):
        columns["CHOSEN TIME"] = _chosen
    columns["TRIES"] = _tries
    # Without the service it is not known when a callback is expected.
    if any(task.get("expected_at") for task in rows):
        columns["EXPECTED"] = lambda task: _expected(task) or "-"
    columns["WHY"] = _why
    body = [[column(task) for column in columns.values()] for task in rows]
    return _table(list(columns), body)


def _joined(task: Mapping[str, Any]) -> str:
    return _when(task["joined_at"])


def _chosen(task: Mapping[str, Any]) -> str:
    return _when(task["chosen_at"]) if task.get("chosen_at") else "-"


def _tries(task: Mapping[str, Any]) -> str:
    """Return how often the client was called, with the call in progress."""
    call = task.get("call")
    return str(task["attempts"] + bool(call and call["client_dialled"]))


def _is_ahead(task: Mapping[str, Any]) -> bool:
    """Whether the task's chosen time is still to come."""
    at: str | None = task.get("chosen_at")
    return at is not None and datetime.fromisoformat(at) > datetime.now(UTC)


def chosen_time(task: Mapping[str, Any]) -> str:
    """Return when a task is to be called, in the queue's time zone; "" if not chosen.

    The text follows the task's id in a sentence.
    """
    if not _is_ahead(task):
        return ""
    at, zone = datetime.fromisoformat(task["chosen_at"]), task["time_zone"]
    try:
        local = at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        local, zone = at, "UTC"
    return f", to be called on {local:%A %Y-%m-%d at %H:%M} ({zone})"


def backup(answer: Mapping[str, Any]) -> str:
    """Return a description of a copy of the database."""
    size = answer["size_bytes"] / 1_000_000
    tasks = f"{answer['tasks']:,} task{'s' if answer['tasks'] != 1 else ''}"
    text = f"{answer['path']}: {tasks}, {size:,.1f} MB"
    version, needed = answer["version"], answer["needed_version"]
    if version < needed:
        text += (
            f"\nThe database is of version {version or 'unknown'}, this program works"
            f" with {needed}: when the copy is put back, run 'callback-queue db"
            " upgrade' before the start."
        )
    elif version > needed:
        text += (
            f"\nThe database is of version {version}, newer than this program's"
            f" {needed}: the copy can be put back only for the newer program."
        )
    return text


def blocked(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of blocked numbers."""
    if not rows:
        return "no number is blocked"
    body = [(row["number"], _when(row["at"]), row["reason"] or "-") for row in rows]
    return _table(("NUMBER", "BLOCKED SINCE", "WHY"), body)


def bulk(answer: Mapping[str, Any]) -> str:
    """Return what happened to many tasks, or would happen."""
    action, selected = answer["action"], answer["selected"]
    count = f"{answer['changed']} of {_count(selected, 'task')}"
    if answer["preview"]:
        head = (
            f"{action}: {count} would be changed; to change exactly these, add"
            f" --expect {answer['fingerprint']}"
        )
    else:
        head = f"{action}: {count} changed"
    body = [
        (
            str(row["id"]),
            row["number"] or "-",
            row["queue"] or "-",
            row["status"] or "-",
            row["refused"] or ("would be changed" if answer["preview"] else "done"),
        )
        for row in answer["results"]
    ]
    if not body:
        return "no task is selected"
    return f"{head}\n\n{_table(('TASK', 'NUMBER', 'QUEUE', 'STATUS', 'RESULT'), body)}"


def checked(answer: Mapping[str, Any]) -> str:
    """Return whether a number may be called, and what is known about it."""
    number, queue = answer["number"], answer["queue"]
    # A service that is older than this program does not tell it.
    not_now = answer.get("not_now")
    if answer["may_be_called"]:
        lines = [f"{number} may be called for queue {queue}."]
        if not_now is not None:
            lines = [
                f"{number} may be called for queue {queue}, but not now:"
                f" {_in_words(not_now)}."
            ]
    else:
        lines = [f"{number} is not called for queue {queue} now:"]
        lines += [
            f"  - {why['reason']}{name_setting(why['reason_code'])}"
            for why in answer["why_not"]
        ]
    lines.append("")
    if answer["dialled"]:
        lines.append(f"Dialled:  {answer['dialled']} ({answer['dial_string']})")
    if answer["region"]:
        lines.append(f"Country:  {answer['region']}")
    for use in answer["limits"]:
        allowed = str(use["allowed"]) if use["allowed"] else "no limit"
        until = f", free at {_when(use['free_at'])}" if use["free_at"] else ""
        lines.append(f"Limit:    {use['setting']}: {use['used']} of {allowed}{until}")
    if (task := answer["open_task"]) is not None:
        lines.append(
            f"Task:     {task['id']} of queue {task['queue']} is {task['status']}:"
            f" {task['reason']}"
        )
    if (refusal := answer["last_refusal"]) is not None:
        lines.append(f"Refused:  {_when(refusal['at'])}: {refusal['reason']}")
    return "\n".join(lines)


def _in_words(why: Mapping[str, Any]) -> str:
    """Return a reason in words, with the end of what it tells in the local zone."""
    if "until" not in why["params"]:
        return str(why["words"])
    until = parse_utc_minute(why["params"]["until"])
    utc = f"{until:%Y-%m-%d %H:%M} UTC"
    return str(why["words"]).replace(utc, _when(until.isoformat())[:-3])


def erased(answer: Any) -> str:
    """Return what `numbers erase` did, without the number."""
    words = (
        f"erased from {answer['tasks']} tasks, {answer['others']} other entries, and"
        f" {answer['mentions']} mentions in tasks of other numbers"
    )
    return f"{words}; it stays blocked" if answer["blocked"] else words


def refused(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of refusals."""
    if not rows:
        return "nobody was refused"
    head = ("WHEN", "QUEUE", "HOW", "NUMBER", "CALL", "WHY")
    body = [
        (
            _when(row["at"]),
            row["queue"],
            row["kind"],
            row["number"] or "-",
            row["linkedid"] or "-",
            row["reason"],
        )
        for row in rows
    ]
    return _table(head, body)


def _why(task: Mapping[str, Any]) -> str:
    """Return what a task waits for, or how far its call is; else its reason."""
    assigned = _assigned(task)
    return f"{_why_alone(task)}; {assigned}" if assigned else _why_alone(task)


def _why_alone(task: Mapping[str, Any]) -> str:
    call = _call(task)
    if task["status"] == "calling" and task["cancel_requested"]:
        ends = f"{task['reason']}; ends with the call under way"
        return f"{ends}: {call}" if call else ends
    if call:
        return call
    # A service that is older than this program does not tell the position.
    if (position := task.get("position")) is not None:
        return f"waits in line at position {position}"
    reason = _reason(task)
    if not task["queue_closed"]:
        why = task.get("why_not_yet")
        # The reason of a retry has the result of the last try.
        if why is None or (
            task.get("reason_code") == "retry" and not _why_not_yet(task)
        ):
            return reason
        words = f"not yet: {_in_words(why)}"
        return f"{reason}; {words}" if task.get("reason_code") == "retry" else words
    if task["opens_at"] is None:
        return f"{reason}; the queue is closed"
    early = " and expires before" if _expires_first(task) else ""
    return f"{reason}; waits for the queue to open at {_when(task['opens_at'])}{early}"


def _reason(task: Mapping[str, Any]) -> str:
    """Return the reason of a task, with when its next try is to be.

    The stored words say how long the pause is, but not since when.
    """
    reason = str(task["reason"])
    # A service that is older than this program does not tell the code.
    if task["status"] != "pending" or task.get("reason_code") != "retry":
        return reason
    pause = f"next try in {pause_in_words(task['reason_params']['delay_s'])}"
    is_due = datetime.fromisoformat(task["due_at"]) <= datetime.now(UTC)
    when = "the next try is due" if is_due else f"next try at {_time(task['due_at'])}"
    return reason.replace(pause, when, 1)


def _call(task: Mapping[str, Any]) -> str:
    """Return how far the call of a task is, and since when; empty if not known."""
    # Only the service knows it, and one that is older than this program does not tell.
    call = task.get("call")
    if call is None:
        return ""
    agent = call["agent_name"] or call["agent"]
    if call["agent"] not in agent:
        agent = f"{agent} ({call['agent']})"
    words = {
        "starts": "starting the call",
        "waits_in_line": "waiting in line for an agent",
        "agent_rings": f"ringing the agent {agent or '(not known)'}",
        "alert": f"announcing the callback to {agent or 'the agent'}",
        "client_rings": "dialling the client" + (f" for {agent}" if agent else ""),
        "talk": f"talking with {agent or 'the agent'}",
        "ends": "storing the result",
    }.get(call["stage"])
    if words is None:
        return ""
    # Of a callback in line the position says more.
    if call["stage"] == "waits_in_line" and task.get("position") is not None:
        return ""
    return f"{words} since {_time(call['since'])}"


#: Codes of what the description of a task says in other words.
_SAID_OTHERWISE: Final = frozenset(
    {"closed_until", "chosen_time_to_come", "number_limit", "not_due", "in_line"}
)


def _why_not_yet(task: Mapping[str, Any]) -> str:
    """Return what keeps a task from being called, unless the rest says it already."""
    # A service that is older than this program does not tell it.
    why = task.get("why_not_yet")
    return "" if why is None or why["code"] in _SAID_OTHERWISE else str(why["words"])


def _expires_first(task: Mapping[str, Any]) -> bool:
    opens_at, expires_at = task["opens_at"], task["expires_at"]
    return datetime.fromisoformat(expires_at) <= datetime.fromisoformat(opens_at)


def story(answer: Mapping[str, Any]) -> str:
    """Return the description of one task, with its history and attempts."""
    task = answer["task"]
    who = f"{task['name']}, {task['number']}" if task["name"] else task["number"]
    lines = [
        f"Task {task['id']}: {who}, queue {task['queue']}",
        f"  {_KINDS[task['kind']]}{_priority(task)}",
        f"  {_describe(task)}{_steered(task)}",
    ]
    day = ""
    for event in answer["history"]:
        at = _when(event["at"], exact=True)
        if at[:10] != day:
            day = at[:10]
            lines += ["", f"  {day}"]
        ends = event["status"] == task["status"] and event["at"] == task["ended_at"]
        words = f"{task['status']}: {event['text']}" if ends else event["text"]
        lines.append(f"  {at[11:]}  {words}")
    if answer["attempts"]:
        lines.append("")
        rows = [
            (
                str(number),
                _when(attempt["started_at"]),
                attempt["disposition"] or "under way",
                attempt["member"] or "-",
                f"{attempt['talk_s']:.1f} s" if attempt["talk_s"] else "-",
                attempt["reason"],
            )
            for number, attempt in enumerate(answer["attempts"], 1)
        ]
        head = ("TRY", "STARTED", "RESULT", "AGENT", "TALK", "WHY")
        lines.append(_table(head, rows))
    return "\n".join(lines)


def _priority(task: Mapping[str, Any]) -> str:
    """Return the client's priority in the queue, if it is not the usual one."""
    # A service that is older than this program does not tell it.
    priority = task.get("priority", 0)
    return f" Priority {priority} in the queue." if priority else ""


def _steered(task: Mapping[str, Any]) -> str:
    """Return what operators have changed in an open task."""
    if task["ended_at"] is not None:
        return ""
    words = " An operator moved it in line." if task.get("moved") else ""
    if assigned := _assigned(task):
        words += f" {assigned[0].upper()}{assigned[1:]}."
    return words


def _assigned(task: Mapping[str, Any]) -> str:
    """Return which agent alone is asked for an open task, and until when; else ""."""
    if task["ended_at"] is not None or not (agent := task.get("assigned_to")):
        return ""
    until = task.get("assigned_until")
    limit = f"until {_when(until)}" if until else "until it is released"
    return f"only {agent} is asked, {limit}"


def _expected(task: Mapping[str, Any]) -> str:
    """Return when a callback is expected, to the minute; empty if that is unknown."""
    at = task.get("expected_at")
    return "" if at is None else _time(at)[:-3]


def _describe(task: Mapping[str, Any]) -> str:
    """Return the state of a task in one or two sentences."""
    if task["ended_at"] is not None:
        status = task["status"].capitalize()
        return f"{status} at {_when(task['ended_at'])}: {task['reason']}."
    if task["status"] == "calling":
        said = f"A call is under way; {task['reason']}."
        if call := _call(task):
            said = f"A call is under way: {call}."
        elif (position := task.get("position")) is not None:
            said = (
                f"Waits in line in Asterisk's queue at position {position}, for the"
                " next agent in turn."
            )
        if expected := _expected(task):
            said += f" An agent is expected at about {expected}."
        if task["cancel_requested"]:
            return f"{said} The task is cancelled when it ends."
        return said
    until = _when(task["expires_at"])
    if _is_ahead(task) and not task["queue_closed"]:
        return (
            f"Waiting: {task['reason']}. To be called at the chosen time,"
            f" {_chosen(task)}, or when an agent is free after it, until {until}."
        )
    expected = _expected(task) and f" Expected at about {_expected(task)}."
    if why := _why_not_yet(task):
        expected = f" Not yet: {why}.{expected}"
    if not task["queue_closed"]:
        return (
            f"Waiting: {task['reason']}. To be called from {_when(task['due_at'])} on,"
            f" when an agent is free, until {until}.{expected}"
        )
    if task["opens_at"] is None:
        when = "and is not known to open again"
    else:
        when = f"until {_when(task['opens_at'])}"
    if task["opens_at"] is None or _expires_first(task):
        return (
            f"Waiting: {task['reason']}. The queue is closed {when}; the task expires"
            f" before, at {until}."
        )
    return (
        f"Waiting: {task['reason']}. The queue is closed {when}; to be called then,"
        f" when an agent is free, until {until}."
    )


def status(answer: Mapping[str, Any]) -> str:
    """Return the state of the running service."""
    database = answer["database"]
    if database != "ok":
        database = f"CAN NOT BE USED: {database}"
    elif holder := answer.get("holder"):
        database += (
            f", held by process {holder['pid']} on {holder['host']} since"
            f" {_when(holder['since'])}"
        )
    lines = [
        f"callback-queue {answer['version']}, running since"
        f" {_when(answer['started_at'])}",
        *_links(answer),
        f"Database:  {database}",
        *_instances(answer),
    ]
    if answer["tasks"] is not None:
        counts = [f"{n} {status}" for status, n in answer["tasks"].items() if n]
        lines.append(f"Tasks:     {', '.join(counts) or 'none'}")
    if (since := answer.get("oldest_task_since")) is not None:
        lines.append(f"Oldest:    waits since {_when(since)} ({_age(since)})")
    lines += [f"Calls:     {_calls(answer)}"]
    if offers := answer.get("offers"):
        words = ", ".join(f"{number} {outcome}" for outcome, number in offers.items())
        lines += [f"Offers:    {words} (in 24 hours)"]
    lines += [""]
    # What was known of the queues before the link was lost may be wrong by now.
    links = answer.get("nodes") or [answer["asterisk"]]
    linked = any(link["connected"] for link in links)
    rows = [
        (
            name,
            _opening(queue),
            queue["target"],
            _agents(queue) if linked else "not known",
            (linked and ", ".join(queue["free"])) or "-",
            _waiting(queue) if linked else "-",
            _oldest(queue),
            _wait(queue.get("expected_wait_s")),
            _wait(queue.get("expected_callback_s")),
        )
        for name, queue in answer["queues"].items()
    ]
    head = (
        "QUEUE",
        "OPEN",
        "TARGET",
        "AGENTS",
        "FREE",
        "WAITING",
        "OLDEST TASK",
        "EXPECTED WAIT",
        "NEXT CALLBACK",
    )
    lines.append(_table(head, rows))
    lines += _missing_trunks(answer["queues"])
    lines += [
        f"ANOTHER SETTING THERE: {difference['words']}"
        for other in answer.get("instances", ())
        for difference in other["differences"]
    ]
    return "\n".join(lines)


def _instances(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for this service and the others, if there are several."""
    # A service that is older than this program does not tell them.
    if not answer.get("instance"):
        return []
    return [
        f"Instance:  {answer['instance']}, this one",
        *(f"           {_instance(other)}" for other in answer["instances"]),
    ]


def _instance(other: Mapping[str, Any]) -> str:
    name, version = other["name"], f"version {other['version']}"
    if not other["running"]:
        return f"{name}: NOT RUNNING, seen last {_when(other['seen_at'])}, {version}"
    holds = ", ".join(map(_held, other["nodes"]))
    return (
        f"{name}: process {other['pid']} on {other['host']} since"
        f" {_when(other['since'])}, {version}, holds {holds or 'no Asterisk'}"
    )


def _held(node: Mapping[str, Any]) -> str:
    """Return which Asterisk another service holds, and whether it reaches it."""
    held = f"{node['name']} since {_when(node['since'])}"
    if (lost := node.get("link_lost_since")) is None:
        return held
    return f"{held} WITHOUT A LINK SINCE {_when(lost)}"


def _calls(answer: Mapping[str, Any]) -> str:
    """Return how many calls are under way, and how many of them wait in line."""
    calls = answer["calls_under_way"]
    calling = (answer["tasks"] or {}).get("calling", 0)
    in_line = max(calling - calls, 0)
    more = f", {in_line} of them in line" if in_line else ""
    return f"{calls + in_line} under way{more}"


def _links(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each Asterisk."""
    nodes = answer.get("nodes", ())
    if len(nodes) < 2:
        return [f"Asterisk:  {_link(answer['asterisk'])}"]
    return [f"Asterisk:  {node['name']}: {_link(node)}" for node in nodes]


def _link(asterisk: Mapping[str, Any]) -> str:
    error = asterisk["error"]
    if not asterisk["connected"]:
        return f"NOT CONNECTED: {error or 'no attempt has succeeded yet'}"
    version = f"connected ({asterisk['version'] or 'version unknown'})"
    return f"{version}, BUT NO CALL IS PLACED: {error}" if error else version


def _missing_trunks(queues: Mapping[str, Any]) -> list[str]:
    """Return a line for each queue whose clients can not be called."""
    return [
        f"{name}: NO CLIENT CAN BE CALLED: Asterisk has no PJSIP endpoint {trunk} -"
        " correct outbound_channel and run 'sudo systemctl reload callback-queue'"
        for name, queue in queues.items()
        if (trunk := queue.get("missing_trunk"))
    ]


def _waiting(queue: Mapping[str, Any]) -> str:
    """Return how many callers wait in a queue, and callbacks in line with them."""
    callbacks = queue.get("in_line", 0)
    more = f" + {_count(callbacks, 'callback')}" if callbacks else ""
    return f"{queue['waiting']}{more}"


def _agents(queue: Mapping[str, Any]) -> str:
    """Return how many members take calls: are logged in and not paused."""
    if not queue["known"]:
        return "not in Asterisk"
    members, agents = queue["members"], queue.get("agents")
    return str(members) if agents in (None, members) else f"{agents} of {members}"


def _wait(wait_s: float | None) -> str:
    """Return an expected wait, rounded as it is told to callers."""
    minutes = rounded_minutes(wait_s)
    if minutes is None:
        return "-"
    return f"about {_span(minutes)}" if minutes else "less than 1 min"


def _oldest(queue: Mapping[str, Any]) -> str:
    """Return how long the oldest open task of a queue has waited."""
    since = queue.get("oldest_task_since")
    return "-" if since is None else _age(since)


def _age(since: str) -> str:
    """Return how long ago a time was, in days, hours and minutes."""
    age = datetime.now(UTC) - datetime.fromisoformat(since)
    return _span(max(int(age.total_seconds()), 0) // 60)


def _span(minutes: int) -> str:
    """Return a span of time in days, hours and minutes, in two units at most."""
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _opening(queue: Mapping[str, Any]) -> str:
    if queue["until"] is None:
        return "always" if queue["open"] else "never"
    until = _when(queue["until"])
    return f"until {until}" if queue["open"] else f"no, closed until {until}"


def settings(answer: Mapping[str, Any]) -> str:
    """Return a table of settings."""
    rows = [
        (row["name"], _value(row), _origin(row), _written(row["default"]))
        for row in answer["settings"]
    ]
    table = _table(("SETTING", "VALUE", "FROM", "DEFAULT"), rows)
    return f"{answer['file']}, loaded {_when(answer['loaded_at'])}\n\n{table}"


def _value(row: Mapping[str, Any]) -> str:
    value = "secret" if row["secret"] and row["value"] is None else row["value"]
    waits = " (after a restart)" if row["waits_for_restart"] else ""
    return f"{_written(value)}{waits}"


def _origin(row: Mapping[str, Any]) -> str:
    """Return where a value is from."""
    match row["origin"]:
        case "file":
            return f"line {row['line']}" + (row["file"] and f" of {row['file']}")
        case "defaults":
            return f"line {row['line']}, defaults"
        case "environment":
            return "environment"
        case _:
            return "-"


def _written(value: object) -> str:
    """Return a value as it is written in the settings file, on one line."""
    if value is None:
        return "-"
    return value if isinstance(value, str) and value else json.dumps(value)


def settings_check(answer: Mapping[str, Any]) -> str:
    """Return the mistakes of a settings file, or what it would change."""
    if answer["problems"]:
        return "\n".join(
            " - ".join(
                filter(None, (f"{row['where']}: {row['problem']}", row["remedy"]))
            )
            for row in answer["problems"]
        )
    lines = [f"queue {name} is added" for name in answer["queues_added"]]
    lines += [f"queue {name} is removed" for name in answer["queues_removed"]]
    for row in answer["changes"]:
        if row["secret"]:
            change = f"{row['name']}: a secret changes"
        else:
            change = (
                f"{row['name']}: {_written(row['before'])} -> {_written(row['after'])}"
            )
        restart = " (takes effect at the next start)" if row["needs_restart"] else ""
        lines.append(f"{change}{restart}")
    return "\n".join(lines) or "nothing changes"


def findings(found: Sequence[Finding]) -> str:
    """Return the findings: one line for an area without problems, else each problem."""
    lines: list[str] = []
    width = max(len(finding.area) for finding in found)
    for finding in found:
        head = finding.area.ljust(width)
        if finding.is_ok:
            lines.append(f"{head}  ok")
            continue
        lines.append(
            f"{head}  {finding.level.upper()}: {finding.where}: {finding.what}"
        )
        if finding.remedy:
            lines.append(f"{'':{width}}    -> {finding.remedy}")
    faults = sum(finding.is_fault for finding in found)
    warnings = sum(not (finding.is_fault or finding.is_ok) for finding in found)
    if faults or warnings:
        lines += ["", f"{_count(faults, 'fault')}, {_count(warnings, 'warning')}"]
    return "\n".join(lines)


def findings_json(found: Sequence[Finding]) -> str:
    """Return the findings as JSON."""
    return json.dumps(
        [
            {
                "area": finding.area,
                "where": finding.where,
                "problem": finding.what,
                "remedy": finding.remedy,
                "level": finding.level,
                "checked": finding.is_checked,
            }
            for finding in found
        ],
        indent=2,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number or 'no'} {what}s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    )


def _time(iso: str) -> str:
    """Return a time without the day, if that is today."""
    at = datetime.fromisoformat(iso).astimezone()
    is_today = at.date() == datetime.now(UTC).astimezone().date()
    return f"{at:%H:%M:%S}" if is_today else f"{at:%Y-%m-%d %H:%M:%S}"


def _when(iso: str, *, exact: bool = False) -> str:
    at = datetime.fromisoformat(iso).astimezone()
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{text}.{at.microsecond // 1000:03d}" if exact else text
