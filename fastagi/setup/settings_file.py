# SPDX-License-Identifier: MIT
"""The settings file of a new installation: the sample with a few values filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from fastagi.config.errors import ConfigErrors
from fastagi.config.load import parse_settings
from fastagi.config.sections import AMI_PORT, Settings
from fastagi.domain.numbers import number_of_pattern
from fastagi.setup.answers import Answers, Given
from fastagi.setup.errors import Refused
from fastagi.setup.found import Found

#: The port of the FastAGI server if nothing else uses it.
AGI_PORT: Final = 4573
#: The certificate of an Asterisk on another machine, in the directory of the settings.
CA_FILE: Final = "asterisk-ca.crt"
#: Addresses that only this machine has.
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@attrs.frozen(kw_only=True)
class Places:
    """Where the service finds Asterisk, and Asterisk the service.

    Attributes:
        ami_host: the address of the manager interface.
        ami_port: its port.
        agi_listen: the address on which the service listens.
        agi_port: its port there.
        agi_peers: who may connect there; empty for this machine.
        permit: the address from which the service logs in; empty for this machine's
            loopback address.
    """

    ami_host: str = "127.0.0.1"
    ami_port: int = AMI_PORT
    agi_listen: str = "127.0.0.1"
    agi_port: int = AGI_PORT
    agi_peers: tuple[str, ...] = ()
    permit: str = ""


def settings_text(
    sample: str,
    answers: Answers,
    places: Places,
    secret: str,
    found: Found | None,
) -> str:
    """Return the sample with these values.

    Args:
        sample: ``etc/callback-queue.yaml``.
        answers: the administrator's.
        places: the addresses.
        secret: that of the manager user.
        found: the Asterisk of this machine; None if it is on another one.
    """
    lines = sample.splitlines()
    default = Places()
    _set(lines, "ami", "secret", _quoted(secret))
    if places.ami_host != default.ami_host:
        _set(lines, "ami", "host", _quoted(places.ami_host))
    if places.ami_port != default.ami_port:
        _set(lines, "ami", "port", str(places.ami_port))
    if places.agi_listen != default.agi_listen:
        _set(lines, "fastagi", "listen", _quoted(places.agi_listen))
    if places.agi_port != default.agi_port:
        _set(lines, "fastagi", "port", str(places.agi_port))
    if places.agi_peers:
        peers = ", ".join(map(_quoted, places.agi_peers))
        _set(lines, "fastagi", "allowed_peers", f"[{peers}]")
    if found is None:
        # Between two machines the manager interface is encrypted: docs/tls.md.
        _set(lines, "ami", "enabled", "true", indent=4)
        _set(lines, "ami", "ca_file", f"/etc/callback-queue/{CA_FILE}", indent=4)
        _set(lines, "history", "queue_log", '""')
    else:
        _set_path(lines, "asterisk", "config_dir", found.config_dir, "/etc/asterisk")
        _set_path(
            lines,
            "asterisk",
            "sounds_dir",
            found.sounds_dir,
            "/usr/share/asterisk/sounds",
        )
        _set_path(
            lines,
            "history",
            "queue_log",
            found.log_dir / "queue_log",
            "/var/log/asterisk/queue_log",
        )
    _set(lines, "number_plan", "region", _quoted(answers.region))
    if answers.own_numbers:
        own = ", ".join(_quoted(re.escape(one)) for one in answers.own_numbers)
        _set(lines, "number_plan", "own_numbers", f"[{own}]")
    _set(lines, "defaults", "outbound_channel", _quoted(answers.outbound))
    if answers.own_numbers and found and found.shows_no_number(answers.outbound):
        shown = _quoted(answers.own_numbers[0])
        _set(lines, "defaults", "outbound_caller_id", shown)
    at = lines.index("queues:")
    lines[at + 1 :] = [f"  {_quoted(name)}: {{}}" for name in answers.queues]
    return "\n".join(lines) + "\n"


def parsed(text: str, file: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a text.

    Raises:
        Refused: an answer is not what a setting may be.
    """
    # Without the sample's explanations, which take long to read; each line keeps its
    # number.
    short = re.sub(r"(?m)^\s*#.*$", "", text)
    try:
        return parse_settings(
            short.encode(), file=str(file), environ={} if environ is None else environ
        )
    except ConfigErrors as errors:
        raise Refused(errors.problems) from None


def given_by(settings: Settings, file: Path) -> Given:
    """Return the answers that existing settings give.

    Args:
        settings: the settings.
        file: the file that they are from.
    """
    own = tuple(map(number_of_pattern, settings.number_plan.own_numbers))
    channels = {queue.outbound_channel for queue in settings.queues.values()}
    return Given(
        queues=tuple(settings.queues),
        outbound=channels.pop() if len(channels) == 1 else None,
        region=settings.number_plan.region,
        own_numbers=own if all(own) else None,
        places={
            "queues": f"{file}, queues",
            "outbound": f"{file}, outbound_channel",
            "region": f"{file}, number_plan.region",
            "own_numbers": f"{file}, number_plan.own_numbers",
        },
    )


def places_of(settings: Settings) -> Places:
    """Return the addresses that existing settings give."""
    host = settings.ami.host
    return Places(
        ami_host=host,
        ami_port=settings.ami.tcp_port,
        agi_listen=settings.fastagi.listen,
        agi_port=settings.fastagi.port,
        permit="" if host in LOOPBACK else host,
    )


def _set_path(
    lines: list[str], section: str, name: str, path: Path, usual: str
) -> None:
    if str(path) != usual:
        _set(lines, section, name, _quoted(str(path)))


def _set(
    lines: list[str], section: str, name: str, value: str, *, indent: int = 2
) -> None:
    """Give a setting a value, in the line where the sample explains it."""
    at = lines.index(f"{section}:")
    blanks = " " * indent
    pattern = re.compile(rf"{blanks}#?{re.escape(name)}: ?")
    while not pattern.match(lines[at]):
        at += 1
        if re.match(r"\w", lines[at]):
            raise ValueError(f"the sample has no {section}.{name}")
    lines[at] = f"{blanks}{name}: {value}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
