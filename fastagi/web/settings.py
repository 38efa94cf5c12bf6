# SPDX-License-Identifier: MIT
"""The settings file of the web process, ``web.yaml``.

A new section is a class here and an attribute of ``WebSettings``. Every setting has a
default, so the file may be missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import attrs
from pydantic import PlainValidator

from fastagi.config.errors import BadValue, ConfigErrors, shown
from fastagi.config.fields import parse_text
from fastagi.config.load import FileJudge, in_file, meant, read_file
from fastagi.config.sections import LogFormat, LogLevel
from fastagi.config.source import SourceFaults, read_source
from fastagi.config.values import (
    Address,
    DatabaseUrl,
    Networks,
    Port,
    Section,
    SocketPath,
    Switch,
    choice,
)

DEFAULT_FILE: Final = "/etc/callback-queue/web.yaml"
FILE_VARIABLE: Final = "CALLBACK_QUEUE_WEB_CONFIG"


def _public_url(value: object) -> str:
    """Parse the address that people type, without a path."""
    url = parse_text(value).rstrip("/")
    scheme, found, host = url.partition("://")
    if scheme not in {"http", "https"} or not found or not host:
        raise BadValue(
            "must be an address such as https://callback.example.com"
            f" (got {shown(value)})"
        )
    if set(host) & set("/?#@\\ "):
        raise BadValue(
            f"must have no path and no user (got {shown(value)})",
            "serve the console under a host name of its own",
        )
    return url.lower()


class ListenSettings(Section):
    """``web``: where browsers and programs reach the process.

    Attributes:
        socket: a Unix socket to listen on, in place of address and port.
        public_url: the address that people type; None: http:// and listen with port.
        proxies: machines whose X-Forwarded-For is believed.
    """

    listen: Address = "127.0.0.1"
    port: Port = 8573
    socket: SocketPath | None = None
    public_url: Annotated[str, PlainValidator(_public_url)] | None = None
    proxies: Networks | None = None


class ServiceSettings(Section):
    """``service``: how the service and its database are reached."""

    socket: SocketPath = "/run/callback-queue/control.sock"
    database_url: DatabaseUrl = "sqlite:////var/lib/callback-queue/callback-queue.db"


class StateSettings(Section):
    """``database``: the database of the web process itself."""

    url: DatabaseUrl = "sqlite:////var/lib/callback-queue/web.sqlite3"


class WebLogSettings(Section):
    """``log``: what is written to the log."""

    level: Annotated[LogLevel, choice(LogLevel)] = LogLevel.INFO
    format: Annotated[LogFormat, choice(LogFormat)] = LogFormat.TEXT
    mask_numbers: Switch = True


@attrs.frozen(kw_only=True)
class WebSettings:
    """All settings of the web process; each section of the file is an attribute."""

    web: ListenSettings = attrs.field(factory=ListenSettings)
    service: ServiceSettings = attrs.field(factory=ServiceSettings)
    database: StateSettings = attrs.field(factory=StateSettings)
    log: WebLogSettings = attrs.field(factory=WebLogSettings)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the pages, as a browser sends them as Origin."""
        if self.web.public_url is not None:
            return self.web.public_url
        host = self.web.listen
        return f"http://{f'[{host}]' if ':' in host else host}:{self.web.port}"

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the process by https, through a proxy."""
        return self.origin.startswith("https://")


#: Every section of the file with its class, in the order of the sample.
SECTIONS: Final[Mapping[str, type[Section]]] = {
    field.name: cast(type[Section], field.type)
    for field in attrs.fields(attrs.resolve_types(WebSettings))
}


def _homes() -> dict[str, str]:
    homes: dict[str, str] = {}
    for name, section in SECTIONS.items():
        for setting in section.model_fields:
            homes[setting] = "" if setting in homes else name
    return homes


class _Judge(FileJudge):
    """Finds all faults of the file of the web process."""

    homes = _homes()

    def settings(self) -> WebSettings | None:
        """Return the settings, or None if there are faults."""
        top = self._source.value
        if not isinstance(top, dict | None):
            remedy = "start from the sample callback-queue-web.yaml"
            self._fault((), f"must be groups of settings (got {shown(top)})", remedy)
            return None
        top = top or {}
        for name in top:
            if name not in SECTIONS:
                remedy = meant(name, SECTIONS, self.homes)
                self._fault((name,), "unknown setting", remedy)
        checked: dict[str, Any] = {
            name: self._layer(kind, top.get(name), (name,)).section
            for name, kind in SECTIONS.items()
        }
        settings = WebSettings(**checked)
        self._check_public_url(settings.web)
        return None if self.faults else settings

    def _check_public_url(self, web: ListenSettings) -> None:
        """Refuse to listen for other machines without knowing the address they use."""
        is_local = web.listen == "::1" or web.listen.startswith("127.")
        if (web.socket is not None or not is_local) and web.public_url is None:
            self._fault(
                ("web", "listen" if web.socket is None else "socket"),
                "needs public_url",
                "write the address that people type into their browsers, such as"
                " public_url: https://callback.example.com",
            )


def load(path: str | os.PathLike[str]) -> WebSettings:
    """Read and check the settings file of the web process.

    Raises:
        ConfigErrors: the file cannot be used. It contains all faults.
    """
    sample = "copy the sample etc/callback-queue-web.yaml there"
    return parse(read_file(path, if_missing=sample), file=os.fspath(path))


def parse(data: bytes | str, *, file: str = "web.yaml") -> WebSettings:
    """Check the contents of a settings file of the web process.

    Raises:
        ConfigErrors: they cannot be used. It contains all faults.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    try:
        judge = _Judge(read_source(data), os.environ)
    except SourceFaults as unreadable:
        raise ConfigErrors(in_file(file, unreadable.faults)) from None
    settings = judge.settings()
    if settings is None:
        raise ConfigErrors(in_file(file, judge.faults))
    return settings
