# SPDX-License-Identifier: MIT
"""Real Asterisks: the exchanges under test, and the town with all phones.

The town plays callers, agents and clients over SIP, and is never killed. It records
what its phones saw, and each exchange what its callers were promised. Each line goes
into a file at once, so nothing is lost when an exchange is killed. Independent of the
product's code and of the comparison.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.lab.asterisk import Asterisk
from tests.lab.config import Queue
from tests.lab.ports import PhoneSlot
from tests.soak.plan import AGENT_ACTS, PREFIX, RINGS, Call, Plan

_AGENTS = 5
_FIELDS = "|"

#: The words of the recorded lines.
IN, OUT = "in", "out"
AGENT_RINGS, AGENT_ANSWERS = "agent-rings", "agent-answers"
CLIENT_RINGS, CLIENT_ANSWERS, CLIENT_GONE = "rings", "answers", "gone"
ARRIVES, LEAVES = "arrives", "leaves"


@attrs.frozen
class Line:
    """One recorded line."""

    word: str
    #: Epoch seconds by Asterisk's clock.
    at: float
    #: The client's number.
    number: str
    #: Further facts, as the dialplans below write them.
    rest: tuple[str, ...]


def _write(path: Path, word: str, number: str, *rest: str) -> str:
    text = _FIELDS.join((word, "${STRFTIME(,,%s.%3q)}", number, *rest))
    return f"Set(FILE({path},,,alu)={text})"


def _agents(exchange: int) -> tuple[str, ...]:
    """Return the names of the agents of an exchange, which no other one has."""
    first = exchange * _AGENTS + 1
    return tuple(f"agent{number}" for number in range(first, first + _AGENTS))


def _queues(agents: Sequence[str]) -> tuple[Queue, ...]:
    return (
        Queue(
            name="support",
            members=tuple(f"PJSIP/{name}" for name in agents[:3]),
            strategy="rrmemory",
            timeout_s=5,
        ),
        Queue(
            name="sales",
            members=tuple(f"PJSIP/{name}" for name in agents[2:]),
            strategy="leastrecent",
            timeout_s=5,
        ),
    )


class Town:
    """All Asterisks."""

    def __init__(
        self, plan: Plan, major: int = 22, system_names: Sequence[str] = ("",)
    ) -> None:
        """Prepare.

        Args:
            plan: what people do.
            major: the version of all Asterisks.
            system_names: the names of the exchanges.
        """
        #: The exchanges under test.
        self.exchanges = tuple(
            Asterisk(
                major,
                queues=_queues(_agents(number)),
                global_variables={"CALLBACK_WHEN_DOWN": "keep"},
                system_name=name,
            )
            for number, name in enumerate(system_names)
        )
        self.phones = Asterisk(major, queues=())
        #: What the phones saw, and what each exchange promised.
        self.diary = self.phones.home / "diary"
        self._promises = [one.home / "promises" for one in self.exchanges]
        #: Which exchange somebody calls.
        self._chance = random.Random(f"{plan.seed} exchanges")
        for path in (self.diary, *self._promises):
            # FILE() appends only if it can tell how lines end.
            path.write_text("diary\n")
        for number, exchange in enumerate(self.exchanges):
            exchange.agent_slots = dict.fromkeys(
                _agents(number), PhoneSlot("127.0.0.1", self.phones.ports.sip)
            )
            exchange.set_dialplan(extra=self._exchange_dialplan(number))
        self.phones.agent_slots = {}
        self.phones.set_dialplan(
            extra=self._town_dialplan(plan.talk_s),
            global_variables={"AGENTS_DO": plan.agent_acts(), "AGENT_RINGS": "0"},
        )

    @property
    def exchange(self) -> Asterisk:
        """The first exchange."""
        return self.exchanges[0]

    @property
    def outbound_channel(self) -> str:
        """The setting with which an exchange dials a client."""
        return "Local/{number}@to-town/n"

    def start(self) -> None:
        """Start all."""
        self.phones.start()
        for exchange in self.exchanges:
            exchange.start()

    def close(self) -> None:
        """End all and remove all their files."""
        for exchange in self.exchanges:
            exchange.close()
        self.phones.close()

    def call(self, call: Call) -> None:
        """Let somebody call a queue."""
        keys = ""
        if call.key_after_s is not None:
            keys = "w" * round(2 * call.key_after_s) + "1"
        sip = self._chance.choice(self.exchanges).ports.sip
        exten = f"{call.number}*{call.queue}*{keys}*{call.patience_s:.3f}*{sip}"
        self.phones.cli(
            f"channel originate Local/{exten}@callers/n application Wait 600"
        )

    # -- recorded lines

    def saw(self) -> list[Line]:
        """Return what the phones saw."""
        return list(_read(self.diary))

    def promised(self) -> list[Line]:
        """Return what the exchanges' callers were promised."""
        lines = (line for path in self._promises for line in _read(path))
        return sorted(lines, key=lambda line: line.at)

    # -- the dialplans

    def _exchange_dialplan(self, number: int) -> str:
        linkedid = "${CHANNEL(linkedid)}"
        promises = self._promises[number]
        arrives = _write(promises, ARRIVES, "${CALLERID(num)}", linkedid)
        leaves = _write(
            promises,
            LEAVES,
            "${CALLERID(num)}",
            linkedid,
            "${CALLBACK_STATUS}",
            # Heard from its beginning to its end.
            "${PLAYBACKSTATUS}",
            '${IF($["${CALLBACK_KEPT}" != ""]?kept:)}',
            "${MEMBERINTERFACE}",
        )
        inbound = "".join(
            f"exten => call{queue.name},1,{arrives}\n"
            " same => n,Set(CHANNEL(hangup_handler_push)=promises,leaves,1)\n"
            " same => n,Answer()\n"
            f" same => n,Queue({queue.name},,,,40)\n"
            " same => n,Hangup()\n"
            for queue in self.exchanges[number].queues
        )
        return f"""
[inbound](+)
{inbound}
[promises]
exten => leaves,1,{leaves}
 same => n,Return()

[to-town]
exten => _X.,1,Set(PHONE=sip:${{EXTEN}}@127.0.0.1:{self.phones.ports.sip})
 same => n,Dial(PJSIP/trunk/${{PHONE}},,b(say-which^s^1))
 same => n,Hangup(${{HANGUPCAUSE}})

[say-which]
exten => s,1,Set(PJSIP_HEADER(add,X-Attempt)=${{CALLBACK_ID}})
 same => n,Return()
"""

    def _town_dialplan(self, talk_s: float) -> str:
        def saw(word: str, number: str, *rest: str) -> str:
            return _write(self.diary, word, number, *rest)

        agents = "".join(
            f"exten => {name},1,Goto(agent,s,1)\n"
            for number in range(len(self.exchanges))
            for name in _agents(number)
        )
        # A client's number determines what its phone does at each ring.
        act = f"${{EXTEN:$[{len(PREFIX)} + 4 + (${{RING}} - 1) % {RINGS}]:1}}"
        attempt = "${ATTEMPT}"
        return f"""
[callers]
exten => _X.,1,Set(CALLERID(num)=${{CUT(EXTEN,*,1)}})
 same => n,Set(CALLERID(name)=Client ${{CALLERID(num):-8:4}})
 same => n,Set(KEYS=${{CUT(EXTEN,*,3)}})
 same => n,Set(CHANNEL(hangup_handler_push)=caller-gone,s,1)
 same => n,{saw(IN, "${CALLERID(num)}")}
 same => n,Set(PRESS=${{IF($["${{KEYS}}" != ""]?D(${{KEYS}}):)}})
 same => n,Set(QUEUE=sip:call${{CUT(EXTEN,*,2)}}@127.0.0.1:${{CUT(EXTEN,*,5)}})
 same => n,Dial(PJSIP/trunk/${{QUEUE}},10,S(${{CUT(EXTEN,*,4)}})${{PRESS}})
 same => n,Hangup()

[caller-gone]
exten => s,1,{saw(OUT, "${CALLERID(num)}")}
 same => n,Return()

[inbound](+)
{agents}
exten => _{PREFIX}X.,1,Set(ATTEMPT=${{PJSIP_HEADER(read,X-Attempt)}})
 same => n,Set(RING=$[0${{DB(ring/${{EXTEN}})}} + 1])
 same => n,Set(DB(ring/${{EXTEN}})=${{RING}})
 same => n,Set(NUMBER=${{EXTEN}})
 same => n,{saw(CLIENT_RINGS, "${NUMBER}", attempt)}
 same => n,Set(CHANNEL(hangup_handler_push)=client-gone,s,1)
 same => n,Goto(client-{act},s,1)

[client-gone]
exten => s,1,{saw(CLIENT_GONE, "${NUMBER}", attempt)}
 same => n,Return()

[client-answers]
exten => s,1,Ringing()
 same => n,Wait(0.4)
 same => n,{saw(CLIENT_ANSWERS, "${NUMBER}", attempt)}
 same => n,Answer()
 same => n,Return()

[client-0]
exten => s,1,Gosub(client-answers,s,1)
 same => n,Wait({talk_s})
 same => n,Hangup()
[client-1]
exten => s,1,Gosub(client-answers,s,1)
 same => n,Wait(60)
 same => n,Hangup()
[client-2]
exten => s,1,Hangup(17)
[client-3]
exten => s,1,Ringing()
 same => n,Wait(60)
 same => n,Hangup()
[client-4]
exten => s,1,Gosub(client-answers,s,1)
 same => n,Wait(0.3)
 same => n,Hangup()
[client-5]
exten => s,1,Ringing()
 same => n,Wait(0.3)
 same => n,Hangup(21)
[client-6]
exten => s,1,Hangup(34)

[agent]
exten => s,1,Set(GLOBAL(AGENT_RINGS)=$[(${{AGENT_RINGS}} + 1) % {AGENT_ACTS}])
 same => n,Set(ACT=${{AGENTS_DO:${{AGENT_RINGS}}:1}})
 same => n,{saw(AGENT_RINGS, "${CALLERID(num)}")}
 same => n,GotoIf($["${{ACT}}" = "3"]?decline)
 same => n,Ringing()
 same => n,Wait(${{IF($["${{ACT}}" = "1"]?2:0.4)}})
 same => n,GotoIf($["${{ACT}}" = "2"]?silent)
; Answer() returns a while after the other side knows of it, or never.
 same => n,{saw(AGENT_ANSWERS, "${CALLERID(num)}")}
 same => n,Answer()
 same => n,GotoIf($["${{ACT}}" = "4"]?soon)
; The client of a callback hangs up when all is said; a caller waits for the agent to.
 same => n,Set(CALLBACK=$["${{CALLERID(name):0:8}}" = "Callback"])
 same => n,Wait(${{IF(${{CALLBACK}}?{4 * talk_s}:{talk_s})}})
 same => n,Hangup()
 same => n(soon),Wait(1)
 same => n,Hangup()
 same => n(silent),Wait(60)
 same => n,Hangup()
 same => n(decline),Hangup(17)
"""


def _read(path: Path) -> Iterator[Line]:
    if not path.exists():
        return
    for text in path.read_text().splitlines()[1:]:
        word, at, number, *rest = text.split(_FIELDS)
        yield Line(word, float(at), number, tuple(rest))
