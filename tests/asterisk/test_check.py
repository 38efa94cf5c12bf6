# SPDX-License-Identifier: MIT
"""``callback-queue check`` on real Asterisks.

A correct installation has no faults. Then each test makes one mistake, which must be
reported with its remedy.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastagi import checks
from fastagi.ami.events import READ_CLASSES
from fastagi.checks.finding import Finding
from fastagi.checks.manager import WRITE_CLASSES
from fastagi.checks.modules import need_modules
from fastagi.config.load import load_settings
from tests.lab.config import Queue
from tests.lab.lab import Lab

_OFFER = {
    "periodic-announce": "callback-queue/offer",
    "periodic-announce-frequency": "30",
    "announce-to-first-user": "yes",
}
_SUPPORT = Queue(name="support", members=("alice",), options=_OFFER)
_SALES = Queue(name="sales", members=("bob",), options=_OFFER)
_RELOAD_QUEUES = "module reload app_queue.so"
_AREAS = (
    *(
        "settings",
        "program",
        "numbers",
        "database",
        "manager",
        "dialplan",
        "queues",
        "history",
    ),
    *("sounds", "FastAGI", "control socket", "service"),
)


class Installation:
    """An Asterisk and a service, installed as the documentation says."""

    def __init__(self, lab: Lab) -> None:
        self.asterisk = lab.asterisk
        self.etc: Path = lab.asterisk.home / "etc"
        self.sounds: Path = lab.asterisk.home / "data/sounds"
        self.set_queues(_SUPPORT, _SALES)
        self.service = lab.service(
            {
                "asterisk": {
                    "config_dir": str(self.etc),
                    "sounds_dir": str(self.sounds),
                },
                "number_plan": {"region": "DE", "own_numbers": ["4930000000"]},
            },
            start=False,
        )
        self.service.config.chmod(0o640)

    def set_queues(self, *queues: Queue) -> None:
        """Set these queues; callers enter them as in docs/install.md."""
        self.asterisk.set_queues(queues)
        self.set_dialplan()

    def set_dialplan(self, **parts: Any) -> None:
        """Write the dialplan again, with these additions of the test."""
        self.asterisk.set_dialplan(**parts)
        path = self.etc / "extensions.conf"
        line = r"Queue\((\w+,,,,\${LAB_QUEUE_TIMEOUT})\)$"
        text, count = re.subn(
            line,
            r"Gosub(callback-enter,s,1(\1))\n same => n,Queue(${CALLBACK_QUEUE_ARGS})",
            path.read_text(),
            flags=re.MULTILINE,
        )
        assert count == len(self.asterisk.queues)
        path.write_text(text)
        self.asterisk.cli("dialplan reload")
        # All files are new, but Asterisk sends an event only for this reload.
        self.asterisk.cli(_RELOAD_QUEUES)

    def close(self) -> None:
        """Restore the files that the next test does not write by itself."""
        self.asterisk.write_configuration()
        self.asterisk.cli("manager reload")

    def edit(self, name: str, old: str, new: str, then: str = "") -> None:
        """Replace text in one of Asterisk's files, and let Asterisk reload it."""
        path = self.etc / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new))
        then = then or (_RELOAD_QUEUES if name == "queues.conf" else "")
        if then:
            self.asterisk.cli(then)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change the settings."""
        self.service.write_settings(changes)

    def check(self) -> tuple[int, list[Finding]]:
        """Return the exit code and all findings except those that are ok.

        The finding that the service does not run is left out: it is true in most tests.
        """
        found = checks.run(str(self.service.config))
        areas = list(dict.fromkeys(one.area for one in found))
        if "modules" in areas:
            # Only some settings need modules of their own.
            assert need_modules(load_settings(self.service.config))
            assert areas[areas.index("modules") - 1] == "queues"
            areas.remove("modules")
        assert areas == list(_AREAS) or (areas == ["settings"] and found[0].is_fault)
        code = 1 if any(one.is_fault for one in found) else 0
        return code, [one for one in found if not one.is_ok and one.area != "service"]

    def fault(self) -> Finding:
        """Return the only finding, which must be a fault with its remedy."""
        code, found = self.check()
        assert code == 1
        (fault,) = found
        assert fault.level == "fault"
        assert fault.remedy
        return fault


@pytest.fixture
def installation(lab: Lab) -> Iterator[Installation]:
    with closing(Installation(lab)) as installation:
        yield installation


def test_right_installation_has_nothing_to_say(installation: Installation) -> None:
    told = "".join(f"{area:14}  ok\n" for area in _AREAS)
    before_the_first_start = installation.service.cli("check")
    *others, service, _remedy, _blank, _counts = before_the_first_start.out.splitlines()
    assert before_the_first_start.exit_code == 0
    assert others == told.splitlines()[:-1]
    assert service.startswith("service         WARNING: callback-queue.service: the se")
    installation.service.start()
    assert installation.service.cli("check").out == told
    as_json = installation.service.cli("check", "--json").json()
    assert [one["level"] for one in as_json] == ["ok"] * len(_AREAS)


def test_check_changes_nothing(installation: Installation) -> None:
    home = installation.service.home
    before = sorted(home.rglob("*"))
    installation.check()
    assert sorted(home.rglob("*")) == before
    assert installation.asterisk.channels() == []


def test_misspelt_setting(installation: Installation) -> None:
    installation.configure({"fastagi": {"prot": 4573}})
    code, found = installation.check()
    assert code == 1
    assert found[0].where.endswith(": fastagi.prot")
    assert found[0].remedy == "did you mean port?"


# -- the manager


def test_wrong_port_of_the_manager(installation: Installation) -> None:
    right = installation.asterisk.ports.ami
    installation.configure({"ami": {"port": installation.asterisk.ports.spare}})
    code, found = installation.check()
    assert code == 1
    fault = found[0]
    assert fault.what == "no manager interface: the connection is refused"
    assert f"write port: {right} under ami, as manager.conf has it" in fault.remedy
    # Checks that depend on it do not report success.
    assert {one.area for one in found} == {"manager", "queues"}


def test_something_else_on_the_port_of_the_manager(
    installation: Installation, lab: Lab
) -> None:
    with socket.create_server(("127.0.0.1", lab.asterisk.ports.spare)):
        installation.configure(
            {"ami": {"port": lab.asterisk.ports.spare, "timeout": "1s"}}
        )
        _code, found = installation.check()
    assert "does not answer: no answer within 1 s" in found[0].what


def test_wrong_secret(installation: Installation) -> None:
    installation.configure({"ami": {"secret": "wrong"}})
    _code, found = installation.check()
    assert found[0].where.startswith(f"{installation.etc}/manager.d/")
    assert "is not the one in the settings" in found[0].what
    assert "asterisk -rx 'manager reload'" in found[0].remedy


def test_unknown_user(installation: Installation) -> None:
    installation.configure({"ami": {"username": "somebody"}})
    _code, found = installation.check()
    assert found[0].what == "there is no user [somebody]"
    assert "etc/asterisk/manager.d/callback-queue.conf" in found[0].remedy


def test_user_from_elsewhere(installation: Installation) -> None:
    installation.edit(
        "manager.d/callback-queue.conf",
        "permit = 127.0.0.1",
        "permit = 192.0.2.1",
        "manager reload",
    )
    _code, found = installation.check()
    assert "Asterisk refuses the login of" in found[0].what
    assert "permit lines" in found[0].remedy


@pytest.mark.parametrize("name", WRITE_CLASSES)
def test_user_without_a_class_of_write(installation: Installation, name: str) -> None:
    classes = ",".join(one for one in WRITE_CLASSES if one != name)
    installation.edit(
        "manager.d/callback-queue.conf",
        "write = " + ",".join(WRITE_CLASSES),
        f"write = {classes}",
        "manager reload",
    )
    code, found = installation.check()
    assert code == 1
    fault = found[0]
    assert f"may not use {', '.join(WRITE_CLASSES[name])}" in fault.what
    assert f"write has no '{name}'" in fault.what
    assert "write there: write = agent,call,originate,reporting" in fault.remedy
    # Without the right to read the dialplan, its files are read.
    assert all(one.level == "warning" for one in found[1:])


@pytest.mark.parametrize("name", READ_CLASSES)
def test_user_without_a_class_of_read(installation: Installation, name: str) -> None:
    classes = ",".join(one for one in READ_CLASSES if one != name)
    installation.edit(
        "manager.d/callback-queue.conf",
        "read = " + ",".join(READ_CLASSES),
        f"read = {classes}",
        "manager reload",
    )
    fault = installation.fault()
    assert f"read has no '{name}'" in fault.what
    assert "write there: read = agent,call,system,user" in fault.remedy


def test_rights_that_are_in_the_file_and_not_in_force(
    installation: Installation,
) -> None:
    name = "manager.d/callback-queue.conf"
    installation.edit(name, "read = agent,", "read = ", "manager reload")
    installation.edit(name, "read = ", "read = agent,")
    assert "read has no 'agent'" in installation.fault().what


def test_event_filter_that_keeps_too_much_away(installation: Installation) -> None:
    installation.edit(
        "manager.d/callback-queue.conf", "!^Event: (HangupHandler|", "!^Event: (Hangup|"
    )
    fault = installation.fault()
    assert fault.what == "this event filter keeps away Hangup"


def test_user_that_may_log_in_only_once(installation: Installation) -> None:
    installation.service.start()
    installation.edit(
        "manager.d/callback-queue.conf",
        "allowmultiplelogin = yes",
        "allowmultiplelogin = no",
        "manager reload",
    )
    _code, found = installation.check()
    assert "may log in only once" in found[0].what
    assert "allowmultiplelogin = yes" in found[0].remedy


def test_module_that_is_not_loaded(installation: Installation) -> None:
    module = "res_manager_devicestate.so"
    installation.asterisk.cli(f"module unload {module}")
    try:
        fault = installation.fault()
    finally:
        installation.asterisk.cli(f"module load {module}")
    assert f"no action DeviceStateList: {module} is not loaded" in fault.what
    assert f"asterisk -rx 'module load {module}'" in fault.remedy


def test_module_of_a_setting_is_not_loaded(installation: Installation) -> None:
    installation.configure({"defaults": {"amd": True, "client_key": {"enabled": True}}})
    installation.asterisk.cli("module unload app_amd.so")
    try:
        code, found = installation.check()
    finally:
        installation.asterisk.cli("module load app_amd.so")
    assert code == 0
    (doubt,) = found
    assert doubt.what.startswith("amd is set, and app_amd.so is not loaded")


# -- the dialplan


def test_queue_line_whose_caller_does_not_come_back_to_it(
    installation: Installation,
) -> None:
    installation.edit(
        "extensions.conf",
        "Gosub(callback-enter,s,1(sales,,,,${LAB_QUEUE_TIMEOUT}))\n"
        " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n",
        "Queue(sales,tc,,,20)\n",
        "dialplan reload",
    )
    code, found = installation.check()
    (finding,) = found
    assert code == 0
    assert finding.where == "extension sales@inbound"
    assert "does not come back to Queue(sales,tc,,,20)" in finding.what
    assert finding.remedy.endswith(
        "Gosub(callback-enter,s,1(sales,tc,,,20)) and then"
        " Queue(${CALLBACK_QUEUE_ARGS})"
    )
    installation.edit(
        "extensions.conf",
        "Queue(sales,tc,,,20)\n",
        "Gosub(callback-enter,s,1(sales,tc,,,20))\n"
        " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n",
        "dialplan reload",
    )
    assert installation.check() == (0, [])


def test_dialplan_that_is_not_included(installation: Installation) -> None:
    file = installation.etc / "callback-queue.conf"
    installation.edit("extensions.conf", f'#include "{file}"', "", "dialplan reload")
    fault = installation.fault()
    assert fault.what == "Asterisk has not loaded our dialplan"
    assert 'write #include "callback-queue.conf" at the end of' in fault.remedy
    file.unlink()
    fault = installation.fault()
    assert fault.remedy.startswith("copy dialplan/callback-queue.conf to ")


def test_dialplan_that_is_not_reloaded(installation: Installation) -> None:
    include = f'#include "{installation.etc}/callback-queue.conf"'
    installation.edit("extensions.conf", include, ";later", "dialplan reload")
    installation.edit("extensions.conf", ";later", include)
    assert installation.fault().remedy == "run: sudo asterisk -rx 'dialplan reload'"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[callback-version]", "[elsewhere]", "is of version none"),
        ("version,1,NoOp(8)", "version,1,NoOp(0)", "is of version none"),
        ("version,1,NoOp(8)", "version,1,NoOp(99)", "is of version 99"),
        ("[callback-outcome]", "[elsewhere]", "contexts are missing: callback-outcome"),
    ],
)
def test_dialplan_of_another_version(
    installation: Installation, old: str, new: str, problem: str
) -> None:
    installation.edit("callback-queue.conf", old, new, "dialplan reload")
    fault = installation.fault()
    assert problem in fault.what
    assert "dialplan/callback-queue.conf" in fault.remedy or "dialplan of this" in (
        fault.remedy
    )


def test_dialplan_that_looks_for_the_service_elsewhere(
    installation: Installation,
) -> None:
    installation.configure({"fastagi": {"port": installation.asterisk.ports.spare}})
    fault = installation.fault()
    assert fault.area == "dialplan"
    wanted = f"CALLBACK_AGI = agi://127.0.0.1:{installation.asterisk.ports.spare}"
    assert wanted in fault.remedy


# -- the queues


def _without(option: str) -> Callable[[Installation], None]:
    def change(installation: Installation) -> None:
        path = installation.etc / "queues.conf"
        lines = path.read_text().splitlines()
        kept = [line for line in lines if not line.startswith(f"{option} =")]
        path.write_text("\n".join(kept) + "\n")
        installation.asterisk.cli(_RELOAD_QUEUES)

    return change


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("context", "has no context, so nothing happens when a caller presses 1"),
        ("setqueuevar", "does not tell its name to the dialplan"),
    ],
)
def test_option_missing_in_queues_conf(
    installation: Installation, option: str, problem: str
) -> None:
    _without(option)(installation)
    code, found = installation.check()
    assert code == 1
    assert len(found) == 2
    for name, fault in zip(("support", "sales"), found, strict=True):
        assert fault.what.startswith(f"[{name}] {problem}")
        assert f"write there: {option} = " in fault.remedy
        assert "asterisk -rx 'module reload app_queue.so'" in fault.remedy


def test_queue_that_offers_nothing_is_a_doubt(installation: Installation) -> None:
    _without("periodic-announce")(installation)
    code, found = installation.check()
    assert code == 0
    assert {one.level for one in found} == {"warning"}


def test_queue_that_asterisk_does_not_have(installation: Installation) -> None:
    installation.configure({"queues": {"suport": {}}})
    fault = installation.fault()
    assert fault.what == "Asterisk has no queue suport"
    assert "add [suport] to queues.conf" in fault.remedy


def test_queue_that_is_not_reloaded(installation: Installation) -> None:
    path = installation.etc / "queues.conf"
    text = path.read_text()
    path.write_text(text + text[text.index("[sales]") :].replace("sales", "later"))
    installation.configure({"queues": {"later": {}}})
    # The file is also newer than the last reload, if a second has passed since.
    code, found = installation.check()
    assert code == 1
    (fault,) = (one for one in found if one.is_fault)
    assert "Asterisk has no queue later, though it is here" in fault.what
    installation.asterisk.cli("module reload app_queue.so")
    assert installation.check() == (0, [])


def test_deleted_queue_takes_the_callbacks_of_those_behind_it(
    installation: Installation,
) -> None:
    """As with `queues_post_custom.conf` of FreePBX."""
    own = "context = callback-request\n"
    installation.edit("queues.conf", own, "")
    conf, post = installation.etc / "queues.conf", installation.etc / "post.conf"
    conf.write_text(f"{conf.read_text()}#include post.conf\n")
    post.write_text(f"[support](+)\n{own}[600](+)\n{own}[sales](+)\n{own}")
    installation.asterisk.cli("module reload app_queue.so")
    code, found = installation.check()
    assert code == 1
    assert found[0].where == f"{post}:3"
    assert "does not read the rest of this file: there is no" in found[0].what
    assert found[1].what.startswith("[sales] has no context")
    assert len(found) == 2


def test_file_that_asterisk_refuses(installation: Installation) -> None:
    installation.edit("queues.conf", "[sales]", "[sales](gone)")
    fault = installation.fault()
    assert fault.what == (
        "Asterisk does not read all of queues.conf: there is no section [gone] above to"
        " take options from"
    )


def test_member_that_is_in_the_file_and_not_in_force(
    installation: Installation,
) -> None:
    path = installation.etc / "queues.conf"
    before = path.read_text()
    path.write_text(f"{before}maxlen = 7\nmember => PJSIP/carol\n")
    _code, found = installation.check()
    faults = [one.what for one in found if one.is_fault]
    assert faults == [
        "Asterisk has not read it: [sales] is loaded with maxlen = 0",
        "Asterisk has not read it: [sales] is loaded without PJSIP/carol",
    ]
    installation.asterisk.cli(_RELOAD_QUEUES)
    assert installation.check() == (0, [])
    path.write_text(before)
    _code, found = installation.check()
    assert any("with the member PJSIP/carol" in one.what for one in found)


def test_file_that_was_changed_since_the_last_reload(
    installation: Installation,
) -> None:
    path = installation.etc / "queues.conf"
    later = path.stat().st_mtime + 3600
    os.utime(path, (later, later))
    code, (doubt,) = installation.check()
    assert code == 0
    assert doubt.where == str(path)
    assert "its queues may still be the old ones" in doubt.what


def test_member_on_a_local_channel_without_the_state_of_a_phone(
    installation: Installation,
) -> None:
    blind = Queue(name="sales", members=("Local/bob@agents/n",), options=_OFFER)
    installation.set_queues(_SUPPORT, blind)
    _code, found = installation.check()
    assert any("looks free during calls" in one.what for one in found)


def test_queue_that_is_entered_without_an_answer(installation: Installation) -> None:
    installation.set_dialplan(
        extra="[unanswered]\nexten => 9,1,Queue(sales)\n same => n,Hangup()\n"
    )
    _code, (doubt,) = installation.check()
    assert doubt.where == "extension 9@unanswered"
    assert doubt.remedy == "write Answer() as the first line of this extension"


def test_announcement_whose_file_is_not_there(installation: Installation) -> None:
    installation.edit("queues.conf", "callback-queue/offer", "callback-queue/ofer")
    code, found = installation.check()
    assert code == 1
    assert {one.area for one in found} == {"sounds"}
    assert "no such sound file for periodic-announce of [" in found[0].what


def test_trunk_without_a_number(installation: Installation) -> None:
    installation.configure({"defaults": {"outbound_channel": "PJSIP/{number}@trunk"}})
    code, found = installation.check()
    assert code == 0
    assert "trunk has neither callerid nor from_user" in found[0].what
    own = {"outbound_caller_id": "+4930123456"}
    installation.configure({"defaults": own})
    assert installation.check() == (0, [])


def test_trunk_that_follows_redirects_by_itself(installation: Installation) -> None:
    installation.configure(
        {
            "defaults": {
                "outbound_channel": "PJSIP/{number}@trunk",
                "outbound_caller_id": "+4930123456",
            }
        }
    )
    old = "\ndtmf_mode = auto_info\n"
    installation.edit(
        "pjsip.conf",
        old,
        f"{old}redirect_method = uri_pjsip\n",
        "module reload res_pjsip.so",
    )
    code, (doubt,) = installation.check()
    assert code == 0
    assert "trunk has redirect_method = uri_pjsip" in doubt.what


def test_queue_with_a_context_of_its_own(installation: Installation) -> None:
    installation.set_dialplan(
        extra="[keys]\nexten => 2,1,Hangup()\n[menu]\ninclude => callback-request\n"
    )
    installation.edit("queues.conf", "context = callback-request", "context = menu")
    assert installation.check() == (0, [])
    installation.edit("queues.conf", "context = menu", "context = keys")
    _code, found = installation.check()
    assert len(found) == 2
    assert "key 1 leads to the context keys, which does not go" in found[0].what


def test_key_that_has_no_extension_in_the_context_of_the_queue(
    installation: Installation,
) -> None:
    choices = {"times": True, "queue_time_keys": "2"}
    installation.configure({"queues": {"support": {"choices": choices}}})
    # The first finding is of times without opening hours.
    (_, fault) = installation.check()[1]
    assert "the context callback-request has no extension 2" in fault.what
    installation.set_dialplan(
        extra="[menu]\ninclude => callback-request\n"
        "[keys]\ninclude => callback-request\ninclude => callback-key\n"
    )
    installation.edit("queues.conf", "context = callback-request", "context = menu")
    (_, fault) = installation.check()[1]
    assert "the context menu has no extension 2" in fault.what
    installation.edit("queues.conf", "context = menu", "context = keys")
    (doubt,) = installation.check()[1]
    assert doubt.where == "queues.support.choices.times"


def test_queue_without_members_is_a_doubt(installation: Installation) -> None:
    members = Queue(name="sales", options=_OFFER)
    installation.set_queues(_SUPPORT, members)
    code, (doubt,) = installation.check()
    assert code == 0
    assert doubt.where == "queue sales"


def test_extension_that_asterisk_does_not_know(installation: Installation) -> None:
    installation.configure({"queues": {"sales": {"target_extension": "PJSIP/carol"}}})
    assert installation.check() == (0, [])
    installation.configure({"queues": {"sales": {"target_extension": "PJSIP/nobody"}}})
    fault = installation.fault()
    assert fault.where == "queues.sales.target_extension"
    assert "does not know the device PJSIP/nobody" in fault.what


def test_way_to_the_outside_that_does_not_exist(installation: Installation) -> None:
    for channel in ("Local/{number}@nowhere/n", "PJSIP/{number}@nobody"):
        installation.configure({"defaults": {"outbound_channel": channel}})
        fault = installation.fault()
        assert fault.what.startswith(f"it is {channel}, and Asterisk has no ")
    way = {"outbound_channel": "PJSIP/{number}@trunk", "outbound_caller_id": "+4930123"}
    installation.configure({"defaults": way})
    assert installation.check() == (0, [])


# -- files and the service -----------------------------------------------------


def test_secret_that_everybody_may_read(installation: Installation) -> None:
    installation.service.config.chmod(0o644)
    code, (doubt,) = installation.check()
    assert code == 0
    assert "every user of this machine may read it" in doubt.what


def test_missing_sound(installation: Installation) -> None:
    (installation.sounds / "en/callback-queue/accepted.wav").unlink()
    _code, found = installation.check()
    assert all("sounds.accepted" in one.what for one in found)
    assert found[0].level == "fault"
    assert "cp -r sounds/en/callback-queue " in found[0].remedy


def test_directory_of_the_database_is_missing(installation: Installation) -> None:
    home = installation.service.home
    installation.configure({"database": {"url": f"sqlite:///{home}/gone/cq.db"}})
    fault = installation.fault()
    assert fault.where == f"{home}/gone"
    assert fault.remedy.startswith("install -d -m 750 ")


def test_database_of_another_version(installation: Installation) -> None:
    installation.service.start()
    installation.service.stop()
    file = installation.service.home / "callback-queue.db"
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()
    fault = installation.fault()
    assert "the database is of version 9999" in fault.what


def test_port_that_is_taken(installation: Installation) -> None:
    port = installation.asterisk.ports.agi
    with socket.create_server(("127.0.0.1", port)):
        fault = installation.fault()
    assert fault.what == "another program has this port"
    assert f"ss -ltnp 'sport = :{port}'" in fault.remedy


def test_service_that_listens_elsewhere(installation: Installation) -> None:
    installation.service.start()
    spare = installation.asterisk.ports.spare
    installation.configure({"fastagi": {"port": spare}})
    installation.set_dialplan(
        global_variables={"CALLBACK_AGI": f"agi://127.0.0.1:{spare}"}
    )
    fault = installation.fault()
    assert "the service runs, and does not listen here" in fault.what
    assert fault.remedy.endswith("systemctl restart callback-queue")


def test_service_that_hangs(installation: Installation) -> None:
    installation.service.start()
    installation.service.freeze()
    try:
        code, found = installation.check()
    finally:
        installation.service.thaw()
    assert code == 1
    # A service stopped at any point may also have an open transaction.
    (fault,) = (one for one in found if one.area != "database")
    assert fault.area == "control socket"
    assert fault.what == "the service has it open and does not answer"
