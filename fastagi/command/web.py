# SPDX-License-Identifier: MIT
"""``callback-queue web``: the web process, its users and its tokens.

Imports the libraries of the extra ``[web]`` only when a command of the group runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fastagi.command.supervisor import notify

if TYPE_CHECKING:
    from fastagi.web.settings import WebSettings

F = TypeVar("F", bound=Callable[..., Any])

#: The same as in ``fastagi.web.settings``, whose import takes a while.
DEFAULT_FILE: Final = "/etc/callback-queue/web.yaml"
FILE_VARIABLE: Final = "CALLBACK_QUEUE_WEB_CONFIG"
#: One module of each library that the process can not do without.
_NEEDED: Final = ("fastapi", "uvicorn", "jinja2", "httpx", "argon2", "authlib")


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


@click.group(invoke_without_command=True)
@click.pass_context
def web(context: click.Context) -> None:
    """Run the web process (console and HTTP API), manage its users and tokens.

    Without a command: run it.
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
        context.invoke(run)


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
