# SPDX-License-Identifier: MIT
"""The examples for Asterisk, and steps of docs/install.md, on real Asterisks."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from tests.lab.asterisk import REPOSITORY, Asterisk
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.witness import event

_EXAMPLES = REPOSITORY / "etc/asterisk"


def _install(asterisk: Asterisk, more: str = "") -> None:
    """Put the examples in place of the laboratory's files, but keep its phones."""
    queues = (_EXAMPLES / "queues.conf").read_text()
    for given, ours in {"PJSIP/101": "PJSIP/alice", "PJSIP/102": "PJSIP/bob"}.items():
        assert given in queues
        queues = queues.replace(given, ours)
    (asterisk.home / "etc/queues.conf").write_text(queues)
    extensions = (_EXAMPLES / "extensions.conf").read_text()
    # The laboratory's trunk leads to this context.
    extensions += f"\n[inbound]\ninclude => from-outside\n{more}"
    (asterisk.home / "etc/extensions.conf").write_text(extensions)
    asterisk.cli("dialplan reload")
    asterisk.cli("module reload app_queue.so")


def test_asterisk_takes_them_without_a_word(asterisk: Asterisk) -> None:
    _install(asterisk)
    assert "WARNING" not in asterisk.log
    assert "ERROR" not in asterisk.log
    shown = asterisk.cli("queue show support")
    assert "PJSIP/alice" in shown
    assert "PJSIP/bob" in shown
    assert "'rrmemory' strategy" in shown
    assert asterisk.cli("dialplan show callback-request").startswith("[ Context")


def test_docs_find_the_folder_of_the_sounds(asterisk: Asterisk) -> None:
    pages = ("docs/install.md", "docs/update.md", "docs/uninstall.md")
    text = "".join((REPOSITORY / page).read_text("utf-8") for page in pages)
    # Each page has the same line.
    (script,) = set(re.findall(r"sed -n '(.*)'\)/sounds", text))
    shown = asterisk.cli("core show settings")
    found = subprocess.run(
        ["sed", "-n", script], input=shown, capture_output=True, check=True, text=True
    )
    assert found.stdout == f"{asterisk.home / 'data'}\n"


def test_check_finds_nothing_in_them(lab: Lab) -> None:
    _install(lab.asterisk)
    home = lab.asterisk.home
    directories = {
        "config_dir": str(home / "etc"),
        "sounds_dir": str(home / "data/sounds"),
    }
    # Without CALLBACK_AGI, a comment in the example, the default port applies.
    lab.asterisk.cli(
        f"dialplan set global CALLBACK_AGI agi://127.0.0.1:{lab.asterisk.ports.agi}"
    )
    service = lab.service(
        {"asterisk": directories, "queues": {"support": {}}}, start=False
    )
    service.write_settings({"queues": {}})
    service.settings["queues"].pop("sales")
    service.write_settings(
        {
            "defaults": {"outbound_channel": "Local/{number}@to-outside"},
            # Values that only the administrator knows.
            "number_plan": {"region": "DE", "own_numbers": ["4930123456"]},
        }
    )
    service.config.chmod(0o640)
    service.start()
    done = service.cli("check")
    assert (done.exit_code, done.err) == (0, "")
    assert "WARNING" not in done.out


#: The lines of the example of version 0.1.0, which still work. Up to Asterisk 20 a
#: macro comes before the gosub, so the position is one argument later.
_WAYS_OF_0_1_0 = """
[inbound]
exten => 610,1,Answer()
 same => n,Set(CALLBACK_QUEUE_OPTIONS=t)
 same => n,Set(CALLBACK_QUEUE_TIMEOUT=600)
 same => n,Queue(support,${CALLBACK_QUEUE_OPTIONS},,,${CALLBACK_QUEUE_TIMEOUT})
 same => n,Goto(callback-after-queue,support,1)
exten => 611,1,Answer()
 same => n,Set(CALLBACK_POSITION=)
 same => n,Set(CALLBACK_RETURN=${CONTEXT},${EXTEN},queue)
 same => n(queue),Queue(support,t,,,600,,,,MACRO${CALLBACK_POSITION})
 same => n,Set(CALLBACK_RETURN=)
 same => n,Set(CALLBACK_POSITION=)
 same => n,Hangup()
"""


@pytest.mark.parametrize(
    ("exten", "context"),
    [("600", "inbound"), ("610", "callback-return"), ("611", "inbound")],
    ids=["callback-enter", "with CALLBACK_QUEUE_OPTIONS", "with CALLBACK_RETURN"],
)
def test_caller_comes_back_to_the_same_place(
    lab: Lab, exten: str, context: str
) -> None:
    """The service does not answer, so the request cannot be taken."""
    macro = "" if lab.asterisk.major >= 21 else ","
    _install(lab.asterisk, _WAYS_OF_0_1_0.replace("MACRO", macro))
    lab.asterisk.cli("queue pause member PJSIP/alice")
    lab.asterisk.cli("queue pause member PJSIP/bob")

    first = lab.caller(exten, number="030111", keys_as_rtp=True)
    joined = lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum="030111"))
    assert joined["Position"] == "1"
    lab.caller(exten, number="030222")
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum="030222", Position="2"))

    # The rest of the time-out is counted in whole seconds.
    second = int(time.time())
    wait_until(lambda: int(time.time()) > second, 5, "the next second")
    first.press("1")
    lab.witness.wait_for(event("QueueCallerLeave", CallerIDNum="030111"))
    again = lab.witness.wait_for(
        event("QueueCallerJoin", CallerIDNum="030111"), 15, count=2
    )
    assert again["Position"] == "1"
    assert again["Uniqueid"] == joined["Uniqueid"]
    assert "callback-queue/hold-on" in lab.asterisk.log
    # Queue() was run again by our dialplan, or by the original line.
    ran = [
        one
        for one in lab.witness.events("Newexten", Application="Queue")
        if one["Uniqueid"] == again["Uniqueid"]
    ]
    assert ran[0]["Context"] == "inbound"
    assert ran[-1]["Context"] == context
    options = ran[-1]["AppData"].split(",")
    assert options[:2] == ["support", "t"]
    left = int(options[4])
    assert (left < 600) is (exten == "600")
    first.close()
