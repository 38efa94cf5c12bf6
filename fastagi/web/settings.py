# SPDX-License-Identifier: MIT
"""The settings file of the web process, ``web.yaml``.

A new section is a class here and an attribute of ``WebSettings``. Every setting has a
default, so the file may be missing.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import attrs
from pydantic import BeforeValidator, PlainValidator, SecretStr

from fastagi.config.errors import BadValue, ConfigErrors, shown
from fastagi.config.fields import parse_list, parse_text
from fastagi.config.load import (
    FileJudge,
    in_file,
    meant,
    read_file,
    read_secret,
    sample_file,
)
from fastagi.config.sections import LogFormat, LogLevel
from fastagi.config.source import SourceFaults, read_source
from fastagi.config.values import (
    Address,
    DatabaseUrl,
    Networks,
    Path,
    Port,
    Secret,
    Section,
    SocketPath,
    Switch,
    choice,
    number,
    span,
)
from fastagi.web.signals.settings import (
    AlarmSettings,
    MailSettings,
    MetricsSettings,
    WebhookSettings,
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


def _issuer(value: object) -> str:
    """Parse the address of an identity provider; it must be protected by TLS."""
    url = parse_text(value)
    parts = urlsplit(url)
    is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise BadValue(f"must start with https:// (got {shown(url)})")
    if not parts.hostname or parts.query or parts.fragment or parts.username:
        raise BadValue(f"must be the address of an issuer (got {shown(url)})")
    return url


def _text(value: object) -> str:
    text = parse_text(value)
    if not text or not text.isprintable() or len(text) > 200:
        raise BadValue(f"must be a text of one line (got {shown(text)})")
    return text


def _header_name(value: object) -> str:
    name = parse_text(value)
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise BadValue(
            f"may hold only letters, digits and - (got {shown(name)})",
            "write a name such as X-Remote-User",
        )
    return name.lower()


Text: TypeAlias = Annotated[str, PlainValidator(_text)]
Names: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(parse_list)]
HeaderName: TypeAlias = Annotated[str, PlainValidator(_header_name)]


class RoleOrNone(enum.StrEnum):
    """A role, or none."""

    NONE = "none"
    VIEWER = "viewer"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


Origins: TypeAlias = Annotated[
    tuple[Annotated[str, PlainValidator(_public_url)], ...], BeforeValidator(parse_list)
]


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


class ApiSettings(Section):
    """``api``: the HTTP API for programs.

    Attributes:
        cors_origins: web sites whose scripts may use the API in a browser; None: no
            other site may.
        create_per_token: how many tasks one token may create in a minute; 0: no limit.
        create_per_address: how many tasks one visitor of a web site may ask for in an
            hour; 0: no limit.
        create_per_number: how often a web site may ask for one number in a day; 0: no
            limit.
    """

    cors_origins: Origins | None = None
    create_per_token: Annotated[int, number(0, 100_000)] = 60
    create_per_address: Annotated[int, number(0, 100_000)] = 5
    create_per_number: Annotated[int, number(0, 100_000)] = 3


class StateSettings(Section):
    """``database``: the database of the web process itself."""

    url: DatabaseUrl = "sqlite:////var/lib/callback-queue/web.sqlite3"


class Groups(Section):
    """What the groups of somebody whom another system has logged in mean here.

    Attributes:
        default_role: the role of those in none of the groups.
    """

    admins: Names = ()
    supervisors: Names = ()
    viewers: Names = ()
    default_role: Annotated[RoleOrNone, choice(RoleOrNone)] = RoleOrNone.NONE


class LoginSettings(Section):
    """``login``: how people log in, and for how long.

    Attributes:
        passwords: whether users of this process have passwords.
        idle: after how long without a request a session ends.
        lifetime: after how long a session ends in any case.
    """

    passwords: Switch = True
    idle: Annotated[timedelta, span("1m", "7d")] = timedelta(hours=8)
    lifetime: Annotated[timedelta, span("5m", "30d")] = timedelta(days=1)


class OidcSettings(Groups):
    """``oidc``: logins by an identity provider (OpenID Connect)."""

    issuer: Annotated[str, PlainValidator(_issuer)] | None = None
    client_id: Text | None = None
    client_secret: Secret | None = None
    client_secret_file: Path | None = None
    name: Text = "single sign-on"
    scopes: Names = ("openid", "profile", "email")
    name_claim: Text = "preferred_username"
    groups_claim: Text = "groups"
    queues_claim: Text | None = None


class ProxyLoginSettings(Groups):
    """``proxy_login``: logins by the web server in front of the process."""

    user_header: HeaderName | None = None
    groups_header: HeaderName | None = None
    queues_header: HeaderName | None = None


class LimitSettings(Section):
    """``limits``: how many requests are answered in a minute."""

    per_address: Annotated[int, number(10, 100_000)] = 600
    per_client: Annotated[int, number(10, 100_000)] = 1200


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
    api: ApiSettings = attrs.field(factory=ApiSettings)
    database: StateSettings = attrs.field(factory=StateSettings)
    login: LoginSettings = attrs.field(factory=LoginSettings)
    oidc: OidcSettings = attrs.field(factory=OidcSettings)
    proxy_login: ProxyLoginSettings = attrs.field(factory=ProxyLoginSettings)
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    log: WebLogSettings = attrs.field(factory=WebLogSettings)
    metrics: MetricsSettings = attrs.field(factory=MetricsSettings)
    webhooks: WebhookSettings = attrs.field(factory=WebhookSettings)
    alarms: AlarmSettings = attrs.field(factory=AlarmSettings)
    mail: MailSettings = attrs.field(factory=MailSettings)

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
    groups = SECTIONS

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
        self._check_proxy_login(settings)
        oidc = self._with_secret(settings.oidc)
        return None if self.faults else attrs.evolve(settings, oidc=oidc)

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

    def _check_proxy_login(self, settings: WebSettings) -> None:
        """Refuse to believe a header that every client could send."""
        if settings.proxy_login.user_header is None:
            return
        if settings.web.socket is None and not settings.web.proxies:
            self._fault(
                ("proxy_login", "user_header"),
                "needs web.proxies or web.socket, or everybody could send this header",
                "write the address of the web server in front, such as"
                " proxies: [127.0.0.1], below web",
            )

    def _with_secret(self, oidc: OidcSettings) -> OidcSettings:
        """Return the settings of the identity provider, with the secret at hand."""
        lines = self._source.lines
        if oidc.issuer is not None and ("oidc", "client_id") not in lines:
            self._fault(
                ("oidc", "client_id"),
                "is missing",
                "write the id that the identity provider has for this client",
            )
        if oidc.client_secret_file is None:
            return oidc
        if oidc.client_secret is not None:
            self._fault(
                ("oidc", "client_secret_file"),
                "the secret is given twice",
                "delete client_secret",
            )
            return oidc
        try:
            secret = SecretStr(read_secret(oidc.client_secret_file))
        except BadValue as bad:
            self._problem(("oidc", "client_secret_file"), bad.problem)
            return oidc
        return oidc.model_copy(update={"client_secret": secret})


def load(path: str | os.PathLike[str]) -> WebSettings:
    """Read and check the settings file of the web process.

    Raises:
        ConfigErrors: the file cannot be used. It contains all faults.
    """
    sample = f"copy the sample {sample_file('callback-queue-web.yaml')} there"
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
        raise ConfigErrors(*in_file(file, unreadable.faults)) from None
    settings = judge.settings()
    if settings is None:
        raise ConfigErrors(*in_file(file, judge.faults))
    return settings
