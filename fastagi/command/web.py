# SPDX-License-Identifier: MIT
"""``callback-queue web``: the web process, its users and its tokens.

Imports the libraries of the extra ``[web]`` only when a command of the group runs.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fastagi.command.groups import Commands, WholeNumber
from fastagi.command.supervisor import notify
from fastagi.domain.names import folded
from fastagi.errors import CallbackError

if TYPE_CHECKING:
    from fastagi.web.people.administration import Administration
    from fastagi.web.settings import WebSettings

F = TypeVar("F", bound=Callable[..., Any])

#: The same as in ``fastagi.web.settings``, whose import takes a while.
DEFAULT_FILE: Final = "/etc/callback-queue/web.yaml"
FILE_VARIABLE: Final = "CALLBACK_QUEUE_WEB_CONFIG"
#: One module of each library that the process can not do without.
_NEEDED: Final = ("fastapi", "uvicorn", "jinja2", "httpx", "argon2", "joserfc")


def web_config_option(command: F) -> F:
    """Add the option ``--config`` to a command of the group."""
    return click.option(
        "--config",
        "-c",
        default=DEFAULT_FILE,
        envvar=FILE_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Settings file of the web process.",
    )(command)


@click.group(cls=Commands, invoke_without_command=True)
@click.pass_context
def web(context: click.Context) -> None:
    """Run the console and the HTTP API, add users and tokens.

    Without a command: run them.
    """
    lacking = [name for name in _NEEDED if find_spec(name) is None]
    if lacking:
        click.echo(
            f"the web process needs libraries that are not installed"
            f" ({', '.join(lacking)}) - install them:"
            f" {sys.prefix}/bin/pip install 'asterisk-callback-queue[web]'",
            err=True,
        )
        sys.exit(2)
    if context.invoked_subcommand is None:
        # Unlike context.invoke, this reads the variables of the options.
        with run.make_context("run", [], parent=context) as of_run:
            run.invoke(of_run)


@web.command()
@web_config_option
def run(config: str) -> None:
    """Run the web process in the foreground. SIGTERM stops it."""
    settings = load_web_settings(config)
    from fastagi.web import run as process

    sys.exit(process.run(settings, lambda state: notify(state, os.environ)))


def load_web_settings(config: str) -> WebSettings:
    """Return the settings; print their mistakes and end with 2 if there are any."""
    from fastagi.config.errors import ConfigErrors
    from fastagi.web.settings import WebSettings, load

    if config == DEFAULT_FILE and not os.path.lexists(config):
        # Every setting has a default.
        return WebSettings()
    try:
        return load(config)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        sys.exit(2)


# -- users, tokens and wall links -----------------------------------------------


def _queues_option(command: F) -> F:
    command = click.option(
        "--queue", "queues", multiple=True, help="Only for this queue; may be repeated."
    )(command)
    return click.option("--all-queues", is_flag=True, help="For all queues.")(command)


def known_queues(config: str, queues: tuple[str, ...]) -> tuple[str, ...]:
    """Return queues with their names in the settings of the service.

    Ends with 1 if one is not there. If the service does not answer, all are accepted.
    """
    from fastagi.doors import client
    from fastagi.service.commands import ShowStatus

    if not queues:
        return ()
    socket = load_web_settings(config).service.socket
    try:
        answer = client.do(socket, ShowStatus())
    except CallbackError as error:
        click.echo(
            f"--queue is not compared with the settings of the service: {error}",
            err=True,
        )
        return queues
    known = {folded(name): name for name in answer["queues"]}
    for name in queues:
        if folded(name) not in known:
            near = get_close_matches(folded(name), known, n=1)
            meant = f"; did you mean {known[near[0]]}?" if near else "."
            click.echo(
                f"--queue {name}: the settings of the service have no such"
                f" queue{meant} There are: {', '.join(sorted(known.values()))}",
                err=True,
            )
            sys.exit(1)
    return tuple(known[folded(name)] for name in queues)


def _json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


_ROLES: Final = click.Choice(["viewer", "supervisor", "admin"])


@web.group()
def user() -> None:
    """Add, list and change the people who may log in."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What the user may do.")
@_queues_option
@click.option(
    "--link", is_flag=True, help="Print a link to set the password, in place of asking."
)
@web_config_option
def user_add(
    config: str,
    name: str,
    role: str,
    queues: tuple[str, ...],
    all_queues: bool,
    link: bool,
) -> None:
    """Add a user.

    Asks for the password; with --link the user sets it (works once, for 30 minutes).
    """
    with _administration(config) as admin:
        chosen = _queues_of(config, role, queues, all_queues)
        password = None if link else _ask_password()
        key = admin.add_user(name, role, chosen, password)
        click.echo(f"user {name} is added" + _link_words(admin, key))


@user.command("list")
@_json_option
@web_config_option
def user_list(config: str, as_json: bool) -> None:
    """List the users with their roles, queues and last logins."""
    with _administration(config) as admin:
        click.echo(admin.user_list(as_json))


@user.command("password")
@click.argument("name")
@click.option("--link", is_flag=True, help="Print a link to set the password.")
@web_config_option
def user_password(config: str, name: str, link: bool) -> None:
    """Set a user's password, or print a link to set it. All sessions end."""
    with _administration(config) as admin:
        admin.check_user(name)
        key = admin.set_password(name, None if link else _ask_password())
        words = "" if link else f"the password of {name} is changed"
        click.echo(words + _link_words(admin, key, between="" if link else "\n"))


@user.command("role")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What the user may do.")
@_queues_option
@web_config_option
def user_role(
    config: str, name: str, role: str, queues: tuple[str, ...], all_queues: bool
) -> None:
    """Change what a user may do; it takes effect at once."""
    with _administration(config) as admin:
        admin.set_role(name, role, _queues_of(config, role, queues, all_queues))
        click.echo(f"user {name} is {role} now")


@user.command("disable")
@click.argument("name")
@web_config_option
def user_disable(config: str, name: str) -> None:
    """Keep a user out, and end all sessions.

    'enable' lets the user in again.
    """
    with _administration(config) as admin:
        admin.set_disabled(name, True)
        click.echo(f"user {name} is disabled")


@user.command("enable")
@click.argument("name")
@web_config_option
def user_enable(config: str, name: str) -> None:
    """Let a disabled user in again."""
    with _administration(config) as admin:
        admin.set_disabled(name, False)
        click.echo(f"user {name} may log in again")


@user.command("logout")
@click.argument("name")
@web_config_option
def user_logout(config: str, name: str) -> None:
    """End all sessions of a user."""
    with _administration(config) as admin:
        click.echo(f"{admin.log_out(name)} sessions of {name} ended")


@user.command("remove")
@click.argument("name")
@web_config_option
def user_remove(config: str, name: str) -> None:
    """Remove a user. Stories of tasks keep the name."""
    with _administration(config) as admin:
        admin.remove_user(name)
        click.echo(f"user {name} is removed")


@web.group()
def token() -> None:
    """Make, list and revoke tokens of programs for the HTTP API."""


@token.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="A right; may be repeated."
)
@_queues_option
@click.option(
    "--expires", metavar="TIME", default="", help="After a time, such as 90d."
)
@web_config_option
def token_add(
    config: str,
    name: str,
    scopes: tuple[str, ...],
    queues: tuple[str, ...],
    all_queues: bool,
    expires: str,
) -> None:
    """Make a token and print it. It can not be shown again.

    Scopes: tasks:read, tasks:write, tasks:create, numbers:read, numbers:write,
    reports:read, metrics, settings:read, health:read, admin. Without --queue it is for
    all queues.
    """
    with _administration(config) as admin:
        if queues and all_queues:
            raise click.UsageError("Give either --queue or --all-queues.")
        chosen = known_queues(config, queues) or None
        click.echo(admin.add_token(name, scopes, chosen, expires))


@token.command("list")
@_json_option
@web_config_option
def token_list(config: str, as_json: bool) -> None:
    """List the tokens, without what lets a program in."""
    with _administration(config) as admin:
        click.echo(admin.token_list(as_json))


@token.command("remove")
@click.argument("name")
@web_config_option
def token_remove(config: str, name: str) -> None:
    """Revoke a token, at once and for good."""
    with _administration(config) as admin:
        admin.revoke_token(name)
        click.echo(f"token {name} is revoked")


@web.group("wall-link")
def wall_link() -> None:
    """Make, list and revoke links to the wall display."""


@wall_link.command("add")
@click.argument("name")
@_queues_option
@click.option(
    "--expires", metavar="TIME", default="", help="After a time, such as 90d."
)
@web_config_option
def wall_link_add(
    config: str, name: str, queues: tuple[str, ...], all_queues: bool, expires: str
) -> None:
    """Make a link that shows the wall without a login.

    Numbers are hidden.
    """
    with _administration(config) as admin:
        if bool(queues) == all_queues:
            raise click.UsageError("Give either --queue or --all-queues.")
        chosen = known_queues(config, queues) or None
        click.echo(admin.add_wall_link(name, chosen, expires))


@wall_link.command("list")
@_json_option
@web_config_option
def wall_link_list(config: str, as_json: bool) -> None:
    """List the links to the wall display."""
    with _administration(config) as admin:
        click.echo(admin.wall_link_list(as_json))


@wall_link.command("remove")
@click.argument("name")
@web_config_option
def wall_link_remove(config: str, name: str) -> None:
    """Revoke a link, at once and for good."""
    with _administration(config) as admin:
        admin.revoke_wall_link(name)
        click.echo(f"wall link {name} is revoked")


@web.command("audit")
@click.option(
    "--limit",
    type=WholeNumber(1, 10_000),
    default=50,
    show_default=True,
    help="Maximum number of rows.",
)
@_json_option
@web_config_option
def audit(config: str, as_json: bool, limit: int) -> None:
    """List logins and changes of users and tokens, the latest first."""
    with _administration(config) as admin:
        click.echo(admin.audit(limit, as_json))


@web.command("backup")
@click.argument("file", required=False)
@web_config_option
def backup(config: str, file: str | None) -> None:
    """Copy the database of the web process, which may be running.

    FILE is a new file, or a folder; in a folder the copy's name contains the date and
    time (UTC). Without FILE the copy is made beside the database.
    """
    with _administration(config) as admin:
        click.echo(f"copied to {admin.back_up(file)}")


@contextmanager
def _administration(config: str) -> Iterator[Administration]:
    """Open the database of the web process; print what is wrong and end with 1."""
    from fastagi.web.people.administration import Administration

    settings = load_web_settings(config)
    try:
        yield Administration(settings, by=f"cli:{user_name()}")
    except CallbackError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def user_name() -> str:
    """Return who gives the command; with sudo, the user who called sudo."""
    uid = os.getuid()
    name = os.environ.get("SUDO_USER", "") if uid == 0 else ""
    try:
        return name or pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _queues_of(
    config: str, role: str, queues: tuple[str, ...], all_queues: bool
) -> tuple[str, ...] | None:
    """Return the queues of a user; None: all queues."""
    if queues and all_queues:
        raise click.UsageError("Give either --queue or --all-queues.")
    if role == "admin" and queues:
        raise click.UsageError("An administrator has all queues: leave out --queue.")
    if role == "supervisor" and not queues and not all_queues:
        raise click.UsageError("A supervisor needs --queue NAME, or --all-queues.")
    return known_queues(config, queues) or None


def _ask_password() -> str:
    """Ask for a new password twice; without a terminal read one line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    answer: str = click.prompt(
        "Password", hide_input=True, confirmation_prompt="The same again"
    )
    return answer


def _link_words(admin: Administration, key: str | None, between: str = "\n") -> str:
    if key is None:
        return ""
    return f"{between}{admin.link_address(key)}\n(works once, for 30 minutes)"
