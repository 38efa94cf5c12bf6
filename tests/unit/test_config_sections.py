# SPDX-License-Identifier: MIT
"""What loaded settings say, and how the layers of a queue become one."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr, ValidationError

from fastagi.config import fields, queue_layers, sections
from fastagi.config.errors import BadValue, ConfigErrors
from fastagi.config.load import parse_settings
from fastagi.config.queue_layers import Numbers, QueueSettings, QueueTable
from fastagi.config.sections import AmiLogin, AmiSettings, LogLevel, Settings
from fastagi.domain.attempt import Disposition
from fastagi.domain.hours import (
    ALL_DAY,
    ALWAYS,
    CLOSED,
    DayHours,
    OpeningHours,
    Range,
    SpecialDay,
)
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import DialAs, NumberPlan, callable_number
from fastagi.domain.policy import CarryOver, ExpiryRules
from fastagi.domain.retry import ResultRule

_AMI = "ami:\n  secret: s3cret\n"


def _load(text: str) -> Settings:
    return parse_settings(_AMI + text, environ={})


def _queue(text: str, defaults: str = "") -> QueueSettings:
    """Load one queue: settings of its own, over defaults, in one line each."""
    return _load(
        "defaults: {outbound_channel: 'PJSIP/{number}@trunk', "
        f"{defaults}}}\nqueues: {{support: {{{text}}}}}\n"
    ).queues["support"]


class TestLayers:
    def test_built_in_then_defaults_then_the_queue(self) -> None:
        settings = _load(
            "defaults:\n"
            "  outbound_channel: PJSIP/{number}@trunk\n"
            "  attempts: 3\n"
            "  retry_delay: 1m\n"
            "queues:\n"
            "  support:\n"
            "  sales:\n"
            "    retry_delay: 1h30m\n"
            "    outbound_channel: Local/{number}@outbound-routes\n"
        )
        support, sales = settings.queues["support"], settings.queues["sales"]
        assert (support.attempts, support.retry_delay) == (3, timedelta(minutes=1))
        assert (sales.attempts, sales.retry_delay) == (3, timedelta(minutes=90))
        assert support.outbound_channel == "PJSIP/{number}@trunk"
        assert sales.outbound_channel == "Local/{number}@outbound-routes"
        assert support.member_attempts == sales.member_attempts == 30

    def test_a_queue_may_go_back_to_what_is_built_in(self) -> None:
        queue = _queue(
            "attempts: 5, sounds: {hold_on: callback-queue/hold-on}",
            "attempts: 3, sounds: {hold_on: beep}",
        )
        assert queue == _queue("")

    def test_what_is_different_by_result_is_merged_key_by_key(self) -> None:
        queue = _queue(
            "retry: {busy: {attempts: 3}}",
            "retry: {busy: {delay: 10m, attempts: 2}, short: {delay: 1m}}",
        )
        rules = queue.retry_rules.by_result
        assert rules[Disposition.BUSY] == ResultRule(
            attempts=3, delay=timedelta(minutes=10)
        )
        assert rules[Disposition.SHORT] == ResultRule(delay=timedelta(minutes=1))
        assert rules[Disposition.INVALID_NUMBER] == ResultRule(attempts=1)
        assert rules[Disposition.NO_ANSWER] == ResultRule()

    def test_sounds_and_numbers_are_merged_key_by_key(self) -> None:
        queue = _queue(
            "sounds: {accepted: mine}, numbers: {max_digits: 12}",
            "sounds: {hold_on: ours, accepted: ours}, numbers: {min_digits: 7}",
        )
        assert queue.sounds.accepted == "mine"
        assert queue.sounds.hold_on == "ours"
        assert queue.sounds.cannot_call == "callback-queue/cannot-call"
        assert (queue.numbers.min_digits, queue.numbers.max_digits) == (7, 12)

    def test_lists_are_replaced_as_a_whole(self) -> None:
        queue = _queue("numbers: {deny: ['1']}", "numbers: {deny: ['2', '3']}")
        assert queue.numbers.deny == (re.compile("1"),)

    def test_target_is_the_queue_itself(self) -> None:
        queue = _queue("")
        assert queue.target_queue == "support"
        assert (queue.target_extension, queue.state_interface) == ("", "")

    def test_state_interface_is_the_extension(self) -> None:
        queue = _queue("target_extension: PJSIP/101")
        assert queue.target_queue == ""
        assert queue.target_extension == queue.state_interface == "PJSIP/101"

    def test_state_interface_of_its_own(self) -> None:
        queue = _queue(
            "target_extension: Local/101@agents/n, "
            "state_interface: 'hint:101@from-internal'"
        )
        assert queue.state_interface == "hint:101@from-internal"

    def test_queue_with_an_extension_leaves_the_target_queue_of_the_defaults(
        self,
    ) -> None:
        queue = _queue("target_extension: PJSIP/101", "target_queue: callbacks")
        assert (queue.target_queue, queue.target_extension) == ("", "PJSIP/101")

    def test_queue_with_a_target_queue_leaves_the_extension_of_the_defaults(
        self,
    ) -> None:
        queue = _queue(
            "target_queue: callbacks",
            "target_extension: Local/1@agents, state_interface: PJSIP/1",
        )
        assert queue.target_queue == "callbacks"
        assert (queue.target_extension, queue.state_interface) == ("", "")

    def test_state_of_another_extension_is_not_taken_over(self) -> None:
        queue = _queue(
            "target_extension: PJSIP/102",
            "target_extension: PJSIP/101, state_interface: PJSIP/101-desk",
        )
        assert queue.state_interface == "PJSIP/102"

    def test_queue_may_change_only_the_state_interface(self) -> None:
        queue = _queue(
            "state_interface: PJSIP/7",
            "target_extension: Local/1@agents, state_interface: PJSIP/1",
        )
        assert queue.target_extension == "Local/1@agents"
        assert queue.state_interface == "PJSIP/7"


class TestQueues:
    _QUEUES = (
        "defaults:\n  outbound_channel: PJSIP/{number}@trunk\n  attempts: 9\n"
        "queues:\n  600:\n  Sales Team:\n  no:\n  null:\n    attempts: 1\n"
    )

    def test_name_of_a_queue_is_what_is_written(self) -> None:
        assert list(_load(self._QUEUES).queues) == ["600", "Sales Team", "no", "null"]

    @pytest.mark.parametrize("name", ["Sales Team", "sales team", "SALES TEAM"])
    def test_queue_is_found_as_asterisk_does(self, name: str) -> None:
        settings = _load(self._QUEUES)
        assert settings.queue(name).name == "Sales Team"
        assert settings.queues.get(name) is settings.queue(name)
        assert name in settings.queues

    def test_unknown_queue_has_no_callbacks(self) -> None:
        queues = _load(self._QUEUES).queues
        assert queues.get("other") is None
        assert "other" not in queues

    def test_queue_that_left_the_settings_has_the_defaults(self) -> None:
        queue = _load(self._QUEUES).queue("former")
        assert (queue.name, queue.target_queue) == ("former", "former")
        assert queue.attempts == 9
        assert queue.outbound_channel == "PJSIP/{number}@trunk"

    def test_a_queue_cannot_stand_under_another_name(self) -> None:
        with pytest.raises(ValueError, match="another name"):
            QueueTable({"support": QueueSettings(name="sales")})


class TestEquality:
    _TEXT = (
        "log:\n  level: info\n"
        "queues:\n"
        "  support:\n"
        "    outbound_channel: PJSIP/{number}@trunk\n"
        "    numbers:\n      allow: ['0.*']\n"
    )

    def test_same_text_gives_equal_settings(self) -> None:
        one, other = _load(self._TEXT), _load(self._TEXT)
        assert one == other
        assert hash(one) == hash(other)

    def test_default_written_out_is_no_change(self) -> None:
        shorter = self._TEXT.replace("log:\n  level: info\n", "")
        assert _load(shorter) == _load(self._TEXT)
        assert hash(_load(shorter)) == hash(_load(self._TEXT))

    @pytest.mark.parametrize(
        ("old", "new"),
        [("info", "debug"), ("@trunk", "@other"), ("0.*", "1.*"), ("support", "sales")],
    )
    def test_change_is_seen(self, old: str, new: str) -> None:
        assert _load(self._TEXT.replace(old, new)) != _load(self._TEXT)

    def test_change_of_the_secret_is_seen(self) -> None:
        text = _AMI + self._TEXT
        other = parse_settings(text.replace("s3cret", "other"), environ={})
        assert other.ami != parse_settings(text, environ={}).ami

    def test_change_of_one_queue_leaves_the_others_equal(self) -> None:
        text = self._TEXT + "  sales:\n    outbound_channel: PJSIP/{number}@trunk\n"
        before, after = _load(text), _load(text + "    attempts: 2\n")
        assert before.queues != after.queues
        assert before.queue("support") == after.queue("support")
        assert before.queue("sales") != after.queue("sales")

    def test_settings_cannot_be_changed(self) -> None:
        settings = _load(self._TEXT)
        with pytest.raises(AttributeError):
            settings.ami = settings.ami  # type: ignore[misc]
        with pytest.raises(ValidationError):
            settings.queue("support").attempts = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            settings.queues["x"] = settings.queue("support")  # type: ignore[index]


class TestSecretsStaySecret:
    _TEXT = (
        "database:\n  url: 'postgresql+psycopg://callback:hu%40sh:hu:sh@db/callback"
        "?password=hush'\n"
        "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
    )

    def test_nothing_that_is_shown_holds_a_secret(self) -> None:
        settings = _load(self._TEXT)
        for text in (repr(settings), str(settings), repr(dict(settings.ami))):
            assert "s3cret" not in text
            assert "hu%40sh" not in text
            assert "hush" not in text
            assert "hu:sh" not in text

    def test_faults_never_show_a_secret(self) -> None:
        text = (
            "ami:\n  secret: ' s3cret'\ndatabase:\n  url: mysql://u:s3cret@h/d\n"
            "queues:\n"
        )
        with pytest.raises(ConfigErrors) as raised:
            parse_settings(text, environ={})
        assert len(raised.value.problems) == 3
        assert "s3cret" not in str(raised.value)
        assert "s3cret" not in repr(raised.value.problems)


class TestValues:
    def test_values_have_their_kinds(self) -> None:
        settings = _load(
            "  login: plain\n  timeout: 5s\n"
            "fastagi:\n  allowed_peers: [10.1.2.3, 10.0.0.0/8, 'fd00::/8']\n"
            "log:\n  level: warn\n  mask_numbers: true\n"
            "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
            "    numbers:\n      allow: ['0[0-9]+']\n"
        )
        assert settings.ami.login is AmiLogin.PLAIN
        assert settings.ami.timeout == timedelta(seconds=5)
        assert (settings.ami.timeout_s, settings.ami.ping_interval_s) == (5.0, 15.0)
        assert settings.log.level is LogLevel.WARN
        assert settings.log.mask_numbers is True
        assert settings.fastagi.allowed_peers == (
            ipaddress.ip_network("10.1.2.3/32"),
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_network("fd00::/8"),
        )
        assert settings.queue("support").numbers.allow[0].fullmatch("0123")

    def test_seconds_of_a_queue(self) -> None:
        queue = _queue("success_duration: 1m, wrapuptime: 2s")
        assert queue.success_duration_s == 60.0
        assert queue.wrapuptime_s == 2.0
        assert queue.member_ring_time_s == 60.0
        assert queue.caller_ring_time_s == 45.0

    def test_rules_for_the_domain(self) -> None:
        queue = _queue(
            "attempts: 3, retry_delay: 1m, success_duration: 7s, member_attempts: 4, "
            "member_retry_delay: 2s, "
            "numbers: {min_digits: 6, max_digits: 9, allow: ['0.*'], deny: ['09.*'], "
            "dial_as: e164}"
        )
        rules = queue.retry_rules
        assert (rules.attempts, rules.member_attempts) == (3, 4)
        assert rules.retry_delay == timedelta(minutes=1)
        assert rules.member_retry_delay == timedelta(seconds=2)
        assert rules.success_duration_s == 7.0
        settings = _load(
            "number_plan: {region: de}\n"
            "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
        )
        numbers = settings.number_rules(queue)
        assert (numbers.min_digits, numbers.max_digits) == (6, 9)
        assert (numbers.allow, numbers.deny) == (
            (re.compile("0.*"),),
            (re.compile("09.*"),),
        )
        assert (numbers.dial_as, numbers.plan) == (DialAs.E164, NumberPlan("DE"))

    @pytest.mark.parametrize("own", ["004930999", "030999", r"\+4930999", "[+]4930999"])
    def test_an_own_number_is_known_in_all_its_forms(self, own: str) -> None:
        settings = _load(
            f"number_plan: {{region: de, own_numbers: ['{own}']}}\n"
            "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
        )
        rules = settings.number_rules(settings.queues["support"])
        for number in ("030999", "+4930999", "4930999", "004930999"):
            with pytest.raises(NotCallable):
                callable_number(number, rules)
        assert callable_number("0309991", rules) == "0309991"

    @pytest.mark.parametrize("own", ["40123456", "40000"])
    def test_a_local_own_number_is_no_number_of_another_town(self, own: str) -> None:
        settings = _load(
            f"number_plan: {{region: de, own_numbers: ['{own}']}}\n"
            "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
        )
        rules = settings.number_rules(settings.queues["support"])
        for number in (f"0{own}", f"+49{own}"):
            assert callable_number(number, rules) == number
        with pytest.raises(NotCallable):
            callable_number(own, rules)

    @pytest.mark.parametrize(
        "text",
        ["4930123456", "+4930123456", '"Jörg O\'Neill" <+49>', '"" <1>', ""],
    )
    def test_caller_id_is_taken(self, text: str) -> None:
        queue = QueueSettings(name="support", outbound_caller_id=text)
        assert queue.outbound_caller_id == text

    @pytest.mark.parametrize(
        "channel",
        [
            "PJSIP/{number}@trunk",
            "PJSIP/trunk/sip:+{number}@10.0.0.1:5060",
            "Local/{number}@outbound-routes/n",
            "DAHDI/g1/9{number}",
            "IAX2/provider/{number}",
        ],
    )
    def test_channel_is_taken(self, channel: str) -> None:
        queue = QueueSettings(name="support", outbound_channel=channel)
        assert queue.outbound_channel == channel

    @pytest.mark.parametrize(
        "sound",
        ["beep", "custom/ok", "/var/lib/asterisk/sounds/de/ok", "v1.2/ok", "silence/1"],
    )
    def test_sound_is_taken(self, sound: str) -> None:
        assert _queue(f"sounds: {{accepted: {sound}}}").sounds.accepted == sound

    @pytest.mark.parametrize(
        "host", ["localhost", "pbx-1.example.com", "10.0.0.1", "fd00::1", "my_pbx"]
    )
    def test_host_is_taken(self, host: str) -> None:
        settings = AmiSettings(host=host, secret=SecretStr("s3cret"))
        assert settings.host == host

    def test_what_looks_like_a_number_or_a_word_stays_text(self) -> None:
        settings = parse_settings(
            "ami:\n  secret: 0123456\n  username: NO\nqueues:\n  1e3:\n"
            "    outbound_channel: PJSIP/{number}@trunk\n"
            "    outbound_caller_id: +4930123456\n    target_queue: 08\n"
            "    numbers: {allow: [0900, yes]}\n",
            environ={},
        )
        assert settings.ami.secret.get_secret_value() == "0123456"
        assert settings.ami.username == "NO"
        queue = settings.queues["1e3"]
        assert queue.outbound_caller_id == "+4930123456"
        assert queue.target_queue == "08"
        assert queue.numbers.allow == (re.compile("0900"), re.compile("yes"))

    def test_sections_may_be_empty(self) -> None:
        text = "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
        empty = (
            "fastagi:\ndatabase:\ncontrol:\nlog:\ndefaults:\n"
            + text
            + "    sounds:\n    numbers:\n"
        )
        assert _load(empty) == _load(text)


class TestBuiltInCode:
    """Settings built in code, as in other tests, obey the same rules."""

    def test_short_way(self) -> None:
        settings = Settings(
            ami=AmiSettings(secret=SecretStr("s3cret")),
            queues={
                "support": QueueSettings(
                    name="support", outbound_channel="PJSIP/{number}@trunk"
                )
            },
        )
        assert settings == _load(
            "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "a,b"},
            {"attempts": 0},
            {"retry_delay": timedelta(days=2)},
            {"retry_delay": 5},
            {"target_queue": "sales", "target_extension": "PJSIP/1"},
            {"target_extension": "Local/1@agents"},
            {"state_interface": "PJSIP/1"},
            {"numbers": Numbers(min_digits=9, max_digits=8)},
            {"outbound_channel": "PJSIP/trunk"},
            {"color": "red"},
        ],
    )
    def test_rules_hold(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            QueueSettings.model_validate({"name": "support", **wrong})


class TestMissedCalls:
    _QUEUES = (
        "defaults:\n  outbound_channel: PJSIP/{number}@trunk\n"
        "queues:\n  Support:\n  sales:\n    missed_calls: false\n"
    )

    def test_every_queue_counts_that_does_not_say_otherwise(self) -> None:
        rules = _load(self._QUEUES).counting_rules
        assert rules.queues == {"support"}
        assert (rules.contexts, rules.numbers) == (frozenset(), ())

    def test_calls_outside_of_queues(self) -> None:
        settings = _load(
            "missed:\n  contexts: [from-trunk]\n  numbers: ['4930[0-9]+']\n"
            "  min_duration: 5s\n  queue: SALES\n" + self._QUEUES
        )
        rules = settings.counting_rules
        assert rules.contexts == {"from-trunk"}
        assert rules.numbers == (re.compile("4930[0-9]+"),)
        assert rules.min_duration_s == 5
        assert settings.queues[settings.queue_for_others].name == "sales"

    def test_the_first_queue_takes_calls_that_were_in_none(self) -> None:
        assert _load(self._QUEUES).queue_for_others == "Support"

    def test_window_is_the_queues_own(self) -> None:
        assert _queue("").missed_window_s == 300
        assert _queue("missed_window: 1h", "missed_window: 10m").missed_window_s == 3600


class TestHistory:
    _URL = "history:\n  cdr_url: mysql://reader@db.example.com/asteriskcdrdb\n"
    _SECRET = "s3cr3t:@/"
    _REST = "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"

    def test_password_comes_from_the_environment_and_is_not_shown(self) -> None:
        settings = parse_settings(
            _AMI + self._URL + self._REST,
            environ={"CALLBACK_QUEUE_CDR_PASSWORD": self._SECRET},
        )
        password = settings.history.cdr_password
        assert password is not None
        assert password.get_secret_value() == self._SECRET
        assert self._SECRET not in repr(settings)

    def test_password_comes_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text(f"{self._SECRET}\n")
        file.chmod(0o600)
        line = f"  cdr_password_file: {file}\n"
        settings = _load(self._URL + line + self._REST)
        password = settings.history.cdr_password
        assert password is not None
        assert password.get_secret_value() == self._SECRET

    def test_password_in_the_address_is_not_shown(self) -> None:
        url = self._URL.replace("reader@", "reader:geheim@")
        settings = _load(url + self._REST)
        assert "geheim" not in repr(settings)

    def test_password_in_the_environment_and_in_the_address(self) -> None:
        url = self._URL.replace("reader@", "reader:geheim@")
        with pytest.raises(ConfigErrors, match="given twice") as caught:
            parse_settings(
                _AMI + url + self._REST,
                environ={"CALLBACK_QUEUE_CDR_PASSWORD": self._SECRET},
            )
        assert "geheim" not in str(caught.value)

    def test_password_nobody_can_use(self) -> None:
        with pytest.raises(ConfigErrors, match=r"PASSWORD in the environment .*line"):
            parse_settings(
                _AMI + self._URL + self._REST,
                environ={"CALLBACK_QUEUE_CDR_PASSWORD": "two\nlines"},
            )

    def test_password_of_each_database_is_its_own(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text(self._SECRET + "\n")
        file.chmod(0o600)
        history = _load(
            "history:\n  queue_log_url: postgresql://reader@db.example.com/asterisk\n"
            f"  queue_log_password_file: {file}\n{self._REST}"
        ).history
        assert history.cdr_password is None
        assert history.queue_log_password is not None
        assert history.queue_log_password.get_secret_value() == self._SECRET

    def test_file_of_queue_log_is_not_expected_where_it_is_in_a_table(self) -> None:
        url = "  queue_log_url: sqlite:////var/lib/asterisk/realtime.db\n"
        given = _load("history:\n" + url + self._REST).history
        assert given.queue_log_file == ""
        file = "  queue_log: /opt/queue_log\n"
        given = _load("history:\n" + url + file + self._REST).history
        assert given.queue_log_file == "/opt/queue_log"
        given = _load("history:\n" + file + self._REST).history
        assert given.queue_log_file == "/opt/queue_log"

    def test_no_queue_log(self) -> None:
        assert _load("history:\n  queue_log: ''\n" + self._REST).history.queue_log == ""


class TestQueueNames:
    @pytest.mark.parametrize(
        "name",
        ["Продажи", "a/b", "Süd 2", "営業", "बिक्री", "क" * 26, "x" * 79, "-1.+_"],
    )
    def test_name_that_asterisk_takes(self, name: str) -> None:
        assert fields.parse_queue_name(name) == name

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("a,b", "must not hold a comma"),
            ("a|b", "may hold only letters, digits, single spaces and"),
            ("a  b", "single spaces"),
            (" a", "single spaces"),
            ("", "empty|letters"),
            ('a"b', "may hold only"),
            ("a)b", "may hold only"),
            ("${X}", "may hold only"),
            ("a\u200bb", "may hold only"),
            ("x" * 80, "no longer than 79 bytes"),
            ("Я" * 40, "no longer than 79 bytes"),
            ("General", "is not a queue"),
        ],
    )
    def test_name_that_asterisk_does_not_take(self, name: str, why: str) -> None:
        with pytest.raises(BadValue, match=why):
            fields.parse_queue_name(name)


class TestOpeningHours:
    """2026-11-23 is a Monday."""

    MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    _BERLIN = "time_zone: Europe/Berlin"

    def hours(self, text: str, defaults: str = "") -> OpeningHours:
        below = f"opening_hours: {{{defaults}}}" if defaults else ""
        return _queue(f"opening_hours: {{{text}}}", below).hours

    def test_a_queue_is_always_open_if_nothing_is_said(self) -> None:
        assert _queue("").hours is ALWAYS
        assert self.hours(self._BERLIN) is ALWAYS

    def test_days_that_say_nothing_are_closed_if_another_has_hours(self) -> None:
        hours = self.hours("monday: 09:00-17:00")
        assert hours.week == (DayHours((Range(540, 1020),)), *[CLOSED] * 6)

    def test_days_of_the_week_are_open_if_only_single_days_have_hours(self) -> None:
        hours = self.hours("days: {12-25: closed}")
        assert hours.week == (ALL_DAY,) * 7
        assert hours.days == {SpecialDay(0, 12, 25): CLOSED}

    def test_days_are_added_to_those_of_the_defaults(self) -> None:
        hours = self.hours(
            "monday: 10:00-11:00, days: {12-24: closed, 01-01: closed}",
            f"{self._BERLIN}, monday: closed, tuesday: 09:00-17:00,"
            " days: {12-24: 09:00-12:00, 12-25: closed}",
        )
        assert str(hours.zone) == "Europe/Berlin"
        assert [str(day) for day in hours.week[:3]] == [
            "10:00-11:00",
            "09:00-17:00",
            "closed",
        ]
        assert {str(day): str(hours) for day, hours in hours.days.items()} == {
            "01-01": "closed",
            "12-24": "closed",
            "12-25": "closed",
        }

    def test_a_queue_may_be_open_whatever_the_defaults_say(self) -> None:
        assert self.hours("enabled: false", "monday: closed") is ALWAYS

    def test_the_time_zone_is_that_of_the_machine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            queue_layers, "machine_zone", lambda: ZoneInfo("Asia/Tokyo")
        )
        assert str(self.hours("monday: 09:00-17:01").zone) == "Asia/Tokyo"

    def test_a_machine_without_a_time_zone_needs_one_in_the_settings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue_layers, "machine_zone", lambda: None)
        with pytest.raises(ConfigErrors) as raised:
            _load(
                "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
                "    opening_hours:\n      sunday: 09:00-17:00\n"
            )
        assert str(raised.value) == (
            "callback-queue.yaml:7: queues.support.opening_hours.sunday: needs a time"
            " zone, and this machine's own cannot be found out - add time_zone, e.g."
            " time_zone: Europe/Berlin"
        )
        assert self.hours(f"{self._BERLIN}, monday: closed").is_never
        assert self.hours("enabled: false, monday: closed") is ALWAYS

    def test_equal_hours_are_equal_settings(self) -> None:
        text = f"{self._BERLIN}, friday: 22:00-02:00, days: {{2026-12-24: closed}}"
        one, other = (_queue(f"opening_hours: {{{text}}}") for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)

    def test_expiry_goes_by_them(self) -> None:
        queue = _queue(
            "request_expiry: 30m, missed_window: 20m,"
            f" opening_hours: {{{self._BERLIN}, monday: 08:00-12:00, carry_over: all}}"
        )
        assert queue.expiry_rules == ExpiryRules(
            request_expiry=timedelta(minutes=30),
            missed_window=timedelta(minutes=20),
            hours=queue.hours,
            carry_over=CarryOver.ALL,
        )


@pytest.mark.parametrize(
    ("peers", "share"),
    [
        (None, 1000),
        (["127.0.0.1"], 1000),
        (["192.0.2.7"], 1000),
        (["127.0.0.0/8", "192.0.2.7"], 750),
        (["192.0.2.7", "192.0.2.8"], 750),
        (["192.0.2.0/24"], 750),
    ],
)
def test_room_is_kept_for_a_second_peer_only_where_there_may_be_one(
    peers: list[str] | None, share: int
) -> None:
    given = {} if peers is None else {"allowed_peers": peers}
    fastagi = sections.FastAgiSettings.model_validate(given)
    assert fastagi.share_of_one_peer == share
