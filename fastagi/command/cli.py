# SPDX-License-Identifier: MIT
"""The command ``callback-queue``.

Exit codes: 0 success; 1 the command failed, or ``check`` found a fault; 2 the arguments
or the settings are wrong. ``run`` also ends with 2 if the database has another version,
or if another service runs on it: systemd restarts the service after 1, but not after 2.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from signal import SIGHUP, SIGTERM
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TypeVar

import attrs
import click

from fastagi import __version__
from fastagi.command import render
from fastagi.command.groups import Commands, WholeNumber
from fastagi.command.setup import setup
from fastagi.command.supervisor import ReloadRequests
from fastagi.command.web import web
from fastagi.command.web_signals import mail, webhook
from fastagi.domain.task import Kind, Status
from fastagi.doors import client, codec
from fastagi.errors import CallbackError
from fastagi.garbage import postpone_collections
from fastagi.service import commands

if TYPE_CHECKING:
    # The settings are imported where they are read. Their import takes half a second,
    # in which SIGHUP would end the process.
    from fastagi.config.sections import Settings

DEFAULT_CONFIG: Final = "/etc/callback-queue/callback-queue.yaml"

_TASK_ID: Final = WholeNumber(1, commands.HIGHEST_ID)

F = TypeVar("F", bound=Callable[..., Any])


def _config_option(command: F) -> F:
    return click.option(
        "--config",
        "-c",
        default=DEFAULT_CONFIG,
        envvar="CALLBACK_QUEUE_CONFIG",
        show_default=True,
        show_envvar=True,
        help="Settings file.",
    )(command)


def _json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _limit_option(command: F) -> F:
    return click.option(
        "--limit",
        type=WholeNumber(1),
        default=100,
        show_default=True,
        help="Maximum number of rows (1 to 10,000).",
    )(command)


def _at_option(command: F) -> F:
    return click.option(
        "--at",
        metavar="TIME",
        default="",
        help="When to call: 14:30 (today), 'tomorrow 14:30', '2026-12-01 14:30', each"
        " in the queue's time zone; 2026-12-01T14:30+01:00; or +2h.",
    )(command)


def _filter_options(command: F) -> F:
    """Add the options that say which tasks are meant; see `commands.TaskFilter`."""
    options = (
        click.option(
            "--status",
            help="Only tasks with one of these statuses, separated by commas:"
            f" {', '.join(Status)}.",
        ),
        click.option("--kind", help=f"The same for kinds: {', '.join(Kind)}."),
        click.option("--queue", help="Only tasks of this queue."),
        click.option("--number", help="Only tasks for this number."),
        click.option("--text", help="Only with this text in the number or name."),
        click.option(
            "--reason-code", help="Only with this reason (a code of docs/reasons.md)."
        ),
        click.option(
            "--created-from",
            metavar="TIME",
            help="Created from then on: 2026-12-01, or '2026-12-01 14:30'.",
        ),
        click.option("--created-to", metavar="TIME", help="Created before then."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _agent_options(command: F) -> F:
    command = click.option(
        "--for",
        "duration",
        metavar="DURATION",
        default="",
        help="For how long, such as 30m; then any agent is asked. Default: until the"
        " task is released.",
    )(command)
    return click.option(
        "--agent",
        default="",
        help="The agent: interface, or name of the member in the queue.",
    )(command)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callback-queue")
def main() -> None:
    """Queue callback for Asterisk: callers press 1 and are called back.

    Run the commands as root or with sudo. Examples:

    \b
    sudo callback-queue check              # what is missing, with the remedy
    sudo callback-queue status             # Asterisk, queues and agents now
    sudo callback-queue tasks list         # who waits for a callback, and why
    sudo callback-queue tasks show 17      # the history of one task
    sudo callback-queue tasks add support +4930123456
    sudo callback-queue numbers block +4930123456
    """
    # No other user may read the database, copies of it and the control socket, whatever
    # umask the shell or systemd has set. SQLite creates -wal and -shm with the mode of
    # the database file.
    os.umask(0o077)


main.add_command(setup)


@main.command()
@click.option(
    "--settings",
    "settings_only",
    is_flag=True,
    help="Check the settings file only.",
)
@_json_option
@_config_option
def check(config: str, as_json: bool, settings_only: bool) -> None:
    """Find mistakes in the settings, the database and Asterisk.

    Each finding names its remedy. Run it as root: only root may look at everything.
    Exit code 1 if there is a fault. With --settings: exit code 2 if the settings file
    has mistakes.
    """
    if settings_only:
        _load(config)
        return
    from fastagi import checks

    findings = checks.run(config)
    click.echo(render.findings_json(findings) if as_json else render.findings(findings))
    sys.exit(1 if any(finding.is_fault for finding in findings) else 0)


@main.command()
@_json_option
@_config_option
def status(config: str, as_json: bool) -> None:
    """Show the state of Asterisk, the queues and the service.

    Exit code 1 if the service is not running, cannot place calls on an Asterisk, or
    cannot use its database.
    """
    settings, control_socket = _load_or_find_socket(config)
    answer = _send_to_service(control_socket, commands.ShowStatus())
    if settings is None:
        _note_old_settings(answer)
    elif answer is None:
        _fail(
            "the service is not running (no answer on"
            f" {settings.control.socket}) - start it with"
            " 'systemctl start callback-queue', or see its log with"
            f" 'journalctl -u callback-queue'{_other_holder(settings)}"
        )
    click.echo(json.dumps(answer, indent=2) if as_json else render.status(answer))
    sound = not codec.out_of_work(answer) and answer["database"] == "ok"
    sys.exit(0 if sound else 1)


@main.group()
def tasks() -> None:
    """List, show, add, cancel and change callbacks.

    A task is one client who is to be called back.

    \b
    sudo callback-queue tasks list
    sudo callback-queue tasks show 17
    sudo callback-queue tasks add support +4930123456 --at 'tomorrow 9:00'
    sudo callback-queue tasks cancel 17
    """


@tasks.command("list")
@click.option("--all", "-a", "everything", is_flag=True, help="Include ended tasks.")
@_filter_options
@_limit_option
@click.option(
    "--before-id", type=_TASK_ID, help="Only tasks with a lower id (the next page)."
)
@_json_option
@_config_option
def tasks_list(config: str, as_json: bool, everything: bool, **wanted: Any) -> None:
    """List tasks, the latest first. Without options: the open tasks.

    TRIES counts calls to the client, with the one in progress. If only an agent's phone
    has rung, it does not count. WHY says what keeps a client from being called; if
    nothing does, or no service runs, why the task is as it is.
    """
    answer = _carry_out(config, commands.ListTasks, all=everything, **wanted)
    click.echo(json.dumps(answer, indent=2) if as_json else render.tasks(answer))


@tasks.command("show")
@click.argument("task_id", type=_TASK_ID)
@_json_option
@_config_option
def tasks_show(config: str, as_json: bool, task_id: int) -> None:
    """Show one task with its attempts and its history."""
    answer = _carry_out(config, commands.ShowTask, id=task_id)
    click.echo(json.dumps(answer, indent=2) if as_json else render.story(answer))


@tasks.command("add")
@click.argument("queue")
@click.argument("number")
@click.option("--name", default="", help="Name that the agent sees.")
@_at_option
@_json_option
@_config_option
def tasks_add(
    config: str, as_json: bool, queue: str, number: str, name: str, at: str
) -> None:
    """Add a task: QUEUE calls NUMBER back.

    It is called as soon as an agent is free, or with --at at that time. If NUMBER has
    an open task, --at moves that task.

    \b
    sudo callback-queue tasks add support +4930123456
    sudo callback-queue tasks add support +4930123456 --name 'Ada' --at +2h
    """
    answer = _carry_out(
        config, commands.AddTask, queue=queue, number=number, name=name, at=at
    )
    what = "added" if answer["created"] else "is open already"
    when = render.chosen_time(answer["task"])
    _print(answer, as_json, f"task {answer['task']['id']} {what}{when}")


@tasks.command("cancel")
@click.argument("task_id", type=_TASK_ID)
@click.option(
    "--reason",
    default="",
    show_default="cancelled by hand",
    help="Reason to store with the task.",
)
@_json_option
@_config_option
def tasks_cancel(config: str, as_json: bool, task_id: int, reason: str) -> None:
    """Cancel a task and its call. A talk in progress continues."""
    answer = _carry_out(config, commands.CancelTask, id=task_id, reason=reason)
    later = answer["task"]["cancel_requested"]
    words = "ends when its call ends; a talk continues" if later else "cancelled"
    _print(answer, as_json, f"task {task_id} {words}")


@tasks.command("retry")
@click.argument("task_id", type=_TASK_ID)
@_json_option
@_config_option
def tasks_retry(config: str, as_json: bool, task_id: int) -> None:
    """Put a task back in line, so that its client is called.

    It is due at once, and no tries are counted. A task that has ended is open again.
    """
    answer = _carry_out(config, commands.RetryTask, id=task_id)
    _print(answer, as_json, f"task {task_id} is back in line")


@tasks.command("reschedule")
@click.argument("task_id", type=_TASK_ID)
@_at_option
@click.option("--now", is_flag=True, help="Call as soon as possible.")
@_json_option
@_config_option
def tasks_reschedule(
    config: str, as_json: bool, task_id: int, at: str, now: bool
) -> None:
    """Choose the time of a callback, or call with --now.

    A task that has ended without success is put back in line.

    \b
    sudo callback-queue tasks reschedule 17 --at 'tomorrow 9:00'
    sudo callback-queue tasks reschedule 17 --now
    """
    if bool(at) == now:
        raise click.UsageError("Give either --at TIME or --now.")
    answer = _carry_out(config, commands.RescheduleTask, id=task_id, at=at, now=now)
    when = render.chosen_time(answer["task"]) or " is due now"
    _print(answer, as_json, f"task {task_id}{when}")


@tasks.command("move")
@click.argument("task_id", type=_TASK_ID)
@click.option("--front", is_flag=True, help="Call it next.")
@click.option("--behind", type=_TASK_ID, help="Call it right after this task.")
@_json_option
@_config_option
def tasks_move(
    config: str, as_json: bool, task_id: int, front: bool, behind: int | None
) -> None:
    """Give an open task another place in line.

    With --front it is due at once: a delay and a chosen time are forgotten. Opening
    hours, limits and blocked numbers still apply.
    """
    if front == (behind is not None):
        raise click.UsageError("Give either --front or --behind TASK_ID.")
    answer = _carry_out(
        config, commands.MoveTask, id=task_id, front=front, behind=behind
    )
    where = "is called next" if front else f"is called after task {behind}"
    _print(answer, as_json, f"task {task_id} {where}")


@tasks.command("assign")
@click.argument("task_id", type=_TASK_ID)
@_agent_options
@click.option("--release", is_flag=True, help="Ask any agent again.")
@_json_option
@_config_option
def tasks_assign(
    config: str,
    as_json: bool,
    task_id: int,
    agent: str,
    duration: str,
    release: bool,
) -> None:
    """Ask only one agent for an open task, or any again.

    \b
    sudo callback-queue tasks assign 17 --agent PJSIP/101 --for 30m
    sudo callback-queue tasks assign 17 --release
    """
    if bool(agent) == release:
        raise click.UsageError("Give either --agent AGENT or --release.")
    answer = _carry_out(
        config,
        commands.AssignTask,
        id=task_id,
        agent=agent,
        duration=duration,
        release=release,
    )
    who = "any agent" if release else f"only {answer['task']['assigned_to']}"
    _print(answer, as_json, f"task {task_id}: {who} is asked")


@tasks.command("note")
@click.argument("task_id", type=_TASK_ID)
@click.argument("note")
@_json_option
@_config_option
def tasks_note(config: str, as_json: bool, task_id: int, note: str) -> None:
    """Write NOTE to the history of a task, up to 1,000 characters."""
    answer = _carry_out(config, commands.NoteTask, id=task_id, note=note)
    _print(answer, as_json, f"task {task_id}: noted")


@tasks.command("bulk")
@click.argument("action", type=click.Choice([a.value for a in commands.BulkAction]))
@click.option("--ids", default="", help="The tasks: ids, separated by commas.")
@click.option("--all", "-a", "everything", is_flag=True, help="Include ended tasks.")
@_filter_options
@click.option("--preview", is_flag=True, help="Only say what would happen.")
@click.option(
    "--expect",
    metavar="FINGERPRINT",
    default="",
    help="Change nothing if other tasks match now than in the preview.",
)
@click.option("--reason", default="", help="Reason of a cancellation.")
@_at_option
@click.option("--now", is_flag=True, help="Reschedule: call as soon as possible.")
@_agent_options
@click.option("--note", default="", help="The note, up to 1,000 characters.")
@_json_option
@_config_option
def tasks_bulk(
    config: str, as_json: bool, action: str, everything: bool, **wanted: Any
) -> None:
    """Change many tasks at a time, up to 1,000.

    Give the tasks with --ids, or say which ones match. Without --status and --all, only
    open tasks match. Exit code 1 if a task was refused.

    \b
    sudo callback-queue tasks bulk cancel --queue support --preview
    sudo callback-queue tasks bulk assign --ids 17,18 --agent PJSIP/101
    """
    answer = _carry_out(
        config, commands.BulkTasks, action=action, all=everything, **wanted
    )
    _print(answer, as_json, render.bulk(answer))
    sys.exit(0 if answer["changed"] == answer["selected"] else 1)


@main.group()
def numbers() -> None:
    """Block and unblock numbers, list blocked and refused ones.

    A blocked number is not called back; calls from it still reach the queue.

    \b
    sudo callback-queue numbers block +4930123456 --reason "asked us not to call"
    sudo callback-queue numbers unblock +4930123456
    sudo callback-queue numbers list
    """


@numbers.command("block")
@click.argument("number")
@click.option("--reason", default="", help="Reason to store with the number.")
@_json_option
@_config_option
def numbers_block(config: str, as_json: bool, number: str, reason: str) -> None:
    """Never call NUMBER. Its open task ends."""
    answer = _carry_out(config, commands.BlockNumber, number=number, reason=reason)
    what = "is blocked" if answer["created"] else "was blocked already"
    words = f"{answer['blocked']['number']} {what}"
    if task := answer["task"]:
        later = "with the call under way" if task["cancel_requested"] else "now"
        words += f"; task {task['id']} ends {later}"
    _print(answer, as_json, words)


@numbers.command("unblock")
@click.argument("number")
@_json_option
@_config_option
def numbers_unblock(config: str, as_json: bool, number: str) -> None:
    """Allow calls to NUMBER again."""
    answer = _carry_out(config, commands.UnblockNumber, number=number)
    _print(answer, as_json, f"{answer['unblocked']['number']} may be called again")


@numbers.command("list")
@_limit_option
@click.option(
    "--before", default="", help="Only numbers after this one (the next page)."
)
@_json_option
@_config_option
def numbers_list(config: str, as_json: bool, limit: int, before: str) -> None:
    """List the blocked numbers, the latest first."""
    answer = _carry_out(config, commands.ListBlocked, limit=limit, before=before)
    click.echo(json.dumps(answer, indent=2) if as_json else render.blocked(answer))


@numbers.command("check")
@click.argument("queue")
@click.argument("number")
@_json_option
@_config_option
def numbers_check(config: str, as_json: bool, queue: str, number: str) -> None:
    """Tell whether QUEUE may call NUMBER now, and why not.

    Exit code 1 if a rule, a block or a limit forbids the call; 0 also if only the queue
    is closed now, or no agent is free.
    """
    answer = _carry_out(config, commands.CheckNumber, queue=queue, number=number)
    _print(answer, as_json, render.checked(answer))
    sys.exit(0 if answer["may_be_called"] else 1)


@numbers.command("refused")
@click.option("--queue", help="Only callers of this queue.")
@_limit_option
@click.option(
    "--before-id", type=_TASK_ID, help="Only refusals with a lower id (the next page)."
)
@_json_option
@_config_option
def numbers_refused(
    config: str, as_json: bool, queue: str | None, limit: int, before_id: int | None
) -> None:
    """List refused callers with the reasons, the latest first."""
    answer = _carry_out(
        config, commands.ListRefused, queue=queue, limit=limit, before_id=before_id
    )
    click.echo(json.dumps(answer, indent=2) if as_json else render.refused(answer))


@numbers.command("export")
@click.argument("number")
@_config_option
def numbers_export(config: str, number: str) -> None:
    """Print everything that is kept about NUMBER, as JSON.

    These are its tasks with attempts and history, refusals, offers, the block, and the
    agent who talked to the client last.
    """
    answer = _carry_out(config, commands.ExportNumber, number=number)
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


@numbers.command("erase")
@click.argument("number")
@click.option(
    "--keep-block",
    "block",
    flag_value="keep",
    help="If it is blocked, it stays so; only the reason is erased.",
)
@click.option(
    "--lift-block", "block", flag_value="lift", help="If it is blocked, unblock it."
)
@_json_option
@_config_option
def numbers_erase(config: str, as_json: bool, number: str, block: str | None) -> None:
    """Erase NUMBER and the names and calls that belong to it.

    Its tasks stay, without number, name and linkedids, so no report changes. A task
    that is open must be cancelled first. docs/privacy.md says what else to do, such as
    for copies of the database.
    """
    answer = _carry_out(config, commands.EraseNumber, number=number, block=block or "")
    _print(answer, as_json, render.erased(answer))


@main.command("report")
@click.option("--queue", "queues", multiple=True, help="Only this queue; repeatable.")
@click.option(
    "--from",
    "first",
    metavar="DAY",
    default="",
    show_default="30 days before --to",
    help="First day: 2026-12-01, today, yesterday, or all.",
)
@click.option(
    "--to", "last", metavar="DAY", default="", show_default="today", help="Last day."
)
@click.option(
    "--kind",
    type=click.Choice(["requested", "missed", "manual"]),
    default=None,
    help="Only tasks of this kind.",
)
@click.option(
    "--goal",
    metavar="TIME",
    default="",
    show_default="30m",
    help="Within which time clients are to be reached.",
)
@click.option("--explain", is_flag=True, help="Print what each figure means.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a row for each day.")
@_json_option
@_config_option
def report(
    config: str,
    queues: tuple[str, ...],
    first: str,
    last: str,
    kind: str | None,
    goal: str,
    explain: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Count clients who asked and were reached, and their waits.

    Days are those of the time zone of each queue. docs/reports.md explains the figures.

    \b
    sudo callback-queue report --queue support --from 2026-11-01 --to 2026-11-30
    """
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json.")
    from fastagi import reports
    from fastagi.command import reports as reading
    from fastagi.command.report_text import report_text

    settings = _load(config)
    try:
        found = reading.read(
            settings,
            datetime.now(UTC),
            queues=queues,
            first=first,
            last=last,
            kind=kind or "",
            goal=goal,
        )
    except CallbackError as error:
        _fail(str(error))
    if as_json:
        click.echo(json.dumps(reports.report_json(found), indent=2))
    elif as_csv:
        click.echo(reports.report_csv(found), nl=False)
    else:
        click.echo(report_text(found, explain=explain))


@main.group()
def settings() -> None:
    """List the settings in force, try a changed settings file."""


@settings.command("show")
@click.option("--queue", help="Only the settings of this queue.")
@click.option("--given", is_flag=True, help="Only settings that the file gives.")
@_json_option
@_config_option
def settings_show(config: str, as_json: bool, queue: str | None, given: bool) -> None:
    """List each setting: its value, its line in the file, its default.

    Of the running service; if none runs, of the settings file. Secrets are not shown.
    """
    answer = _carry_out(config, commands.ShowSettings, queue=queue)
    if given:
        rows = [row for row in answer["settings"] if row["origin"] != "built_in"]
        answer["settings"] = rows
    _print(answer, as_json, render.settings(answer))


@settings.command("check")
@click.argument("file", type=click.File("rb"))
@_json_option
@_config_option
def settings_check(config: str, as_json: bool, file: BinaryIO) -> None:
    """Say what a changed settings file would change.

    FILE is compared with the settings in force, and nothing is changed. Write - to read
    it from the standard input. Exit code 1 if FILE has mistakes.
    """
    try:
        text = file.read(commands.LONGEST_FILE + 1).decode("utf-8")
    except UnicodeDecodeError:
        _fail(f"{file.name} is not UTF-8 text")
    except OSError as error:
        _fail(f"{file.name} cannot be read: {error.strerror}")
    answer = _carry_out(config, commands.CheckSettings, text=text)
    _print(answer, as_json, render.settings_check(answer))
    sys.exit(1 if answer["problems"] else 0)


@main.group()
def db() -> None:
    """Copy the database, or upgrade it after an update."""


@db.command("backup")
@click.argument("file", required=False)
@_json_option
@_config_option
def db_backup(config: str, as_json: bool, file: str | None) -> None:
    """Copy the database. The service may be running.

    FILE is a new file, or a folder; in a folder the copy's name contains the date and
    time (UTC). Without FILE the copy is made beside the database. No file is
    overwritten. The copy is one file with everything that was committed when the
    command began; only the user who runs the command can read it. docs/backup.md
    explains how to restore it.
    """
    from fastagi.store import backup

    settings = _load(config)
    try:
        with _signals_as_ctrl_c():
            done = backup.back_up(settings.database.url, file, datetime.now(UTC))
    except CallbackError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted; the unfinished copy is removed")
    answer = attrs.asdict(done) | {"path": str(done.path)}
    _print(answer, as_json, render.backup(answer))


@db.command("upgrade")
@_config_option
def db_upgrade(config: str) -> None:
    """Upgrade the database after an update of the program.

    An SQLite database is copied before, beside it. Stop the service before.
    """
    from fastagi.store import migrate

    settings = _load(config)
    try:
        done = migrate.upgrade(settings.database.url)
    except CallbackError as error:
        _fail(str(error))
    click.echo(done)


main.add_command(web)
web.add_command(webhook)
web.add_command(mail)


@main.command()
@_config_option
def run(config: str) -> None:
    """Run the service in the foreground; systemd does this.

    SIGHUP reloads the settings. SIGTERM stops the service; calls in progress continue
    in Asterisk.
    """
    postpone_collections()
    reloads = ReloadRequests()
    settings = _load(config)
    # Imported here: no other command needs a reactor.
    from fastagi.command import daemon

    sys.exit(daemon.run(config, settings, reloads))


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that a command can clean up."""
    before = {number: signal.getsignal(number) for number in (SIGTERM, SIGHUP)}
    for number, handler in before.items():
        # nohup has set SIGHUP to be ignored.
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _load(config: str) -> Settings:
    from fastagi.config.errors import ConfigErrors
    from fastagi.config.load import load_settings

    try:
        return load_settings(config)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        sys.exit(2)


def _load_or_find_socket(config: str) -> tuple[Settings | None, str]:
    """Return the settings and the path of the control socket.

    If the settings contain mistakes, print them and return only the path: the running
    service has its earlier settings in force and can be asked. End with 2 if the path
    is not known.
    """
    from fastagi.config.errors import ConfigErrors
    from fastagi.config.load import load_settings, read_control_socket

    try:
        settings = load_settings(config)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        control_socket = read_control_socket(config)
        if control_socket is None:
            click.echo(
                "a service that runs has its earlier settings in force", err=True
            )
            sys.exit(2)
        return None, control_socket
    return settings, settings.control.socket


def _note_old_settings(answer: Any) -> None:
    """Say which settings the service used; end with 2 if no service answered."""
    if answer is None:
        sys.exit(2)
    click.echo("the running service has its earlier settings in force", err=True)


#: Commands whose answers are about calls that only a running service places.
_ABOUT_CALLS: Final = (
    commands.ListTasks,
    commands.ShowTask,
    commands.AddTask,
    commands.RetryTask,
    commands.RescheduleTask,
    commands.MoveTask,
    commands.AssignTask,
    commands.BulkTasks,
)


def _carry_out(config: str, which: type[commands.Command], **fields: Any) -> Any:
    """Return the answer of the running service, or carry out the command offline."""
    settings, control_socket = _load_or_find_socket(config)
    try:
        command = which(**fields)
    except CallbackError as error:
        _fail(str(error))
    answer = _send_to_service(control_socket, command)
    if settings is None:
        _note_old_settings(answer)
        return answer
    if answer is not None:
        return answer
    answer = _do_offline(settings, command)
    if which in _ABOUT_CALLS:
        click.echo(_nobody_calls(settings), err=True)
    return answer


def _nobody_calls(settings: Settings) -> str:
    """Return, for people, that an answer is from the database alone."""
    from fastagi.store import leases

    socket = settings.control.socket
    try:
        holder = leases.holder(settings.database.url, settings.instance.name)
    except CallbackError:
        holder = None
    if holder is not None:
        return (
            f"no service answers on {socket}, but the database is held by {holder}:"
            " this is what is stored - correct control.socket, or see the log with"
            " 'journalctl -u callback-queue'"
        )
    return (
        f"the service is not running (no answer on {socket}): this is what is stored,"
        " and nobody is called - start it with 'sudo systemctl start callback-queue'"
    )


def _actor() -> commands.Actor:
    """Return who gives the command; with sudo, the user who called sudo."""
    uid = os.getuid()
    name = os.environ.get("SUDO_USER", "") if uid == 0 else ""
    try:
        return commands.actor_of(name or pwd.getpwuid(uid).pw_name)
    except (CallbackError, KeyError):
        return commands.Actor(f"uid {uid}")


def _send_to_service(control_socket: str, command: commands.Command) -> Any:
    """Return the service's answer; None if no service is running."""
    try:
        return client.do(control_socket, command, _actor())
    except client.NoService:
        return None
    except CallbackError as error:
        _fail(str(error))


def _other_holder(settings: Settings) -> str:
    """Return, for an error message, which process holds the database, if one does."""
    from fastagi.store import leases, migrate

    try:
        migrate.check_current(settings.database.url)
        holder = leases.holder(settings.database.url, settings.instance.name)
    except CallbackError:
        return ""
    return f"; its database is held by {holder}" if holder else ""


def _do_offline(settings: Settings, command: commands.Command) -> Any:
    from fastagi.command import offline

    try:
        return codec.answer_json(offline.do(settings, command, _actor()))
    except CallbackError as error:
        _fail(str(error))


def _print(answer: Any, as_json: bool, words: str) -> None:
    click.echo(json.dumps(answer, indent=2) if as_json else words)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
