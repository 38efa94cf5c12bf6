# SPDX-License-Identifier: MIT
"""Days of callbacks that have ended, written into a database.

The rows are those that the service writes, with its own codes and statuses, so all
pages and reports show them. Numbers are from ranges that are given to nobody.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs
import sqlalchemy as sa

from fastagi.domain.attempt import Disposition
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code
from fastagi.domain.task import Kind, Move, Status
from fastagi.store import schema
from fastagi.store.backends import backend_for

#: Clients who call during each hour of a day, as a share of the busiest hour.
_HOURS: Final = {
    8: 0.5, 9: 0.9, 10: 1.0, 11: 0.9, 12: 0.5, 13: 0.6, 14: 0.8, 15: 0.7, 16: 0.6,
    17: 0.4,
}  # fmt: skip
_NAMES: Final = (
    "Ada Berger", "Ben Vogel", "Clara Winter", "David Sommer", "Eva Lang", "",
    "Felix Braun", "Greta Stein", "", "Hanna Wolf", "Ivan Petrov", "Jonas Frank", "",
    "Katja Blum", "Lena Roth", "Marek Nowak", "Nina Keller", "", "Olga Sidorova",
)  # fmt: skip
#: How an attempt ends that does not reach the client: result, code, parameters, share.
_FAILS: Final = (
    (Disposition.NO_ANSWER, Code.CLIENT_NO_ANSWER, {"source": "SIP 480"}, 5),
    (Disposition.BUSY, Code.CLIENT_BUSY, {"source": "SIP 486"}, 4),
    (Disposition.MACHINE, Code.CLIENT_IS_MACHINE, {"amd_cause": "LONGGREETING"}, 2),
    (Disposition.INVALID_NUMBER, Code.NO_SUCH_NUMBER, {"source": "SIP 404"}, 1),
)
_OUTCOMES: Final = ("accepted", "accepted", "declined", "timed out", "hung up")
_REFUSED: Final = (
    (Code.NUMBER_WITHHELD, {}, ""),
    (Code.SHORT_NUMBER, {}, "112"),
    (Code.KIND_NOT_CALLED, {"kind": "premium_rate"}, "+4990012345"),
)


@attrs.define
class _Writer:
    """Writes rows; ids continue from those that are there."""

    conn: sa.Connection
    random: random.Random
    plan: NumberPlan
    task_id: int = 0
    attempt_id: int = 0
    rows: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)

    def add(self, table: sa.Table, **row: Any) -> None:
        self.rows.setdefault(table.name, []).append(row)

    def event(
        self,
        at: float,
        move: Move,
        status: Status,
        code: Code,
        attempt: int | None = None,
        **params: Any,
    ) -> None:
        self.add(
            schema.task_event,
            task_id=self.task_id,
            attempt_id=attempt,
            at=at,
            move=move.value,
            status=status.value,
            reason_code=code.value,
            reason_params=json.dumps(params),
            linkedid="",
        )

    def write(self) -> None:
        for table in schema.metadata.sorted_tables:
            if rows := self.rows.get(table.name):
                self.conn.execute(sa.insert(table), rows)


def write(
    url: str,
    now: datetime,
    queues: Sequence[str],
    agents: Sequence[str],
    *,
    days: int = 14,
    per_hour: float = 9.0,
    zone: str = "Europe/Berlin",
    seed: int = 1,
) -> int:
    """Write the traffic of some days until ``now``; return the number of tasks."""
    chance = random.Random(seed)
    here = ZoneInfo(zone)
    today = now.astimezone(here).date()
    with backend_for(url).engine.begin() as conn:
        if conn.dialect.name == "sqlite":
            # Otherwise the driver commits each row.
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        writer = _Writer(conn, chance, NumberPlan(region="DE"))
        last = conn.execute(sa.select(sa.func.max(schema.task.c.id))).scalar()
        writer.task_id = last or 0
        last = conn.execute(sa.select(sa.func.max(schema.attempt.c.id))).scalar()
        writer.attempt_id = last or 0
        for back in range(days, -1, -1):
            day = today - timedelta(days=back)
            for at in _moments(chance, day, here, per_hour):
                # What is not over yet is left to the live traffic.
                if at < now.timestamp() - 2 * 3600:
                    _client(writer, at, chance.choice(queues), agents)
        for queue in queues:
            known = sa.select(schema.queue_zone.c.queue).where(
                schema.queue_zone.c.queue == queue
            )
            if conn.execute(known).first() is None:
                writer.add(schema.queue_zone, queue=queue, zone=zone)
        _others(writer, now, queues)
        writer.write()
        return writer.task_id


def _moments(
    chance: random.Random, day: date, zone: ZoneInfo, per_hour: float
) -> list[float]:
    weekend = 0.25 if day.weekday() >= 5 else 1.0
    found = []
    for hour, share in _HOURS.items():
        begin = datetime.combine(day, time(hour), zone).astimezone(UTC).timestamp()
        count = round(chance.gauss(per_hour, per_hour / 4) * share * weekend)
        found += [begin + chance.uniform(0, 3600) for _ in range(max(count, 0))]
    return sorted(found)


def _client(writer: _Writer, at: float, queue: str, agents: Sequence[str]) -> None:
    chance = writer.random
    writer.task_id += 1
    number = f"+493023125{chance.randrange(1000):03}"
    missed = chance.random() < 0.35
    kind = Kind.MISSED if missed else Kind.REQUESTED
    waited = chance.uniform(20, 240)
    if missed:
        code, params = (
            Code.MISSED_CALL,
            {
                "cause": {
                    "code": Code.CALLER_HUNG_UP.value,
                    "params": {"waited_s": waited, "queue": queue},
                }
            },
        )
    else:
        code, params = Code.REQUESTED, {"queue": queue}
    writer.event(at, Move.CREATE, Status.PENDING, code, **params)
    moment, calls, tries = at + chance.expovariate(1 / 600), 0, 0
    fate = chance.random()
    status, why = Status.COMPLETED, (Code.TALKED, {"talk_s": 0.0})
    if fate < 0.08:
        status, why = (
            Status.SERVED,
            (Code.CLIENT_RANG_AGAIN, {"who": chance.choice(agents)}),
        )
        writer.event(moment, Move.SERVE, status, why[0], **why[1])
    elif fate < 0.12:
        status = Status.CANCELLED
        why = (Code.TEXT, {"text": "the client has written an e-mail", "actor": "anna"})
        writer.event(moment, Move.CANCEL, status, why[0], **why[1])
    else:
        reached = chance.random() < 0.88
        fails = _fails(chance, reached)
        for result, failed, source in fails:
            calls += 1
            moment = _attempt(
                writer, moment, queue, number, chance.choice(agents), calls
            )
            cause = {"code": failed.value, "params": source}
            last = not reached and calls == len(fails)
            if last:
                status, why = (
                    Status.FAILED,
                    (
                        Code.ATTEMPTS_USED_UP,
                        {"limit": calls, "cause": cause},
                    ),
                )
                move = Move.GIVE_UP
            else:
                why = (Code.RETRY, {"cause": cause, "delay_s": 600.0})
                move = Move.RETRY
            _end_attempt(writer, moment, result, failed, source, 0.0)
            writer.event(
                moment,
                move,
                Status.FAILED if last else Status.PENDING,
                why[0],
                writer.attempt_id,
                **why[1],
            )
            moment += 600 + chance.uniform(0, 300)
        if reached:
            calls += 1
            moment = _attempt(
                writer, moment, queue, number, chance.choice(agents), calls
            )
            writer.event(
                moment,
                Move.PROGRESS,
                Status.CALLING,
                Code.TALK_BEGINS,
                writer.attempt_id,
            )
            writer.add(
                schema.reached,
                task_id=writer.task_id,
                talk_at=moment,
                net_wait_s=moment - at,
            )
            talk = 30 + chance.expovariate(1 / 180)
            moment += talk
            status, why = Status.COMPLETED, (Code.TALKED, {"talk_s": round(talk, 1)})
            _end_attempt(writer, moment, Disposition.ANSWERED, *why, talk)
            writer.event(
                moment, Move.COMPLETE, status, why[0], writer.attempt_id, **why[1]
            )
    writer.add(
        schema.task,
        id=writer.task_id,
        kind=kind.value,
        status=status.value,
        number=number,
        number_key=writer.plan.key(number),
        name=chance.choice(_NAMES),
        language="en",
        queue=queue,
        linkedid=f"{at:.0f}.{writer.task_id}",
        joined_at=at - waited,
        created_at=at,
        due_at=at,
        expires_at=at + 8 * 3600,
        ended_at=moment,
        attempts=calls,
        member_attempts=tries,
        reason_code=why[0].value,
        reason_params=json.dumps(why[1]),
        cancel_requested=False,
        served=False,
    )


def _fails(
    chance: random.Random, reached: bool
) -> list[tuple[Disposition, Code, dict[str, Any]]]:
    count = chance.choices((0, 1, 2), (6, 3, 1))[0] if reached else 3
    weights = [share for *_, share in _FAILS]
    picked = chance.choices(_FAILS, weights, k=count)
    return [(result, code, params) for result, code, params, _ in picked]


def _attempt(
    writer: _Writer, at: float, queue: str, number: str, agent: str, count: int
) -> float:
    """Write the beginning of an attempt; return when the client's phone has rung."""
    writer.attempt_id += 1
    channel_id = f"callback-past-{writer.attempt_id}"
    calling, attempt = Status.CALLING, writer.attempt_id
    writer.event(
        at, Move.BEGIN, calling, Code.ATTEMPT_BEGINS, attempt,
        number=count, channel_id=channel_id,
    )  # fmt: skip
    writer.event(
        at + 0.2, Move.PROGRESS, calling, Code.AGENT_RINGS, attempt, interface=agent
    )
    writer.event(
        at + 4.5, Move.PROGRESS, calling, Code.AGENT_ANSWERED, attempt, interface=agent
    )
    writer.event(
        at + 7.0, Move.PROGRESS, calling, Code.CLIENT_DIALLED, attempt, number=number
    )
    writer.add(
        schema.attempt,
        id=attempt,
        task_id=writer.task_id,
        channel_id=channel_id,
        started_at=at,
        dialled_at=at + 7.0,
        member=agent,
    )
    return at + 15.0


def _end_attempt(
    writer: _Writer,
    at: float,
    result: Disposition,
    code: Code,
    params: dict[str, Any],
    talk_s: float,
) -> None:
    writer.rows["attempt"][-1].update(
        ended_at=at,
        disposition=result.value,
        talk_s=talk_s,
        reason_code=code.value,
        reason_params=json.dumps(params),
    )


def _others(writer: _Writer, now: datetime, queues: Sequence[str]) -> None:
    """Write offers, refusals and a blocked number."""
    chance, at = writer.random, now.timestamp()
    for back in range(60):
        outcome = chance.choice(_OUTCOMES)
        moment = at - 3600 - back * 1200
        writer.add(
            schema.offer, at=moment, queue=chance.choice(queues),
            number=f"+493023125{back:03}", position=2 + back % 4,
            expected_wait_s=240.0, reason="expected wait", outcome=outcome,
            ended_at=moment + 12, linkedid=f"offer.{back}",
        )  # fmt: skip
    for back, (code, params, number) in reversed(list(enumerate(_REFUSED * 2))):
        writer.add(
            schema.refusal, at=at - 7000 - back * 3100, kind=Kind.REQUESTED.value,
            queue=chance.choice(queues), number=number, reason_code=code.value,
            reason_params=json.dumps(params), linkedid=f"refused.{back}",
        )  # fmt: skip
    number = "+493023125999"
    writer.add(
        schema.blocked, number_key=writer.plan.key(number), number=number,
        region="DE", reason="asked not to be called", at=at - 86400,
    )  # fmt: skip
