# SPDX-License-Identifier: MIT
"""Checks URLs of databases on a server, so that no password is shown by mistake.

SQLAlchemy splits every URL that passes in the same way, and only the part "password"
contains characters of the password.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from fastagi.config.errors import BadValue

_HOST_AND_PORT: Final = re.compile(r"(?:\[[^][]+\]|[^][:]*)(?::([^:]*))?")
#: Options of the drivers that contain passwords.
_SECRETS: Final = frozenset({"password", "passwd", "sslpassword"})
_HIDDEN: Final = "***"


def check_server(url: str) -> str:
    """Check that a URL can be split in only one way.

    Otherwise a password with an ``@`` ends there, and its rest is shown as the host.

    Args:
        url: a text with ``://``.

    Raises:
        BadValue: the URL cannot be used. The message does not contain any of it.
    """
    credentials, _, address = url.partition("://")[2].rpartition("@")
    if "@" in credentials:
        raise BadValue("holds more than one @", "write @ in a password as %40")
    if "/" in credentials or "?" in credentials:
        raise BadValue(
            "holds a / or ? before the @",
            "write / in a password as %2F and ? as %3F; an @ behind the host as %40",
        )
    found = _HOST_AND_PORT.fullmatch(re.split("[/?]", address, maxsplit=1)[0])
    if not found:
        raise BadValue(
            "holds no name or address of a host",
            "write an IPv6 address as [2001:db8::1]",
        )
    options = parse_qsl(url.partition("?")[2])
    ports = [
        port for name, value in options if name == "port" for port in value.split(",")
    ]
    if found[1] is not None:
        ports.append(found[1])
    for port in ports:
        if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise BadValue(
                "holds a port that is no number from 1 to 65535",
                "write USER@HOST:PORT/DATABASE, or no colon behind the host",
            )
    return url


def has_password(url: str) -> bool:
    """Whether a URL contains a password."""
    credentials = url.partition("://")[2].rpartition("@")[0]
    options = {name for name, _ in parse_qsl(url.partition("?")[2])}
    return bool(credentials.partition(":")[2]) or not options.isdisjoint(_SECRETS)


def without_password(url: str) -> str:
    """Return a URL with ``***`` in place of each password."""
    scheme, slashes, rest = url.partition("://")
    credentials, at, address = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    where, mark, query = address.partition("?")
    options = [
        f"{option.partition('=')[0]}={_HIDDEN}" if _is_secret(option) else option
        for option in query.split("&")
    ]
    hidden = f"{colon}{_HIDDEN}" if colon else ""
    return f"{scheme}{slashes}{user}{hidden}{at}{where}{mark}{'&'.join(options)}"


def _is_secret(option: str) -> bool:
    return unquote_plus(option.partition("=")[0]) in _SECRETS
