# SPDX-License-Identifier: MIT
"""A day of random calls, as queue_log and as CDRs, and the true outcome of each.

Each call is written in the two recorded formats of a real Asterisk. The true outcomes
are kept apart from them, so nothing here follows from the code under test. The day has
a midnight, the night on which clocks are set back, a crash of Asterisk, and logs that
were rotated in each of the usual ways.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import os
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import attrs

from tests.recordings.past_calls import FREEPBX

#: Clocks in Germany are set back at 1:00 UTC.
BEGIN: Final = int(datetime(2026, 10, 24, 20, tzinfo=UTC).timestamp())
LENGTH_S: Final = 26 * 3600
ZONE: Final = ZoneInfo("Europe/Berlin")
#: Asterisk crashes, and is back a minute later.
DEATH: Final = BEGIN + 9 * 3600
SUCCESS_S: Final = 5

#: Kinds of calls, with the weight of each.
KINDS: Final = {
    "hangs up": 24,
    "runs out": 8,
    "two queues": 6,
    "answered": 26,
    "answered after the queue": 6,
    "menu": 4,
    "extension": 4,
    "extension answers": 4,
    "key": 6,
    "internal": 3,
    "callback": 4,
    "by hand": 3,
    "by hand, short": 2,
}


@attrs.define
class _Client:
    number: str
    #: Missed calls without a later success: id and end.
    missed: list[str] = attrs.field(factory=list)


@attrs.define
class Day:
    """The calls of the day in both formats, and their true outcomes."""

    seed: int
    calls: int = 10_000
    #: Ids of the calls that must be called back, with their clients.
    to_call: dict[str, str] = attrs.field(factory=dict)
    #: Ids of calls whose request is stored already.
    requested: set[str] = attrs.field(factory=set)
    _log: list[tuple[int, int, str]] = attrs.field(factory=list)
    _cdrs: list[tuple[int, list[object]]] = attrs.field(factory=list)
    _channels: int = 0

    def __attrs_post_init__(self) -> None:
        """Generate the calls of the day."""
        dice = random.Random(self.seed)
        clients = [_Client(f"4930{n:07}") for n in dice.sample(range(10**7), 4000)]
        starts: dict[int, list[int]] = {}
        for _ in range(self.calls):
            who = int(dice.triangular(0, len(clients) - 1, 0))
            starts.setdefault(who, []).append(BEGIN + dice.randrange(LENGTH_S))
        kinds, weights = list(KINDS), list(KINDS.values())
        for who, moments in starts.items():
            free_at = 0
            for moment in sorted(moments):
                at = max(moment, free_at)
                if at < DEATH < at + 500:
                    # When Asterisk crashes, only waiting callers are in progress.
                    free_at = self._dies(clients[who], at) + 60
                    continue
                (kind,) = dice.choices(kinds, weights)
                free_at = self._happens(dice, clients[who], kind, at) + 10
        self._write_log(DEATH + 60, "NONE", "NONE", "NONE", "QUEUESTART", "")
        for client in clients:
            self.to_call.update(dict.fromkeys(client.missed, client.number))

    # -- calls -------------------------------------------------------------

    def _id(self, at: int) -> str:
        self._channels += 1
        return f"{at}.{self._channels}"

    def _dies(self, client: _Client, at: int) -> int:
        uniqueid = self._id(at)
        self._enter(at, uniqueid, "support", client.number)
        client.missed.append(uniqueid)
        # A killed Asterisk writes no CDR.
        return DEATH + 60

    def _happens(self, dice: random.Random, client: _Client, kind: str, at: int) -> int:
        """Write one call; return its end."""
        uniqueid = self._id(at)
        queue = dice.choice(["support", "sales"])
        wait, talk = dice.randrange(2, 200), dice.randrange(6, 240)
        number = client.number
        match kind:
            case "hangs up" | "internal":
                number = "101" if kind == "internal" else number
                self._enter(at, uniqueid, queue, number)
                self._leave(at + wait, uniqueid, queue, "ABANDON", wait)
                self._cdr(at, wait, number, uniqueid, exten=queue, queue=queue)
                if kind == "hangs up":
                    client.missed.append(uniqueid)
                return at + wait
            case "runs out":
                self._enter(at, uniqueid, queue, number)
                self._leave(at + wait, uniqueid, queue, "EXITWITHTIMEOUT", wait)
                self._cdr(at, wait, number, uniqueid, exten=queue, app="Hangup")
                client.missed.append(uniqueid)
                return at + wait
            case "two queues":
                self._enter(at, uniqueid, "support", number)
                self._leave(at + 30, uniqueid, "support", "EXITWITHTIMEOUT", 30)
                self._enter(at + 30, uniqueid, "sales", number)
                self._leave(at + 30 + wait, uniqueid, "sales", "ABANDON", wait)
                self._cdr(at, 30 + wait, number, uniqueid, exten="s", queue="sales")
                client.missed.append(uniqueid)
                return at + 30 + wait
            case "answered":
                self._enter(at, uniqueid, queue, number)
                self._connect(at + wait, uniqueid, queue, wait, talk, dice)
                self._cdr(
                    at,
                    wait + talk,
                    number,
                    uniqueid,
                    exten=queue,
                    queue=queue,
                    reached="PJSIP/alice-0000001",
                )
                client.missed.clear()
                return at + wait + talk
            case "answered after the queue":
                self._enter(at, uniqueid, queue, number)
                self._leave(at + wait, uniqueid, queue, "EXITWITHTIMEOUT", wait)
                self._cdr(
                    at,
                    wait + 3 + talk,
                    number,
                    uniqueid,
                    exten=queue,
                    app="Dial",
                    reached="PJSIP/dave-00000001",
                    talk=talk,
                )
                client.missed.clear()
                return at + wait + 3 + talk
            case "menu" | "extension":
                app = "BackGround" if kind == "menu" else "Dial"
                rung = "" if kind == "menu" else "PJSIP/dave-00000001"
                self._cdr(at, wait, number, uniqueid, exten="100", app=app, rung=rung)
                client.missed.append(uniqueid)
                return at + wait
            case "extension answers":
                self._cdr(
                    at,
                    4 + talk,
                    number,
                    uniqueid,
                    exten="100",
                    app="Dial",
                    reached="PJSIP/dave-00000001",
                    talk=talk,
                )
                client.missed.clear()
                return at + 4 + talk
            case "key":
                self._enter(at, uniqueid, queue, number)
                self._leave(at + wait, uniqueid, queue, "EXITWITHKEY", wait)
                self._cdr(
                    at,
                    wait + 3,
                    number,
                    uniqueid,
                    exten="1",
                    context="callback-request",
                    app="Playback",
                )
                self.requested.add(uniqueid)
                client.missed.append(uniqueid)
                return at + wait + 3
            case "callback":
                # A callback of the service that reaches nobody.
                own = f"callback-{at}-{dice.randrange(16**8):08x}"
                self._enter(at, f"{own}-2", queue, number)
                self._leave(at + wait, f"{own}-2", queue, "ABANDON", wait)
                self._cdr(at, wait, number, f"{own}-1", exten="queue", app="Queue")
                return at + wait
            case _:
                talk = 2 if kind.endswith("short") else talk
                self._cdr(
                    at,
                    8 + talk,
                    "101",
                    uniqueid,
                    exten=number,
                    context="from-internal",
                    app="Dial",
                    channel="PJSIP/carol-00000001",
                    reached="PJSIP/trunk-00000001",
                    talk=talk,
                )
                if talk >= SUCCESS_S:
                    client.missed.clear()
                return at + 8 + talk

    # -- lines -------------------------------------------------------------

    def _write_log(self, at: int, *fields: str) -> None:
        self._log.append((at, len(self._log), "|".join((str(at), *fields))))

    def _enter(self, at: int, uniqueid: str, queue: str, number: str) -> None:
        self._write_log(at, uniqueid, queue, "NONE", "ENTERQUEUE", "", number, "1")

    def _leave(self, at: int, uniqueid: str, queue: str, event: str, wait: int) -> None:
        data = ("1", "1") if event == "EXITWITHKEY" else ("1", "1", str(wait))
        self._write_log(at, uniqueid, queue, "NONE", event, *data)

    def _connect(
        self,
        at: int,
        uniqueid: str,
        queue: str,
        wait: int,
        talk: int,
        dice: random.Random,
    ) -> None:
        if dice.random() < 0.3:
            self._write_log(at - 1, uniqueid, queue, "Bob", "RINGNOANSWER", "1000")
        self._write_log(at, uniqueid, queue, "Alice", "CONNECT", str(wait), "1.1", "2")
        event = dice.choice(["COMPLETEAGENT", "COMPLETECALLER"])
        self._write_log(
            at + talk, uniqueid, queue, "Alice", event, str(wait), str(talk), "1"
        )

    def _cdr(
        self,
        at: int,
        duration: int,
        number: str,
        uniqueid: str,
        *,
        exten: str,
        context: str = "inbound",
        queue: str = "",
        app: str = "Queue",
        channel: str = "PJSIP/trunk-00000001",
        rung: str = "",
        reached: str = "",
        talk: int | None = None,
    ) -> None:
        answered = bool(reached) or (not rung and app != "BackGround")
        billsec = duration if talk is None else talk
        values: dict[str, object] = {
            "calldate": datetime.fromtimestamp(at, ZONE).strftime("%Y-%m-%d %H:%M:%S"),
            "clid": f'"Name, with comma" <{number}>',
            "src": number,
            "dst": exten,
            "dcontext": context,
            "channel": channel,
            "dstchannel": reached or rung,
            "lastapp": app,
            "lastdata": f"{queue},tT,,,300" if queue else "",
            "duration": duration,
            "billsec": billsec if answered else 0,
            "disposition": "ANSWERED" if answered else "NO ANSWER",
            "amaflags": 3,
            "uniqueid": uniqueid,
            "linkedid": uniqueid,
        }
        row = [values.get(name, "") for name in FREEPBX]
        self._cdrs.append((at + duration, row))

    # -- files -------------------------------------------------------------

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write queue_log and CSV, rotated three times each; return their paths."""
        log = [(at, line) for at, _, line in sorted(self._log)]
        cdrs = []
        for at, row in sorted(self._cdrs, key=lambda one: one[0]):
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row)
            cdrs.append((at, text.getvalue()))
        paths = (directory / "queue_log", directory / "freepbx.csv")
        for path, lines in zip(paths, (log, cdrs), strict=True):
            _write_rotated(path, lines)
        return paths


def _write_rotated(path: Path, lines: Sequence[tuple[int, str]]) -> None:
    quarter = len(lines) // 4
    parts = [lines[at : at + quarter] for at in range(0, 3 * quarter, quarter)]
    parts.append(lines[3 * quarter :])
    ways: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("-20261024.bz2", bz2.compress),
        (".2.gz", gzip.compress),
        (".1", bytes),
        ("", bytes),
    ]
    for part, (suffix, pack) in zip(parts, ways, strict=True):
        file = path.with_name(path.name + suffix)
        file.write_bytes(pack("".join(f"{line}\n" for _, line in part).encode()))
        os.utime(file, (part[-1][0],) * 2)
