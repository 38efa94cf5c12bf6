# SPDX-License-Identifier: MIT
"""Checks the PJSIP endpoints through which clients are called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastagi.ami import actions
from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, ManagerLink, Refused
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.trunk import endpoint_option, trunk_of

#: The value of PJSIP_ENDPOINT() for a caller ID that is not set.
#: Values of an endpoint's callerid that show no number.
NO_CALLER_ID: Final = ("", "<unknown>")
_RELOAD: Final = "sudo asterisk -rx 'module reload res_pjsip.so'"


def check_trunks(
    link: ManagerLink, settings: Settings, machine: AsteriskMachine, notes: Notes
) -> None:
    """Check the endpoints that outbound_channel names.

    The trunk behind a Local channel is unknown, so there is no check of it.
    """
    by_trunk: dict[str, list[QueueSettings]] = {}
    for queue in settings.queues.values():
        by_trunk.setdefault(trunk_of(queue.outbound_channel), []).append(queue)
    by_trunk.pop("", None)
    for trunk, queues in by_trunk.items():
        if not _option(link, trunk, "context"):
            # The endpoint does not exist, or Asterisk does not show it.
            continue
        _check_caller_id(link, trunk, queues, notes)
        _check_redirects(link, trunk, machine, notes)


def _check_caller_id(
    link: ManagerLink, trunk: str, queues: Iterable[QueueSettings], notes: Notes
) -> None:
    """Check whether clients see a number when queues call through an endpoint."""
    without = [queue for queue in queues if not queue.outbound_caller_id]
    if without and not _shows_a_number(link, trunk):
        for queue in without:
            notes.warn(
                f"queues.{queue.name}.outbound_caller_id",
                f"it is not set, and the PJSIP endpoint {trunk} has neither callerid"
                " nor from_user: clients see no number, and many providers refuse"
                " such calls",
                "write there the number that clients shall see, e.g."
                " outbound_caller_id: '+4930123456'",
            )


def _shows_a_number(link: ManagerLink, trunk: str) -> bool:
    caller_id = _option(link, trunk, "callerid")
    return caller_id not in NO_CALLER_ID or bool(_option(link, trunk, "from_user"))


def _check_redirects(
    link: ManagerLink, trunk: str, machine: AsteriskMachine, notes: Notes
) -> None:
    """Check whether Asterisk's SIP stack follows a 302 itself, without the dialplan."""
    method, where = _option(link, trunk, "redirect_method"), f"PJSIP endpoint {trunk}"
    conf = machine.conf_or_none("pjsip.conf")
    for section in conf.sections if conf else ():
        if section.name != trunk or section.is_template:
            continue
        if option := section.get("redirect_method"):
            where = option.where
            # Asterisk 16 does not show it.
            method = method or option.value
    if method.lower() == "uri_pjsip":
        notes.warn(
            where,
            f"{trunk} has redirect_method = uri_pjsip: a client's phone can have a"
            " callback forwarded (SIP 302) to any number, past the rules for numbers",
            f"write redirect_method = user there; then run: {_RELOAD}",
        )


def _option(link: ManagerLink, trunk: str, name: str) -> str:
    """Return an option of an endpoint; "" if Asterisk does not show it."""
    try:
        action = actions.get_var(endpoint_option(trunk, name))
        return link.ask(action).get("Value")
    except (Refused, LinkFailed):
        return ""
