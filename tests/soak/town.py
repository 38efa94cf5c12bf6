# SPDX-License-Identifier: MIT
"""Two real Asterisks: the exchange under test, and the town with all phones.

The town plays callers, agents and clients over SIP, and is never killed. It records
what its phones saw, and the exchange what its callers were promised. Each line goes
into a file at once, so nothing is lost when the exchange is killed. Independent of the
product's code and of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.lab.asterisk import Asterisk
from tests.lab.config import Queue
from tests.lab.ports import PhoneSlot
from tests.soak.plan import AGENT_ACTS, PREFIX, RINGS, Call, Plan

AGENT_NAMES = tuple(f"agent{number}" for number in range(1, 6))
_FIELDS = "|"

QUEUES = (
    Queue(
        name="support",
        members=tuple(f"PJSIP/{name}" for name in AGENT_NAMES[:3]),
        strategy="rrmemory",
        timeout_s=5,
    ),
    Queue(
        name="sales",
        members=tuple(f"PJSIP/{name}" for name in AGENT_NAMES[2:]),
        strategy="leastrecent",
        timeout_s=5,
    ),
)

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


class Town:
    """Both Asterisks."""

    def __init__(self, plan: Plan, major: int = 22) -> None:
        self.exchange = Asterisk(
            major, queues=QUEUES, global_variables={"CALLBACK_WHEN_DOWN": "keep"}
        )
        self.phones = Asterisk(major, queues=())
        #: What the phones saw, and what the exchange promised.
        self.diary = self.phones.home / "diary"
        self.promises = self.exchange.home / "promises"
        for path in (self.diary, self.promises):
            # FILE() appends only if it can tell how lines end.
            path.write_text("diary\n")
        self.exchange.agent_slots = dict.fromkeys(
            AGENT_NAMES, PhoneSlot("127.0.0.1", self.phones.ports.sip)
        )
        self.exchange.set_dialplan(extra=self._exchange_dialplan())
        self.phones.agent_slots = {}
        self.phones.set_dialplan(
            extra=self._town_dialplan(plan.talk_s),
            global_variables={"AGENTS_DO": plan.agent_acts(), "AGENT_RINGS": "0"},
        )

    @property
    def outbound_channel(self) -> str:
        """The setting with which the exchange dials a client."""
        return "Local/{number}@to-town/n"

    def start(self) -> None:
        """Start both."""
        self.phones.start()
        self.exchange.start()

    def close(self) -> None:
        """End both and remove all their files."""
        self.exchange.close()
        self.phones.close()

    def call(self, call: Call) -> None:
        """Let somebody call a queue."""
        keys = ""
        if call.key_after_s is not None:
            keys = "w" * round(2 * call.key_after_s) + "1"
        exten = f"{call.number}*{call.queue}*{keys}*{call.patience_s:.3f}"
        self.phones.cli(
            f"channel originate Local/{exten}@callers/n application Wait 600"
        )

    # -- recorded lines

    def saw(self) -> list[Line]:
        """Return what the phones saw."""
        return list(_read(self.diary))

    def promised(self) -> list[Line]:
        """Return what the exchange's callers were promised."""
        return list(_read(self.promises))

    # -- the dialplans

    def _exchange_dialplan(self) -> str:
        linkedid = "${CHANNEL(linkedid)}"
        arrives = _write(self.promises, ARRIVES, "${CALLERID(num)}", linkedid)
        leaves = _write(
            self.promises,
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
            for queue in QUEUES
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

        agents = "".join(f"exten => {name},1,Goto(agent,s,1)\n" for name in AGENT_NAMES)
        sip = self.exchange.ports.sip
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
 same => n,Set(QUEUE=sip:call${{CUT(EXTEN,*,2)}}@127.0.0.1:{sip})
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
