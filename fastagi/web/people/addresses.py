# SPDX-License-Identifier: MIT
"""Where a request comes from: only proxies of the settings may say so for others."""

from __future__ import annotations

import ipaddress
from typing import Final

from starlette.requests import HTTPConnection

from fastagi.config.fields import Network
from fastagi.web.settings import ListenSettings

_UNKNOWN: Final = ""


def is_from_proxy(request: HTTPConnection, web: ListenSettings) -> bool:
    """Whether a request came through a web server that the settings trust.

    Only that server, and not a client, can have set its headers. Whoever may connect to
    the Unix socket is such a server.
    """
    if web.socket is not None:
        return True
    return request.client is not None and _is_in(request.client.host, web.proxies or ())


def client_address(request: HTTPConnection, web: ListenSettings) -> str:
    """Return the address of the browser or program; empty if it is not known.

    Of X-Forwarded-For the last address counts that is not a trusted proxy: those before
    it may be invented.
    """
    peer = _UNKNOWN if request.client is None else request.client.host
    if not is_from_proxy(request, web):
        return peer
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for address in reversed(forwarded):
        found = _address(address)
        if found is None:
            break
        if not _is_in(found, web.proxies or ()):
            return found
    return peer


def _address(text: str) -> str | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(
        found.version == network.version and found in network for network in networks
    )
