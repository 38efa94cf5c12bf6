# SPDX-License-Identifier: MIT
"""The command ``callback-queue setup``, on a directory in place of a machine."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result

from fastagi.command import offline
from fastagi.command import setup as setup_command
from fastagi.command.cli import main
from fastagi.command.setup import _offer_a_test_call, still_waiting
from fastagi.config.load import load_settings
from fastagi.doors import client
from fastagi.errors import CallbackError
from fastagi.service.commands import Actor, AddTask, actor_of
from fastagi.setup import journal as journal_module
from fastagi.setup import machine as machine_module
from fastagi.setup import material as material_module
from fastagi.setup.answers import check_own_numbers, read_answers
from fastagi.setup.countries import country
from fastagi.setup.errors import WrongAnswer
from fastagi.setup.installation import Installation, Plan
from fastagi.setup.lines import has_ours
from fastagi.setup.machine import Machine
from fastagi.setup.material import material, page
from fastagi.store import migrate
from tests.docs.blocks import blocks
from tests.harness.checking import settings
from tests.setup.layouts import SILENT, installation, machine, planned, tree

_GIVEN = (
    *("--queue", "support", "--outbound", "PJSIP/{number}@trunk"),
    *("--region", "DE", "--own-number", "+4930123456"),
)
_ETC = "etc/asterisk"


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module.os, "fsync", lambda handle: None)


def _run(root: Path, *arguments: str, typed: str = "") -> Result:
    before = os.umask(0)
    try:
        return CliRunner().invoke(
            main, ["setup", "--root", str(root), *arguments], input=typed
        )
    finally:
        os.umask(before)


def test_yes_installs_without_a_question_and_undo_takes_it_back(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path / _ETC)
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert done.exit_code == 0, done.output
    assert "+context = callback-request" in done.output
    assert "prompts into /usr/share/asterisk/sounds/ru/callback-queue" in done.output
    assert "does not run: it reads the files when it starts" in done.output
    settings = tmp_path / "etc/callback-queue/callback-queue.yaml"
    assert settings.stat().st_mode & 0o777 == 0o640
    # The secret is in two files, and not in the output.
    user = (tmp_path / _ETC / "manager.d/callback-queue.conf").read_text()
    (secret,) = (
        line.partition(" = ")[2]
        for line in user.splitlines()
        if line.startswith("secret = ")
    )
    assert secret in settings.read_text()
    assert secret not in done.output

    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 0, undone.output
    assert tree(tmp_path / _ETC) == before
    assert not settings.exists()
    again = _run(tmp_path, "--undo")
    assert (again.exit_code, "nothing to take back" in again.output) == (0, True)


def test_no_secret_of_any_user_is_shown(tmp_path: Path) -> None:
    manager = (
        "[general]\nenabled = no\nbindaddr = 0.0.0.0\n"
        "[admin]\n;secret=former-1\nSecret=>theirs-2 ; of the PBX\n"
    )
    extensions = (
        "[globals]\nDB_PASSWORD = theirs-3\n[in]\nexten => 1,1,Answer()\n"
        " same => n,Set(TOKEN=theirs-4)\n same => n,Queue(support)\n"
    )
    root = machine(
        tmp_path, {"manager.conf": manager, "extensions.conf": extensions}
    ).directory
    shown = _run(root, "--yes", *_GIVEN).output
    # The user as the sample has it, with another secret than the new settings have.
    (root / "etc/callback-queue/callback-queue.yaml").unlink()
    user = root / _ETC / "manager.d/callback-queue.conf"
    user.write_text(re.sub("secret = .*", "secret = ours-5\\\\;6", user.read_text()))
    shown += _run(root, "--preview", *_GIVEN).output
    assert not re.findall(r"(?:former|theirs|ours)-\d", shown)
    assert "Secret=>********" in shown


def test_commands_of_the_docs_work(tmp_path: Path) -> None:
    machine(tmp_path / "machine")
    asks, yes, undo, carry = (
        shlex.split(block.text.replace("\\\n", "").removeprefix("sudo "))[2:]
        for block in blocks("docs/setup.md", "sh")
    )
    # The answers of the first run are suggested to the second one.
    for words, typed in ((yes, ""), (asks, "\n" * 10), (undo, "")):
        done = _run(tmp_path / "machine", *words, typed=typed)
        assert done.exit_code == 0, f"{words}: {done.output}"
    words = [str(tmp_path / one) if one == "carry" else one for one in carry]
    done = CliRunner().invoke(main, ["setup", *words])
    assert done.exit_code == 0, f"{words}: {done.output}"
    assert (tmp_path / "carry/README.txt").exists()


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN)
    before = tree(tmp_path / _ETC)
    # Its answers are those of the first run.
    again = _run(tmp_path, "--yes")
    assert again.exit_code == 0, again.output
    assert "Nothing to write" in again.output
    assert tree(tmp_path / _ETC) == before
    (tmp_path / "etc/group").write_text("asterisk:x:101:callback-queue\n")
    preview = _run(tmp_path, "--preview")
    assert preview.exit_code == 0
    assert preview.output == (
        "Nothing to write: everything is as setup would write it.\n"
    )


def test_a_second_run_keeps_the_prompt_of_the_first(tmp_path: Path) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN, "--offer-text", "none")
    again = _run(tmp_path, "--yes")
    assert "Nothing to write" in again.output, again.output


def test_the_questions_and_their_suggestions(tmp_path: Path) -> None:
    machine(tmp_path)
    typed = "support sales\n\nde\n\n\nn\ny\n"
    done = _run(tmp_path, typed=typed)
    assert done.exit_code == 0, done.output
    asked = [line for line in done.output.splitlines() if line[:2] in _NUMBERS]
    assert len(asked) == 6
    assert "(several: separate by a space or a comma) [support]" in asked[0]
    assert "[PJSIP/{number}@trunk]" in asked[1]
    assert "Write this? [Y/n]" in done.output
    text = (tmp_path / "etc/callback-queue/callback-queue.yaml").read_text()
    assert text.endswith("queues:\n  'support': {}\n  'sales': {}\n")


_NUMBERS = {f"{number}." for number in range(1, 10)}


def _asked(done: Result) -> str:
    """Return the numbers of the questions, in the order in which they were asked."""
    return "".join(line[0] for line in done.output.splitlines() if line[:2] in _NUMBERS)


def test_a_wrong_answer_is_said_at_its_question_and_asked_again(
    tmp_path: Path,
) -> None:
    machine(tmp_path)
    typed = (
        "suport\nsupport, sales\n"
        "trunk\nPJSIP/{number}@tr unk\n\n"
        "Atlantis\n+1\nde\n"
        "Germany\n+49 30\n030/123456, +49 30 999999\n"
        "press 1\n\nn\ny\n"
    )
    done = _run(tmp_path, typed=typed)
    assert done.exit_code == 0, done.output
    assert _asked(done) == "11222333444556"
    for said in (
        "   there is no queue suport; the queues are: support, sales - name one of",
        "   trunk has no {number}, or several - write {number} where the client's"
        " number goes, as in PJSIP/{number}@trunk\n",
        "   it must not hold a space",
        "   Atlantis is no country that setup knows - write its two letters, such as",
        "   +1 is the calling code of several countries - write the two letters of"
        " yours: US, ",
        "   Germany is no telephone number - write its digits, with + and the country"
        " code in front, such as +4930123456\n",
        "   +49 is too short for a telephone number - write each number with + and the"
        " country code, such as +4930123456; internal numbers need not be written\n",
        "   'press 1' is no name of a sound file",
    ):
        assert said in done.output, said
    settings = load_settings(tmp_path / "etc/callback-queue/callback-queue.yaml", {})
    assert list(settings.queues) == ["support", "sales"]
    assert [one.pattern for one in settings.number_plan.own_numbers] == [
        r"\+4930123456",
        r"\+4930999999",
    ]


def test_an_answer_that_is_needed_can_not_be_empty(tmp_path: Path) -> None:
    machine(tmp_path, {"pjsip.conf": None})
    typed = "\n\nPJSIP/{number}@trunk\n\nde\n\n\nn\nn\n"
    done = _run(tmp_path, typed=typed)
    assert _asked(done) == "12233456"
    assert (
        "   a way outside is needed - write it such as PJSIP/{number}@trunk\n"
        in done.output
    )
    assert (
        "   a country is needed - write its two letters, such as DE for Germany\n"
        in done.output
    )


def test_own_numbers_of_existing_settings_stay_as_they_are(tmp_path: Path) -> None:
    """Also those that would not be taken as an answer."""
    machine(tmp_path)
    assert _run(tmp_path, "--yes", *_GIVEN).exit_code == 0
    path = tmp_path / "etc/callback-queue/callback-queue.yaml"
    text = path.read_text()
    edited = text.replace(
        "own_numbers: ['\\+4930123456']", "own_numbers: ['101', '030999']"
    )
    assert edited != text
    path.write_text(edited)
    for arguments, typed in ((("--yes",), ""), ((), "\n" * 10)):
        done = _run(tmp_path, *arguments, typed=typed)
        assert done.exit_code == 0, done.output
        assert "own_numbers than the answers" not in done.output
    assert path.read_text() == edited
    done = _run(tmp_path, "--yes", "--own-number", "none")
    assert "another number_plan.own_numbers than the answers" in done.output


def test_the_same_queue_twice_and_a_last_comma_are_one_queue(tmp_path: Path) -> None:
    machine(tmp_path)
    done = _run(tmp_path, "--yes", *_GIVEN, "--queue", "Support")
    assert done.exit_code == 0, done.output
    done = _run(tmp_path / "other", typed="")
    machine(tmp_path / "other")
    done = _run(tmp_path / "other", *_GIVEN[2:], typed="support,\n\nn\nn\n")
    assert _asked(done) == "156"


def test_no_test_call_is_offered_for_another_machine(tmp_path: Path) -> None:
    machine(tmp_path)
    done = _run(tmp_path, *_GIVEN, typed="\n\ny\n")
    assert done.exit_code == 0, done.output
    assert "Test call" not in done.output


@pytest.mark.parametrize(
    ("written", "taken"), [("0041", "CH"), ("0033", "FR"), ("+49", "DE"), ("NO", "NO")]
)
def test_a_country_of_a_file_is_taken_as_it_is_written(
    written: str, taken: str
) -> None:
    given = read_answers(f"region: {written}\n", "answers.yaml")
    assert given.region is not None
    assert country(given.region) == taken


@pytest.mark.parametrize("written", ["off", "1:30", "yes"])
def test_what_yaml_reads_as_something_else_is_no_country(written: str) -> None:
    given = read_answers(f"region: {written}\n", "answers.yaml")
    assert given.region == written
    with pytest.raises(WrongAnswer):
        country(written)


def test_the_end_of_the_input_is_said(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path)
    # At a question, and at the confirmation.
    for typed in ("support\n", "\n\nde\n\n\n\n"):
        done = _run(tmp_path, typed=typed)
        assert done.exit_code == 1
        assert "\nThe input ended: nothing was written - answer in a" in done.output
        assert tree(tmp_path) == before


def test_without_a_queue_nothing_is_asked(tmp_path: Path) -> None:
    machine(tmp_path, {"queues.conf": "[general]\n"})
    done = _run(tmp_path, typed="support\n")
    assert (done.exit_code, _asked(done)) == (1, "")
    assert "/etc/asterisk/queues.conf: there is no queue - write one" in done.output


@pytest.mark.parametrize("ask", [("--yes",), ()])
def test_a_wrong_option_is_refused_by_its_name_before_any_question(
    tmp_path: Path, ask: tuple[str, ...]
) -> None:
    machine(tmp_path)
    before = tree(tmp_path)
    options = ("--region", "Atlantis", "--own-number", "Germany", "--queue", "suport")
    done = _run(tmp_path, *ask, *options)
    assert (done.exit_code, _asked(done)) == (1, "")
    assert "--region: Atlantis is no country that setup knows - write" in done.output
    assert "--own-number: Germany is no telephone number - write its" in done.output
    assert "--queue: there is no queue suport; the queues are" in done.output
    assert "callback-queue.yaml" not in done.output
    assert tree(tmp_path) == before


def test_a_wrong_answer_of_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    machine(tmp_path / "root")
    answers = tmp_path / "answers.yaml"
    answers.write_text(
        "queues: support\noutbound: PJSIP/trunk\n\nregion: 1\nown_numbers: [Germany]\n"
    )
    done = _run(tmp_path / "root", "--yes", "--answers", str(answers))
    assert done.exit_code == 1
    assert [line.partition(" - ")[0] for line in done.output.splitlines()] == [
        f"{answers}:2, outbound: PJSIP/trunk has no {{number}}, or several",
        f"{answers}:4, region: +1 is the calling code of several countries",
        f"{answers}:5, own_numbers: Germany is no telephone number",
    ]
    # An option goes before the file.
    answers.write_text("queues: support\nregion: 49\nown_numbers: ['1']\n")
    done = _run(
        tmp_path / "root",
        *("--yes", "--answers", str(answers), "--own-number", "+49"),
    )
    assert done.output.startswith("--own-number: +49 is too short")


def test_clients_are_shown_the_first_own_number_if_the_trunk_shows_none(
    tmp_path: Path,
) -> None:
    machine(tmp_path / "silent", {"pjsip.conf": SILENT})
    machine(tmp_path / "showing")
    typed = "\n\nde\n030123456 030999999\n\nn\ny\n"
    for name, shown in (("silent", "+4930123456"), ("showing", "")):
        done = _run(tmp_path / name, typed=typed)
        assert done.exit_code == 0, done.output
        assert ("the first one is shown to clients" in done.output) is bool(shown)
        assert ("+  outbound_caller_id: '+4930123456'" in done.output) is bool(shown)
        path = tmp_path / name / "etc/callback-queue/callback-queue.yaml"
        settings = load_settings(path, {})
        assert settings.queues["support"].outbound_caller_id == shown
        assert "Nothing to write" in _run(tmp_path / name, "--yes").output


def test_own_numbers_of_an_earlier_setup_can_be_removed(tmp_path: Path) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN)
    done = _run(tmp_path, typed="\n\n\nnone\n\nn\ny\n")
    assert "(write none for no number) [+4930123456]: none" in done.output
    settings = load_settings(tmp_path / "etc/callback-queue/callback-queue.yaml", {})
    assert settings.number_plan.own_numbers == ()


def test_asterisks_user_is_shown_by_name(tmp_path: Path) -> None:
    machine(tmp_path)
    assert "runs as:       asterisk\n" in _run(tmp_path).output


def test_the_diff_says_which_secret_is_whose(tmp_path: Path) -> None:
    machine(tmp_path)
    user = tmp_path / _ETC / "manager.d/callback-queue.conf"
    user.write_text("[callback-queue]\nsecret = former-1\n")
    first = _run(tmp_path, "--yes", *_GIVEN).output
    assert "-secret = (the former secret)\n" in first
    assert "+secret = (a new random secret)\n" in first
    assert "-  secret: (the secret of the sample)\n" in first
    assert "+  secret: (a new random secret)\n" in first
    user.write_text("[callback-queue]\nsecret = former-2\n")
    second = _run(tmp_path, "--yes").output
    assert "+secret = (the secret of your settings)\n" in second
    assert "former-" not in first + second


@pytest.mark.parametrize(
    ("region", "conf", "said"),
    [
        ("DE", "", "there are no German prompts: callers hear the English ones; "),
        ("CH", "", "no prompts in another language of your country (CH): callers"),
        ("GB", "language = de\n", "no prompts in the language de of your channels"),
        ("DE", "language = en_GB\n", None),
        ("GB", "", None),
        ("RU", "", "until their channels have the language ru"),
        ("RU", "language = ru\n", None),
    ],
)
def test_setup_says_what_callers_of_other_languages_hear(
    tmp_path: Path, region: str, conf: str, said: str | None
) -> None:
    trunk = f"[trunk]\ntype = endpoint\n{conf}\n[id]\ntype=identify\nendpoint=trunk\n"
    machine(tmp_path, {"pjsip.conf": trunk})
    options = ("--preview", "--queue", "support", "--region", region)
    shown = _run(tmp_path, *options).output
    assert "the prompts are in English and Russian; callers hear those in" in shown
    assert (str(material() / "docs/setup.md") in shown) is (said is not None)
    assert said is None or said in shown


def test_no_is_an_answer(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path)
    done = _run(tmp_path, *_GIVEN, "--no-start", typed="\nn\n")
    assert "Nothing was written" in done.output
    assert tree(tmp_path) == before


def test_preview_writes_nothing(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path)
    done = _run(tmp_path, "--preview", *_GIVEN)
    assert done.exit_code == 0, done.output
    assert "+context = callback-request" in done.output
    assert tree(tmp_path) == before


def test_a_file_of_answers(tmp_path: Path) -> None:
    machine(tmp_path / "root")
    answers = tmp_path / "answers.yaml"
    answers.write_text(
        "queues: [support, sales]\noutbound: Local/{number}@to-outside\nregion: NO\n"
        "own_numbers: ['+4722334455']\noffer: none\nstart: false\n"
    )
    done = _run(tmp_path / "root", "--yes", "--answers", str(answers))
    assert done.exit_code == 0, done.output
    text = (tmp_path / "root/etc/callback-queue/callback-queue.yaml").read_text()
    assert "  region: 'NO'\n" in text
    queues = (tmp_path / "root" / _ETC / "queues.conf").read_text()
    assert "periodic-announce" not in queues


def test_a_file_of_answers_with_mistakes(tmp_path: Path) -> None:
    machine(tmp_path / "root")
    answers = tmp_path / "answers.yaml"
    answers.write_text("queue: support\nregion: [49]\n")
    done = _run(tmp_path / "root", "--yes", "--answers", str(answers))
    assert done.exit_code == 1
    assert f"{answers}:1: queue is no answer" in done.output
    assert f"{answers}:2: region must be a country such as DE" in done.output


def test_yes_names_all_that_it_would_have_to_ask(tmp_path: Path) -> None:
    machine(tmp_path, {"pjsip.conf": None})
    done = _run(tmp_path, "--yes")
    assert done.exit_code == 1
    for option in ("--queue", "--outbound", "--region"):
        assert option in done.output
    assert "there are: support, sales" in done.output


def test_an_interrupted_setup_is_repaired_by_the_next(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path / _ETC)
    child = os.fork()
    if child == 0:
        replace = os.replace

        def killed(source: str, target: Path) -> None:
            replace(source, target)
            if target.name == "extensions.conf":
                os.kill(os.getpid(), signal.SIGKILL)

        journal_module.os.replace = killed  # type: ignore[assignment]
        _run(tmp_path, "--yes", *_GIVEN)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert has_ours((tmp_path / _ETC / "extensions.conf").read_text())

    done = _run(tmp_path, "--yes", *_GIVEN)
    assert done.exit_code == 0, done.output
    assert "an interrupted setup was taken back" in done.output
    assert _run(tmp_path, "--undo").exit_code == 0
    assert tree(tmp_path / _ETC) == before


def test_a_refusal_changes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    machine(tmp_path, {"extensions_additional.conf": "[ext-queues]\n"})
    before = tree(tmp_path)
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert done.exit_code == 1
    assert "FreePBX writes these files" in done.output
    assert tree(tmp_path) == before


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path)
    before = tree(tmp_path / _ETC)
    write = os.write

    def full(handle: int, data: bytes) -> int:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if "/.queues.conf." in name:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(journal_module.os, "write", full)
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert done.exit_code == 1
    assert "no space left on device; nothing is changed - make room" in done.output
    assert tree(tmp_path / _ETC) == before
    assert not has_ours((tmp_path / _ETC / "queues.conf").read_text())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_user_who_may_not_write(tmp_path: Path) -> None:
    machine(tmp_path)
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_uid == 0 and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    for path in (tmp_path / _ETC).rglob("*"):
        path.chmod(0o644 if path.is_file() else 0o755)
    before = tree(tmp_path / _ETC)
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        done = _run(tmp_path, "--yes", *_GIVEN)
        good = done.exit_code == 1 and "run it as root" in done.output
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert tree(tmp_path / _ETC) == before


def test_undo_says_how_many_callbacks_still_wait(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callback-queue.db"
    given = settings(
        tmp_path,
        database={"url": url},
        control={"socket": str(tmp_path / "none.sock")},
    )
    assert still_waiting(given).startswith(
        "how many callbacks still wait is not known: "
    )
    migrate.prepare(url)
    assert still_waiting(given) == ""
    by_root = actor_of("root")
    offline.do(given, AddTask(queue="support", number="030123456"), by_root)
    rest = "without the service nobody is called back"
    assert still_waiting(given) == f"1 callback still waits in the database; {rest}"
    for number in ("030123457", "030123458"):
        offline.do(given, AddTask(queue="support", number=number), by_root)
    assert still_waiting(given) == f"3 callbacks still wait in the database; {rest}"


def test_undo_without_its_journal_names_the_files(tmp_path: Path) -> None:
    machine(tmp_path)
    files = [tmp_path / _ETC / one for one in ("extensions.conf", "queues.conf")]
    before = [path.read_bytes() for path in files]
    _run(tmp_path, "--yes", *_GIVEN)
    shutil.rmtree(tmp_path / "var/lib/callback-queue-setup")
    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 1
    assert all(str(path) in undone.output for path in files)
    assert "run 'callback-queue setup' again" in undone.output
    # That remedy works.
    assert "Nothing to write" in _run(tmp_path, "--yes").output
    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 0, undone.output
    assert [path.read_bytes() for path in files] == before


def test_odd_answers_and_files_are_refused_with_their_place(tmp_path: Path) -> None:
    machine(tmp_path)
    answers = tmp_path / "answers.yaml"
    answers.write_bytes(b"region: \xff\n")
    done = _run(tmp_path, "--yes", *_GIVEN, "--answers", str(answers))
    assert (done.exit_code, "UTF-8" in done.output) == (2, True)
    done = _run(tmp_path, "--yes", *_GIVEN, "--offer-text", "a**b")
    assert "'a**b' is no name of a sound file" in done.output
    ours = tmp_path / _ETC / "callback-queue.conf"
    ours.mkdir()
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert f"{ours}: it can not be read: is a directory" in done.output
    ours.rmdir()
    user = tmp_path / _ETC / "manager.d/callback-queue.conf"
    user.write_text("[callback-queue]\nsecret = 1\n[other]\nsecret = 2\n")
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert f"{user}:3: setup writes this whole file, and [other]" in done.output
    assert "[other]" in user.read_text()


def test_preview_names_a_file_that_the_user_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/its/file")

    monkeypatch.setattr(Installation, "look_only", refuse)
    done = _run(tmp_path, "--preview", *_GIVEN)
    assert (done.exit_code, done.output) == (
        1,
        "/etc/its/file: you may not read it - run it as root\n",
    )


def test_preview_never_writes(tmp_path: Path) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN)
    before = tree(tmp_path)
    for other in (("--undo",), ("--files-to", str(tmp_path / "out"))):
        done = _run(tmp_path, "--preview", *other, *_GIVEN)
        assert (done.exit_code, "--preview" in done.output) == (2, True)
    assert tree(tmp_path) == before


class TestFilesForAnotherMachine:
    _TO = ("--asterisk-address", "192.0.2.7", "--service-address", "192.0.2.9")

    def test_new_files_and_lines_to_add(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        arguments = ["setup", "--files-to", str(out), *self._TO, "--yes", *_GIVEN]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        assert "192.0.2.7" in (out / "README.txt").read_text()
        settings = load_settings(out / "service/callback-queue.yaml", {})
        assert settings.ami.tls.enabled
        assert settings.ami.host == "192.0.2.7"
        assert settings.fastagi.listen == "192.0.2.9"
        user = out / "asterisk/etc/asterisk/manager.d/callback-queue.conf"
        assert settings.ami.secret.get_secret_value() in user.read_text()
        assert "permit = 192.0.2.9/255.255.255.255" in user.read_text()
        lines = (out / "asterisk/add-to-extensions.conf").read_text()
        assert "CALLBACK_AGI = agi://192.0.2.9:4573\n" in lines
        assert out.stat().st_mode & 0o777 == 0o700
        again = CliRunner().invoke(main, arguments)
        assert "it is not empty" in again.output

    def test_the_changed_files_of_a_copy(self, tmp_path: Path) -> None:
        machine(tmp_path / "copy")
        before = tree(tmp_path / "copy")
        out = tmp_path / "out"
        done = _run(
            tmp_path / "copy", "--files-to", str(out), *self._TO, "--yes", *_GIVEN
        )
        assert done.exit_code == 0, done.output
        etc = out / "asterisk/etc/asterisk"
        assert "callback-enter" in (etc / "extensions.conf").read_text()
        assert "agi://192.0.2.9:4573" in (etc / "extensions.conf").read_text()
        assert "context = callback-request" in (etc / "queues.conf").read_text()
        assert tree(tmp_path / "copy") == before

    def test_nobody_else_reads_the_secret_while_it_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        partial = tmp_path / ".out.callback-queue-setup"
        modes = set()
        write = Path.write_bytes

        def watched(path: Path, data: bytes) -> int:
            modes.add(partial.stat().st_mode & 0o777)
            return write(path, data)

        monkeypatch.setattr(Path, "write_bytes", watched)
        arguments = ["setup", "--files-to", str(out), *self._TO, "--yes", *_GIVEN]
        before = os.umask(0)
        try:
            assert CliRunner().invoke(main, arguments).exit_code == 0
        finally:
            os.umask(before)
        assert modes == {0o700}

    def test_both_addresses_are_needed(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(main, ["setup", "--files-to", str(tmp_path / "o")])
        assert done.exit_code == 2


def test_a_wrong_number_for_the_test_call_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "admin")

    def answer(socket: str, command: AddTask, actor: Actor) -> object:
        asked.append((command.number, actor.name))
        if len(asked) == 1:
            raise CallbackError("it is too short", "give the whole number")
        return {"task": {"id": 7}}

    monkeypatch.setattr(client, "do", answer)
    plan = planned(installation(machine(tmp_path)))
    for typed, said in (
        ("03\n030123456\n", "   it is too short; give the whole number\n"),
        (
            "030123457\n",
            "task 7 is added. If no phone rings soon, this says why:\n"
            "    sudo callback-queue tasks show 7\n",
        ),
        # The end of the input is no fault: everything is installed.
        ("", "an agent of support is rung"),
    ):
        with CliRunner().isolation(input=typed) as (output, *_):
            _offer_a_test_call(plan)
        assert said in output.getvalue().decode()
    numbers = ("03", "030123456", "030123457")
    assert asked == [(number, "admin") for number in numbers]


@contextmanager
def _hanging_asterisk() -> Iterator[Path]:
    """Make a machine whose Asterisk takes commands, and never answers."""
    # The path of a socket must be short.
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console,
    ):
        root = Path(directory)
        machine(root)
        (root / "var/run/asterisk").mkdir(parents=True)
        console.bind(str(root / "var/run/asterisk/asterisk.ctl"))
        console.listen()
        yield root


def test_an_asterisk_that_hangs_is_named_with_what_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_module, "_CONSOLE_S", 0.01)
    commands = (
        "run: sudo asterisk -rx 'manager reload'; sudo asterisk -rx 'dialplan reload';"
        " sudo asterisk -rx 'module reload app_queue.so'\n"
    )
    with _hanging_asterisk() as root:
        before = tree(root / _ETC)
        done = _run(root, "--yes", *_GIVEN)
        assert done.exit_code == 0, done.output
        assert "not run:" not in done.output
        assert f"Asterisk does not answer: if it runs, {commands}" in done.output
        undone = _run(root, "--undo")
        assert tree(root / _ETC) == before
    assert undone.exit_code == 1
    assert (
        "- Asterisk: it does not answer: if it runs, it still offers callbacks -"
        f" {commands}" in undone.output
    )


def test_undo_says_that_asterisk_does_not_run(tmp_path: Path) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN)
    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 0, undone.output
    assert "Asterisk does not run: it reads the files when it starts" in undone.output


def test_undo_keeps_edited_settings_and_is_complete(tmp_path: Path) -> None:
    machine(tmp_path)
    before = tree(tmp_path / _ETC)
    _run(tmp_path, "--yes", *_GIVEN)
    settings_file = tmp_path / "etc/callback-queue/callback-queue.yaml"
    with settings_file.open("a") as written:
        written.write("# mine\n")
    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 0, undone.output
    assert f"{settings_file} stays, because you have edited it" in undone.output
    assert "by hand" not in undone.output
    assert settings_file.read_text().endswith("# mine\n")
    assert tree(tmp_path / _ETC) == before
    assert not (tmp_path / "var/lib/callback-queue-setup").exists()
    again = _run(tmp_path, "--undo")
    assert (again.exit_code, "nothing to take back" in again.output) == (0, True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (Machine, "user_ids", "nothing was written.\n"),
        (
            journal_module.os,
            "replace",
            "some files are written, the service is not started. Run setup again, or"
            " setup --undo.\n",
        ),
        (
            Machine,
            "reload_asterisk",
            "the files are written, the service is not started. Run setup again, or"
            " setup --undo.\n",
        ),
    ],
)
def test_an_interruption_says_what_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    said: str,
) -> None:
    machine(tmp_path)
    before = tree(tmp_path / _ETC)
    apply, replace = Installation.apply, os.replace

    def act(*args: Path | Machine) -> None:
        if name != "replace":
            _interrupt()
        source, target = args
        assert isinstance(source, Path)
        assert isinstance(target, Path)
        if target.name == "queues.conf":
            _interrupt()
        replace(source, target)

    with monkeypatch.context() as changed:

        def interrupted(made: Installation, plan: Plan, now: datetime) -> list[str]:
            changed.setattr(owner, name, act)
            return apply(made, plan, now)

        changed.setattr(Installation, "apply", interrupted)
        done = _run(tmp_path, *_GIVEN, "--no-start", typed="\ny\n")
    assert done.exit_code == 1
    assert done.output.endswith(f"\nInterrupted: {said}")
    # Either remedy works.
    undone = _run(tmp_path, "--undo")
    assert undone.exit_code == 0, undone.output
    assert tree(tmp_path / _ETC) == before


def test_an_interrupted_check_says_that_everything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path)
    monkeypatch.setattr(setup_command, "_check", _interrupt)
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert (done.exit_code, "Interrupted: everything is written" in done.output) == (
        1,
        True,
    )


def test_an_interrupted_undo_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path)
    _run(tmp_path, "--yes", *_GIVEN)
    monkeypatch.setattr(Installation, "undo", _interrupt)
    done = _run(tmp_path, "--undo")
    assert done.exit_code == 1
    assert "Interrupted: not all is taken back. Run setup --undo again." in done.output


def test_a_trunk_that_asterisk_does_not_have_is_doubted(tmp_path: Path) -> None:
    machine(tmp_path)
    said = (
        "Asterisk has no endpoint mytrunk; there is: trunk - correct the name, or add"
        " the endpoint to pjsip.conf"
    )
    mine = "PJSIP/{number}@mytrunk\n"
    # Corrected, and kept.
    for typed, asked, used in (
        (f"\n{mine}\nde\n\n\nn\nn\n", "1223456", "trunk"),
        (f"\n{mine}{mine}de\n\n\nn\nn\n", "1223456", "mytrunk"),
    ):
        done = _run(tmp_path, typed=typed)
        assert _asked(done) == asked, done.output
        assert f"   {said}" in done.output
        assert f"outbound_channel: 'PJSIP/{{number}}@{used}'\n" in done.output
    for mode in ("--preview", "--yes"):
        done = _run(tmp_path, mode, *_GIVEN, "--outbound", mine.strip())
        assert done.exit_code == 0, done.output
        assert f"- --outbound: {said}" in done.output


@pytest.mark.parametrize(
    "changed",
    [
        {"extconfig.conf": "[settings]\nps_endpoints => odbc,asterisk\n"},
        {"sorcery.conf": "[res_pjsip]\nendpoint = realtime,ps_endpoints\n"},
        {
            "pjsip.conf": '[trunk]\ntype = endpoint\n#exec "/bin/more"\n',
            "asterisk.conf": "[options]\nexecincludes = yes\nrunuser = asterisk\n",
        },
        {"pjsip.conf": "[more](!)\ntype = endpoint\n\n[mytrunk](more)\n"},
        {"pjsip_wizard.conf": "[mytrunk]\ntype = wizard\n"},
    ],
)
def test_a_trunk_that_asterisk_may_have_is_not_doubted(
    tmp_path: Path, changed: dict[str, str | None]
) -> None:
    machine(tmp_path, changed)
    done = _run(tmp_path, "--preview", *_GIVEN, "--outbound", "PJSIP/{number}@mytrunk")
    assert done.exit_code == 0, done.output
    assert "no endpoint" not in done.output


def test_the_answers_are_shown_as_they_are_taken(tmp_path: Path) -> None:
    machine(tmp_path, {"pjsip.conf": SILENT})
    typed = "Support sales\n\nUK\n020 7946 0958\n\nn\nn\n"
    done = _run(tmp_path, typed=typed)
    shown = done.output.partition("\nYour answers:\n")[2]
    assert shown.startswith(
        "queues:        support, sales\n"
        "way outside:   PJSIP/{number}@trunk\n"
        "country:       GB (Britain (UK))\n"
        "own numbers:   +442079460958 (clients see the first one)\n"
        "prompt:        callback-queue/offer\n"
        "start:         no\n"
        "\nWrite this? [Y/n]: n\n"
    ), done.output
    # Nothing is asked, so nothing has to be checked.
    done = _run(tmp_path, "--yes", *_GIVEN)
    assert "Your answers" not in done.output


def test_none_goes_with_no_own_number(tmp_path: Path) -> None:
    machine(tmp_path)
    both = ("--own-number", "none")
    done = _run(tmp_path, "--yes", *_GIVEN, *both)
    assert (done.exit_code, done.output) == (
        1,
        "--own-number: none is given together with numbers - give the numbers, or none"
        " alone\n",
    )


@pytest.mark.parametrize(
    ("number", "region", "said"),
    [
        ("49", "DE", "is too short for a telephone number"),
        ("+1555", "US", "is too short for a telephone number"),
        ("55512", "US", "is too short for a telephone number"),
        ("5551234", "US", "has no area code"),
        ("+493012345678901234", "DE", "is too long for a telephone number"),
        ("999999", "DE", "is no whole telephone number"),
    ],
)
def test_what_is_wrong_with_an_own_number(number: str, region: str, said: str) -> None:
    with pytest.raises(WrongAnswer) as wrong:
        check_own_numbers([number], region)
    assert wrong.value.what == f"{number} {said}"


@pytest.mark.parametrize(
    ("offer", "remedy"),
    [
        (
            "/usr/share/x",
            "/usr/share: there is no sound file /usr/share/x - put it there, such as"
            " /usr/share/x.wav; or use callback-queue/offer, which setup installs",
        ),
        (
            "custom/x",
            "/usr/share/asterisk/sounds: there is no sound file custom/x - put it"
            " there, in the folder of each language; or use callback-queue/offer, which"
            " setup installs",
        ),
    ],
)
def test_a_prompt_without_a_sound_file_is_doubted(
    tmp_path: Path, offer: str, remedy: str
) -> None:
    machine(tmp_path)
    # Answered twice, it is kept; in the next run it is suggested, and corrected.
    done = _run(tmp_path, *_GIVEN, typed=f"{offer}\n{offer}\nn\ny\n")
    assert _asked(done) == "556", done.output
    assert f"   {remedy}. To keep it, answer it once more.\n" in done.output
    assert f"- {remedy}\n" in done.output
    done = _run(tmp_path, *_GIVEN, typed="\ncallback-queue/offer\nn\ny\n")
    assert _asked(done) == "556", done.output
    assert f"such as callback-queue/offer (write none for no prompt) [{offer}]" in (
        done.output
    )
    assert "prompt:        callback-queue/offer\n" in done.output


def test_a_prompt_with_a_sound_file_is_not_doubted(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "usr/share/x.gsm").touch()
    done = _run(tmp_path, *_GIVEN, typed="/usr/share/x\nn\nn\n")
    assert (_asked(done), "no sound file" in done.output) == ("56", False)


def test_starting_is_not_asked_if_the_service_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path)
    monkeypatch.setattr(Machine, "service_runs", True)
    done = _run(tmp_path, *_GIVEN, typed="\nn\n")
    assert (_asked(done), "start:         yes\n" in done.output) == ("5", True)


def test_pages_of_the_package_are_named_where_debian_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, pages = tmp_path / "home", tmp_path / "doc"
    monkeypatch.setattr(material_module, "_PACKAGE", home)
    monkeypatch.setattr(material_module, "_PACKAGE_PAGES", pages)
    monkeypatch.setattr(material_module, "material", lambda: home / "share")
    # An image of a container may have been made without /usr/share/doc.
    assert page("setup.md") == str(home / "share/docs/setup.md")
    pages.mkdir()
    (pages / "setup.md").touch()
    assert page("setup.md") == str(pages / "setup.md")


def test_nothing_is_changed_where_there_are_several_asterisks(tmp_path: Path) -> None:
    machine(tmp_path)
    path = tmp_path / "etc/callback-queue/callback-queue.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "nodes:\n  default: {ami: {secret: one}}\n"
        "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
    )
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    for arguments in (("--yes",), ("--preview",), ()):
        done = _run(tmp_path, *arguments, *_GIVEN)
        assert done.exit_code != 0
        assert "it has 'nodes', and setup knows only the Asterisk" in done.output
        assert "several-asterisks.md" in done.output
    after = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    assert after == before
