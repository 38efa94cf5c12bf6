# SPDX-License-Identifier: MIT
"""What setup would write on different machines, and what it refuses."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from fastagi.checks.conf import read_conf
from fastagi.checks.dialplan import CONTEXTS
from fastagi.config.load import parse_settings
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import callable_number
from fastagi.domain.reason import Code
from fastagi.setup.answers import (
    NO_OFFER,
    Answers,
    check_own_numbers,
    split_numbers,
)
from fastagi.setup.errors import Refused, WrongAnswer
from fastagi.setup.installation import SETTINGS, Plan
from fastagi.setup.lines import BEGIN, END
from fastagi.setup.paths import Root
from tests.setup.layouts import (
    ANSWERS,
    DEBIAN,
    SILENT,
    installation,
    machine,
    planned,
)

_NOW = datetime(2026, 12, 1, tzinfo=UTC)


def _text(plan: Plan, name: str) -> str:
    (change,) = (one for one in plan.changes if str(one.path).endswith(f"/{name}"))
    return change.after.decode()


def _plan(root: Root, answers: Answers = ANSWERS) -> Plan:
    return planned(installation(root), answers)


def _refused(root: Root, answers: Answers = ANSWERS) -> str:
    with pytest.raises(Refused) as raised:
        _plan(root, answers)
    return str(raised.value)


def _write(plan: Plan) -> None:
    for change in plan.changes:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        change.path.write_bytes(change.after)


def _by_hand(plan: Plan) -> str:
    return "\n".join(map(str, plan.by_hand))


class TestDebian:
    def test_lines_are_added_and_nothing_else_is_changed(self, tmp_path: Path) -> None:
        plan = _plan(machine(tmp_path))
        queues, old = _text(plan, "queues.conf"), DEBIAN["queues.conf"]
        new = (
            f"{BEGIN}\ncontext = callback-request\nsetqueuevar = yes\n"
            "periodic-announce = callback-queue/offer\n"
            "periodic-announce-frequency = 30\nannounce-to-first-user = yes\n"
            f"{END}\n"
        )
        member = "member => PJSIP/101,0,Alice,PJSIP/101\n"
        assert queues == old.replace(member, member + new)
        line = " same => n,Queue(support,tc,,,600)   ; the agents\n"
        replaced = (
            f"{BEGIN}\n; was: {line}"
            " same => n,Gosub(callback-enter,s,1(support,tc,,,600))\n"
            " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n"
            f"{END}\n"
        )
        include = f'{BEGIN}\n#include "callback-queue.conf"\n{END}\n'
        assert _text(plan, "extensions.conf") == (
            DEBIAN["extensions.conf"].replace(line, replaced) + include
        )
        # Debian's file includes manager.d/*.conf and is enabled.
        assert _text(plan, "manager.conf") == DEBIAN["manager.conf"]
        assert plan.by_hand == ()

    def test_asterisk_reads_what_it_needs(self, tmp_path: Path) -> None:
        plan = _plan(machine(tmp_path))
        _write(plan)
        etc = tmp_path / "etc/asterisk"
        dialplan = read_conf(etc, "extensions.conf")
        assert dialplan.stops == []
        assert all(dialplan.section(name) for name in CONTEXTS)
        user = read_conf(etc, "manager.conf").section("callback-queue")
        assert user is not None
        secret = user.get("secret")
        assert secret is not None
        assert secret.value == plan.secret
        assert len(plan.secret) == 32

    def test_the_settings_are_those_of_the_answers(self, tmp_path: Path) -> None:
        plan = _plan(machine(tmp_path))
        text = _text(plan, "callback-queue.yaml")
        settings = parse_settings(text.encode(), file="x", environ={})
        assert list(settings.queues) == ["support"]
        assert settings.queues["support"].outbound_channel == ANSWERS.outbound
        assert settings.number_plan.region == "DE"
        assert settings.number_plan.own_numbers[0] is not None
        assert settings.ami.secret.get_secret_value() == plan.secret
        assert settings.asterisk.sounds_dir == "/usr/share/asterisk/sounds"
        # What the sample explains stays explained.
        assert text.count("\n") > 1000
        assert "sales" not in settings.queues

    def test_prompts_go_through_the_link_of_a_language(self, tmp_path: Path) -> None:
        plan = _plan(machine(tmp_path))
        sounds = tmp_path / "usr/share/asterisk/sounds"
        places = {one.path.parent for one in plan.changes if one.path.suffix == ".wav"}
        assert places == {
            sounds / "en_US_f_Allison/callback-queue",
            sounds / "ru/callback-queue",
        }

    def test_secrets_are_readable_only_by_those_who_need_them(
        self, tmp_path: Path
    ) -> None:
        plan = _plan(machine(tmp_path, {"manager.d/callback-queue.conf": None}))
        modes = {one.path.name: (one.mode, one.gid) for one in plan.changes}
        (manager,) = (
            one
            for one in plan.changes
            if one.path.parent.name == "manager.d"
            and one.path.name == "callback-queue.conf"
        )
        assert manager.mode == 0o640
        assert manager.gid == plan.found.gid
        assert modes["callback-queue.yaml"][0] == 0o640

    def test_a_second_plan_is_empty(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        first = _plan(root)
        _write(first)
        second = _plan(root)
        assert [one.path for one in second.changes if not one.is_empty] == []
        assert second.secret == first.secret

    def test_another_queue_is_added_to_the_first(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        made = installation(root)
        made.apply(planned(made), _NOW)
        plan = planned(
            made, attrs.evolve(ANSWERS, queues=("support", "sales"), offer=NO_OFFER)
        )
        text = _text(plan, "queues.conf")
        assert text.count(BEGIN) == 2
        # Without an offer its lines are taken out again.
        assert text.count("periodic-announce") == 0
        assert list(plan.settings.queues) == ["support", "sales"]


class TestOtherInstallations:
    def test_asterisk_with_default_paths_and_its_samples(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "asterisk.conf": "[directories](!)\nastetcdir => /etc/asterisk\n",
                "manager.conf": "[general]\nenabled = no\nport = 5038\n"
                "bindaddr = 0.0.0.0\n;[mark]\n;secret = mysecret\n",
                "manager.d/README.conf": None,
            },
            data="var/lib/asterisk",
        )
        plan = _plan(root)
        assert plan.settings.asterisk.sounds_dir == "/var/lib/asterisk/sounds"
        # Nobody else's user is opened to the network.
        assert _text(plan, "manager.conf") == (
            "[general]\nenabled = no\nport = 5038\nbindaddr = 0.0.0.0\n"
            f"{BEGIN}\nenabled = yes\nbindaddr = 127.0.0.1\n{END}\n"
            ";[mark]\n;secret = mysecret\n"
            f'{BEGIN}\n#include "manager.d/callback-queue.conf"\n{END}\n'
        )

    def test_directories_of_asterisk_conf(self, tmp_path: Path) -> None:
        conf = (
            "[directories]\nastdatadir => /opt/asterisk/share\n"
            "astlogdir => /opt/asterisk/log\n"
        )
        root = machine(tmp_path, {"asterisk.conf": conf}, data="opt/asterisk/share")
        settings = _plan(root).settings
        assert settings.asterisk.sounds_dir == "/opt/asterisk/share/sounds"
        assert settings.history.queue_log == "/opt/asterisk/log/queue_log"

    def test_no_file_at_all(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "manager.conf": None,
                "manager.d/README.conf": None,
                "extensions.conf": None,
            },
        )
        plan = _plan(root)
        _write(plan)
        manager = read_conf(tmp_path / "etc/asterisk", "manager.conf")
        assert manager.section("callback-queue")
        assert "extensions.conf" in _by_hand(plan)

    def test_an_asterisk_that_runs_as_root(self, tmp_path: Path) -> None:
        conf = "[options]\nrunuser = root\n"
        plan = _plan(machine(tmp_path, {"asterisk.conf": conf}))
        assert (plan.found.uid, plan.found.gid, plan.joins) == (0, 0, "")
        assert "ACL" in _by_hand(plan)

    def test_its_user_is_that_of_asterisk_conf(self, tmp_path: Path) -> None:
        conf = "[options]\nrunuser = asterisk\n"
        plan = _plan(machine(tmp_path, {"asterisk.conf": conf}))
        assert (plan.found.gid, plan.joins) == (101, "asterisk")

    def test_the_manager_listens_on_another_address_and_port(
        self, tmp_path: Path
    ) -> None:
        conf = "[general]\nenabled = yes\nport = 15038\nbindaddr = 192.0.2.7\n"
        plan = _plan(machine(tmp_path, {"manager.conf": conf}))
        assert (plan.settings.ami.host, plan.settings.ami.tcp_port) == (
            "192.0.2.7",
            15038,
        )
        user = _text(plan, "manager.d/callback-queue.conf")
        assert "\npermit = 192.0.2.7/255.255.255.255\n" in user

    def test_a_dialplan_that_includes_files(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "extensions.conf": '[globals]\n#include "dialplan.d/*.conf"\n',
                "dialplan.d/in.conf": "[in]\nexten => 1,1,Queue(support)\n",
            },
        )
        plan = _plan(root)
        assert "callback-enter,s,1(support)" in _text(plan, "dialplan.d/in.conf")
        assert "callback-enter" not in _text(plan, "asterisk/extensions.conf")

    def test_a_file_that_is_a_link_stays_one(self, tmp_path: Path) -> None:
        root = machine(tmp_path, {"queues.conf": None})
        (tmp_path / "srv").mkdir()
        real = tmp_path / "srv/queues.conf"
        real.write_text("[support]\nmember => PJSIP/1\n")
        (tmp_path / "etc/asterisk/queues.conf").symlink_to("../../srv/queues.conf")
        plan = _plan(root)
        (change,) = (one for one in plan.changes if one.path == real)
        assert b"callback-request" in change.after

    def test_names_and_files_that_are_not_ascii(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "queues.conf": "[Ärger]\nmember => PJSIP/1\n; größer\n",
                "extensions.conf": "[a]\nexten => 1,1,Queue(Ärger,t) ; ö\n",
            },
        )
        plan = _plan(root, attrs.evolve(ANSWERS, queues=("Ärger",)))
        assert "; größer\n" in _text(plan, "queues.conf")
        assert "callback-enter,s,1(Ärger,t)" in _text(plan, "extensions.conf")
        assert list(plan.settings.queues) == ["Ärger"]


class TestQueues:
    def test_what_a_template_gives_is_not_repeated(self, tmp_path: Path) -> None:
        text = (
            "[callback](!)\ncontext = callback-request\nsetqueuevar = yes\n"
            "periodic-announce = callback-queue/offer\n"
            "periodic-announce-frequency = 60\nannounce-to-first-user = yes\n"
            "[support](callback)\nmember => PJSIP/101\n"
        )
        plan = _plan(machine(tmp_path, {"queues.conf": text}))
        assert _text(plan, "queues.conf") == text

    def test_lines_go_into_the_queue_and_not_into_its_template(
        self, tmp_path: Path
    ) -> None:
        text = "[all](!)\nstrategy = linear\n\n[support](all)\n[sales](all)\n"
        plan = _plan(machine(tmp_path, {"queues.conf": text}))
        assert f"[support](all)\n{BEGIN}\ncontext" in _text(plan, "queues.conf")

    def test_an_announcement_that_is_there_is_played_in_turn(
        self, tmp_path: Path
    ) -> None:
        text = (
            "[support]\nperiodic-announce = please-hold, ads\n"
            "periodic-announce-frequency = 45\n"
        )
        new = _text(_plan(machine(tmp_path, {"queues.conf": text})), "queues.conf")
        assert "periodic-announce = please-hold,ads,callback-queue/offer\n" in new
        assert "frequency = 30" not in new

    def test_a_context_that_is_there_leads_to_ours_as_well(
        self, tmp_path: Path
    ) -> None:
        root = machine(
            tmp_path,
            {
                "queues.conf": "[support]\ncontext = exits\n",
                "extensions.conf": (
                    "[exits]\nexten => 2,1,Voicemail(1)\n\n[in]\n"
                    "exten => 1,1,Queue(support)\n"
                ),
            },
        )
        plan = _plan(root)
        assert "context" not in _text(plan, "queues.conf").replace(
            "context = exits", ""
        )
        assert f"Voicemail(1)\n{BEGIN}\ninclude => callback-request\n{END}\n" in _text(
            plan, "asterisk/extensions.conf"
        )

    @pytest.mark.parametrize(
        "taken",
        [
            "exten => 1,1,Voicemail(1)",
            "exten => _X,1,Hangup()",
            "include => other\n[other]\nexten => _[0-2],1,Hangup()",
        ],
    )
    def test_a_context_that_takes_the_key_itself_is_refused(
        self, tmp_path: Path, taken: str
    ) -> None:
        root = machine(
            tmp_path,
            {
                "queues.conf": "[support]\ncontext = exits\n",
                "extensions.conf": f"[exits]\n{taken}\n",
            },
        )
        assert "the context exits of the queue has its own extension for the key 1" in (
            _refused(root)
        )

    def test_a_context_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        root = machine(tmp_path, {"queues.conf": "[support]\ncontext = exits\n"})
        assert "the context exits, which is not in extensions.conf" in _refused(root)

    def test_a_queue_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        text = _refused(machine(tmp_path), attrs.evolve(ANSWERS, queues=("suport",)))
        assert "there is no queue suport; the queues are: support, sales" in text

    def test_a_queue_of_a_database_is_left_to_the_administrator(
        self, tmp_path: Path
    ) -> None:
        root = machine(
            tmp_path,
            {
                "queues.conf": "[general]\n",
                "extconfig.conf": "[settings]\nqueues => odbc,asterisk\n",
            },
        )
        plan = _plan(root)
        assert _text(plan, "queues.conf") == "[general]\n"
        assert "context = 'callback-request'" in _by_hand(plan)
        assert list(plan.settings.queues) == ["support"]

    def test_a_later_line_that_wins_is_refused(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "queues.conf": '[support]\nstrategy = linear\n#include "more.conf"\n',
                "more.conf": "setqueuevar = no\n",
            },
        )
        text = _refused(root)
        assert "has no effect there: setqueuevar = yes" in text

    def test_a_comment_without_an_end_is_noticed(self, tmp_path: Path) -> None:
        queues = DEBIAN["extensions.conf"] + ";-- without an end\n"
        text = _refused(machine(tmp_path, {"extensions.conf": queues}))
        assert "no effect there: #include of callback-queue.conf" in text


class TestDialplan:
    def test_a_line_that_can_not_be_changed_is_named(self, tmp_path: Path) -> None:
        text = (
            "[in]\nexten => 1,1,Answer()\nexten => 1,2,Queue(support,t)\n"
            "exten => 1,3,Hangup()\n"
        )
        plan = _plan(machine(tmp_path, {"extensions.conf": text}))
        assert "extensions.conf:3: this line is left as it is" in _by_hand(plan)
        assert "exten => 1,2,Queue(support,t)\n" in _text(plan, "extensions.conf")

    def test_a_queue_that_no_line_leads_to_is_named(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {"extensions.conf": "[a]\n", "extensions.ael": "context b { };\n"},
        )
        text = _by_hand(_plan(root))
        assert "no line leads callers into the queue support" in text
        assert "extensions.ael" in text

    def test_an_installation_by_hand_is_taken_over(self, tmp_path: Path) -> None:
        text = (
            DEBIAN["extensions.conf"].replace(
                "Queue(support,tc,,,600)",
                "Gosub(callback-enter,s,1(support,tc,,,600))\n"
                " same => n,Queue(${CALLBACK_QUEUE_ARGS})",
            )
            + '#include "callback-queue.conf"\n'
        )
        old = "; Queue callback: dialplan.\n[callback-request]\nexten => 1,1,NoOp()\n"
        root = machine(tmp_path, {"extensions.conf": text, "callback-queue.conf": old})
        plan = _plan(root)
        assert _text(plan, "extensions.conf") == text
        assert "[callback-version]" in _text(plan, "asterisk/callback-queue.conf")

    def test_a_context_of_our_name_is_refused(self, tmp_path: Path) -> None:
        text = DEBIAN["extensions.conf"] + "[callback-request]\nexten => 1,1,NoOp()\n"
        refused = _refused(machine(tmp_path, {"extensions.conf": text}))
        assert "extensions.conf:12: there is a context [callback-request]" in refused

    def test_a_file_of_our_name_is_refused(self, tmp_path: Path) -> None:
        root = machine(tmp_path, {"callback-queue.conf": "[mine]\n"})
        assert "this file is not our dialplan" in _refused(root)

    def test_a_port_that_another_program_uses(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        made = installation(root)
        made.machine.free_port = lambda: 4574  # type: ignore[method-assign]
        plan = planned(made)
        assert plan.settings.fastagi.port == 4574
        assert (
            f"CONSOLE=Console/dsp\n{BEGIN}\n"
            f"CALLBACK_AGI = agi://127.0.0.1:4574\n{END}\n"
        ) in _text(plan, "asterisk/extensions.conf")

    def test_an_address_that_the_dialplan_has_already(self, tmp_path: Path) -> None:
        text = DEBIAN["extensions.conf"].replace(
            "CONSOLE=Console/dsp", "CALLBACK_AGI=agi://127.0.0.1:14573"
        )
        plan = _plan(machine(tmp_path, {"extensions.conf": text}))
        assert plan.settings.fastagi.port == 14573


class TestRefusals:
    def test_files_that_freepbx_writes(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "extensions.conf": "#include extensions_additional.conf\n",
                "extensions_additional.conf": "[ext-queues]\n",
                "queues_additional.conf": "[600]\n",
            },
        )
        text = _refused(root)
        assert "FreePBX writes these files, so nothing is changed here" in text
        assert "module callbackqueue" in text

    def test_no_asterisk(self, tmp_path: Path) -> None:
        assert "no Asterisk" in _refused(Root(tmp_path))

    def test_a_stopped_asterisk_whose_sounds_are_nowhere(self, tmp_path: Path) -> None:
        root = machine(tmp_path, data="opt/somewhere")
        assert "where Asterisk's sounds are is not known" in _refused(root)

    def test_lines_that_a_program_makes(self, tmp_path: Path) -> None:
        root = machine(
            tmp_path,
            {
                "asterisk.conf": "[options]\nexecincludes = yes\n",
                "extensions.conf": "[a]\n#exec /usr/bin/dialplan\n",
            },
        )
        assert "made by a program" in _refused(root)

    def test_a_line_at_which_asterisk_stops_reading(self, tmp_path: Path) -> None:
        root = machine(tmp_path, {"queues.conf": '[support]\n#include "gone.conf"\n'})
        assert "queues.conf:2: there is no file" in _refused(root)

    def test_a_manager_user_of_our_name(self, tmp_path: Path) -> None:
        text = DEBIAN["manager.conf"] + "[callback-queue]\nsecret = x\n"
        root = machine(tmp_path, {"manager.conf": text})
        assert "there is a manager user [callback-queue] already" in _refused(root)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's file")
    def test_a_link_that_another_user_has_made(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        path = tmp_path / "etc/asterisk/queues.conf"
        path.rename(tmp_path / "etc/elsewhere")
        path.symlink_to("../elsewhere")
        os.chown(path, 101, 101, follow_symlinks=False)
        assert "that another user than root has made" in _refused(root)

    def test_damaged_markers(self, tmp_path: Path) -> None:
        text = DEBIAN["queues.conf"] + f"{BEGIN}\n"
        root = machine(tmp_path, {"queues.conf": text})
        assert "has no '; callback-queue setup: end'" in _refused(root)

    @pytest.mark.parametrize(
        ("answers", "what"),
        [
            ({"outbound": "PJSIP/trunk"}, "has no {number}"),
            ({"region": "XX"}, "--region: XX is no country"),
            ({"own_numbers": ("call me",)}, "is no telephone number"),
            ({"offer": "press 1 please"}, "is no name of a sound file"),
        ],
    )
    def test_wrong_answers(
        self, tmp_path: Path, answers: dict[str, object], what: str
    ) -> None:
        changed = attrs.evolve(ANSWERS, **answers)  # type: ignore[arg-type]
        assert what in _refused(machine(tmp_path), changed)

    def test_settings_with_mistakes(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        path = root.inside(SETTINGS)
        path.parent.mkdir(parents=True)
        path.write_text("queues: 1\n")
        assert "queues" in _refused(root)


class TestOwnNumbers:
    @pytest.mark.parametrize(
        "typed",
        ["4930999", "+4930999", "030999", "004930999", "030-999", "+49 (30) 999"],
    )
    def test_a_call_from_an_own_number_is_not_called_back_in_any_form(
        self, tmp_path: Path, typed: str
    ) -> None:
        answers = attrs.evolve(ANSWERS, own_numbers=(typed,))
        settings = _plan(machine(tmp_path), answers).settings
        rules = settings.number_rules(settings.queues["support"])
        for number in ("4930999", "+4930999", "030999", "004930999"):
            with pytest.raises(NotCallable) as refused:
                callable_number(number, rules)
            assert refused.value.why.code is Code.OWN_NUMBER
        assert callable_number("030123456", rules) == "030123456"

    @pytest.mark.parametrize(
        ("typed", "region", "numbers"),
        [
            ("01632 960001", "GB", ["+441632960001"]),
            ("07700 900123", "GB", ["+447700900123"]),
            ("04931 123456", "DE", ["+494931123456"]),
            ("+49 30 123456", "DE", ["+4930123456"]),
            ("030123456 040123456", "DE", ["+4930123456", "+4940123456"]),
            ("030 123456, 040 123456", "DE", ["+4930123456", "+4940123456"]),
            ("202 555 0123", "US", ["+12025550123"]),
            ("none", "DE", []),
        ],
    )
    def test_blanks_may_stand_in_numbers_and_between_them(
        self, typed: str, region: str, numbers: list[str]
    ) -> None:
        parts = split_numbers(typed, region)
        assert check_own_numbers(parts, region) == tuple(numbers)

    @pytest.mark.parametrize(
        ("typed", "region"),
        [
            # Local numbers: with the country code in front they are those of others.
            ("40123456", "DE"),
            ("40000", "DE"),
            ("98765 43210", "IN"),
            ("101", "DE"),
            ("123456", "DE"),
            ("5551234", "US"),
            ("00000", "DE"),
            ("+99999999", "DE"),
            ("+30123456789", "DE"),
            ("1" * 40, "DE"),
        ],
    )
    def test_what_is_no_whole_number_is_refused(self, typed: str, region: str) -> None:
        with pytest.raises(WrongAnswer):
            check_own_numbers(split_numbers(typed, region), region)

    @pytest.mark.parametrize(
        ("files", "outbound", "shown"),
        [
            ({"pjsip.conf": SILENT}, "PJSIP/{number}@trunk", "+4930123456"),
            ({"pjsip.conf": SILENT}, "PJSIP/{number}@Trunk", "+4930123456"),
            ({"pjsip.conf": SILENT}, "Local/{number}@routes", ""),
            ({}, "PJSIP/{number}@trunk", ""),
            (
                {"pjsip.conf": "[t](!)\ncallerid = 1\n[trunk](t)\ntype = endpoint\n"},
                "PJSIP/{number}@trunk",
                "",
            ),
            (
                {"pjsip_wizard.conf": "[w]\ntype = wizard\nremote_hosts = x\n"},
                "PJSIP/{number}@w",
                "+4930123456",
            ),
            (
                {
                    "pjsip_wizard.conf": "[w]\ntype = wizard\nremote_hosts = x\n"
                    "endpoint/from_user = 1\n"
                },
                "PJSIP/{number}@w",
                "",
            ),
            ({"sip.conf": "[p]\nhost = x\n"}, "SIP/p/{number}", "+4930123456"),
            ({"sip.conf": "[p]\nhost = x\n"}, "SIP/{number}@p", "+4930123456"),
            ({"sip.conf": "[p]\nhost = x\nfromuser = 1\n"}, "SIP/p/{number}", ""),
            # It is in no file, so what it shows is not known.
            ({}, "PJSIP/{number}@elsewhere", ""),
        ],
    )
    def test_the_first_is_shown_to_clients_if_the_endpoint_shows_none(
        self, tmp_path: Path, files: dict[str, str], outbound: str, shown: str
    ) -> None:
        root = machine(tmp_path, files)
        settings = _plan(root, attrs.evolve(ANSWERS, outbound=outbound)).settings
        assert settings.queues["support"].outbound_caller_id == shown

    def test_without_an_own_number_none_is_shown(self, tmp_path: Path) -> None:
        root = machine(tmp_path, {"pjsip.conf": SILENT})
        settings = _plan(root, attrs.evolve(ANSWERS, own_numbers=())).settings
        assert settings.queues["support"].outbound_caller_id == ""

    def test_another_form_of_the_same_number_is_no_difference(
        self, tmp_path: Path
    ) -> None:
        root = machine(tmp_path)
        path = root.inside(SETTINGS)
        path.parent.mkdir(parents=True)
        path.write_text(
            "ami: {secret: abc}\n"
            "number_plan: {region: DE, own_numbers: ['030123456']}\n"
            "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
        )
        assert "own_numbers" not in _by_hand(_plan(root))


class TestSettings:
    def test_settings_of_somebody_else_stay(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        path = root.inside(SETTINGS)
        path.parent.mkdir(parents=True)
        path.write_text(
            "ami: {secret: abc, username: cb}\nfastagi: {port: 4600}\n"
            "queues: {sales: {outbound_channel: 'PJSIP/{number}@other'}}\n"
        )
        plan = _plan(root)
        assert path not in {one.path for one in plan.changes}
        text = _by_hand(plan)
        assert "your settings do not have the queue support" in text
        assert "another defaults.outbound_channel" in text
        # Asterisk gets what these settings say.
        user = _text(plan, "manager.d/callback-queue.conf")
        assert "[cb]" in user
        assert "\nsecret = abc\n" in user
        assert "agi://127.0.0.1:4600" in _text(plan, "asterisk/extensions.conf")

    def test_the_sample_is_filled_in(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        made = installation(root)
        path = root.inside(SETTINGS)
        path.parent.mkdir(parents=True)
        path.write_text(made._sample)
        plan = planned(made)
        assert "change-me" not in _text(plan, "callback-queue.yaml")

    def test_settings_that_were_edited_since_stay(self, tmp_path: Path) -> None:
        root = machine(tmp_path)
        made = installation(root)
        made.apply(planned(made), _NOW)
        path = root.inside(SETTINGS)
        path.write_text(path.read_text() + "  'sales': {}\n")
        plan = planned(made)
        assert path not in {one.path for one in plan.changes}
        assert list(plan.settings.queues) == ["support", "sales"]
