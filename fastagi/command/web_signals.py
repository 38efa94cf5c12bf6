# SPDX-License-Identifier: MIT
"""``callback-queue web webhook`` and ``callback-queue web mail``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fastagi.command.groups import Commands
from fastagi.command.web import (
    known_queues,
    load_web_settings,
    user_name,
    web_config_option,
)
from fastagi.errors import CallbackError

if TYPE_CHECKING:
    from fastagi.web.signals.webhooks import By, Webhooks, WebhookState

T = TypeVar("T")

_NAME: Final = click.argument("name")


@click.group(cls=Commands)
def webhook() -> None:
    """Send events and alarms to other programs (docs/webhooks.md)."""


@webhook.command("add")
@_NAME
@click.argument("url")
@click.option(
    "--event",
    "types",
    multiple=True,
    help="Only these events, such as task.completed or alarm.*; may be repeated.",
)
@click.option(
    "--queue", "queues", multiple=True, help="Only this queue; may be repeated."
)
@click.option(
    "--numbers",
    type=click.Choice(["masked", "full"]),
    default="masked",
    show_default=True,
    help="Whether clients' numbers and names are sent.",
)
@web_config_option
def add(
    config: str,
    name: str,
    url: str,
    types: tuple[str, ...],
    queues: tuple[str, ...],
    numbers: str,
) -> None:
    """Add an endpoint, and print its secret.

    The secret is never shown again. The endpoint gets what happens from now on.
    """

    chosen = known_queues(config, queues)

    async def work(webhooks: Webhooks, by: By) -> str:
        from fastagi.web.signals.messages import Numbers

        return await webhooks.add(
            name, url, types=types, queues=chosen, numbers=Numbers(numbers), by=by
        )

    secret = _run(config, work)
    click.echo(f"webhook {name} added. Its secret, shown only now:\n{secret}")


@webhook.command("list")
@web_config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_all(config: str, as_json: bool) -> None:
    """List the endpoints, and how their deliveries go."""
    found = _run(config, lambda webhooks, _by: webhooks.all())
    if as_json:
        from fastagi.web.signals.webhooks import state_json

        click.echo(json.dumps([state_json(one) for one in found], indent=2))
    elif not found:
        click.echo("there are no webhooks; add one: callback-queue web webhook add")
    else:
        click.echo("\n".join(_in_words(one) for one in found))


@webhook.command("test")
@_NAME
@web_config_option
def test(config: str, name: str) -> None:
    """Send a test message now, and print the answer.

    Exit code 1 if the answer is not 2xx.
    """
    answer = _run(config, lambda webhooks, _by: webhooks.test(name))
    click.echo(f"{answer.words} ({answer.took_s:.2f} s)", err=not answer.is_success)
    if not answer.is_success:
        sys.exit(1)


@webhook.command("replay")
@_NAME
@click.option(
    "--since",
    required=True,
    metavar="TIME",
    help="The first event: 2026-12-01T14:30, or the number of an event.",
)
@click.option("--until", metavar="TIME", help="The last event; by default up to now.")
@web_config_option
def replay(config: str, name: str, since: str, until: str | None) -> None:
    """Send the events of a range again.

    They have the same ids as the first time. Times without a zone are those of this
    machine.
    """
    first, last = _when(since), None if until is None else _when(until)
    count = _run(config, lambda webhooks, by: webhooks.replay(name, first, last, by=by))
    click.echo(f"{count} events are looked at again for webhook {name}")


@webhook.command("enable")
@_NAME
@click.option("--from-now", is_flag=True, help="Pass over what is waiting.")
@web_config_option
def enable(config: str, name: str, from_now: bool) -> None:
    """Send again at once to a disabled endpoint.

    Also to one that waits for a retry.
    """
    _run(config, lambda webhooks, by: webhooks.enable(name, from_now=from_now, by=by))
    click.echo(f"webhook {name} enabled")


@webhook.command("disable")
@_NAME
@web_config_option
def disable(config: str, name: str) -> None:
    """Send nothing until the endpoint is enabled again.

    What happens meanwhile waits.
    """
    _run(config, lambda webhooks, by: webhooks.disable(name, by=by))
    click.echo(f"webhook {name} disabled")


@webhook.command("remove")
@_NAME
@web_config_option
def remove(config: str, name: str) -> None:
    """Remove an endpoint, with its secrets and its position."""
    _run(config, lambda webhooks, by: webhooks.remove(name, by=by))
    click.echo(f"webhook {name} removed")


@webhook.command("rotate")
@_NAME
@web_config_option
def rotate(config: str, name: str) -> None:
    """Print a new secret, which is never shown again.

    The one before stays valid for a day (webhooks.old_secret_valid), so that the
    receiver can be changed meanwhile: each message has both signatures.
    """
    secret = _run(config, lambda webhooks, by: webhooks.rotate(name, by=by))
    click.echo(f"the new secret of webhook {name}, shown only now:\n{secret}")


@click.group(cls=Commands)
def mail() -> None:
    """Send a test mail to those who get alarms."""


@mail.command("test")
@web_config_option
def mail_test(config: str) -> None:
    """Send a mail now, and print what the mail server says."""
    settings = load_web_settings(config)
    from fastagi.web.signals.mail import Mailer

    text = (
        "This is a test of callback-queue web. Alarms will be sent to this address.\n"
    )
    mailer = Mailer(settings.mail, now=lambda: datetime.now(UTC))
    try:
        if refused := asyncio.run(mailer.send("callback-queue: test", text)):
            raise mailer.refused(refused)
    except CallbackError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(
        f"{settings.mail.host} took a mail for {', '.join(settings.mail.to or ())}"
    )


def _run(config: str, work: Callable[[Webhooks, By], Awaitable[T]]) -> T:
    """Run something with the webhooks; print what is wrong and end with 1."""
    settings = load_web_settings(config)
    from fastagi.web.signals.signals import webhooks_of
    from fastagi.web.signals.webhooks import By

    async def run() -> T:
        async with webhooks_of(settings) as webhooks:
            return await work(webhooks, By(f"cli:{user_name()}", "cli"))

    try:
        return asyncio.run(run())
    except CallbackError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _when(text: str) -> datetime | int:
    """Parse a time, or the number of an event."""
    if text.isascii() and text.isdigit():
        return int(text[:18])
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.UsageError(
            f"{text!r} is neither a time such as 2026-12-01T14:30 nor the number of an"
            " event."
        ) from None


def _in_words(state: WebhookState) -> str:
    one = state.endpoint
    lines: list[tuple[str, Any]] = [
        ("to", one.url),
        ("events", ", ".join(one.filter.types) or "all"),
        ("queues", ", ".join(one.filter.queues) or "all"),
        ("numbers", one.numbers.value),
        ("state", state.words),
        ("last answer", f"{one.answer} at {_local(one.answered_at)}"),
        ("waiting", "not known" if state.waiting is None else state.waiting),
    ]
    if one.answered_at is None:
        lines = [line for line in lines if line[0] != "last answer"]
    return "\n".join([one.name, *(f"  {name}: {value}" for name, value in lines)])


def _local(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
