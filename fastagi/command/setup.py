# SPDX-License-Identifier: MIT
"""``callback-queue setup``: installs the service beside an Asterisk, or takes it back.

Imports what it needs only when it runs.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TextIO, TypeVar

import click

from fastagi.command import render
from fastagi.errors import CallbackError, Problem

if TYPE_CHECKING:
    from fastagi.config.sections import Settings
    from fastagi.setup.answers import Answers, Given
    from fastagi.setup.found import Found
    from fastagi.setup.installation import Installation, Plan

#: How long a started service has to connect to Asterisk, in seconds.
_CONNECT_S: Final = 15.0
_POLL_S: Final = 0.1

_Answer = TypeVar("_Answer")


@click.command()
@click.option(
    "--queue", "queues", multiple=True, help="Queue with callbacks; repeatable."
)
@click.option(
    "--outbound",
    metavar="CHANNEL",
    help="How clients are dialled, such as PJSIP/{number}@trunk.",
)
@click.option("--region", metavar="COUNTRY", help="Your country, such as DE.")
@click.option(
    "--own-number",
    "own_numbers",
    metavar="NUMBER",
    multiple=True,
    help="A number of yours, which is never called back, or 'none'; repeatable. Clients"
    " see the first one if the trunk shows none.",
)
@click.option(
    "--offer-text",
    "offer",
    metavar="PROMPT",
    help="Sound file that tells waiting callers about the key 1, or none."
    "  [default: callback-queue/offer]",
)
@click.option("--start/--no-start", default=None, help="Whether to start the service.")
@click.option(
    "--answers",
    "answers_file",
    type=click.File("r", encoding="utf-8"),
    help="File with the answers (YAML).",
)
@click.option("--yes", is_flag=True, help="Ask nothing, and write at once.")
@click.option("--preview", is_flag=True, help="Only show what would be written.")
@click.option("--undo", is_flag=True, help="Take back what setup has written.")
@click.option(
    "--asterisk-config",
    "config_dir",
    metavar="DIR",
    default="/etc/asterisk",
    show_default=True,
    help="Directory of Asterisk's configuration.",
)
@click.option(
    "--root",
    "root",
    metavar="DIR",
    default="/",
    help="Root directory of Asterisk's machine, such as that of a container.",
)
@click.option(
    "--files-to",
    "files_to",
    metavar="DIR",
    help="Asterisk is on another machine: write the files to carry there into DIR. With"
    " --root, a copy of that machine's files, they are its changed files.",
)
@click.option(
    "--asterisk-address",
    metavar="ADDRESS",
    help="With --files-to: where the service reaches Asterisk.",
)
@click.option(
    "--service-address",
    metavar="ADDRESS",
    help="With --files-to: where Asterisk reaches the service.",
)
def setup(
    queues: tuple[str, ...],
    outbound: str | None,
    region: str | None,
    own_numbers: tuple[str, ...],
    offer: str | None,
    start: bool | None,
    answers_file: TextIO | None,
    yes: bool,
    preview: bool,
    undo: bool,
    config_dir: str,
    root: str,
    files_to: str | None,
    asterisk_address: str | None,
    service_address: str | None,
) -> None:
    """Install the service beside the Asterisk of this machine.

    Looks at Asterisk, asks at most six questions, shows every line that it would write
    and asks whether to. Then it writes them, lets Asterisk read them, runs the check
    and offers a test call. A second run changes only what is not as it should be.
    --undo leaves Asterisk's files as they were.

    Exit code 1 if nothing was installed, or if the check finds a fault; 2 if an option
    is wrong.
    """
    from fastagi.setup.answers import Given, read_answers
    from fastagi.setup.installation import Installation
    from fastagi.setup.material import material
    from fastagi.setup.paths import Root

    if undo and (preview or files_to is not None):
        raise click.UsageError("--undo goes with neither --preview nor --files-to.")
    if preview and files_to is not None:
        raise click.UsageError("--files-to writes files: leave out --preview.")
    with _failures():
        installation = Installation(
            Root(Path(root).resolve()), Path(config_dir), material()
        )
        if undo:
            _undo(installation)
            return
        given = Given(
            queues=queues or None,
            outbound=outbound,
            region=region,
            own_numbers=own_numbers or None,
            offer=offer,
            start=start,
        )
        if answers_file is not None:
            name = str(answers_file.name)
            try:
                text = answers_file.read()
            except UnicodeDecodeError:
                raise click.UsageError(f"{name} is not written in UTF-8.") from None
            given = given.or_else(read_answers(text, name))
        if files_to is not None:
            if asterisk_address is None or service_address is None:
                raise click.UsageError(
                    "--files-to needs --asterisk-address and --service-address."
                )
            addresses = asterisk_address, service_address
            _carry(installation, given, Path(files_to), addresses, yes=yes)
            return
        if preview:
            _preview(installation, given)
            return
        installation.look()
        with installation.journal.locked():
            for path in installation.journal.recover():
                click.echo(f"an interrupted setup was taken back: {path}")
            plan = _install(installation, installation.look(), given, yes=yes)
        if plan is None:
            return
        with _interrupted(
            lambda: (
                "everything is written. See whether it works: sudo callback-queue check"
            )
        ):
            code = _check(installation, plan)
    is_here = installation.root.is_this_machine
    if not yes and plan.answers.start and code == 0 and is_here:
        _offer_a_test_call(plan)
    sys.exit(code)


@contextmanager
def _interrupted(left: Callable[[], str]) -> Iterator[None]:
    """Say at Ctrl-C what is done and what to run, and end with 1."""
    try:
        yield
    except KeyboardInterrupt:
        _fail(f"\nInterrupted: {left()}")


@contextmanager
def _failures() -> Iterator[None]:
    """Print a failure, or that nobody answers any more, and end with 1."""
    try:
        yield
    except click.Abort as ended:
        # Nothing is asked once something was written.
        if isinstance(ended.__context__, KeyboardInterrupt):
            _fail("\nInterrupted: nothing was written.")
        _fail(
            "\nThe input ended: nothing was written - answer in a terminal, or with"
            " options or --answers FILE together with --yes"
        )
    except KeyboardInterrupt:
        # What has written says more.
        _fail("\nInterrupted: nothing was written.")
    except CallbackError as error:
        _fail(str(error))
    except PermissionError as error:
        _fail(f"{error.filename}: you may not read it - run it as root")


def _undo(installation: Installation) -> None:
    from fastagi.setup.errors import Refused
    from fastagi.setup.machine import needs_root
    from fastagi.setup.show import by_hand_text

    if problem := needs_root(installation.root):
        _fail(str(problem))
    if not installation.journal.directory.exists():
        click.echo(installation.nothing_to_undo())
        return
    # Before the settings, which say where the database is, are taken back.
    waiting = ""
    if installation.root.is_this_machine:
        with suppress(Refused):
            settings = installation.existing_settings()
            waiting = still_waiting(settings) if settings else ""
    with (
        installation.journal.locked(),
        _interrupted(lambda: "not all is taken back. Run setup --undo again."),
    ):
        left, said = installation.undo()
    click.echo("\n".join(filter(None, (*said, waiting))))
    if left:
        click.echo(f"\nTo do by hand:\n{by_hand_text(left)}")
        sys.exit(1)


def still_waiting(settings: Settings) -> str:
    """Return how many callbacks wait, as a sentence; "" if there are none."""
    from fastagi.command import offline
    from fastagi.doors import client, codec
    from fastagi.service.commands import MAX_LISTED, ListTasks, actor_of

    command, root = ListTasks(limit=MAX_LISTED), actor_of("root")
    try:
        try:
            answer = client.do(settings.control.socket, command, root)
        except client.NoService:
            answer = codec.answer_json(offline.do(settings, command, root))
    except CallbackError as error:
        return f"how many callbacks still wait is not known: {error}"
    number = len(answer)
    if not number:
        return ""
    most = "at least " if number == MAX_LISTED else ""
    wait = "callback still waits" if number == 1 else "callbacks still wait"
    return (
        f"{most}{number} {wait} in the database; without the service nobody is called"
        " back"
    )


def _preview(installation: Installation, given: Given) -> None:
    found = installation.look_only()
    settings = installation.existing_settings()
    theirs = installation.given_by_settings(settings)
    answers = _all_given(given.or_else(theirs), found, theirs)
    plan = installation.plan(found, answers, settings)
    _show(installation, plan)


def _carry(
    installation: Installation,
    given: Given,
    directory: Path,
    addresses: tuple[str, str],
    *,
    yes: bool,
) -> None:
    """Write the files for an Asterisk on another machine."""
    from fastagi.setup.carry import Addresses, carry
    from fastagi.setup.material import material
    from fastagi.setup.show import by_hand_text

    root = installation.root
    found = None if root.is_this_machine else installation.look_only()
    if yes:
        answers = _all_given(given, found)
    else:
        answers = _ask(installation, given, given, found)
    asterisk, service = addresses
    left = carry(
        directory,
        answers,
        Addresses(asterisk=asterisk, service=service),
        material(),
        found=found,
        root=None if found is None else root,
    )
    click.echo(f"{directory / 'README.txt'} says what to do with these files.")
    if left:
        click.echo(f"\nTo do by hand:\n{by_hand_text(left)}")


def _install(
    installation: Installation, found: Found, given: Given, *, yes: bool
) -> Plan | None:
    """Ask, show and write; return None if the administrator does not want it."""
    from fastagi.setup.show import answers_text, found_text

    settings = installation.existing_settings()
    theirs = installation.given_by_settings(settings)
    if yes:
        answers = _all_given(given.or_else(theirs), found, theirs)
    else:
        click.echo(found_text(found, installation.root) + "\n")
        answers = _ask(installation, given, theirs, found)
    plan = installation.plan(found, answers, settings)
    _show(installation, plan)
    if not yes and not plan.writes_nothing:
        click.echo(f"\nYour answers:\n{answers_text(plan)}")
        if not click.confirm("\nWrite this?", default=True):
            click.echo("Nothing was written.")
            return None
    now = datetime.now(UTC)
    with _interrupted(lambda: installation.left_by_interruption(now)):
        for line in installation.apply(plan, now):
            click.echo(line)
    return plan


def _show(installation: Installation, plan: Plan) -> None:
    from fastagi.setup.show import by_hand_text, plan_text

    if text := plan_text(plan, installation.root):
        click.echo(text)
    if plan.writes_nothing:
        click.echo("Nothing to write: everything is as setup would write it.")
    if plan.by_hand:
        click.echo(f"\nTo do by hand:\n{by_hand_text(plan.by_hand)}")


# -- answers


def _all_given(
    given: Given, found: Found | None, theirs: Given | None = None
) -> Answers:
    """Return the answers if nobody can be asked.

    Args:
        given: the answers.
        found: the Asterisk.
        theirs: what existing settings answer.

    Raises:
        Refused: one is wrong, or is missing and can not be guessed.
    """
    from fastagi.setup.answers import DEFAULT_OFFER, Answers, checked
    from fastagi.setup.errors import Refused

    own_numbers = theirs.own_numbers if theirs else None
    given, problems = checked(given, found, own_numbers or ())
    known = [one.name for one in found.queues] if found else []
    trunks = found.trunks if found else ()
    queues = given.queues
    if queues is None and len(known) == 1:
        queues = tuple(known)
    outbound = given.outbound
    if outbound is None and len(trunks) == 1:
        outbound = trunks[0]
    if not queues:
        names = ", ".join(known) or "none that setup sees"
        problems.append(
            Problem("--queue", "it is not given", f"name a queue; there are: {names}")
        )
    if outbound is None:
        ways = ", ".join(trunks) or "none that setup sees"
        problems.append(
            Problem(
                "--outbound",
                "it is not given",
                f"say how clients are dialled; there are: {ways}",
            )
        )
    if given.region is None:
        problems.append(
            Problem("--region", "it is not given", "give the country, such as DE")
        )
    if problems:
        raise Refused(problems)
    assert queues is not None
    assert outbound is not None
    assert given.region is not None
    return Answers(
        queues=queues,
        outbound=outbound,
        region=given.region,
        own_numbers=given.own_numbers or (),
        offer=given.offer or DEFAULT_OFFER,
        start=given.start is not False,
        places=given.places,
    )


def _ask(
    installation: Installation, given: Given, theirs: Given, found: Found | None
) -> Answers:
    """Ask what is not given; answers of existing settings are suggested.

    Each answer is checked at its question, which is asked again until it is right.

    Raises:
        Refused: an answer that was given is wrong, or there is no queue.
    """
    from fastagi.setup import answers as check
    from fastagi.setup.countries import country, suggested_country
    from fastagi.setup.errors import Refused
    from fastagi.setup.found import why_no_queue
    from fastagi.setup.planning import missing_offer

    given, problems = check.checked(given, found)
    if found is not None and not found.queues and not found.realtime:
        problems += why_no_queue(installation.root, found.config_dir)
    if problems:
        raise Refused(problems)
    names = [one.name for one in found.queues] if found else []
    trunks = found.trunks if found else ()

    suggested = tuple(theirs.queues or names[:1])

    def several(text: str) -> tuple[str, ...]:
        # A queue's name may contain blanks.
        parts = (text,) if text in names else tuple(re.findall(r"[^\s,]+", text))
        return check.check_queues(
            suggested if text == " ".join(suggested) else parts, found
        )

    queues = given.queues or _asked(
        "1. Queues that offer callbacks (several: separate by a space or a comma)",
        " ".join(suggested),
        several,
    )
    outbound = given.outbound or _asked(
        "2. Way outside, such as PJSIP/{number}@trunk"
        " ({number} is the client's number)",
        theirs.outbound or next(iter(trunks), ""),
        check.check_outbound,
        lambda channel: check.doubt_outbound(channel, found),
    )
    region = given.region or _asked(
        "3. Your country, such as DE",
        theirs.region or suggested_country(installation.root, found),
        country,
    )
    kept = " ".join(theirs.own_numbers or ())

    def own_numbers(text: str) -> tuple[str, ...]:
        if text == kept:
            return theirs.own_numbers or ()
        return check.check_own_numbers(check.split_numbers(text, region), region)

    own = given.own_numbers
    if own is None:
        none = "write none for no number" if theirs.own_numbers else "Enter: none"
        shown = ""
        if found is not None and found.shows_no_number(outbound):
            shown = "; the first one is shown to clients"
        own = _asked(
            f"4. Your own numbers, such as {check.example_number(region)}, which are"
            f" never called back{shown} ({none})",
            kept,
            own_numbers,
        )
    offer = given.offer or _asked(
        f"5. Prompt that tells callers to press 1, such as {check.DEFAULT_OFFER}"
        " (write none for no prompt)",
        theirs.offer or check.DEFAULT_OFFER,
        check.check_offer,
        lambda name: missing_offer(installation.root, found, name) if found else None,
    )
    start = given.start
    if start is None and installation.machine.service_runs:
        start = True
    if start is None and found is not None:
        start = click.confirm("6. Start the service now", default=True)
    return check.Answers(
        queues=tuple(queues),
        outbound=outbound,
        region=region,
        own_numbers=tuple(own),
        offer=offer,
        start=bool(start),
        places=given.places,
    )


def _asked(
    question: str,
    suggested: str,
    read: Callable[[str], _Answer],
    doubt: Callable[[_Answer], Problem | None] = lambda _: None,
) -> _Answer:
    """Ask a question until its answer is right; a doubtful one counts if given twice.

    Args:
        question: the question.
        suggested: the answer of Enter.
        read: returns the answer of a text, or raises `WrongAnswer`.
        doubt: returns why an answer is probably wrong.
    """
    from fastagi.setup.errors import WrongAnswer

    doubted: _Answer | None = None
    while True:
        text = click.prompt(question, default=suggested, show_default=bool(suggested))
        try:
            answer = read(text.strip())
        except WrongAnswer as wrong:
            click.echo(f"   {wrong}")
            continue
        problem = doubt(answer)
        if problem is None or answer == doubted:
            return answer
        doubted = answer
        click.echo(f"   {problem.on_one_line(' - ')}. To keep it, answer it once more.")


# -- after writing


def _check(installation: Installation, plan: Plan) -> int:
    """Run the check and print what it finds; return the exit code."""
    if not installation.root.is_this_machine:
        click.echo("Now run 'callback-queue check' on that machine.")
        return 0
    from fastagi import checks

    if plan.answers.start and installation.machine.has_systemd:
        _wait_for_the_service(plan.settings.control.socket)
    findings = checks.run(str(installation.settings_path))
    click.echo(f"\ncallback-queue check:\n{render.findings(findings)}")
    if not plan.answers.start:
        click.echo("\nStart the service: sudo systemctl enable --now callback-queue")
    elif not installation.machine.has_systemd:
        click.echo(
            f"\nThere is no systemd here. Start the service as the user callback-queue:"
            f" {sys.prefix}/bin/callback-queue run"
        )
    return 1 if any(one.is_fault for one in findings) else 0


def _wait_for_the_service(socket: str) -> None:
    """Wait until the started service has connected to Asterisk."""
    from fastagi.checks.process import running_service

    end = time.monotonic() + _CONNECT_S
    while time.monotonic() < end:
        try:
            running = running_service(socket)
        except CallbackError:
            return
        status = (running.status if running else None) or {}
        if status.get("asterisk", {}).get("connected"):
            return
        time.sleep(_POLL_S)


def _offer_a_test_call(plan: Plan) -> None:
    """Offer a callback to a number of the administrator's."""
    from fastagi.command.web import user_name
    from fastagi.doors import client
    from fastagi.service import commands

    queue = plan.answers.queues[0]
    click.echo(
        f"\nTest call: an agent of {queue} is rung, then the number that you enter."
    )
    while True:
        try:
            number = click.prompt(
                "Number to call (Enter: no test call)", default="", show_default=False
            )
        except click.Abort:
            # Everything is installed.
            click.echo()
            return
        if not number:
            return
        command = commands.AddTask(queue=queue, number=number)
        try:
            by = commands.actor_of(user_name())
            answer = client.do(plan.settings.control.socket, command, by)
        except CallbackError as error:
            click.echo(f"   {error}")
            continue
        task = answer["task"]["id"]
        click.echo(
            f"task {task} is added. If no phone rings soon, this says why:\n"
            f"    sudo callback-queue tasks show {task}\n"
            "and these say what else is wrong:\n"
            "    sudo callback-queue check\n"
            "    sudo journalctl -u callback-queue"
        )
        return


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)
