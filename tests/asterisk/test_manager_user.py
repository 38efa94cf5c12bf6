# SPDX-License-Identifier: MIT
"""The manager user of the example on real Asterisks: its rights are enough, no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import pytest

from fastagi.ami import actions
from fastagi.ami.events import LISTENED, READ_CLASSES, headers_of
from fastagi.ami.session import Credentials
from fastagi.checks.link import ManagerLink, Refused, Where
from fastagi.checks.manager import WRITE_CLASSES
from fastagi.wire.ami import AmiMessage
from tests.lab.asterisk import REPOSITORY, Asterisk
from tests.lab.config import ManagerUser, Queue
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, NoAnswer
from tests.lab.witness import Witness, event

_CLIENT = "+4930555123"
_EXAMPLE = REPOSITORY / "etc/asterisk/manager.d/callback-queue.conf"
_SECRET = "lab"
#: Received by a user who may read everything, and not by the service.
_NOISE = {"VarSet", "Newexten", "Newstate", "HangupRequest", "MusicOnHoldStart"}


class Users:
    """Manager users of the test, each made from the example."""

    def __init__(self, asterisk: Asterisk) -> None:
        self._asterisk = asterisk
        self._directory: Path = asterisk.home / "etc/manager.d"

    def add(self, name: str, **changes: str | None) -> ManagerUser:
        """Make a user like the example's, except for these options."""
        lines = [f"[{name}]"]
        for line in _EXAMPLE.read_text().splitlines():
            option, equals, _ = line.partition("=")
            kept = option.strip() not in ("secret", *changes)
            if equals and kept and not line.startswith(";"):
                lines.append(line)
        given = {"secret": _SECRET, **changes}
        lines += [
            f"{key} = {value}" for key, value in given.items() if value is not None
        ]
        (self._directory / f"{name}.conf").write_text("\n".join(lines) + "\n")
        self._asterisk.cli("manager reload")
        return ManagerUser(name=name, secret=_SECRET, read="", write="")

    def close(self) -> None:
        """Restore the directory with the example alone."""
        for path in self._directory.glob("*.conf"):
            if path.name != _EXAMPLE.name:
                path.unlink()
        self._asterisk.cli("manager reload")


@pytest.fixture
def users(asterisk: Asterisk) -> Iterator[Users]:
    with closing(Users(asterisk)) as users:
        yield users


#: Headers of calls that are not placed here: a phone that forwards, and a callback that
#: its queue refuses (test_callback.py, test_queue_options.py).
_OF_OTHER_CALLS = {"forward", "forwarded", "queuestatus"}


def _log_in(asterisk: Asterisk, user: ManagerUser) -> ManagerLink:
    return ManagerLink(
        Where(host="127.0.0.1", port=asterisk.ports.ami, timeout_s=5.0),
        Credentials(username=user.name, secret=user.secret),
    )


def _place_callback(lab: Lab) -> None:
    """Call an agent, who rings once without an answer, and then a client."""
    lab.asterisk.set_queues([Queue(name="support", members=("alice",), timeout_s=2)])
    # A phone with a hint, for tests with an extension as the target.
    lab.asterisk.set_dialplan(extra="[phones]\nexten => 7,hint,PJSIP/alice\n")
    lab.agent("alice", NoAnswer(), Answer())
    lab.client(_CLIENT, Answer(steps=(HangUp(500),)))
    with _log_in(lab.asterisk, lab.asterisk.service_user) as link:
        link.ask(
            actions.originate(
                channel="Local/queue@callback-member/n",
                context="callback-caller",
                exten="s",
                channel_id="callback-1-ab-1",
                other_channel_id="callback-1-ab-2",
                variables={
                    "__CALLBACK_ID": "callback-1-ab",
                    "CALLBACK_TARGET": "support",
                    "CALLBACK_MEMBER_RING_TIME": "20",
                    "CALLBACK_CALLER_RING_TIME": "20",
                    "CALLBACK_CHANNEL": f"Local/{_CLIENT}@outbound-routes/n",
                    "CALLBACK_ALERT": "beep",
                },
            )
        )
    lab.witness.wait_for(event("UserEvent", UserEvent="CallbackOutcome"), 20)
    lab.witness.wait_for(event("Hangup", Uniqueid="callback-1-ab-1"))


def _raise_everything(lab: Lab) -> None:
    """Raise every event of READ_CLASSES except the last one, Shutdown."""
    _place_callback(lab)
    member = {"Queue": "support", "Interface": "PJSIP/bob"}
    lab.witness.action("QueueAdd", **member)
    lab.witness.action("QueuePause", **member, Paused="true")
    lab.witness.action("QueueRemove", **member)
    lab.asterisk.cli("module reload app_queue.so")
    lab.witness.wait_for(event("Reload", Module="app_queue.so"))


def test_each_class_of_read_brings_the_events_it_is_there_for(
    lab: Lab, users: Users
) -> None:
    without = {
        name: users.add(
            f"without-{name}", read=",".join(one for one in READ_CLASSES if one != name)
        )
        for name in READ_CLASSES
    }
    port = lab.asterisk.ports.ami
    with ExitStack() as stack:
        whole = stack.enter_context(Witness(port, users.add("whole")))
        parts = {
            name: stack.enter_context(Witness(port, user))
            for name, user in without.items()
        }
        _raise_everything(lab)
        # Asterisk sends a farewell to each session before closing it.
        lab.asterisk.stop()
        whole.wait_for(event("Shutdown"))
        needed = {one for several in READ_CLASSES.values() for one in several}
        heard = {one.name for one in whole.events()}
        assert needed - heard == set()
        for kind in LISTENED:
            several = whole.events(kind.__name__)
            written = {name.lower() for one in several for name in one.headers}
            assert headers_of(kind) - _OF_OTHER_CALLS <= written
        for name, part in parts.items():
            heard = {one.name for one in part.events()}
            assert needed - heard == set(READ_CLASSES[name]), name
    lab.asterisk.start()


def test_noise_is_filtered_away_and_what_is_needed_comes(
    lab: Lab, users: Users
) -> None:
    # The user with all rights receives it, so the filter and not the classes decide.
    with Witness(lab.asterisk.ports.ami, users.add("filtered", read="all")) as filtered:
        _raise_everything(lab)
        lab.witness.fence()
        lab.witness.wait_for(event("UserEvent", UserEvent="LabFence"))
        filtered.wait_for(event("UserEvent", UserEvent="LabFence"))
        heard = {one.name for one in filtered.events()}
        needed = {one for several in READ_CLASSES.values() for one in several}
        # FullyBooted came before the login was complete.
        assert needed - heard - {"FullyBooted"} == {"Shutdown"}
        assert heard & _NOISE == set()
        everything = lab.witness.events()
        assert {one.name for one in everything} >= _NOISE
        assert len(filtered.events()) < 0.5 * len(everything)


def test_nobody_can_hide_behind_a_name(lab: Lab, users: Users) -> None:
    port = lab.asterisk.ports.ami
    careless = users.add("careless", eventfilter="!Event: Newstate")
    with (
        Witness(port, lab.asterisk.service_user) as service,
        Witness(port, careless) as deceived,
    ):
        lab.caller("sales", HangUp(500), display_name="Event: Newstate")
        joined = service.wait_for(event("QueueCallerJoin", Queue="sales"))
        assert joined["CallerIDName"] == "Event: Newstate"
        assert service.wait_for(event("QueueCallerLeave", Queue="sales"))
        # This is why the filters of the example are anchored at the start.
        lab.witness.fence()
        deceived.wait_for(event("UserEvent", UserEvent="LabFence"))
        assert deceived.events("QueueCallerJoin") == []


def test_nobody_can_make_up_an_event_with_his_number(lab: Lab, users: Users) -> None:
    """Asterisk writes CR and LF of a SIP address into its events unchanged."""
    port = lab.asterisk.ports.ami
    careless = users.add("careless", eventfilter=None)
    forged = "Event: QueueCallerAbandon\r\nQueue: support"
    number = "4930123" + quote("\r\n\r\n" + forged, safe="")
    with (
        Witness(port, lab.asterisk.service_user) as service,
        Witness(port, careless) as deceived,
    ):
        lab.caller("sales", HangUp(500), number=number)
        # This is why the example has a filter against it.
        made_up = deceived.wait_for(event("QueueCallerAbandon"))
        assert made_up["Queue"] == "support"
        deceived.wait_for(event("Hangup"))
        lab.caller("sales", HangUp(500), number="4930456")
        service.wait_for(event("QueueCallerLeave", CallerIDNum="4930456"))
        numbers = {
            one["CallerIDNum"]
            for name in ("QueueCallerJoin", "QueueCallerAbandon")
            for one in service.events(name)
        }
        assert numbers == {"4930456"}


def _hang_up_nobody(link: ManagerLink) -> AmiMessage:
    try:
        return link.ask(actions.hangup("nobody"))
    except Refused as error:
        if "no such channel" not in str(error).lower():
            raise
        return link.ask(actions.ping())


@pytest.mark.parametrize("missing", [None, *WRITE_CLASSES])
def test_each_class_of_write_allows_the_actions_it_is_there_for(
    asterisk: Asterisk, users: Users, missing: str | None
) -> None:
    classes = [name for name in WRITE_CLASSES if name != missing]
    user = users.add("part", write=",".join(classes))
    asterisk.cli("database put callback-outcome x ANSWER:1000:SUCCESS")
    asked = {
        # To an extension that does nothing and hangs up.
        "Originate": lambda: link.ask(
            actions.originate(
                channel="Local/wait@lab/n", application="Hangup", timeout_s=1
            )
        ),
        "Hangup": lambda: _hang_up_nobody(link),
        "CoreSettings": lambda: link.ask(actions.core_settings()),
        "CoreShowChannels": lambda: link.ask_list(actions.core_show_channels()),
        "DBGet": lambda: link.ask_list(actions.db_get("callback-outcome", "x")),
        "DeviceStateList": lambda: link.ask_list(actions.device_state_list()),
        "QueueLog": lambda: link.ask(actions.queue_log("support", "CALLBACKREQUEST")),
        "QueueStatus": lambda: link.ask_list(actions.queue_status()),
        "Ping": lambda: link.ask(actions.ping()),
        "ListCommands": lambda: link.ask(actions.list_commands()),
        "Events": lambda: link.ask(actions.events("on")),
    }
    refused = set()
    answers: dict[str, AmiMessage | list[AmiMessage]] = {}
    with _log_in(asterisk, user) as link:
        for name, ask in asked.items():
            try:
                answers[name] = ask()
            except Refused as error:
                assert "permission denied" in str(error).lower()
                refused.add(name)
    assert refused == set(WRITE_CLASSES[missing] if missing else ())
    # Each of these lists would be empty if the user lacked the right.
    for name in {"DBGet", "DeviceStateList", "QueueStatus"} - refused:
        assert answers[name], name


def test_what_the_secret_opens_beyond_calls(lab: Lab) -> None:
    """As in SECURITY.md: keep the port closed, whatever the rights are."""
    here = lab.asterisk.home
    lab.asterisk.set_dialplan(
        extra=f"[careless]\nexten => s,1,System(touch {here}/by-dialplan)\n"
    )
    file = here / "a file of Asterisk's"
    file.write_text("old\n")
    write = {"application": "Set", "data": f"FILE({file},,,al)=new"}
    with _log_in(lab.asterisk, lab.asterisk.service_user) as link:
        link.ask(
            actions.originate(channel="Local/wait@lab/n", context="careless", exten="s")
        )
        wait_until((here / "by-dialplan").exists, 10, "the file of System()")
        if lab.asterisk.major >= 18:
            with pytest.raises(Refused, match="Forbidden"):
                link.ask(actions.originate(channel="Local/wait@lab/n", **write))
        else:
            link.ask(actions.originate(channel="Local/wait@lab/n", **write))
            wait_until(lambda: "new" in file.read_text(), 10, "the line of FILE()")


def test_others_may_not_log_in_from_elsewhere(asterisk: Asterisk) -> None:
    shown = asterisk.cli(f"manager show user {asterisk.service_user.name}")
    assert "deny - 0.0.0.0" in shown
    assert "allow - 127.0.0.1" in shown
    assert "deny - ::" in shown
    assert "allow - ::1" in shown
