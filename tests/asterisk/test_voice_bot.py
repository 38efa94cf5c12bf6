# SPDX-License-Identifier: MIT
"""A caller who talked to a voice bot has not reached a person."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from fastagi.domain.people import (
    INTERNAL_TECHNOLOGIES,
    MACHINE_TECHNOLOGIES,
    PERSON_TECHNOLOGIES,
)
from tests.asterisk.callback import CLIENT, QUICK, pause, requested
from tests.asterisk.test_history import found
from tests.lab.lab import Lab
from tests.lab.phones import request
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says

_HANG_UP = b"\x00\x00\x00"
#: Each channel driver of Asterisk 16 and 22, with its technologies.
DRIVERS = {
    "chan_alsa.so": {"Console"},
    "chan_audiosocket.so": {"AudioSocket"},
    "chan_bridge_media.so": {"Announcer", "Recorder"},
    "chan_console.so": {"Console"},
    "chan_dahdi.so": {"DAHDI"},
    "chan_iax2.so": {"IAX2"},
    "chan_mgcp.so": {"MGCP"},
    "chan_mobile.so": {"Mobile"},
    "chan_motif.so": {"Motif"},
    "chan_ooh323.so": {"OOH323"},
    "chan_oss.so": {"Console"},
    "chan_phone.so": {"Phone"},
    "chan_pjsip.so": {"PJSIP"},
    "chan_rtp.so": {"MulticastRTP", "UnicastRTP"},
    "chan_sip.so": {"SIP"},
    "chan_skinny.so": {"Skinny"},
    "chan_unistim.so": {"USTM"},
    "chan_websocket.so": {"WebSocket"},
}
NO_PERSONS = INTERNAL_TECHNOLOGIES | MACHINE_TECHNOLOGIES


def test_of_each_technology_of_asterisk_it_is_known_whether_it_is_a_persons(
    lab: Lab,
) -> None:
    tree = lab.asterisk.tree
    folder = tree.outside(tree.modules())
    for driver in sorted(folder.glob("chan_*.so")):
        assert driver.name in DRIVERS, "say below and in domain/people.py what it is"
        for technology in DRIVERS[driver.name]:
            assert technology.encode() in driver.read_bytes()
            assert (technology in PERSON_TECHNOLOGIES) != (technology in NO_PERSONS)
    with loaded(lab, [path for path in folder.glob("chan_*.so") if _is_easy(path)]):
        types = technologies(lab)
    assert {"PJSIP", "Local", "UnicastRTP", "Announcer"} <= types
    for technology in types:
        assert (technology in PERSON_TECHNOLOGIES) != (technology in NO_PERSONS), (
            technology
        )


def technologies(lab: Lab) -> set[str]:
    """Return the technologies in ``core show channeltypes``."""
    told = lab.asterisk.cli("core show channeltypes").splitlines()
    rows = told[2 : told.index(next(line for line in told[2:] if line[:3] == "---"))]
    return {re.split(r"\s", line)[0] for line in rows}


def _is_easy(driver: Path) -> bool:
    """Return whether it needs no configuration and no port of its own."""
    return driver.name in {
        "chan_audiosocket.so",
        "chan_bridge_media.so",
        "chan_rtp.so",
        "chan_websocket.so",
    }


@contextmanager
def loaded(lab: Lab, drivers: list[Path]) -> Iterator[None]:
    """Load drivers with the modules that they need."""
    names = [one.name for one in drivers]
    if "chan_rtp.so" in names:
        names.insert(0, "res_rtp_multicast.so")
    if "chan_audiosocket.so" in names:
        names.insert(0, "res_audiosocket.so")
    if "chan_websocket.so" in names:
        names[:0] = ["res_http_websocket.so", "res_websocket_client.so"]
    for name in names:
        lab.asterisk.cli(f"module load {name}")
    try:
        yield
    finally:
        for name in reversed(names):
            lab.asterisk.cli(f"module unload {name}")


class Bot:
    """A voice bot on AudioSocket: takes each call, and ends it after a while."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                call, _ = self._listener.accept()
                with closing(call):
                    # The bot ends the call after a second and a half of sound.
                    received = 0
                    while received < 24_000 and (data := call.recv(4096)):
                        received += len(data)
                    call.sendall(_HANG_UP)

    def close(self) -> None:
        """Accept no more calls."""
        self._listener.close()


@pytest.fixture
def bot() -> Iterator[Bot]:
    """Yield a listening bot."""
    bot = Bot()
    yield bot
    bot.close()


def bot_of(lab: Lab, bot: Bot) -> tuple[str, list[Path]]:
    """Return what to dial for the bot, and the drivers for it.

    Asterisk 16.28 has no channel driver for AudioSocket, so there it is external media.
    """
    folder = lab.asterisk.tree.outside(lab.asterisk.tree.modules())
    driver = folder / "chan_audiosocket.so"
    if driver.exists():
        return f"AudioSocket/127.0.0.1:{bot.port}/{uuid.uuid4()}", [driver]
    return f"UnicastRTP/127.0.0.1:{bot.port}/c(ulaw)", [folder / "chan_rtp.so"]


def test_caller_who_only_reached_a_bot_is_missed_and_a_request_stays(
    lab: Lab, bot: Bot
) -> None:
    dial, drivers = bot_of(lab, bot)
    lab.asterisk.set_dialplan(
        extra=f"""
[inbound](+)
exten => bot,1,Answer()
 same => n,Dial({dial},,gL(1500))
 same => n,Queue(support,,,,1)
 same => n,Hangup()
"""
    )
    cdrs = {"cdr_url": f"sqlite:///{lab.asterisk.home / 'log/master.db'}"}
    given = merged(
        QUICK,
        {
            "missed": {"contexts": ["inbound"]},
            "history": {"enabled": True, "queue_log": "", **cdrs},
        },
    )
    with loaded(lab, drivers):
        pause(lab, "support")
        # Live detection only: the CDRs of this Asterisk also have calls of other tests.
        service = lab.service(merged(given, {"history": {"enabled": False}}))
        lab.caller("support", Press("1"), number=CLIENT)
        requested(service)

        lab.caller("bot", number="4930555070")
        line = service.wait_for(says("^task .*: missed call", number="4930555070"), 20)
        assert "left queue support unanswered" in line["how"]
        # A client who has asked for a callback calls again, and reaches the bot.
        lab.caller("bot", HangUp(after_ms=1000), number=CLIENT)
        service.wait_for(says("^task 1: missed again", number=CLIENT), 20)
        assert status_of(service) == {CLIENT: "pending", "4930555070": "pending"}
        assert service.stop() == 0

        # The CDRs give the same result.
        other = lab.service(given)
        assert "4930555070" in [number for number, _ in found(other)]


def status_of(service: Service) -> dict[str, str]:
    """Return the status of each number's task."""
    return {task["number"]: task["status"] for task in service.tasks()}


def test_bot_that_calls_a_client_does_not_end_the_request(lab: Lab, bot: Bot) -> None:
    dial, drivers = bot_of(lab, bot)
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    with loaded(lab, drivers):
        pause(lab, "support")
        service = lab.service(merged(QUICK, {"missed": {"contexts": ["inbound"]}}))
        lab.caller("support", Press("1"), number=CLIENT)
        requested(service)
        lab.witness.originate(
            dial, context="outbound-routes", exten=CLIENT, timeout_s=10
        )
        client.wait_for_call()
        # The client has answered the bot's call.
        client.wait_for(request("ACK"))
        wait_until(lambda: not lab.asterisk.channels(), 20, "the end of the call")
        # What the service read afterwards is a later call.
        lab.caller("support", HangUp(after_ms=500), number="4930555071")
        service.wait_for(says("^task .*: missed call", number="4930555071"), 20)
        assert status_of(service)[CLIENT] == "pending"
