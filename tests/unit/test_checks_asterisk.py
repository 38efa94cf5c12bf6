# SPDX-License-Identifier: MIT
"""Findings of ``check`` from the manager, and from Asterisk's files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.task import Clock

from fastagi.ami.events import READ_CLASSES
from fastagi.ami.session import AmiSession
from fastagi.app import CallbackService, Endpoints
from fastagi.checks import dialplan, manager
from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.dialplan import check_dialplan
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, Trouble
from fastagi.checks.manager import (
    NO_EMPTY_LINE,
    WRITE_CLASSES,
    check_manager,
    explain_failure,
)
from fastagi.checks.modules import check_modules, need_modules
from fastagi.checks.queues import check_queues, takes_key
from fastagi.config.sections import ReportSettings, Settings
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.programs import ChildPrograms
from fastagi.runtime.threads import OwnThread
from fastagi.store import leases
from fastagi.store.engine import Database
from fastagi.store.processes import Process
from fastagi.wire.ami import AmiMessage, Header
from tests.emulator.scripted_manager import (
    Answer,
    Script,
    ScriptedManager,
    error,
    listing,
    success,
)
from tests.harness.checking import log_in, only, settings, told, write

_OURS = Path(__file__).parents[2] / "dialplan" / "callback-queue.conf"
_BOOTED: Sequence[Header] = (("Event", "FullyBooted"), ("ActionID", ""))
_EVERY_ACTION = [
    "DeviceStateList",
    *(name for names in WRITE_CLASSES.values() for name in names),
]


def _may(*names: str, heard: bool = True) -> Script:
    """The right answers of an Asterisk 22, for a user with these actions."""
    commands = [(name, f"{name}. (Priv: some)") for name in (*names, "QueueStatus")]
    events = (_BOOTED,) if heard else ()
    return {
        "ListCommands": lambda _: (*events, success(*commands)),
        "CoreSettings": lambda _: (success(("AsteriskVersion", "22.10.1")),),
    }


class TestManager:
    def _check(self, home: Path, script: Script, banner: bytes = b"") -> Notes:
        given = settings(home)
        with ScriptedManager(script, banner) as manager, log_in(manager) as link:
            return check_manager(link, given, AsteriskMachine(given))

    def _configure(self, home: Path, *lines: str) -> None:
        known = ["[general]", "enabled = yes", "[callback-queue]"]
        text = "\n".join([*known, *lines, f"eventfilter = {NO_EMPTY_LINE}"])
        write(home / "etc/manager.conf", text)

    def test_user_with_all_rights_is_ok(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = agent, call,system,user,cdr")
        assert told(self._check(tmp_path, _may(*_EVERY_ACTION))) == ["ok"]

    def test_read_all_is_ok(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = all")
        assert told(self._check(tmp_path, _may(*_EVERY_ACTION))) == ["ok"]

    @pytest.mark.parametrize("name", WRITE_CLASSES)
    def test_class_missing_in_write(self, tmp_path: Path, name: str) -> None:
        self._configure(tmp_path, "read = all")
        may = [one for one in _EVERY_ACTION if one not in WRITE_CLASSES[name]]
        assert only(self._check(tmp_path, _may(*may))) == (
            f"fault: {tmp_path}/etc/manager.conf:3: callback-queue may not use"
            f" {', '.join(WRITE_CLASSES[name])}: write has no '{name}' - write there:"
            " write = agent,call,originate,reporting; then run: sudo asterisk -rx"
            " 'manager reload'"
        )

    def test_class_that_is_there_for_reports_only(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = all")
        given = attrs.evolve(
            settings(tmp_path), reports=ReportSettings(queue_log=False)
        )
        may = [one for one in _EVERY_ACTION if one != "QueueLog"]
        with ScriptedManager(_may(*may), b"") as manager, log_in(manager) as link:
            assert told(check_manager(link, given, AsteriskMachine(given))) == ["ok"]

    @pytest.mark.parametrize("name", READ_CLASSES)
    def test_class_missing_in_read(self, tmp_path: Path, name: str) -> None:
        classes = ",".join(one for one in READ_CLASSES if one != name)
        self._configure(tmp_path, f"read = {classes}")
        text = only(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert text.startswith(f"fault: {tmp_path}/etc/manager.conf:3: ")
        assert f"read has no '{name}'" in text
        assert "write there: read = agent,call,system,user; then run: " in text

    def test_module_missing(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = all")
        may = [one for one in _EVERY_ACTION if one != "DeviceStateList"]
        assert only(self._check(tmp_path, _may(*may))) == (
            "fault: modules.conf: Asterisk has no action DeviceStateList:"
            " res_manager_devicestate.so is not loaded - load ="
            " res_manager_devicestate.so in modules.conf; then run: sudo asterisk -rx"
            " 'module load res_manager_devicestate.so'"
        )

    @pytest.mark.parametrize(
        ("version", "ok"), [("16.28.0~dfsg", True), ("13.38.3", False), ("22", True)]
    )
    def test_age_of_asterisk(self, tmp_path: Path, version: str, ok: bool) -> None:
        self._configure(tmp_path, "read = all")
        script = {
            **_may(*_EVERY_ACTION),
            "CoreSettings": lambda _: (success(("AsteriskVersion", version)),),
        }
        texts = told(self._check(tmp_path, script))
        assert (texts == ["ok"]) == ok
        if not ok:
            assert texts == [
                f"fault: Asterisk: Asterisk {version} is too old - install Asterisk 16"
                " or newer"
            ]

    def test_age_of_an_asterisk_that_may_not_be_asked(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = all")
        script = {"ListCommands": _may("Originate")["ListCommands"]}
        banner = b"Asterisk Call Manager/2.10.6\r\n"
        texts = told(self._check(tmp_path, script, banner))
        assert any("Asterisk with AMI 2.10.6 is too old" in text for text in texts)

    def test_rights_that_can_not_be_read_are_told_as_a_doubt(
        self, tmp_path: Path
    ) -> None:
        text = only(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert text == (
            "warning: [callback-queue] in manager.conf: which events callback-queue may"
            f" read is not checked: {tmp_path}/etc/manager.conf does not exist - run"
            " this check as root on Asterisk's machine; or run there: sudo asterisk -rx"
            " 'manager show user callback-queue' and compare its 'read perm' with: read"
            " = agent,call,system,user"
        )

    def test_user_in_a_file_that_can_not_be_read(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/manager.conf", "#include huge.conf\n[general]\n")
        write(tmp_path / "etc/huge.conf", "")
        os.truncate(tmp_path / "etc/huge.conf", 1 << 30)
        text = only(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert f"is not checked: {tmp_path}/etc/manager.conf:1: " in text
        assert "huge.conf is far too large - run this check as root" in text

    def test_file_that_asterisk_refuses(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/manager.conf", "[general]\n#include gone.conf\n")
        fault, _doubt = told(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert fault == (
            f"fault: {tmp_path}/etc/manager.conf:2: Asterisk does not read all of"
            f" manager.conf: there is no file {tmp_path}/etc/gone.conf - correct the"
            " name, or write #tryinclude in place of #include; then run: sudo asterisk"
            " -rx 'manager reload'"
        )

    def test_event_that_did_not_come_is_a_fault_all_the_same(
        self, tmp_path: Path
    ) -> None:
        script = _may(*_EVERY_ACTION, heard=False)
        fault, _doubt = told(self._check(tmp_path, script))
        assert fault.startswith("fault: [callback-queue] in manager.conf: ")
        assert "read has no 'system'" in fault

    @pytest.mark.parametrize(
        ("lines", "lost"),
        [
            (["eventfilter = !^Event: (VarSet|Newexten)"], ""),
            (["eventfilter = ![[:cntrl:]]{3}[^[:cntrl:]]"], ""),
            (["eventfilter = ![[:cntrl:]]{2}[^[:cntrl:]]"], "Agent"),
            (["eventfilter = !Event: Queue"], "QueueCallerJoin"),
            (["eventfilter = !^Event: Hang", "eventfilter=!DialEnd"], "Hangup"),
            (["eventfilter = ^Event: (Agent|Queue)"], "BridgeEnter"),
            (["eventfilter = Event: "], ""),
            (["eventfilter = Event: ", "eventfilter = !Event: UserEvent"], "UserEvent"),
        ],
    )
    def test_event_filters(self, tmp_path: Path, lines: list[str], lost: str) -> None:
        self._configure(tmp_path, "read = all", *lines)
        texts = told(self._check(tmp_path, _may(*_EVERY_ACTION)))
        if lost:
            (text,) = [one for one in texts if f"keeps away {lost}" in one]
            number = 6 if lost == "UserEvent" else 5
            assert text.startswith(f"fault: {tmp_path}/etc/manager.conf:{number}: ")
        else:
            assert texts == ["ok"]

    @pytest.mark.parametrize(
        "line", ["eventfilter(action(exclude),name(Hangup)) =", "eventfilter = ("]
    )
    def test_filter_we_do_not_understand(self, tmp_path: Path, line: str) -> None:
        self._configure(tmp_path, "read = all", line)
        text = only(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert text.startswith("warning: ")
        assert "not checked" in text

    def test_nothing_keeps_made_up_events_away(self, tmp_path: Path) -> None:
        self._configure(tmp_path, "read = all", "eventfilter = !^Event: VarSet")
        conf = tmp_path / "etc/manager.conf"
        conf.write_text(conf.read_text().replace(NO_EMPTY_LINE, "!^Event: RTCP"))
        text = only(self._check(tmp_path, _may(*_EVERY_ACTION)))
        assert text.startswith(f"warning: {conf}:3: ")
        assert f"eventfilter = {NO_EMPTY_LINE}" in text

    def test_manager_that_falls_silent(self, tmp_path: Path) -> None:
        given = settings(tmp_path)
        script: Script = {"ListCommands": lambda _: ()}
        with ScriptedManager(script) as manager, log_in(manager, 0.05) as link:
            text = only(check_manager(link, given, AsteriskMachine(given)))
        assert "no answer within 0.05 s" in text

    @pytest.mark.parametrize(
        ("ami", "words"),
        [
            ({}, None),
            (
                {"host": "192.0.2.1"},
                "in clear text: who is between here and there can hear every call",
            ),
            (
                {"host": "192.0.2.1", "login": "plain"},
                "can read the secret of callback-queue, hear every call",
            ),
            ({"host": "192.0.2.1", "tls": {"enabled": True}}, None),
        ],
    )
    def test_clear_text_to_another_machine_is_a_doubt(
        self, ami: dict[str, Any], words: str | None, tmp_path: Path
    ) -> None:
        given = settings(tmp_path, ami={"secret": "s3cret", **ami})
        with ScriptedManager({}) as manager, log_in(manager) as link:
            found = told(check_manager(link, given, AsteriskMachine(given)))
        about_it = [text for text in found if text.startswith("warning: ami.tls: ")]
        assert len(about_it) == (0 if words is None else 1)
        assert words is None or words in about_it[0]


class TestNoConnection:
    def _explain(self, home: Path, failed: LinkFailed) -> str:
        given = settings(home)
        return only(explain_failure(failed, given.ami, AsteriskMachine(given)))

    def _log_in(self, script: Script, banner: bytes = b"") -> LinkFailed:
        with (
            ScriptedManager(script, banner) as manager,
            pytest.raises(LinkFailed) as raised,
        ):
            log_in(manager)
        return raised.value

    def _refused(self, text: str = "Authentication failed") -> LinkFailed:
        return self._log_in({"Login": lambda _: (error(text),)})

    def test_nothing_listens(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ami = settings(tmp_path, ami={"port": free.getsockname()[1]}).ami
            with pytest.raises(LinkFailed) as raised:
                manager.log_in(ami)
        text = self._explain(tmp_path, raised.value)
        assert text.startswith("fault: 127.0.0.1:5038: no manager interface: the conn")
        assert "systemctl status asterisk" in text
        # The files tell more, if they can be read.
        path = tmp_path / "etc/manager.conf"
        write(path, "[general]\nenabled = yes\nport = 5039\n")
        text = self._explain(tmp_path, raised.value)
        assert text.endswith(
            f"write port: 5039 under ami, as manager.conf has it ({path}:3)"
        )
        write(path, "[general]\nenabled = no\nport = 5038\n")
        text = self._explain(tmp_path, raised.value)
        assert f"write enabled = yes under [general] in manager.conf ({path}:2)" in text

    def test_host_without_an_address(self, tmp_path: Path) -> None:
        ami = settings(tmp_path, ami={"host": "nosuchhost.invalid"}).ami
        with pytest.raises(LinkFailed) as raised:
            manager.log_in(ami)
        assert raised.value.trouble is Trouble.NO_ADDRESS
        assert self._explain(tmp_path, raised.value).endswith("correct ami.host")

    def test_something_else_listens(self, tmp_path: Path) -> None:
        text = self._explain(tmp_path, self._log_in({}, b"SSH-2.0-OpenSSH_9.2\r\n"))
        assert "something else answers there: " in text
        assert "SSH-2.0" in text

    def test_login_refused(self, tmp_path: Path) -> None:
        text = self._explain(tmp_path, self._refused())
        assert text.startswith(
            "fault: 127.0.0.1:5038: Asterisk refuses the login of callback-queue:"
            " Authentication failed - compare ami.username and ami.secret with"
        )

    def test_login_refused_and_the_file_tells_why(self, tmp_path: Path) -> None:
        path = tmp_path / "etc/manager.conf"
        write(path, "[general]\n[other]\nsecret = s3cret\n")
        text = self._explain(tmp_path, self._refused())
        assert text.startswith(f"fault: {path}: there is no user [callback-queue] - ")
        write(path, "[callback-queue]\nsecret = an0ther\n")
        text = self._explain(tmp_path, self._refused())
        assert text.startswith(f"fault: {path}:2: the secret of [callback-queue] is")
        assert "s3cret" not in text
        assert "an0ther" not in text
        write(path, "[callback-queue]\nsecret = s3cret\n")
        assert "permit lines" in self._explain(tmp_path, self._refused())

    def test_user_may_log_in_only_once(self, tmp_path: Path) -> None:
        text = self._explain(tmp_path, self._refused("Login Already In Use"))
        assert "write there: allowmultiplelogin = yes" in text

    def test_connection_that_is_closed_at_once(self, tmp_path: Path) -> None:
        with ScriptedManager({}) as manager, pytest.raises(LinkFailed) as raised:
            manager.hang_up()
            log_in(manager)
        text = self._explain(tmp_path, raised.value)
        assert "does not answer: Asterisk closed the connection" in text

    @pytest.mark.parametrize(
        ("conf", "advice"),
        [
            ("tlsenable = no\n", "write tlsenable = yes, tlscertfile and"),
            ("", "write tlsenable = yes, tlscertfile and"),
            (
                "tlsenable = yes\ntlsbindaddr = 0.0.0.0:5040\n",
                "write port: 5040 under ami, as tlsbindaddr in manager.conf has it",
            ),
            (
                "tlsenable = yes\ntlsbindaddr = [::]\n",
                "could read tlscertfile and tlsprivatekey",
            ),
        ],
    )
    def test_nothing_listens_with_tls(
        self, conf: str, advice: str, tmp_path: Path
    ) -> None:
        given = settings(tmp_path, ami={"tls": {"enabled": True}})
        write(tmp_path / "etc/manager.conf", f"[general]\nenabled = yes\n{conf}")
        failed = LinkFailed(Trouble.REFUSED, "the connection is refused")
        text = only(explain_failure(failed, given.ami, AsteriskMachine(given)))
        assert text.startswith("fault: 127.0.0.1:5039: no manager interface: ")
        assert advice in text

    @pytest.mark.parametrize("file", ["/nowhere/ca.crt", "/no - where/ca.crt"])
    def test_file_for_tls_that_is_not_there(self, tmp_path: Path, file: str) -> None:
        given = settings(tmp_path, ami={"tls": {"enabled": True, "ca_file": file}})
        with pytest.raises(LinkFailed) as raised:
            manager.log_in(given.ami)
        text = only(explain_failure(raised.value, given.ami, AsteriskMachine(given)))
        assert text == (
            f"fault: 127.0.0.1:5039: no TLS: ami.tls.ca_file: {file} can not be read:"
            " No such file or directory - correct the path, or let the service read it:"
            f" chmod 644 {file}"
        )

    def test_silence_may_be_tls(self, tmp_path: Path) -> None:
        text = self._explain(tmp_path, LinkFailed(Trouble.SILENT, "no answer"))
        assert "if this port is that of tlsbindaddr" in text


def _contexts(
    contexts: dict[str, list[dict[str, str]]], agi: str = ""
) -> dict[str, Any]:
    """Answers of an Asterisk that has loaded these contexts."""

    def show(action: AmiMessage) -> Answer:
        name = action.get("Context")
        if not name:
            return listing(
                *(
                    [("Event", "ListDialplan"), ("Context", context), *item.items()]
                    for context, items in contexts.items()
                    for item in items
                )
            )
        if name not in contexts:
            return (error(f"Did not find context {name}"),)
        items = contexts[name]
        return listing(
            *([("Event", "ListDialplan"), *item.items()] for item in items),
        )

    return {
        "ShowDialPlan": show,
        "Getvar": lambda _: (success(("Variable", "CALLBACK_AGI"), ("Value", agi)),),
    }


def _loaded(version: str = str(dialplan.VERSION)) -> dict[str, list[dict[str, str]]]:
    contexts: dict[str, list[dict[str, str]]] = {name: [] for name in dialplan.CONTEXTS}
    if version:
        contexts[dialplan.VERSION_CONTEXT] = [
            {"Application": "NoOp", "AppData": version}
        ]
    return contexts


def _extension(name: str, *steps: str) -> list[dict[str, str]]:
    """Return an extension with steps such as "Queue(support,t)"."""
    return [
        {
            "Extension": name,
            "Application": application,
            "AppData": data.removesuffix(")"),
        }
        for application, _, data in (step.partition("(") for step in steps)
    ]


class TestDialplan:
    def _check(self, given: Settings, script: Script) -> Notes:
        with ScriptedManager(script) as manager, log_in(manager) as link:
            return check_dialplan(link, given.fastagi, AsteriskMachine(given))

    def test_our_dialplan_is_ok(self, tmp_path: Path) -> None:
        assert told(self._check(settings(tmp_path), _contexts(_loaded()))) == ["ok"]

    @pytest.mark.parametrize(
        ("steps", "warned"),
        [
            ([("Queue", "support,t,,,600")], True),
            ([("Set", dialplan.NUMBER_FILTER[4:-1]), ("Queue", "support")], False),
            (
                [("Gosub", "callback-enter,s,1(support,t)"), ("Queue", "support")],
                False,
            ),
            ([("Set", "CALLERID(num)=1"), ("Queue", "support")], True),
            ([("Queue", "without-callbacks")], False),
        ],
    )
    def test_number_is_not_filtered_before_the_queue(
        self, tmp_path: Path, steps: list[tuple[str, str]], warned: bool
    ) -> None:
        given = settings(tmp_path)
        loaded = _loaded()
        loaded["inbound"] = [
            {"Extension": "600", "Application": name, "AppData": data}
            for name, data in [("Answer", ""), *steps]
        ]
        with ScriptedManager(_contexts(loaded)) as manager, log_in(manager) as link:
            notes = check_dialplan(
                link, given.fastagi, AsteriskMachine(given), {"support"}
            )
        if warned:
            text = told(notes)[-1]
            assert text.startswith("warning: extension 600@inbound: a caller whose")
            assert text.endswith(dialplan.NUMBER_FILTER)
        else:
            assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("steps", "lost"),
        [
            (
                ["Queue(support,tc,,,20)", "Playback(vm-goodbye)"],
                "the time-out begins anew, and its arguments are lost where Asterisk"
                " writes no CDRs, and the call ends behind the queue, whatever follows"
                " this line",
            ),
            (
                ["Queue(support,tc,,,20)", "Hangup()"],
                "the time-out begins anew, and its arguments are lost where Asterisk"
                " writes no CDRs",
            ),
            (
                ["Queue(support)", "Goto(sales,1)"],
                "the call ends behind the queue, whatever follows this line",
            ),
            (["Queue(support)", "Hangup()"], ""),
            (["Queue(support)"], ""),
            (["Queue(unknown,tc,,,20)", "Playback(vm-goodbye)"], ""),
            (["Gosub(callback-enter,s,1(support,tc))", "Queue(${X})", "NoOp()"], ""),
            (["Queue(support,t,,,600,,,,${CALLBACK_POSITION})", "NoOp()"], ""),
            (
                [
                    "Queue(support,${CALLBACK_QUEUE_OPTIONS},,,"
                    "${CALLBACK_QUEUE_TIMEOUT})",
                    "Goto(callback-after-queue,support,1)",
                ],
                "",
            ),
        ],
    )
    def test_what_a_queue_line_loses_for_who_is_put_back(
        self, tmp_path: Path, steps: list[str], lost: str
    ) -> None:
        loaded = _loaded() | {"inbound": _extension("600", "Answer()", *steps)}
        # Another extension is nothing that follows.
        loaded["inbound"] += _extension("601", f"Set({dialplan.NUMBER_FILTER[4:-1]})")
        notes = self._check_queues(tmp_path, loaded)
        if lost:
            data = steps[0].removeprefix("Queue(").removesuffix(")")
            assert only(notes) == (
                "warning: extension 600@inbound: a caller who presses the key and is"
                f" put back in line does not come back to {steps[0]}: {lost} - write"
                f" two lines in its place: Gosub(callback-enter,s,1({data})) and then"
                " Queue(${CALLBACK_QUEUE_ARGS})"
            )
        else:
            assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("before", "elsewhere", "warned"),
        [
            ([], {}, True),
            (["Answer()"], {}, False),
            (["Playback(welcome)"], {}, False),
            (["Playback(welcome,noanswer)"], {}, True),
            (["ExecIf($[${A}]?Answer())"], {}, False),
            (["Gosub(greet,s,1)"], {"greet": ["Answer()", "Return()"]}, False),
            (["Gosub(greet,s,1)"], {"greet": ["Wait(1)", "Return()"]}, True),
            ([], {"ivr": ["Answer()", "Goto(inbound,600,1)"]}, False),
            ([], {"ivr": ["Answer()", "Dial(Local/600@inbound/n)"]}, False),
            ([], {"ivr": ["Answer()", "Goto(other,600,1)"]}, True),
            ([], {"ivr": ["Goto(inbound,600,1)", "Answer()"]}, True),
        ],
    )
    @pytest.mark.parametrize(
        "line", ["Queue(support)", "Gosub(callback-enter,s,1(support,t,,,9))"]
    )
    def test_queue_whose_callers_are_not_answered(
        self,
        tmp_path: Path,
        before: list[str],
        elsewhere: dict[str, list[str]],
        warned: bool,
        line: str,
    ) -> None:
        filtered = f"Set({dialplan.NUMBER_FILTER[4:-1]})"
        loaded = _loaded() | {"inbound": _extension("600", filtered, *before, line)}
        for context, steps in elsewhere.items():
            loaded[context] = _extension("s", *steps)
        notes = self._check_queues(tmp_path, loaded)
        if warned:
            assert only(notes) == (
                "warning: extension 600@inbound: callers may come to the queue without"
                " having been answered, and then the key is not sent by many phones and"
                " trunks - write Answer() as the first line of this extension"
            )
        else:
            assert told(notes) == ["ok"]

    def test_what_follows_is_in_a_context_for_lines_that_a_program_writes(
        self, tmp_path: Path
    ) -> None:
        line = ["Queue(support,${QOPTIONS},,,${QMAXWAIT})", "Goto(gotodest)"]
        filtered = _extension("1", f"Set({dialplan.NUMBER_FILTER[4:-1]})")
        loaded = _loaded() | {
            "ext-queues": _extension("600", "Answer()", *line),
            "from-outside": filtered,
        }
        assert only(self._check_queues(tmp_path, loaded)).endswith(
            "- write the queue's 'Fail Over Destination' in [callback-after-queue] in"
            " extensions_custom.conf (docs/freepbx.md)"
        )
        loaded["callback-after-queue"] = _extension("support", "Hangup()")
        assert told(self._check_queues(tmp_path, loaded)) == ["ok"]

    def _check_queues(
        self, home: Path, loaded: dict[str, list[dict[str, str]]]
    ) -> Notes:
        given = settings(home)
        with ScriptedManager(_contexts(loaded)) as manager, log_in(manager) as link:
            return check_dialplan(
                link, given.fastagi, AsteriskMachine(given), {"support"}
            )

    def test_dialplan_is_not_there(self, tmp_path: Path) -> None:
        given = settings(tmp_path)
        assert only(self._check(given, _contexts({}))) == (
            "fault: extensions.conf: Asterisk has not loaded our dialplan - copy"
            f" dialplan/callback-queue.conf to {tmp_path}/etc, write #include"
            ' "callback-queue.conf" at the end of extensions.conf; then run: sudo'
            " asterisk -rx 'dialplan reload'"
        )
        write(tmp_path / "etc/extensions.conf", "[from-outside]\n")
        write(tmp_path / "etc/callback-queue.conf", _OURS.read_text())
        text = only(self._check(given, _contexts({})))
        assert (
            f'- write #include "callback-queue.conf" at the end of {tmp_path}' in text
        )
        write(tmp_path / "etc/extensions.conf", "#include callback-queue.conf\n")
        text = only(self._check(given, _contexts({})))
        assert text.endswith("- run: sudo asterisk -rx 'dialplan reload'")

    @pytest.mark.parametrize("missing", dialplan.CONTEXTS)
    def test_context_missing(self, tmp_path: Path, missing: str) -> None:
        contexts = _loaded()
        del contexts[missing]
        text = only(self._check(settings(tmp_path), _contexts(contexts)))
        assert f"contexts are missing: {missing} - copy " in text

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            ("", "is of version none"),
            ("999", "is of version 999, this service knows only up to version"),
            ("later", "is of version none"),
        ],
    )
    def test_another_version(self, tmp_path: Path, version: str, words: str) -> None:
        script = _contexts(_loaded(version))
        assert words in only(self._check(settings(tmp_path), script))

    @pytest.mark.parametrize("keeps_places", [True, False])
    @pytest.mark.parametrize(
        ("has_places", "missing", "words"),
        [
            (False, "", "this service works with version"),
            (False, dialplan.CONTEXTS[-1], "contexts are missing"),
            (True, "", "this service works with version"),
        ],
    )
    def test_older_dialplan_that_keeps_no_places(
        self,
        tmp_path: Path,
        has_places: bool,
        missing: str,
        words: str,
        keeps_places: bool,
    ) -> None:
        loaded = _loaded("6")
        if has_places:
            loaded["callback-member"] = _extension("place", "Queue()")
        loaded.pop(missing, None)
        given = settings(tmp_path)
        with ScriptedManager(_contexts(loaded)) as manager, log_in(manager) as link:
            notes = check_dialplan(
                link, given.fastagi, AsteriskMachine(given), keeps_places=keeps_places
            )
        text = only(notes)
        assert words in text
        told_so = "live callers go first, whatever 'fairness' says" in text
        assert told_so == (keeps_places and not has_places)

    @pytest.mark.parametrize(
        ("agi", "words"),
        [
            ("agi://127.0.0.1:4573/berlin", ""),
            ("agi://127.0.0.1/berlin/", "with / at the end every request is refused"),
            (
                "agi://127.0.0.1:4573",
                "does not end with the name of this node: /berlin",
            ),
            (
                "agi://127.0.0.1/pbx1",
                "does not end with the name of this node: /berlin",
            ),
            ("agi://127.0.0.1:4574/berlin", "and fastagi.port is 4573"),
        ],
    )
    def test_dialplan_of_one_of_several_asterisks_names_its_node(
        self, tmp_path: Path, agi: str, words: str
    ) -> None:
        given = settings(tmp_path)
        script = _contexts(_loaded(), agi)
        with ScriptedManager(script) as manager, log_in(manager) as link:
            notes = check_dialplan(
                link, given.fastagi, AsteriskMachine(given), node="berlin"
            )
        if words:
            text = only(notes)
            assert words in text
            assert "CALLBACK_AGI = agi://127.0.0.1:4573/berlin; then run: " in text
        else:
            assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("agi", "words"),
        [
            ("agi://127.0.0.1:4573", ""),
            ("agi://127.0.0.1", ""),
            ("agi://pbx.example.com:4573", ""),
            ("agi://127.0.0.1:4574", "it is agi://127.0.0.1:4574, and fastagi.port is"),
            ("agi://127.0.0.2", "it is agi://127.0.0.2, and fastagi.listen is 127"),
            ("agi://127.0.0.1/", "with / at the end every request is refused"),
            ("http://127.0.0.1", "http://127.0.0.1 is no address of a FastAGI server"),
        ],
    )
    def test_where_the_dialplan_looks_for_us(
        self, tmp_path: Path, agi: str, words: str
    ) -> None:
        notes = self._check(settings(tmp_path), _contexts(_loaded(), agi))
        if words:
            text = only(notes)
            assert words in text
            assert "CALLBACK_AGI = agi://127.0.0.1:4573; then run: " in text
        else:
            assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("agi", "words"),
        [
            ("agi://127.0.0.1:4573&agi://10.0.0.6:4573", ()),
            ("agi://10.0.0.6&agi://127.0.0.1", ()),
            ("agi://10.0.0.6:4574&agi://pbx.example.com", ()),
            ("agi://10.0.0.6/berlin&agi://127.0.0.1/berlin", ()),
            ("agi://[2001:db8::6]:4573&agi://127.0.0.1", ()),
            (
                "agi://10.0.0.5:4573&agi://10.0.0.6:4573",
                ("fault: CALLBACK_AGI in the dialplan: none of its addresses is the",),
            ),
            (
                "agi://127.0.0.1:4574&agi://10.0.0.6:4573",
                ("fault: CALLBACK_AGI in the dialplan: none of its addresses is the",),
            ),
            (
                "agi://127.0.0.1:4573 & agi://10.0.0.6:4573",
                (
                    "'agi://127.0.0.1:4573 ' in the list is no address of a FastAGI",
                    "' agi://10.0.0.6:4573' in the list is no address of a FastAGI",
                ),
            ),
            ("agi://127.0.0.1:4573&", ("'' in the list is no address of a FastAGI",)),
            (
                "agi://127.0.0.1:4573,agi://10.0.0.6:4573",
                ('FastAGI server - write "&" between the addresses, without blanks',),
            ),
            (
                "agi://127.0.0.1:4573&agi://127.0.0.1",
                ("warning: CALLBACK_AGI in the dialplan: an address is in the list",),
            ),
            (
                "&".join(f"agi://127.0.0.{number}:4573" for number in range(1, 6)),
                ("it has 5 addresses, and each has an equal share of the one second",),
            ),
        ],
    )
    def test_several_addresses(
        self, tmp_path: Path, agi: str, words: tuple[str, ...]
    ) -> None:
        texts = told(self._check(settings(tmp_path), _contexts(_loaded(), agi)))
        if not words:
            assert texts == ["ok"]
            return
        assert len(texts) == len(words), texts
        for text, word in zip(texts, words, strict=True):
            assert word in text

    def test_port_in_the_settings_that_the_dialplan_does_not_know(
        self, tmp_path: Path
    ) -> None:
        given = settings(tmp_path, fastagi={"port": 4600, "listen": "0.0.0.0"})
        text = only(self._check(given, _contexts(_loaded())))
        assert "it is agi://127.0.0.1:4573, and fastagi.port is 4600" in text

    def test_without_rights_the_files_are_looked_at(self, tmp_path: Path) -> None:
        given = settings(tmp_path)
        script: Script = {"ShowDialPlan": lambda _: (error("Permission denied"),)}
        doubt, other = told(self._check(given, script))
        assert "is not checked: Permission denied" in doubt
        assert f"not checked: {tmp_path}/etc/extensions.conf does not exist" in other
        write(tmp_path / "etc/extensions.conf", "[from-outside]\n")
        fault, _doubt = told(self._check(given, script))
        assert fault.startswith(f"fault: {tmp_path}/etc/extensions.conf: our dialplan")
        write(tmp_path / "etc/extensions.conf", "#exec /bin/true\n")
        doubts = told(self._check(given, script))
        assert all(text.startswith("warning: ") for text in doubts)
        write(tmp_path / "etc/extensions.conf", "#include callback-queue.conf\n")
        write(tmp_path / "etc/callback-queue.conf", _OURS.read_text())
        assert len(told(self._check(given, script))) == 1


_GOOD = "context = callback-request\nsetqueuevar = yes\n"
_OFFER = (
    "periodic-announce = callback-queue/offer\nperiodic-announce-frequency = 30\n"
    "announce-to-first-user = yes\n"
)


class TestQueues:
    def _status(self, max: str = "0", **queues: list[tuple[str, str]]) -> Script:
        items: list[Sequence[Header]] = []
        for name, members in queues.items():
            params = (("Event", "QueueParams"), ("Queue", name), ("Max", max))
            items.append(params)
            items += [
                (
                    ("Event", "QueueMember"),
                    ("Queue", name),
                    ("Location", interface),
                    ("StateInterface", interface),
                    ("Status", status),
                )
                for interface, status in members
            ]
        return {"QueueStatus": lambda _: listing(*items)}

    def _check(
        self, home: Path, conf: str | None, script: Script | None = None, **given: Any
    ) -> Notes:
        if conf is not None:
            # The last section is that of the queue; without it there is a warning.
            good = "" if "ringinuse" in conf else "ringinuse = no\n"
            write(home / "etc/queues.conf", conf + good)
        known = settings(home)
        if given:
            known = settings(home, queues=given)
        both = {**self._status(support=[("PJSIP/1", "1")]), **(script or {})}
        with ScriptedManager(both) as manager, log_in(manager) as link:
            return check_queues(link, known, AsteriskMachine(known))

    def test_right_queue_is_ok(self, tmp_path: Path) -> None:
        conf = f"[callback](!)\n{_GOOD}{_OFFER}[Support](callback)\n"
        assert told(self._check(tmp_path, conf)) == ["ok"]

    def test_queue_that_asterisk_does_not_have(self, tmp_path: Path) -> None:
        nothing = self._status()
        text = told(self._check(tmp_path, "[general]\n", nothing))[0]
        assert text.startswith("fault: queues.conf: Asterisk has no queue support - ")
        assert "add [support] to queues.conf" in text
        text = told(self._check(tmp_path, f"[support]\n{_GOOD}{_OFFER}", nothing))[0]
        assert text == (
            f"fault: {tmp_path}/etc/queues.conf:1: Asterisk has no queue support,"
            " though it is here - run: sudo asterisk -rx 'module reload app_queue.so'"
        )

    def test_queue_in_a_database_is_told_as_a_doubt(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/extconfig.conf", "[settings]\nqueues => odbc,asterisk\n")
        texts = told(self._check(tmp_path, "[general]\n", self._status()))
        assert len(texts) == 2
        assert all(text.startswith("warning: queue support: ") for text in texts)
        assert "sudo asterisk -rx 'queue show support'" in texts[0]
        assert "sudo asterisk -rx 'realtime load queues name support'" in texts[1]

    def test_target_that_asterisk_does_not_have(self, tmp_path: Path) -> None:
        notes = self._check(
            tmp_path, f"[support]\n{_GOOD}{_OFFER}", support={"target_queue": "sales"}
        )
        assert only(notes).startswith("fault: queues.conf: Asterisk has no queue sales")

    @pytest.mark.parametrize(
        ("members", "words"),
        [
            ([], "it has no members, so nobody is called back as long as that is so"),
            ([("PJSIP/9", "4")], "does not know the device of its member PJSIP/9"),
        ],
    )
    def test_members(
        self, tmp_path: Path, members: list[tuple[str, str]], words: str
    ) -> None:
        script = self._status(support=members)
        text = only(self._check(tmp_path, f"[support]\n{_GOOD}{_OFFER}", script))
        assert text.startswith("warning: queue support: ")
        assert words in text

    def test_members_of_a_queue_whose_callbacks_others_take(
        self, tmp_path: Path
    ) -> None:
        script = self._status(support=[], sales=[("PJSIP/1", "1")])
        conf = f"[support]\n{_GOOD}{_OFFER}"
        notes = self._check(tmp_path, conf, script, support={"target_queue": "sales"})
        assert told(notes) == ["ok"]

    def test_queue_without_context(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path, f"[support]\nsetqueuevar = yes\n{_OFFER}"))
        assert text == (
            f"fault: {tmp_path}/etc/queues.conf:1: [support] has no context, so nothing"
            " happens when a caller presses 1 - write there: context ="
            " callback-request; then run: sudo asterisk -rx 'module reload"
            " app_queue.so'"
        )

    @pytest.mark.parametrize(
        ("item", "leads"),
        [
            ({"IncludeContext": "callback-request"}, True),
            ({"Extension": "1", "AppData": "callback-request,1,1"}, True),
            ({"Extension": "1", "AppData": "somewhere,1,1"}, False),
        ],
    )
    def test_queue_with_a_context_of_its_own(
        self, tmp_path: Path, item: dict[str, str], leads: bool
    ) -> None:
        conf = f"[support]\nsetqueuevar = yes\ncontext = keys\n{_OFFER}"
        notes = self._check(tmp_path, conf, _contexts({"keys": [item]}))
        if leads:
            assert told(notes) == ["ok"]
        else:
            assert only(notes).startswith(
                f"fault: {tmp_path}/etc/queues.conf:3: key 1 leads to the context keys,"
            )

    @pytest.mark.parametrize(
        ("item", "takes"),
        [
            ({"IncludeContext": "callback-request"}, True),
            ({"Extension": "D", "AppData": "callback-request,D,1"}, True),
            ({"Extension": "2", "AppData": "somewhere,1,1"}, False),
        ],
    )
    def test_context_of_its_own_that_takes_the_key_of_an_offer(
        self, tmp_path: Path, item: dict[str, str], takes: bool
    ) -> None:
        key_1 = {"Extension": "1", "AppData": "callback-request,1,1"}
        notes = self._check(
            tmp_path,
            "[support]\nsetqueuevar = yes\ncontext = keys\n",
            _contexts({"keys": [key_1, item]}),
            support={"offers": {"enabled": True}},
        )
        if takes:
            assert told(notes) == ["ok"]
        else:
            text = only(notes)
            assert text.startswith(
                f"fault: {tmp_path}/etc/queues.conf:3: no callback can be offered in"
                " [support]: the context keys does not take the key D"
            )
            assert "write include => callback-request in the context keys" in text

    @pytest.mark.parametrize(
        ("extensions", "accept_keys", "told_as"),
        [
            ([], "1", "fault"),
            ([{"Extension": "_[3-5#]"}], "1", "fault"),
            ([], "12", "warning"),
            ([{"Extension": "2"}], "1", "ok"),
            ([{"Extension": "_[1-3]"}], "1", "ok"),
            ([{"IncludeContext": "more,09:00-17:00,mon-fri,*,*"}], "1", "ok"),
            ([{"Switch": "Realtime/@"}], "1", "ok"),
        ],
    )
    @pytest.mark.parametrize("own", [False, True])
    def test_key_that_says_when_and_leads_nowhere(
        self,
        tmp_path: Path,
        extensions: list[dict[str, str]],
        accept_keys: str,
        told_as: str,
        own: bool,
    ) -> None:
        key_1 = {"Extension": "1", "AppData": "callback-request,1,1"}
        key_d = {"Extension": "D", "AppData": "callback-request,D,1"}
        context = "keys" if own else "callback-request"
        loaded = {context: [key_1, key_d, *extensions], "more": [{"Extension": "2"}]}
        notes = self._check(
            tmp_path,
            f"[support]\nsetqueuevar = yes\ncontext = {context}\n",
            _contexts(loaded),
            support={
                "offers": {"enabled": True, "accept_keys": accept_keys},
                "choices": {"times": True, "queue_time_keys": "2"},
            },
        )
        text = only(notes)
        line = "exten => 2,1,Goto(callback-key,2,1)"
        remedy = (
            f"write in the context keys: {line}; then run: sudo asterisk -rx 'dialplan"
            " reload'"
            if own
            else "give the queue a context of its own with: include =>"
            f" callback-request and {line}"
        )
        where = "queues.support.choices.queue_time_keys"
        lacks = f"the context {context} has no extension 2"
        assert (
            text
            == {
                "ok": "ok",
                "fault": f"fault: {where}: key 2 leads nowhere: {lacks} - {remedy}",
                "warning": f"warning: {where}: key 2 only accepts an offer; a"
                f" caller who presses it in the queue gets nowhere: {lacks} - if it is"
                f" meant for the queue, too, {remedy}",
            }[told_as]
        )

    def test_keys_that_say_when_are_not_checked_without_times(
        self, tmp_path: Path
    ) -> None:
        notes = self._check(
            tmp_path,
            f"[support]\n{_GOOD}{_OFFER}",
            _contexts({"callback-request": [{"Extension": "1"}]}),
            support={"choices": {"queue_time_keys": "2"}},
        )
        assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("extension", "key", "takes"),
        [
            ("2", "2", True),
            ("2", "3", False),
            ("*", "*", True),
            ("_X", "0", True),
            ("_X", "*", False),
            ("_z", "0", False),
            ("_N", "1", False),
            ("_N!", "2", True),
            ("_2", "2", True),
            ("_-X", "2", True),
            ("_.", "#", True),
            ("_!", "#", True),
            ("_X.", "2", False),
            ("_XX", "2", False),
            ("_[0-9*#]", "#", True),
            ("_[13-5]", "4", True),
            ("_[13-5]", "2", False),
        ],
    )
    def test_extension_of_a_single_key(
        self, extension: str, key: str, takes: bool
    ) -> None:
        assert takes_key(extension, key) == takes

    @pytest.mark.parametrize("without_agents", [True, False])
    @pytest.mark.parametrize(
        ("value", "doubted"), [("yes", False), ("no", True), ("strict", True)]
    )
    def test_queue_that_lets_nobody_in_again_who_was_offered_a_callback(
        self, tmp_path: Path, value: str, doubted: bool, without_agents: bool
    ) -> None:
        offers = {"enabled": True, "without_agents": without_agents}
        conf = f"[support]\n{_GOOD}joinempty = {value}\n"
        texts = told(self._check(tmp_path, conf, support={"offers": offers}))
        assert any("is not let in again" in text for text in texts) == doubted

    def test_context_that_does_not_exist(self, tmp_path: Path) -> None:
        conf = f"[support]\nsetqueuevar = yes\ncontext = gone\n{_OFFER}"
        text = only(self._check(tmp_path, conf, _contexts({})))
        assert "key 1 leads to the context gone, which does not go on" in text

    def test_context_that_may_not_be_looked_at(self, tmp_path: Path) -> None:
        conf = f"[support]\nsetqueuevar = yes\ncontext = keys\n{_OFFER}"
        script: Script = {"ShowDialPlan": lambda _: (error("Permission denied"),)}
        text = only(self._check(tmp_path, conf, script))
        assert text.startswith("warning: ")
        assert "sudo asterisk -rx 'dialplan show keys'" in text

    @pytest.mark.parametrize("line", ["", "setqueuevar = no\n"])
    def test_queue_that_does_not_tell_its_name(self, tmp_path: Path, line: str) -> None:
        conf = f"[support]\ncontext = callback-request\n{line}{_OFFER}"
        text = only(self._check(tmp_path, conf))
        place = 3 if line else 1
        assert text.startswith(f"fault: {tmp_path}/etc/queues.conf:{place}: [support]")
        assert "write there: setqueuevar = yes; then run: " in text

    @pytest.mark.parametrize(
        "lines",
        [
            "",
            "periodic-announce = x\n",
            "periodic-announce-frequency = 5\n",
            "periodic-announce = x\nperiodic-announce-frequency = 0\n",
        ],
    )
    def test_queue_that_does_not_offer_it(self, tmp_path: Path, lines: str) -> None:
        text = only(self._check(tmp_path, f"[support]\n{_GOOD}{lines}"))
        assert text.startswith(f"warning: {tmp_path}/etc/queues.conf:1: ")
        assert "no caller is told to press 1" in text

    def test_queue_that_does_not_offer_it_to_the_first(self, tmp_path: Path) -> None:
        offer = _OFFER.replace("announce-to-first-user = yes\n", "")
        text = only(self._check(tmp_path, f"[support]\n{_GOOD}{offer}"))
        assert "the first caller in line of [support] never hears" in text
        conf = f"[general]\nautofill = yes\n[support]\n{_GOOD}{offer}"
        assert told(self._check(tmp_path, conf)) == ["ok"]
        assert told(self._check(tmp_path, f"{conf}autofill = no\n")) != ["ok"]

    @pytest.mark.parametrize(
        "lines",
        [
            "announce-frequency = 90\n",
            "announce-frequency = 90\nannounce-position = yes\n",
            "announce-position = limit\nannounce-frequency = 15s\n",
            "announce-position = more\nannounce-frequency = 15\n",
        ],
    )
    def test_queue_that_tells_the_position_ignores_the_key(
        self, tmp_path: Path, lines: str
    ) -> None:
        text = only(self._check(tmp_path, f"[support]\n{_GOOD}{_OFFER}{lines}"))
        assert text.startswith(f"warning: {tmp_path}/etc/queues.conf:")
        assert "write there: announce-position = no" in text

    @pytest.mark.parametrize(
        "lines",
        [
            "announce-position = yes\n",
            "announce-position = yes\nannounce-frequency = 0\n",
            "announce-position = no\nannounce-frequency = 90\n",
        ],
    )
    def test_queue_that_does_not_tell_the_position(
        self, tmp_path: Path, lines: str
    ) -> None:
        conf = f"[support]\n{_GOOD}{_OFFER}{lines}"
        assert told(self._check(tmp_path, conf)) == ["ok"]

    @pytest.mark.parametrize(
        ("most", "doubted"), [("0", False), ("2", True), ("3", False)]
    )
    def test_queue_in_which_callbacks_leave_callers_no_place(
        self, tmp_path: Path, most: str, doubted: bool
    ) -> None:
        script = self._status(support=[("PJSIP/1", "1"), ("PJSIP/2", "1")], max=most)
        texts = told(self._check(tmp_path, f"[support]\n{_GOOD}{_OFFER}", script))
        if doubted:
            (text,) = texts
            assert "callers may be refused" in text
            assert "write in [support]: maxlen = 4" in text
        else:
            assert texts == ["ok"]

    @pytest.mark.parametrize("option", ["", "ringinuse = yes\n"])
    def test_agents_who_are_rung_while_they_talk(
        self, tmp_path: Path, option: str
    ) -> None:
        conf = f"[ringinuse](!)\n[support]\n{_GOOD}{_OFFER}{option}"
        text = only(self._check(tmp_path, conf))
        line = 8 if option else 2
        assert text.startswith(f"warning: {tmp_path}/etc/queues.conf:{line}: ")
        assert "one agent may be rung for several callbacks at once" in text
        assert "write there: ringinuse = no; then run: " in text

    @pytest.mark.parametrize("option", ["joinempty", "leavewhenempty"])
    @pytest.mark.parametrize(
        ("value", "fairness", "doubted"),
        [
            ("paused,inuse", "place", True),
            ("inuse", "live_first", False),
            ("strict", "place", False),
            ("no", "place", False),
        ],
    )
    def test_queue_in_which_nobody_waits_while_all_agents_talk(
        self, tmp_path: Path, option: str, value: str, fairness: str, doubted: bool
    ) -> None:
        conf = f"[support]\n{_GOOD}{_OFFER}{option} = {value}\n"
        texts = told(self._check(tmp_path, conf, support={"fairness": fairness}))
        assert any(f"take 'inuse' out of {option}" in text for text in texts) == doubted

    def test_file_that_can_not_be_read(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path, None))
        assert text.startswith("warning: queues.conf: not checked: ")
        assert "context = callback-request, setqueuevar = yes" in text

    def test_part_of_the_file_that_can_not_be_read(self, tmp_path: Path) -> None:
        conf = f"#exec /bin/date\n[support]\n{_GOOD}{_OFFER}"
        text = only(self._check(tmp_path, conf))
        assert text.startswith(f"warning: {tmp_path}/etc/queues.conf:1: made by a prog")

    def test_file_that_asterisk_refuses(self, tmp_path: Path) -> None:
        conf = f"[cb](!)\n{_GOOD}{_OFFER}[ring](!)\n[support](cb, ring)\n"
        text = only(self._check(tmp_path, conf))
        assert text.startswith(
            f"fault: {tmp_path}/etc/queues.conf:8: Asterisk does not read all of"
            " queues.conf: there is no section [ ring] above: the blank counts - write"
            " ring without a blank before or behind it; then run: "
        )

    def test_queues_behind_one_that_was_deleted(self, tmp_path: Path) -> None:
        """As in FreePBX: the callbacks of each queue behind it are gone."""
        post = (
            f"[599](+)\n{_GOOD}{_OFFER}[600](+)\n{_GOOD}[support](+)\n{_GOOD}{_OFFER}"
        )
        write(tmp_path / "etc/queues_post_custom.conf", post)
        conf = "[599]\n[support]\n#include queues_post_custom.conf\n"
        texts = told(self._check(tmp_path, conf))
        assert texts[0].startswith(
            f"fault: {tmp_path}/etc/queues_post_custom.conf:7: Asterisk does not read"
            " the rest of this file: there is no section [600] above to add to -"
            " delete (+); or delete this section, if [600] is gone for good; then run: "
        )
        assert f"{tmp_path}/etc/queues.conf:2: [support] has no context" in texts[1]

    def test_without_a_connection_the_files_are_looked_at(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/queues.conf", f"[support]\n{_OFFER}setqueuevar = yes\n")
        given = settings(tmp_path)
        fault, doubt = told(check_queues(None, given, AsteriskMachine(given)))
        assert "[support] has no context" in fault
        assert "there is no connection to the manager" in doubt

    def test_member_on_a_local_channel_without_the_state_of_a_phone(
        self, tmp_path: Path
    ) -> None:
        conf = f"[support]\n{_GOOD}{_OFFER}member => Local/5@agents/n\n"
        script = self._status(support=[("Local/5@agents/n", "1")])
        assert only(self._check(tmp_path, conf, script)) == (
            "warning: queue support: its member Local/5@agents/n looks free during"
            " calls: a Local channel does not tell the state of a phone - name the"
            " phone's device as the fourth value of its member line (member =>"
            " Local/101@agents/n,0,Alice,PJSIP/101), or as state_interface where it is"
            " added"
        )

    @pytest.mark.parametrize(
        ("lines", "difference"),
        [
            ("maxlen = 5\n", "[support] is loaded with maxlen = 0"),
            ("weight = 0\n", ""),
            ("strategy = random\n", "[support] is loaded with strategy = ringall"),
            # The first one counts.
            ("strategy = ringall\nstrategy = random\n", ""),
            ("strategy = linear\n", ""),
            ("member => PJSIP/2\n", "[support] is loaded without PJSIP/2"),
            (
                "member => PJSIP/1,0,A,PJSIP/9\n",
                "[support] is loaded with PJSIP/1 by the state of PJSIP/1",
            ),
            ("", ""),
        ],
    )
    def test_queue_that_is_not_as_its_file_has_it(
        self, tmp_path: Path, lines: str, difference: str
    ) -> None:
        params = (
            *(("Event", "QueueParams"), ("Queue", "support"), ("Max", "0")),
            *(("Strategy", "ringall"), ("Weight", "0")),
        )
        member = (
            *(("Event", "QueueMember"), ("Queue", "support"), ("Location", "PJSIP/1")),
            *(("StateInterface", "PJSIP/1"), ("Membership", "static")),
        )
        known = "member => PJSIP/1\n"
        conf = f"[support]\n{_GOOD}{_OFFER}{known}{lines}"
        if "PJSIP/1," in lines:
            conf = conf.replace(known, "")
        status: Script = {"QueueStatus": lambda _: listing(params, member)}
        notes = self._check(tmp_path, conf, status)
        if difference:
            text = only(notes)
            assert text.startswith(f"fault: {tmp_path}/etc/queues.conf:")
            assert f"Asterisk has not read it: {difference} - run: " in text
        else:
            assert told(notes) == ["ok"]

    def test_member_that_is_no_longer_in_the_file(self, tmp_path: Path) -> None:
        member = (
            *(("Event", "QueueMember"), ("Queue", "support"), ("Location", "PJSIP/1")),
            ("Membership", "static"),
        )
        params = (("Event", "QueueParams"), ("Queue", "support"))
        status: Script = {"QueueStatus": lambda _: listing(params, member)}
        text = only(self._check(tmp_path, f"[support]\n{_GOOD}{_OFFER}", status))
        assert "[support] is loaded with the member PJSIP/1 - run: " in text

    @pytest.mark.parametrize(
        ("reloaded", "old"), [("11:59:59", True), ("12:00:00", False)]
    )
    def test_file_that_was_changed_after_the_last_reload(
        self, tmp_path: Path, reloaded: str, old: bool
    ) -> None:
        status: Script = {
            "CoreStatus": lambda _: (
                success(
                    ("CoreStartupDate", "2026-03-01"),
                    ("CoreStartupTime", "08:00:00"),
                    ("CoreReloadDate", "2026-03-02"),
                    ("CoreReloadTime", reloaded),
                ),
            ),
            "Getvar": lambda _: (success(("Value", "+0200")),),
        }
        conf = f"[support]\n{_GOOD}{_OFFER}ringinuse = no\n"
        write(tmp_path / "etc/queues.conf", conf)
        changed = datetime(2026, 3, 2, 10, 0, 0, 900_000, tzinfo=UTC).timestamp()
        os.utime(tmp_path / "etc/queues.conf", (changed, changed))
        notes = self._check(tmp_path, None, status)
        if old:
            text = only(notes)
            assert text.startswith(f"warning: {tmp_path}/etc/queues.conf: it was chang")
            assert "at 12:00:00, and Asterisk's last reload that is known" in text
        else:
            assert told(notes) == ["ok"]

    @pytest.mark.parametrize(
        ("options", "given", "words"),
        [
            ({"callerid": "<unknown>"}, "", "has neither callerid nor from_user"),
            ({"callerid": ""}, "", "has neither callerid nor from_user"),
            ({"callerid": "<unknown>", "from_user": "4930"}, "", ""),
            ({"callerid": '"PBX" <4930>'}, "", ""),
            ({"callerid": "<unknown>"}, "+4930123456", ""),
            (
                {"callerid": "<4930>", "redirect_method": "uri_pjsip"},
                "",
                "trunk has redirect_method = uri_pjsip",
            ),
            ({"callerid": "<4930>", "redirect_method": "user"}, "", ""),
        ],
    )
    def test_trunk(
        self, tmp_path: Path, options: dict[str, str], given: str, words: str
    ) -> None:
        def tell(action: AmiMessage) -> Answer:
            known = {"context": "inbound", **options}
            for name, value in known.items():
                if action.get("Variable") == f"PJSIP_ENDPOINT(trunk,{name})":
                    return (success(("Value", value)),)
            found = action.get("Variable") == "DEVICE_STATE(PJSIP/trunk)"
            return (success(("Value", "NOT_INUSE" if found else "")),)

        own = {"outbound_channel": "PJSIP/{number}@trunk", "outbound_caller_id": given}
        conf = f"[support]\n{_GOOD}{_OFFER}"
        notes = self._check(tmp_path, conf, {"Getvar": tell}, support=own)
        if words:
            text = only(notes)
            assert text.startswith("warning: ")
            assert words in text
        else:
            assert told(notes) == ["ok"]

    def test_trunk_whose_redirects_only_its_file_tells(self, tmp_path: Path) -> None:
        """Asterisk 16 does not tell redirect_method."""
        write(
            tmp_path / "etc/pjsip.conf",
            "[t](!)\nredirect_method = uri_pjsip\n[trunk](t)\ntype = endpoint\n",
        )
        tell: Script = {
            "Getvar": lambda action: (
                success(
                    (
                        "Value",
                        "" if "redirect" in action.get("Variable") else "NOT_INUSE",
                    )
                ),
            )
        }
        own = {"outbound_channel": "PJSIP/{number}@trunk"}
        conf = f"[support]\n{_GOOD}{_OFFER}"
        text = only(self._check(tmp_path, conf, tell, support=own))
        assert text.startswith(
            f"warning: {tmp_path}/etc/pjsip.conf:2: trunk has redire"
        )

    @pytest.mark.parametrize(
        ("answers", "known"),
        [
            ({"Getvar": success(("Value", "NOT_INUSE"))}, True),
            ({"Getvar": success(("Value", "INVALID"))}, False),
            ({"Getvar": success(("Value", "")), "DeviceStateList": "PJSIP/7"}, True),
            ({"Getvar": success(("Value", "")), "DeviceStateList": "PJSIP/8"}, False),
        ],
    )
    def test_device_of_an_extension(
        self, tmp_path: Path, answers: dict[str, Any], known: bool
    ) -> None:
        device = answers.get("DeviceStateList", "")
        script: Script = {
            "Getvar": lambda _: (answers["Getvar"],),
            "DeviceStateList": lambda _: listing(
                [("Event", "DeviceStateChange"), ("Device", device)]
            ),
        }
        conf = f"[support]\n{_GOOD}{_OFFER}"
        notes = self._check(
            tmp_path, conf, script, support={"target_extension": "PJSIP/7"}
        )
        if known:
            assert told(notes) == ["ok"]
        else:
            assert only(notes).startswith(
                "fault: queues.support.target_extension: Asterisk does not know the"
                " device PJSIP/7, so it is never free - "
            )

    @pytest.mark.parametrize(
        ("channel", "words"),
        [
            ("Local/{number}@outside", ""),
            ("Local/{number}@outside/n", ""),
            ("Local/{number}@gone/n", "and Asterisk has no such context"),
            ("PJSIP/{number}@trunk", ""),
            ("PJSIP/{number}@gone", "and Asterisk has no PJSIP endpoint gone"),
            ("PJSIP/trunk/sip:{number}@example.com", ""),
            ("PJSIP/gone/sip:{number}@example.com", "no PJSIP endpoint gone"),
            ("SIP/gone/{number}", ""),
        ],
    )
    def test_way_to_the_outside(self, tmp_path: Path, channel: str, words: str) -> None:
        def state(action: AmiMessage) -> Answer:
            trunk = action.get("Variable") == "DEVICE_STATE(PJSIP/trunk)"
            return (success(("Value", "UNAVAILABLE" if trunk else "INVALID")),)

        script = {**_contexts({"outside": []}), "Getvar": state}
        conf = f"[support]\n{_GOOD}{_OFFER}"
        own = {"support": {"outbound_channel": channel}}
        notes = self._check(tmp_path, conf, script, **own)
        if words:
            text = only(notes)
            assert text.startswith(f"fault: outbound_channel: it is {channel}, ")
            assert words in text
        else:
            assert told(notes) == ["ok"]

    def test_way_to_the_outside_that_may_not_be_looked_at(self, tmp_path: Path) -> None:
        script: Script = {"ShowDialPlan": lambda _: (error("Permission denied"),)}
        conf = f"[support]\n{_GOOD}{_OFFER}"
        own = {"support": {"outbound_channel": "Local/{number}@outside"}}
        text = only(self._check(tmp_path, conf, script, **own))
        assert text.startswith("warning: outbound_channel: where Local/{number}@outsi")

    @pytest.mark.parametrize(("status", "known"), [("0", True), ("-1", False)])
    def test_hint_of_an_extension(
        self, tmp_path: Path, status: str, known: bool
    ) -> None:
        asked: list[AmiMessage] = []

        def state(action: AmiMessage) -> Answer:
            asked.append(action)
            return (success(("Status", status)),)

        notes = self._check(
            tmp_path,
            f"[support]\n{_GOOD}{_OFFER}",
            {"ExtensionState": state},
            support={
                "target_extension": "Local/7@agents",
                "state_interface": "hint:7@agents",
            },
        )
        assert (told(notes) == ["ok"]) == known
        assert [(one.get("Exten"), one.get("Context")) for one in asked] == [
            ("7", "agents")
        ]


def test_every_event_the_service_listens_to_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listened: set[str] = set()
    listen = AmiSession.listen

    def recording(
        session: AmiSession, name: str, callback: Callable[[AmiMessage], object]
    ) -> Callable[[], None]:
        listened.add(name)
        return listen(session, name, callback)

    monkeypatch.setattr(AmiSession, "listen", recording)
    clock = MachineClock(Clock())
    process = Process.this()
    held = leases.Held(process, "token", 1, datetime.now(UTC), runs_out=False)
    nowhere = UNIXServerEndpoint(None, "")
    CallbackService(
        settings=settings(tmp_path),
        database=Database("sqlite://", deliver=None),
        endpoints=Endpoints(
            ami={DEFAULT_NODE: UNIXClientEndpoint(None, "")},
            fastagi=nowhere,
            control=nowhere,
        ),
        clock=clock,
        in_thread=OwnThread(lambda *_: None),
        programs=ChildPrograms(None, clock),
        lease=leases.Lease(held, leases.steady_seconds, 0.0),
    )
    # The session itself waits for these two.
    listened |= {"FullyBooted", "Shutdown"}
    assert listened == {name for names in READ_CLASSES.values() for name in names}


def test_our_own_file_has_the_contexts_and_the_version(tmp_path: Path) -> None:
    """Compared here, so that neither the file nor the check can change alone."""
    write(tmp_path / "etc/extensions.conf", _OURS.read_text())
    conf = AsteriskMachine(settings(tmp_path)).conf("extensions.conf")
    assert {section.name for section in conf.sections} == {
        *dialplan.CONTEXTS,
        dialplan.VERSION_CONTEXT,
    }
    mark = conf.section(dialplan.VERSION_CONTEXT)
    assert mark is not None
    assert [one.value for one in mark.options] == [
        f"version,1,NoOp({dialplan.VERSION})"
    ]


class TestModules:
    def test_nothing_is_needed_by_default(self, tmp_path: Path) -> None:
        assert not need_modules(settings(tmp_path))

    @pytest.mark.parametrize(
        ("loaded", "finding"),
        [
            (
                "0",
                "amd is set, and app_amd.so is not loaded: nobody is taken for an"
                " answering machine - load = app_amd.so in modules.conf",
            ),
            ("", "it does not say whether app_amd.so, which amd needs, is loaded"),
            ("1", "ok"),
        ],
    )
    def test_module_for_answering_machines(
        self, tmp_path: Path, loaded: str, finding: str
    ) -> None:
        asked: list[str] = []

        def answer(action: AmiMessage) -> Answer:
            asked.append(action.get("Variable"))
            return (success(("Value", loaded)),)

        given = settings(tmp_path, defaults={"amd": True})
        assert need_modules(given)
        script: Script = {"Getvar": answer}
        with ScriptedManager(script, b"") as manager, log_in(manager) as link:
            text = only(check_modules(link, given))
        assert asked == ["IFMODULE(app_amd.so)"]
        assert finding in text

    def test_module_for_a_key_of_the_client(self, tmp_path: Path) -> None:
        given = settings(tmp_path, defaults={"client_key": {"enabled": True}})
        script: Script = {"Getvar": lambda _: (success(("Value", "0")),)}
        with ScriptedManager(script, b"") as manager, log_in(manager) as link:
            text = only(check_modules(link, given))
        assert "app_read.so is not loaded: clients are connected without a key" in text
