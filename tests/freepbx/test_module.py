# SPDX-License-Identifier: MIT
"""The module between models of FreePBX's modules: tab, page, Apply Config, backup."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fastagi import __version__
from fastagi.config.load import parse_settings
from fastagi.config.sections import Settings
from tests.freepbx.model import QUEUE, FreePBX, php
from tools import freepbx as tool

_ROOT = Path(__file__).parents[2]
_SERVICE = "ami: {secret: x}\ninclude: {queues: %s}\n"


def _settings(freepbx: FreePBX) -> Settings:
    """Return the settings of the service with what the module has written."""
    return parse_settings(_SERVICE % freepbx.settings, environ={})


def _context(text: str, name: str) -> list[str]:
    """Return the lines of a context."""
    (lines,) = re.findall(rf"^\[{re.escape(name)}\]\n((?:.+\n)*)", text, re.M)
    return str(lines).splitlines()


def _steps(text: str, context: str, extension: str) -> list[str]:
    """Return the steps of an extension, without their priorities but with labels."""
    beginning = f"exten => {extension},"
    return [
        re.sub(
            r"^(?:1|n)(?:\((\w+)\))?,",
            lambda found: f"{found[1]}: " if found[1] else "",
            line.removeprefix(beginning),
        )
        for line in _context(text, context)
        if line.startswith(beginning)
    ]


def _fields(html: str) -> dict[str, str]:
    """Return the fields of a form with the values that a browser would send."""
    inputs = re.findall(r'<input [^>]*name="(\w+)" value="([^"]*)"', html)
    selects = re.findall(r'<select [^>]*name="(\w+)">(.*?)</select>', html, re.S)
    found = dict(inputs)
    for name, options in selects:
        (found[name],) = re.findall(
            r'<option (?:value="([^"]*)" )?selected>', options
        ) or re.findall(r"<option selected>(\w+)", options)
    return found


def test_every_file_of_the_module_is_valid_php(built: Path) -> None:
    files = sorted(str(path) for path in built.rglob("*.php"))
    assert len(files) > 10
    for file in files:
        done = php("-l", file)
        assert done.returncode == 0, done.stdout + done.stderr


def test_archive_is_the_same_each_time_and_has_what_module_admin_needs(
    tmp_path: Path,
) -> None:
    first = tool.archive()
    for path in tool.unpacked(tmp_path).rglob("*"):
        os.utime(path, (1, 1))
    assert tool.archive() == first
    places = {place for place, _ in tool.files()}
    assert {"module.xml", "Callbackqueue.class.php", "LICENSE"} < places
    assert {"dialplan/callback-queue.conf", "prompts/en/offer.wav"} < places


def test_version_of_the_module_is_that_of_the_service_for_freepbx_17() -> None:
    assert tool.version() == "17." + re.sub(r"\.?dev\d+$", "", __version__)
    module = ElementTree.parse(_ROOT / "freepbx/callbackqueue/module.xml").getroot()
    assert module.findtext("license") == "MIT"
    assert (_ROOT / "LICENSE").read_text().startswith("MIT License")
    assert f"*{tool.version()}*" in str(module.findtext("changelog"))


class TestTab:
    def test_form_shows_what_was_saved(self, freepbx: FreePBX) -> None:
        freepbx.save_queue(key="5", offer="none", attempts="7", did="4930600")
        (shown,) = freepbx.run(("tab", "600"))
        assert "#queuehookcallbackqueue" in shown["hookTabs"]
        assert _fields(shown["hookContent"]) == {
            "callbackqueue_enabled": "yes",
            "callbackqueue_key": "5",
            "callbackqueue_offer": "none",
            "callbackqueue_frequency": "30",
            "callbackqueue_attempts": "7",
            "callbackqueue_caller_id": "",
            "callbackqueue_did": "4930600",
            "callbackqueue_outbound": "",
        }
        assert freepbx.needs_reload

    def test_queue_without_settings_has_no_callbacks(self, freepbx: FreePBX) -> None:
        (shown,) = freepbx.run(("tab", "600"))
        assert _fields(shown["hookContent"])["callbackqueue_enabled"] == "no"

    @pytest.mark.parametrize(
        ("field", "value", "problem"),
        [
            ("key", "12", "the key must be one of"),
            ("frequency", "5", "10 to 3600 seconds"),
            ("frequency", "often", "must be a number of seconds"),
            ("attempts", "101", "attempts must be 1 to 100"),
            ("caller_id", "Support", "the caller ID must be a number"),
            ("did", "1\n2", "the DID must be a number"),
            ("outbound", "Local/{number}@x,s,1", "the channel must be such as"),
            ("outbound", "Local/0301234@x", "the channel must be such as"),
            ("offer", "../x", "a recording of the list"),
            ("key", "2", 'says "press 1"'),
        ],
    )
    def test_wrong_field_is_named_and_what_was_stored_stays(
        self, freepbx: FreePBX, field: str, value: str, problem: str
    ) -> None:
        freepbx.save_queue(attempts="4")
        stored = freepbx.store
        request = {
            "display": "queues",
            "action": "edit",
            "account": "600",
            "extdisplay": "600",
        }
        tab = {"callbackqueue_enabled": "yes", "callbackqueue_attempts": "9"}
        (_, shown) = freepbx.run(
            (
                "request",
                {
                    **request,
                    "callbackqueue_key": "1",
                    "callbackqueue_offer": "default",
                    "callbackqueue_frequency": "30",
                    **tab,
                    f"callbackqueue_{field}": value,
                },
            ),
            ("tab", "600"),
        )
        assert freepbx.store == stored
        (told,) = freepbx.told.values()
        assert problem in told
        # Nothing that was entered is lost, and the reason stands beside it.
        assert problem in shown["hookContent"].replace("&quot;", '"')

    def test_mistake_is_gone_from_the_dashboard_once_it_is_mended(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_queue(attempts="many")
        assert "FORM" in freepbx.told
        freepbx.save_queue(attempts="5")
        assert freepbx.told == {}

    def test_deleted_queue_has_no_settings(self, freepbx: FreePBX) -> None:
        freepbx.save_queue()
        freepbx.save_queue(action="delete")
        assert freepbx.store.get("queues", {}) in ({}, [])

    def test_other_ways_to_save_a_queue_leave_the_settings(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_queue()
        stored = freepbx.store
        freepbx.run(
            ("request", {"display": "queues", "action": "edit", "account": "600"})
        )
        assert freepbx.store == stored


class TestApplyConfig:
    def test_contexts_are_those_of_the_service(self, freepbx: FreePBX) -> None:
        extensions, _ = freepbx.apply()
        ours = (_ROOT / "dialplan/callback-queue.conf").read_text()
        contexts = re.findall(r"^\[([\w-]+)\]", ours, re.M)
        steps = [line for line in ours.splitlines() if "=> " in line[:10]]
        assert len(contexts) > 20
        written = [line for name in contexts for line in _context(extensions, name)]
        assert len(written) == len(steps)
        for line, step in zip(written, steps, strict=True):
            parts = 2 if step.startswith("exten") else 1
            assert line.split(",", 2)[2] == step.split(",", parts)[parts]

    def test_address_of_the_service_is_a_global_variable(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page(service="10.0.0.5:4599", when_down="keep")
        extensions, _ = freepbx.apply()
        assert {
            "CALLBACK_AGI = agi://10.0.0.5:4599",
            "CALLBACK_WHEN_DOWN = keep",
        } <= set(_context(extensions, "globals"))

    def test_queue_without_callbacks_is_as_freepbx_writes_it(
        self, freepbx: FreePBX
    ) -> None:
        extensions, queues = freepbx.apply()
        assert "CALLBACK" not in "".join(_context(extensions, "ext-queues"))
        assert "callback" not in queues

    def test_caller_comes_back_to_the_line_that_freepbx_wrote(
        self, freepbx: FreePBX
    ) -> None:
        before, _ = freepbx.apply()
        freepbx.save_queue()
        after, _ = freepbx.apply()
        old = _steps(before, "ext-queues", "600")
        new = _steps(after, "ext-queues", "600")
        # Nothing of FreePBX's is changed or moved.
        assert [step for step in new if step in old] == old
        added = [step for step in new if step not in old]
        at = next(i for i, step in enumerate(new) if step.startswith("qcall: "))
        assert new[at - len(added[:-2]) : at] == added[:-2]
        assert sum(step.startswith("callbackreturn: ") for step in added) == 1
        assert "Set(CALLBACK_RETURN=ext-queues,600,callbackreturn)" in new
        after_queue = _steps(after, "callback-after-queue", "600")
        assert after_queue == ["Goto(ext-queues,600,gotodest)"]

    @pytest.mark.parametrize(
        ("asterisk", "queues", "arguments"),
        [
            ("22.10.1", "17.0.1.6", 9),
            ("22.10.1", "17.0.1.11", 9),
            ("20.9.0", "17.0.1.6", 10),
            ("16.28.0", "17.0.1.11", 10),
        ],
    )
    def test_queue_line_has_the_arguments_of_its_asterisk(
        self, freepbx: FreePBX, asterisk: str, queues: str, arguments: int
    ) -> None:
        freepbx.asterisk, freepbx.queues_version = asterisk, queues
        freepbx.save_queue()
        extensions, _ = freepbx.apply()
        (line,) = [
            step
            for step in _steps(extensions, "ext-queues", "600")
            if step.startswith("qcall: ")
        ]
        found = re.fullmatch(r"qcall: Queue\((.*)\)", line)
        assert found is not None
        given = found[1].split(",")
        assert len(given) == arguments
        assert given[-3:] == ["${QGOSUB}", "${QRULE}", "${QPOSITION}"]

    def test_unknown_dialplan_is_reported_and_left_as_it_is(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page()
        freepbx.label = "another"
        freepbx.save_queue()
        extensions, _ = freepbx.apply()
        assert "CALLBACK" not in "".join(_context(extensions, "ext-queues"))
        assert 'no step "qcall"' in freepbx.told["DIALPLAN"]
        freepbx.label = "qcall"
        freepbx.apply()
        assert freepbx.notifications == {}

    def test_module_without_its_dialplan_says_so_and_freepbx_has_its_own(
        self, tmp_path: Path
    ) -> None:
        module = tool.unpacked(tmp_path)
        (module / "dialplan/callback-queue.conf").unlink()
        freepbx = FreePBX(module, tmp_path)
        freepbx.save_page()
        freepbx.save_queue()
        extensions, _ = freepbx.apply()
        assert "[ext-queues]" in extensions
        assert "callback" not in "".join(_context(extensions, "ext-queues"))
        assert "is missing: install the module" in freepbx.told["DIALPLAN"]

    def test_lines_of_the_queue_win_over_those_of_freepbx(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_queue(frequency="45")
        _, queues = freepbx.apply()
        wins = dict(line.split("=", 1) for line in queues.splitlines() if "=" in line)
        assert wins["context"] == "callback-request"
        assert wins["setqueuevar"] == "yes"
        assert wins["periodic-announce"] == "callback-queue/offer"
        assert wins["periodic-announce-frequency"] == "45"
        freepbx.save_queue(offer="none")
        _, queues = freepbx.apply()
        assert "callback-queue/offer" not in queues

    def test_other_key_and_the_break_out_menu_are_in_one_context(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.queues = [{**QUEUE, "context": "ivr-1"}]
        freepbx.save_queue(key="#", offer="none")
        extensions, queues = freepbx.apply()
        assert queues.count("context=") == 2
        assert queues.index("context=ivr-1") < queues.index("context=callback-keys-600")
        assert _context(extensions, "callback-keys-600") == [
            "include => ivr-1",
            "exten => #,1,Goto(callback-key,#,1)",
            "exten => D,1,Goto(callback-request,D,1)",
        ]

    def test_callback_gets_what_freepbx_does_before_its_queues(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.queues = [
            {**QUEUE, "cwignore": "1", "use_queue_context": "1", "recording": "force"}
        ]
        freepbx.save_queue(did="4930600")
        extensions, _ = freepbx.apply()
        steps = _steps(extensions, "callback-before-queue", "600")
        assert steps[:4] == [
            "Set(__NODEST=${EXTEN})",
            "Set(__BLKVM_CHANNEL=${CHANNEL})",
            "Set(SHARED(BLKVM,${CHANNEL})=TRUE)",
            "Set(__FROMQUEUEEXTEN=${CALLERID(num)})",
        ]
        for step in (
            "Set(__FROM_DID=4930600)",
            "QueueLog(600,${UNIQUEID},NONE,DID,4930600)",
            "Set(__CWIGNORE=TRUE)",
            "Set(__CFIGNORE=TRUE)",
            "Set(__FORWARD_CONTEXT=block-cf)",
            "Set(__SIGNORE=TRUE)",
        ):
            assert step in steps
        at = steps.index("Gosub(sub-record-check,s,1(q,600,force))")
        assert steps[at - 1] == "Set(__REALCALLERIDNUM=${CALLERID(num)})"
        assert any("${DIAL_OPTIONS}U(macro-auto-blkvm)" in step for step in steps)
        # It would keep sub-record-check from preparing the names of files.
        assert not any("FROMEXTEN=" in step for step in steps)
        # Agents of this queue do not confirm calls.
        assert not any("CONFIRM" in step for step in steps)
        assert steps[-1] == "Return()"
        freepbx.queues = [{**QUEUE, "callconfirm": "1"}]
        extensions, _ = freepbx.apply()
        steps = _steps(extensions, "callback-before-queue", "600")
        assert "Set(__FORCE_CONFIRM=${CHANNEL})" in steps

    def test_remains_of_an_installation_by_hand_are_named(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page()
        custom = freepbx.etc / "extensions_custom.conf"
        custom.write_text('#include "callback-queue.conf"\n[from-pstn-custom]\n')
        freepbx.apply()
        told = freepbx.told["BYHAND"]
        assert f'{custom}: delete #include "callback-queue.conf"' in told
        custom.write_text("")
        freepbx.apply()
        assert freepbx.notifications == {}


class TestSettingsOfTheService:
    def test_service_reads_the_queues(self, freepbx: FreePBX) -> None:
        freepbx.queues = [QUEUE, {**QUEUE, "number": "700", "name": "Sales"}]
        freepbx.save_page()
        freepbx.save_queue(attempts="7", caller_id="+4930600")
        freepbx.save_queue("700", outbound="PJSIP/{number}@berlin")
        freepbx.apply()
        settings = _settings(freepbx)
        assert list(settings.queues) == ["600", "700"]
        support, sales = settings.queue("600"), settings.queue("700")
        assert support.outbound_channel == "Local/{number}@from-internal/n"
        assert (support.attempts, support.outbound_number) == (7, "+4930600")
        assert sales.outbound_channel == "PJSIP/{number}@berlin"
        assert (freepbx.settings / "freepbx.yaml").stat().st_mode & 0o777 == 0o640
        assert [path.name for path in freepbx.settings.iterdir()] == ["freepbx.yaml"]

    def test_last_queue_without_callbacks_leaves_a_valid_file(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page()
        freepbx.save_queue()
        freepbx.apply()
        freepbx.save_queue(enabled="no")
        freepbx.apply()
        assert list(_settings(freepbx).queues) == []

    def test_deleted_queue_of_a_restore_is_not_told_to_the_service(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page()
        freepbx.save_queue("800")
        freepbx.apply()
        assert list(_settings(freepbx).queues) == []

    def test_unchanged_file_is_not_written_again(self, freepbx: FreePBX) -> None:
        freepbx.save_page()
        freepbx.apply()
        written = (freepbx.settings / "freepbx.yaml").stat()
        freepbx.apply()
        assert (freepbx.settings / "freepbx.yaml").stat().st_ino == written.st_ino

    def test_directory_that_is_missing_is_reported_with_the_remedy(
        self, freepbx: FreePBX
    ) -> None:
        missing = freepbx.settings / "none"
        freepbx.save_page(directory=str(missing))
        freepbx.save_queue()
        extensions, _ = freepbx.apply()
        assert "callbackreturn" in extensions
        told = freepbx.told["SERVICE"]
        assert f"install -d -o asterisk -g callback-queue -m 2750 {missing}" in told
        missing.mkdir()
        freepbx.apply()
        assert freepbx.notifications == {}

    def test_mistakes_in_an_included_file_have_its_name_and_line(
        self, freepbx: FreePBX
    ) -> None:
        freepbx.save_page()
        freepbx.save_queue(attempts="7")
        freepbx.apply()
        file = freepbx.settings / "freepbx.yaml"
        file.write_text(file.read_text().replace("attempts: 7", "attempts: 700"))
        with pytest.raises(Exception, match=rf"{file}:6: queues\.600\.attempts: must"):
            _settings(freepbx)


def test_backup_has_all_settings_and_restore_brings_them_back(
    freepbx: FreePBX,
) -> None:
    freepbx.save_page(token="cbq_secret", console="https://cb.example.com")
    freepbx.save_queue(key="5", offer="none")
    before = freepbx.store
    (backup,) = freepbx.run(("backup",))
    assert backup["dependencies"] == ["queues"]
    freepbx.save_queue("600", enabled="no")
    freepbx.save_queue("700")
    freepbx.run(("restore", {"configs": backup["configs"]}))
    assert freepbx.store == before


def test_restore_of_a_changed_backup_stores_no_other_values(freepbx: FreePBX) -> None:
    bad = {"enabled": "yes", "key": "1,Hangup()", "frequency": ["x"]}
    freepbx.run(("restore", {"configs": {"module": "x", "queues": {"600": bad}}}))
    assert "Hangup" not in json.dumps(freepbx.store)
    extensions, _ = freepbx.apply()
    assert "Hangup()-" not in extensions


def test_prompts_are_linked_and_own_ones_stay(freepbx: FreePBX) -> None:
    sounds = freepbx.library / "sounds"
    (sounds / "ru/callback-queue").mkdir(parents=True)
    freepbx.apply()
    link = sounds / "en/callback-queue"
    assert (link / "offer.wav").is_file()
    assert not (sounds / "ru/callback-queue").is_symlink()
    freepbx.apply()
    assert "PROMPTS" not in freepbx.told


def test_uninstall_leaves_nothing(freepbx: FreePBX) -> None:
    freepbx.run(("install",))
    freepbx.save_page()
    freepbx.save_queue()
    freepbx.save_queue(key="x")
    freepbx.apply()
    kept = freepbx.library / "sounds/en/kept.wav"
    kept.touch()
    freepbx.run(("uninstall",))
    assert freepbx.store == {}
    assert freepbx.notifications == {}
    assert list(freepbx.settings.iterdir()) == []
    assert list((freepbx.library / "sounds/en").iterdir()) == [kept]


# -- the page


@contextmanager
def _console(answers: Mapping[str, tuple[int, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Answer like the API of the console; yield its address and the tokens it got."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            path = self.path.removeprefix("/api/v1").partition("?")[0]
            status, answer = answers[path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", tokens
        finally:
            server.shutdown()
            thread.join()


def _example(schema: str, **fields: Any) -> dict[str, Any]:
    """Return an object with every field of a schema of docs/openapi.json."""
    api = json.loads((_ROOT / "docs/openapi.json").read_text())
    properties = api["components"]["schemas"][schema]["properties"]
    assert set(fields) <= set(properties), set(fields) - set(properties)
    return {**dict.fromkeys(properties), **fields}


def test_page_shows_queues_open_callbacks_and_blocked_numbers(
    freepbx: FreePBX,
) -> None:
    freepbx.queues = [QUEUE, {**QUEUE, "number": "700", "name": "<Sales>"}]
    queue = _example(
        "Queue", name="600", waiting=3, callbacks_waiting=2, callbacks_calling=1, free=4
    )
    task = _example(
        "Task", id=17, queue="600", number="4930123456", name="<b>", status="pending"
    )
    blocked = _example("Blocked", number="4930999", reason="<i>")
    answers = {
        "/queues": (200, {"items": [queue]}),
        "/tasks": (200, {"items": [task]}),
        "/numbers/blocked": (200, {"items": [blocked]}),
    }
    with _console(answers) as (address, tokens):
        freepbx.save_page(console=address, token="cbq_1")
        freepbx.save_queue()
        freepbx.save_queue("700")
        (page,) = freepbx.run(("page",))
        assert set(tokens) == {"Bearer cbq_1"}
        rows = [
            re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)).strip()
            for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)
        ]
        assert "600 Support Yes 3 3 4" in rows
        assert any(r.startswith("700 &lt;Sales&gt; Yes the service does") for r in rows)
        assert "17 600 4930123456 &lt;b&gt; pending" in rows
        assert "4930999 &lt;i&gt;" in rows
        assert f'href="{address}/tasks/17"' in page
        assert "cbq_1" not in page

        answers["/numbers/blocked"] = (403, {"title": "no"})
        (page,) = freepbx.run(("page",))
        assert "4930123456" in page
        assert "Blocked numbers" not in page
        answers["/queues"] = (401, {"title": "no"})
        (page,) = freepbx.run(("page",))
        assert "the token is not valid" in page
        answers["/queues"] = (503, {"detail": "there is no live state"})
        (page,) = freepbx.run(("page",))
        assert "the console answered 503: there is no live state" in page
    (page,) = freepbx.run(("page",))
    assert f"{address} does not answer" in page


def test_page_says_what_is_wrong_and_an_empty_token_keeps_the_stored_one(
    freepbx: FreePBX,
) -> None:
    freepbx.save_page(token="cbq_1", console="")
    stored = freepbx.store
    assert stored["noid"]["settings"]["token"] == "cbq_1"
    freepbx.save_page(console="", outbound="Local/{number}@other")
    assert freepbx.store["noid"]["settings"]["token"] == "cbq_1"
    stored = freepbx.store
    for field, value in {
        "directory": "queues.d",
        "service": "127.0.0.1",
        "when_down": "perhaps",
        "outbound": "",
        "console": "javascript:alert(1)",
    }.items():
        freepbx.save_page(**{field: value})
        assert freepbx.store == stored, field
        assert freepbx.notifications.pop("callbackqueue FORM")
