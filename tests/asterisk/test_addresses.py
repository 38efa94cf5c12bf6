# SPDX-License-Identifier: MIT
"""CALLBACK_AGI with two addresses: an answer of any counts, within the one second."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.asterisk.brief_words import LANGUAGE, record_brief_words, said
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    hung_up_by_asterisk,
    joins,
    only_task,
    pause,
    requested,
    story,
)
from tests.asterisk.test_choices import CHOICES
from tests.asterisk.test_offers import offered, offering, someone_waits_first
from tests.asterisk.test_place import EXTENSIONS, with_fairness
from tests.asterisk.test_request import comes_back, played, queue_of_three
from tests.lab.lab import Lab
from tests.lab.phones import Caller
from tests.lab.proxy import AGI_MESSAGE, Fate, Proxy, Way, holds
from tests.lab.scenarios import Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

#: From the key to the prompt, and to being back in line if nobody answers.
SECOND = datetime.timedelta(seconds=1)
BACK_IN_LINE = datetime.timedelta(seconds=2)
SECOND_CLIENT = "4930222222"
ACCEPTED = "callback-queue/accepted"
#: The prompts have their own names here, as the service's defaults.
SPOKEN = merged(QUICK, {"defaults": {"sounds": {"accepted": ACCEPTED}}})
ANSWERED = "CALLBACK_AGI_ANSWERED"

Dies = Callable[[Proxy], object]


def says_nothing(proxy: Proxy) -> None:
    """It accepts connections, and says nothing."""
    proxy.always(Way.OUT, Fate.LOST)


def dies_in_mid_answer(proxy: Proxy) -> None:
    """It has stored the request; half of the answer's last line arrives."""
    proxy.at(Way.IN, holds("CALLBACK_STATUS"), Fate.HALF)


def holds_its_answer_back(proxy: Proxy) -> None:
    """It has stored the request; the answer comes too late."""
    proxy.always(Way.IN, Fate.HELD)


DEATHS = pytest.mark.parametrize(
    "dies",
    [
        None,
        says_nothing,
        dies_in_mid_answer,
        holds_its_answer_back,
    ],
    ids=lambda dies: "refuses" if dies is None else dies.__name__,
)


class Addresses:
    """Two addresses of one service: the first leads through a proxy."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._stack = stack
        self._ports = lab.asterisk.ports
        self.first = f"agi://127.0.0.1:{self._ports.spare}"
        self.second = f"agi://127.0.0.1:{self._ports.agi}"
        self._lab = lab
        self.list(self.first, self.second)

    def list(self, *addresses: str) -> None:
        """Write these addresses into the dialplan."""
        self._lab.asterisk.set_dialplan(
            global_variables={"CALLBACK_AGI": "&".join(addresses)}
        )

    def open_first(self) -> Proxy:
        """Let somebody listen at the first address."""
        proxy = Proxy(self._ports.spare, self._ports.agi, AGI_MESSAGE)
        return self._stack.enter_context(proxy)

    def answered(self) -> str:
        """Return the address that answered last; "" if none is remembered."""
        lines = self._lab.asterisk.cli("dialplan show globals").splitlines()
        values = dict(line.strip().partition("=")[::2] for line in lines)
        return values.get(ANSWERED, "")


@pytest.fixture
def addresses(lab: Lab) -> Iterator[Addresses]:
    with ExitStack() as stack:
        yield Addresses(lab, stack)


def asked(lab: Lab, port: int, path: str = "request") -> list[Seen]:
    """Return each time that AGI() asked a port for a path."""
    lab.witness.fence()
    return [
        one
        for one in lab.witness.events("Newexten")
        if one["Application"] == "AGI" and f":{port}/{path}," in one["AppData"]
    ]


def accepted(lab: Lab, number: str = CLIENT, count: int = 1) -> datetime.timedelta:
    """Wait until a caller hears the acceptance; return the time since the key."""
    left = lab.witness.wait_for(event("QueueCallerLeave", CallerIDNum=number))
    heard = lab.witness.wait_for(
        event(
            "Newexten",
            Application="Playback",
            AppData=f"{ACCEPTED},noanswer",
            Uniqueid=left["Uniqueid"],
        ),
        count=count,
    )
    return heard.clock - left.clock


def no_complaints(lab: Lab) -> None:
    """Check that no function of the dialplan complains."""
    log = lab.asterisk.log
    for words in ("ast_expr2", "func_strings.c", "func_timeout.c", "pbx_functions"):
        bad = [
            line
            for line in log.splitlines()
            if words in line and ("WARNING" in line or "ERROR" in line)
        ]
        assert not bad, bad


@DEATHS
def test_caller_is_promised_one_callback_within_the_second(
    lab: Lab,
    addresses: Addresses,
    dies: Dies | None,
    record_property: Callable[[str, object], None],
) -> None:
    service = lab.service(SPOKEN)
    proxy = addresses.open_first() if dies is not None else None
    if dies is not None and proxy is not None:
        dies(proxy)
    pause(lab, "support")
    caller = lab.caller("support", number=CLIENT, keys_as_rtp=True)
    joins(lab, CLIENT, 1)
    caller.press("1")
    took = accepted(lab)
    record_property("seconds", took.total_seconds())
    print(f"{took.total_seconds():.3f} s")
    assert took < SECOND

    hung_up_by_asterisk(caller, 20)
    if proxy is not None:
        # What was held or lost comes to nothing.
        proxy.release()
    task = only_task(service)
    assert (task["status"], task["number"]) == ("pending", CLIENT)
    moves = [one["move"] for one in story(service)["history"]]
    assert moves == ["create"], moves
    assert addresses.answered() == addresses.second
    no_complaints(lab)


def test_connection_that_breaks_after_the_answer_is_no_reason_to_ask_again(
    lab: Lab, addresses: Addresses
) -> None:
    service = lab.service(SPOKEN)
    proxy = addresses.open_first()
    proxy.at(Way.IN, holds("CALLBACK_STATUS"), Fate.LAST)
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    assert accepted(lab) < SECOND
    hung_up_by_asterisk(caller, 20)
    assert asked(lab, lab.asterisk.ports.agi) == []
    assert only_task(service)["status"] == "pending"


def test_address_that_answers_no_connection_costs_one_caller_two_seconds(
    lab: Lab, addresses: Addresses
) -> None:
    """As if its machine were off: AGI() itself gives up connecting."""
    lab.service(SPOKEN)
    spare = lab.asterisk.ports.spare
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", spare))
        full.listen(0)
        # The kernel answers no further connection.
        stack.enter_context(socket.create_connection(("127.0.0.1", spare)))
        pause(lab, "support")
        lab.caller("support", Press("1"), number=CLIENT)
        assert accepted(lab) < 3 * SECOND
        assert "timed out after MAX_AGI_CONNECT (2000)" in lab.asterisk.log
        lab.caller("support", Press("1"), number=SECOND_CLIENT)
        assert accepted(lab, SECOND_CLIENT) < SECOND
    no_complaints(lab)


@pytest.mark.stopwatch
@pytest.mark.parametrize("dies", [None, says_nothing], ids=["refuses", "silent"])
def test_address_that_does_not_answer_costs_only_the_first_caller_its_share(
    lab: Lab, addresses: Addresses, dies: Dies | None
) -> None:
    lab.service(SPOKEN)
    ports = lab.asterisk.ports
    if dies is not None:
        dies(addresses.open_first())
    pause(lab, "support")
    for number in (CLIENT, SECOND_CLIENT):
        lab.caller("support", Press("1"), number=number)
        assert accepted(lab, number) < SECOND
    assert len(asked(lab, ports.spare)) == 1
    assert len(asked(lab, ports.agi)) == 2
    no_complaints(lab)


@pytest.mark.stopwatch
def test_remembered_address_that_dies_costs_one_caller_its_share(
    lab: Lab, addresses: Addresses
) -> None:
    lab.service(SPOKEN)
    says_nothing(addresses.open_first())
    addresses.list(addresses.second, addresses.first)
    # As if the first address had answered until now.
    lab.asterisk.cli(f"dialplan set global {ANSWERED} {addresses.first}")
    pause(lab, "support")
    for number in (CLIENT, SECOND_CLIENT):
        lab.caller("support", Press("1"), number=number)
        assert accepted(lab, number) < SECOND
    assert len(asked(lab, lab.asterisk.ports.spare)) == 1
    assert addresses.answered() == addresses.second
    no_complaints(lab)


def test_remembered_address_that_is_not_in_the_list_any_more_is_not_asked(
    lab: Lab, addresses: Addresses
) -> None:
    lab.service(SPOKEN)
    # It begins like an address in the list.
    gone = f"{addresses.second}1"
    lab.asterisk.cli(f"dialplan set global {ANSWERED} {gone}")
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    assert accepted(lab) < SECOND
    assert asked(lab, int(gone.rpartition(":")[2])) == []
    assert addresses.answered() == addresses.second
    no_complaints(lab)


def test_refused_caller_is_back_at_the_same_place(
    lab: Lab, addresses: Addresses
) -> None:
    service = lab.service(SPOKEN)
    proxy = addresses.open_first()
    proxy.at(Way.IN, holds("CALLBACK_POSITION"), Fate.HALF)
    caller = queue_of_three(lab, "anonymous")
    caller.press("1")
    back = comes_back(lab, datetime.timedelta(seconds=5.5))

    assert back["Position"] == "2"
    played(lab, "callback-queue/cannot-call")
    ports = lab.asterisk.ports
    # The first answered the request, and died when it was asked for the position.
    assert len(asked(lab, ports.spare, "position")) == 1
    assert len(asked(lab, ports.agi, "position")) == 1
    assert service.tasks() == []


@pytest.mark.parametrize("when_down", ["return", "keep"])
@pytest.mark.parametrize("dies", [None, says_nothing], ids=["refuse", "silent"])
def test_nobody_answers(
    lab: Lab, addresses: Addresses, dies: Dies | None, when_down: str
) -> None:
    ports = lab.asterisk.ports
    lab.asterisk.set_dialplan(
        global_variables={
            "CALLBACK_AGI": f"{addresses.first}&{addresses.first}/again",
            "CALLBACK_WHEN_DOWN": when_down,
        }
    )
    if dies is not None:
        lab.service(SPOKEN)
        dies(addresses.open_first())
    caller = queue_of_three(lab)
    caller.press("1")
    if when_down == "keep":
        left = lab.witness.wait_for(event("QueueCallerLeave", CallerIDNum=CLIENT))
        kept = lab.witness.wait_for(event("UserEvent", UserEvent="CallbackKept"))
        assert kept.clock - left.clock < BACK_IN_LINE
        hung_up_by_asterisk(caller, 20)
    else:
        assert comes_back(lab, BACK_IN_LINE)["Position"] == "2"
        played(lab, "callback-queue/hold-on")
        assert not caller.got_bye
    assert len(asked(lab, ports.spare)) == 1
    assert len(asked(lab, ports.spare, "again/request")) == 1
    assert addresses.answered() == ""
    no_complaints(lab)


@DEATHS
def test_client_who_calls_again_gets_the_place(
    lab: Lab, addresses: Addresses, dies: Dies | None
) -> None:
    service = lab.service(with_fairness("place"))
    lab.asterisk.set_dialplan(
        extra=EXTENSIONS,
        global_variables={"CALLBACK_AGI": f"{addresses.first}&{addresses.second}"},
    )
    proxy = addresses.open_first() if dies is not None else None
    pause(lab, "sales")
    lab.caller("sales", number="101")
    joins(lab, "101", 1)
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    lab.caller("sales", number="102")
    joins(lab, "102", 1)

    if dies is not None and proxy is not None:
        dies(proxy)
    # The first address is asked first again.
    lab.asterisk.cli(f"dialplan set global {ANSWERED} {addresses.first}")
    lab.caller("again", number=CLIENT)

    assert joins(lab, CLIENT, 2)["Position"] == "2"
    no_complaints(lab)


def test_answer_without_a_place_is_an_answer(lab: Lab, addresses: Addresses) -> None:
    lab.service(with_fairness("place"))
    lab.asterisk.set_dialplan(
        extra=EXTENSIONS,
        global_variables={"CALLBACK_AGI": f"{addresses.first}&{addresses.second}"},
    )
    addresses.open_first()
    pause(lab, "sales")
    lab.caller("again", number=CLIENT)
    assert joins(lab, CLIENT, 1)["Position"] == "1"
    assert len(asked(lab, lab.asterisk.ports.spare, "place")) == 1
    assert asked(lab, lab.asterisk.ports.agi, "place") == []
    assert addresses.answered() == addresses.first


@pytest.mark.parametrize(
    "dies",
    [None, says_nothing, dies_in_mid_answer],
    ids=["refuses", "silent", "mid-answer"],
)
def test_callback_is_offered(lab: Lab, addresses: Addresses, dies: Dies | None) -> None:
    service = lab.service(offering(after="1s"))
    pause(lab, "support")
    if dies is not None:
        dies(addresses.open_first())
    someone_waits_first(lab)
    lab.caller("support", number=CLIENT)
    joins(lab, CLIENT, 1)
    offered(service)
    # Without a key, and at the same place: the service was told so.
    service.wait_for(says("^the callback offered to .*: timed out$"))
    assert joins(lab, CLIENT, 2)["Position"] == "2"
    lab.witness.wait_for(
        lambda seen: (
            seen.name == "Newexten"
            and seen["Application"] in ("Read", "TryExec")
            and "beep" in seen["AppData"]
        )
    )
    no_complaints(lab)


def caller_who_is_asked(lab: Lab) -> tuple[Service, Caller]:
    """Let a caller press the key and hear the question."""
    record_brief_words(lab)
    service = lab.service(CHOICES)
    pause(lab, "support")
    caller = lab.caller(
        "support",
        number=CLIENT,
        keys_as_rtp=True,
        headers=[f"X-Language: {LANGUAGE}"],
    )
    joins(lab, CLIENT, 1)
    caller.press("1")
    said(lab, "confirm-press")
    return service, caller


def test_service_that_dies_while_it_asks_is_followed_by_the_next(
    lab: Lab, addresses: Addresses
) -> None:
    proxy = addresses.open_first()
    service, caller = caller_who_is_asked(lab)
    ports = lab.asterisk.ports
    assert len(asked(lab, ports.spare, "choose")) == 1
    proxy.close()
    said(lab, "confirm-press", 2)
    assert len(asked(lab, ports.agi, "choose")) == 1
    caller.press("1")
    requested(service)
    hung_up_by_asterisk(caller, 20)
    assert only_task(service)["status"] == "pending"


def test_request_confirmed_before_the_death_is_not_stored_twice(
    lab: Lab, addresses: Addresses
) -> None:
    proxy = addresses.open_first()
    service, caller = caller_who_is_asked(lab)
    dies_in_mid_answer(proxy)
    caller.press("1")
    requested(service)
    said(lab, "confirm-press", 2)
    caller.press("1")
    hung_up_by_asterisk(caller, 20)
    assert only_task(service)["status"] == "pending"


def test_one_address_is_asked_as_before(lab: Lab, addresses: Addresses) -> None:
    """For one second, and nothing is remembered of it."""
    service = lab.service(SPOKEN)
    addresses.list(addresses.second)
    caller = queue_of_three(lab)
    service.freeze()
    caller.press("1")
    asks = event("Newexten", Context="callback-ask", Application="AGI")
    began = lab.witness.wait_for(asks)
    ended = lab.witness.wait_for(event("Newexten", Extension="T"))
    # With several addresses it would be half of it.
    assert abs(ended.clock - began.clock - SECOND) < SECOND / 5
    played(lab, "callback-queue/hold-on")
    service.thaw()
    assert comes_back(lab, BACK_IN_LINE)["Position"] == "2"
    service.wait_for(says("could not be told in time and is back in line"))
    assert only_task(service)["status"] == "cancelled"

    caller.press("1")
    played(lab, ACCEPTED)
    assert addresses.answered() == ""
    assert len(asked(lab, lab.asterisk.ports.agi)) == 2
    no_complaints(lab)
