# SPDX-License-Identifier: MIT
"""Loads a file to ``Settings``, or lists all of its faults.

Reads only the settings file, and the files with secrets and with queues that it names.
It never blocks: a pipe in place of such a file is refused. Does not use Twisted.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import attrs
from pydantic import SecretStr, ValidationError

from fastagi.config import queue_layers, sections
from fastagi.config.addresses import has_password
from fastagi.config.errors import BadValue, ConfigErrors, shown
from fastagi.config.fields import check_secret, parse_node_name, parse_queue_name
from fastagi.config.source import (
    LARGEST_BYTES,
    Fault,
    Place,
    Source,
    SourceFaults,
    dotted,
    read_source,
)
from fastagi.config.values import Section
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.names import folded
from fastagi.errors import Problem
from fastagi.plain_file import NoPlainFile, open_plain

S = TypeVar("S", bound=Section)

SECRET_VARIABLE = "CALLBACK_QUEUE_AMI_SECRET"
#: The user of the systemd unit.
_SERVICE_USER: Final = "callback-queue"
CDR_PASSWORD_VARIABLE = "CALLBACK_QUEUE_CDR_PASSWORD"
QUEUE_LOG_PASSWORD_VARIABLE = "CALLBACK_QUEUE_QUEUE_LOG_PASSWORD"
#: What belongs to the only Asterisk, under ami.
_VARIABLES_OF_ONE = (
    SECRET_VARIABLE,
    QUEUE_LOG_PASSWORD_VARIABLE,
    CDR_PASSWORD_VARIABLE,
)

_TOP = (*sections.SECTIONS, "nodes", "queues")
# Other names for settings that people may write.
_OTHER_WORDS = {
    "password": "secret",
    "user": "username",
    "bind": "listen",
    "path": "socket",
    "retries": "attempts",
    "extension": "target_extension",
    "trunk": "outbound_channel",
    "country": "region",
    "timezone": "time_zone",
    "tz": "time_zone",
    "holidays": "days",
    **{day[:3]: day for day in queue_layers.DAYS_OF_WEEK},
}
_GROUP = "must be a group of settings, one `name: value` on each line"
_FROM_SAMPLE = "start from the sample callback-queue.yaml"
_NAME_A_NODE = (
    "write below it, indented, `pbx1:` or what yours is, and `ami:` below that"
)
_NAME_A_QUEUE = "write `queues:` and below it, indented, `support:` or what yours is"
_LARGEST_SECRET_FILE_BYTES = 4096


def load_settings(
    path: str | os.PathLike[str],
    environ: Mapping[str, str] | None = None,
    *,
    may_block: bool = True,
) -> sections.Settings:
    """Read and check a settings file.

    Args:
        path: the path of the file.
        environ: an environment that may have ``CALLBACK_QUEUE_AMI_SECRET``; by default
            that of the process.
        may_block: whether the file may be a pipe, whose reading waits for a writer.

    Raises:
        ConfigErrors: the file cannot be used. It contains all faults.
    """
    name = os.fspath(path)
    sample = (
        "run 'sudo callback-queue setup', which writes it; or copy the sample"
        f" {sample_file('callback-queue.yaml')} there and fill it in"
    )
    data = read_file(path, if_missing=sample, may_block=may_block)
    return parse_settings(data, file=name, environ=environ)


def sample_file(name: str) -> str:
    """Return where a sample of the settings is: in this environment, or a checkout."""
    installed = Path(sys.prefix, "share/callback-queue/etc", name)
    return str(installed) if installed.exists() else f"etc/{name}"


def read_file(
    path: str | os.PathLike[str], *, if_missing: str, may_block: bool = True
) -> bytes:
    """Return the contents of a settings file.

    Args:
        path: the path of the file.
        if_missing: the remedy if it does not exist.
        may_block: whether the file may be a pipe, whose reading waits for a writer.

    Raises:
        ConfigErrors: the file cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") if may_block else open_plain(path) as file:
            return file.read(LARGEST_BYTES + 1)
    except NoPlainFile:
        remedy = "put the settings into a plain file there"
        raise ConfigErrors([Problem(name, "is no plain file", remedy)]) from None
    except (OSError, ValueError) as error:
        message, remedy = file_trouble(error, name)
        if isinstance(error, FileNotFoundError):
            remedy = if_missing
        raise ConfigErrors([Problem(name, message, remedy)]) from None


def read_control_socket(path: str | os.PathLike[str]) -> str | None:
    """Read only the path of the control socket, from a file that may have mistakes.

    Args:
        path: the file.

    Returns:
        The path; None if the file or its section ``control`` cannot be read.
    """
    try:
        with open(path, "rb") as file:
            value = read_source(file.read(LARGEST_BYTES + 1)).value
    except (OSError, ValueError, SourceFaults):
        return None
    if not isinstance(value, dict):
        return None
    try:
        return sections.ControlSettings.model_validate(
            value.get("control") or {}
        ).socket
    except ValidationError:
        return None


def parse_settings(
    data: bytes | str,
    *,
    file: str = "callback-queue.yaml",
    environ: Mapping[str, str] | None = None,
) -> sections.Settings:
    """Check the contents of a settings file.

    Args:
        data: the contents of the file.
        file: its name, for messages.
        environ: as in ``load_settings``.

    Raises:
        ConfigErrors: the file cannot be used. It contains all faults.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    try:
        source = with_included_queues(read_source(data))
    except SourceFaults as unreadable:
        faults = unreadable.faults
    else:
        judge = _Judge(source, os.environ if environ is None else environ)
        loaded = sections.LoadedFile(file, data, source.lines, source.files)
        settings = judge.settings(loaded)
        if settings is not None:
            return settings
        faults = judge.faults
    raise ConfigErrors(*in_file(file, faults))


def in_file(file: str, faults: Iterable[Fault]) -> tuple[list[Problem], list[int]]:
    """Return each problem once, in the order of lines, and the line of each.

    Problems of included files come last; the line of each is 0.
    """
    found = {
        (
            fault.file,
            fault.line,
            dotted(fault.place),
            fault.problem.what,
            fault.problem.remedy,
        )
        for fault in faults
    }
    in_order = sorted(found)
    problems = [
        Problem(
            ": ".join(
                filter(None, (_line_of(included or file, line), setting)),
            ),
            what,
            remedy,
        )
        for included, line, setting, what, remedy in in_order
    ]
    return problems, [0 if included else line for included, line, *_ in in_order]


def _line_of(file: str, line: int) -> str:
    return f"{file}:{line}" if line else file


def _homes() -> dict[str, str]:
    """Return for each setting the group that it belongs to."""
    homes: dict[str, str] = {}
    for name, field in queue_layers.QueueLayer.model_fields.items():
        if isinstance(group := field.annotation, type) and issubclass(group, Section):
            homes |= dict.fromkeys(group.model_fields, name)
    homes |= dict.fromkeys(queue_layers.QueueLayer.model_fields, "defaults or a queue")
    for name, section in sections.SECTIONS.items():
        if name != "defaults":
            for setting in section.model_fields:
                # A name in two groups, such as port, suggests nothing.
                homes[setting] = "" if setting in homes else name
    return homes


#: Where each setting of the service belongs.
_HOMES: Final = _homes()


@attrs.frozen
class Layer(Generic[S]):
    """The valid part of a group of settings.

    Attributes:
        section: the valid settings; the others have the built-in values.
        given: the names of all settings in the file, valid or not.
        wrong: the names of settings with invalid values, which no rule may use.
    """

    section: S
    given: frozenset[str]
    wrong: frozenset[str]


class FileJudge:
    """Finds all faults of one file, section by section.

    Attributes:
        faults: those found so far.
    """

    #: For each setting, the section that it belongs to; for suggestions.
    homes: ClassVar[Mapping[str, str]] = {}
    #: The names of the groups of the file.
    groups: ClassVar[Container[str]] = ()

    def __init__(self, source: Source, environ: Mapping[str, str]) -> None:
        self.faults = list(source.faults)
        self._source = source
        self._environ = environ

    def _fault(
        self, place: Place, message: str, remedy: str = "", *, at: Place | None = None
    ) -> None:
        self._problem(place, Problem("", message, remedy), at=at)

    def _problem(
        self, place: Place, problem: Problem, *, at: Place | None = None
    ) -> None:
        where = place if at is None else at
        self.faults.append(
            Fault(self._source.line(where), place, problem, self._source.file(where))
        )

    def _layer(self, kind: type[S], value: object, place: Place) -> Layer[S]:
        """Check each setting of a group separately."""
        if value is not None and not isinstance(value, dict):
            self._fault(
                place, f"{_GROUP} (got {_kind(value)})", _regroup(value, place, kind)
            )
            return Layer(kind(), frozenset(), frozenset(kind.model_fields))
        given = frozenset(value or ())
        wrong: set[str] = set()
        outer = self.groups if len(place) == 1 else ()
        data = self._known(kind, value or {}, place, wrong, outer)
        try:
            section = kind.model_validate(data)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                error_of = fault.get("ctx", {}).get("error")
                # All checks are in fields.py, and they raise nothing else.
                assert isinstance(error_of, BadValue), fault["type"]
                # Pydantic's "[key]" means that the name is wrong, not the value.
                inner = tuple(part for part in fault["loc"] if part != "[key]")
                self._problem((*place, *inner), error_of.problem)
                wrong.add(str(inner[0]))
                _prune(data, inner)
            section = kind.model_validate(data)
        return Layer(section, given, frozenset(wrong))

    def _shifted(
        self,
        place: Place,
        kind: type[Section],
        before: str | None,
        outer: Container[str],
    ) -> str:
        """Return a remedy if an unknown setting may have too few or too many spaces.

        Args:
            place: the unknown setting.
            kind: the group that it is in.
            before: the name of the setting before it in this group; None: it is first.
            outer: the names of the settings one level up.
        """
        *above, group, name = place
        remedies = []
        if name in outer:
            line = self._source.line((*above, group))
            where = f"under {dotted(tuple(above))}" if above else "in no other group"
            remedies.append(
                f"{where}: begin it in the same column as {group} in line {line}"
            )
        sibling = kind.model_fields[before].annotation if before else None
        if not isinstance(sibling, type) or not issubclass(sibling, Section):
            sibling = Section
        if name in sibling.model_fields:
            line = self._source.line((*above, group, str(before)))
            remedies.append(
                f"under {before} in line {line}: begin it further right than {before}"
            )
        return f"it belongs {', or '.join(remedies)}" if remedies else ""

    def _known(
        self,
        kind: type[Section],
        values: Mapping[str, object],
        place: Place,
        wrong: set[str],
        outer: Container[str] = (),
    ) -> dict[str, Any]:
        """Return the settings that exist and have a value.

        Args:
            kind: the group.
            values: the settings in the file.
            place: the place of the group.
            wrong: receives the names of settings without a valid value.
            outer: the names of the settings one level up.
        """
        known: dict[str, Any] = {}
        before: str | None = None
        for name, value in values.items():
            inner = (*place, name)
            field = kind.model_fields.get(name)
            if field is None:
                remedy = self._shifted(inner, kind, before, outer) or meant(
                    name, kind.model_fields, self.homes
                )
                if not remedy and place[:-1] == ("queues",) and isinstance(value, dict):
                    line = self._source.line(place)
                    remedy = (
                        "if it is a queue, begin it in the same column as"
                        f" {place[-1]} in line {line}"
                    )
                self._fault(inner, "unknown setting", remedy)
                continue
            before = name
            group = field.annotation
            if isinstance(group, type) and issubclass(group, Section):
                if value is None or isinstance(value, dict):
                    wrong_inside: set[str] = set()
                    known[name] = self._known(
                        group, value or {}, inner, wrong_inside, kind.model_fields
                    )
                    if not wrong_inside:
                        continue
                else:
                    self._fault(
                        inner,
                        f"{_GROUP} (got {_kind(value)})",
                        _regroup(value, inner, group),
                    )
            elif value is not None:
                known[name] = value
                continue
            elif inner in self._source.hashes:
                self._fault(
                    inner,
                    "has no value: # begins a comment",
                    'write "#" in quotes if this key is meant',
                )
            else:
                self._fault(
                    inner,
                    "has no value",
                    "write one after the colon, or delete the line",
                )
            wrong.add(name)
        return known


class _Judge(FileJudge):
    """Finds all faults of the file of the service."""

    homes = _HOMES
    groups = _TOP

    def settings(self, loaded: sections.LoadedFile) -> sections.Settings | None:
        """Return the settings, or None if there are faults."""
        top = self._source.value
        if top is None:
            self._fault((), "the file holds no settings", _FROM_SAMPLE)
            return None
        if not isinstance(top, dict):
            self._fault((), f"the file {_GROUP} (got {_kind(top)})", _FROM_SAMPLE)
            return None
        for name in top:
            if name not in _TOP:
                self._fault((name,), "unknown setting", meant(name, _TOP, self.homes))
        layers: dict[str, Layer[Any]] = {
            name: self._layer(kind, top.get(name), (name,))
            for name, kind in sections.SECTIONS.items()
        }
        checked: dict[str, Any] = {
            name: layer.section for name, layer in layers.items()
        }
        nodes: tuple[sections.NodeSettings, ...] = ()
        ami: sections.AmiSettings | None = None
        if "nodes" in top:
            nodes = self._nodes(top)
        else:
            # These two sections also have secrets from elsewhere.
            ami = self._ami(layers["ami"], ("ami",))
            checked["history"] = self._history(layers["history"], ("history",))
        queues = self._queues(top, layers["defaults"])
        self._check_missed(checked["missed"], queues)
        self._check_instance(checked["instance"], checked["database"])
        if nodes:
            ami, checked["history"] = nodes[0].ami, nodes[0].history
            checked["asterisk"] = nodes[0].asterisk
        if self.faults or ami is None:
            return None
        checked["ami"] = ami
        return sections.Settings(
            **checked,
            nodes=nodes,
            loaded=loaded,
            queues={
                name: queue_layers.QueueSettings(name=name, **values)
                for name, values in queues.items()
            },
        )

    def _ami(
        self, layer: Layer[sections.AmiSection], place: Place
    ) -> sections.AmiSettings | None:
        """Return how to reach an Asterisk, or None if there are faults."""
        secret = self._secret(layer, place)
        self._check_tls(layer.section.tls, place)
        if secret is None:
            return None
        return sections.AmiSettings(**{**dict(layer.section), "secret": secret})

    def _history(
        self, layer: Layer[sections.HistorySection], place: Place
    ) -> sections.HistorySettings:
        history = layer.section
        # Only what is in the file, so that model_fields_set still tells it.
        written = {name: getattr(history, name) for name in history.model_fields_set}
        passwords = self._history_passwords(layer, place)
        return sections.HistorySettings(**{**written, **passwords})

    # -- several Asterisks -------------------------------------------------

    def _nodes(self, top: Mapping[str, object]) -> tuple[sections.NodeSettings, ...]:
        """Check ``nodes``, and return those without faults."""
        given = top["nodes"]
        named = given if isinstance(given, dict) else {}
        names = list(named)
        first = names[0] if names else "pbx1"
        if "ami" in top:
            line = self._source.line(("nodes",))
            self._fault(
                ("ami",),
                f"cannot stand beside nodes in line {line}, where every Asterisk is",
                f"move it below a node there; if it is called {DEFAULT_NODE}, what the"
                " database has of this Asterisk stays its own",
            )
        for name in ("history", "asterisk"):
            if name in top:
                self._fault(
                    (name,),
                    "cannot stand beside nodes, as it is about one Asterisk",
                    f"move it below that node, as nodes.{first}.{name}",
                )
        if given is not None and not isinstance(given, dict):
            self._fault(("nodes",), f"{_GROUP} (got {_kind(given)})", _NAME_A_NODE)
        elif not given:
            self._fault(("nodes",), "must name at least one Asterisk", _NAME_A_NODE)
        for variable in _VARIABLES_OF_ONE:
            if self._environ.get(variable):
                self._fault(
                    ("nodes",),
                    f"{variable} in the environment cannot stand beside it, as nobody"
                    " knows to which Asterisk that belongs",
                    "write it into a file that the node names (secret_file,"
                    " cdr_password_file, ...), and delete the variable",
                )
        found = [self._node(name, value) for name, value in named.items()]
        nodes = [node for node in found if node is not None]
        self._check_node_names(names)
        self._check_apart(nodes)
        return tuple(nodes)

    def _node(self, name: str, value: object) -> sections.NodeSettings | None:
        """Check one of ``nodes``; return None if it has faults."""
        before = len(self.faults)
        place: Place = ("nodes", name)
        if name in sections.NodeSection.model_fields:
            self._fault(place, "is a setting, not an Asterisk", _NAME_A_NODE)
            return None
        try:
            parse_node_name(name)
        except BadValue as bad:
            self._problem(place, bad.problem)
        layer = self._layer(sections.NodeSection, value, place)
        section = layer.section
        ami = self._ami(_inner(layer, "ami", section.ami, value), (*place, "ami"))
        history = self._history(
            _inner(layer, "history", section.history, value), (*place, "history")
        )
        if len(self.faults) > before or ami is None:
            return None
        own = {**dict(section), "ami": ami, "history": history}
        return sections.NodeSettings(name=name, **own)

    def _check_node_names(self, names: list[str]) -> None:
        """Refuse names that differ in capitals only, also from that without nodes."""
        known: dict[str, str] = {}
        for name in names:
            if folded(name) == DEFAULT_NODE and name != DEFAULT_NODE:
                self._fault(
                    ("nodes", name),
                    f"differs from {DEFAULT_NODE} in capitals only, and what the"
                    " database has of the Asterisk that was under ami is not its own",
                    f"write {DEFAULT_NODE} if it is that Asterisk, else another name",
                )
            other = known.setdefault(folded(name), name)
            if other != name:
                line = self._source.line(("nodes", other))
                self._fault(
                    ("nodes", name),
                    f"differs from {other} in line {line} in capitals only",
                    "give it another name",
                )

    def _check_apart(self, nodes: list[sections.NodeSettings]) -> None:
        """Refuse two nodes that are one Asterisk, or read the same history."""
        links: dict[object, str] = {}
        histories: dict[object, str] = {}
        for node in nodes:
            place: Place = ("nodes", node.name)
            link = (node.ami.host, node.ami.tcp_port)
            other = links.setdefault(link, node.name)
            if other != node.name:
                self._fault(
                    (*place, "ami"),
                    f"is the same Asterisk as nodes.{other}: {link[0]}, port {link[1]}",
                    "correct host or port, or delete one of the two nodes",
                )
            for source in _histories_of(node.history):
                other = histories.setdefault(source, node.name)
                if other != node.name:
                    self._fault(
                        (*place, "history"),
                        f"reads the same calls as nodes.{other}: {source[-1]}",
                        "name the records of this Asterisk, or write"
                        " history: {enabled: false}",
                    )

    def _queues(
        self, top: Mapping[str, object], defaults: Layer[queue_layers.QueueLayer]
    ) -> dict[str, dict[str, Any]]:
        """Check all queues and return their merged settings."""
        self._nodes_known = self._names_of_nodes(top)
        self._nodes_with_channel = self._with_channel(top)
        self._check_known_nodes(defaults, ("defaults",))
        queues = top.get("queues")
        merged: dict[str, dict[str, Any]] = {}
        # The last queue may be removed from an included file by another program.
        may_be_empty = queues is None and _included_directory(top) is not None
        if "queues" not in top and not may_be_empty:
            self._fault(("queues",), "is missing", _NAME_A_QUEUE)
        elif queues is not None and not isinstance(queues, dict):
            self._fault(("queues",), f"{_GROUP} (got {_kind(queues)})", _NAME_A_QUEUE)
        elif not queues and may_be_empty:
            pass
        elif not queues:
            self._fault(("queues",), "must name at least one queue", _NAME_A_QUEUE)
        else:
            self._check_names(list(queues))
            for name, value in queues.items():
                if name in queue_layers.QueueLayer.model_fields and _is_setting(value):
                    self._fault(
                        ("queues", name),
                        "is a setting, not a queue",
                        "write it under defaults or under the name of a queue",
                    )
                    continue
                own = self._layer(queue_layers.QueueLayer, value, ("queues", name))
                self._check_known_nodes(own, ("queues", name))
                merged[name] = self._merged(name, defaults, own)
        return merged

    @staticmethod
    def _names_of_nodes(top: Mapping[str, object]) -> list[str]:
        given = top.get("nodes")
        if "nodes" not in top:
            return [DEFAULT_NODE]
        return list(given) if isinstance(given, dict) else []

    @staticmethod
    def _with_channel(top: Mapping[str, object]) -> set[str]:
        """Return the nodes that have an outbound channel, valid or not."""
        given = top.get("nodes")
        return {
            folded(name)
            for name, value in (given.items() if isinstance(given, dict) else ())
            if isinstance(value, dict) and value.get("outbound_channel")
        }

    def _check_known_nodes(
        self, layer: Layer[queue_layers.QueueLayer], place: Place
    ) -> None:
        """Check that the Asterisks of a queue are in this file."""
        self._check_node_list(layer.section.nodes, (*place, "nodes"))

    def _check_node_list(self, names: Sequence[str], place: Place) -> None:
        """Check that these Asterisks are in this file."""
        known = {folded(name) for name in self._nodes_known}
        for name in names:
            if folded(name) not in known:
                near = get_close_matches(name, self._nodes_known, n=1)
                self._fault(
                    place,
                    f"{shown(name)} is none of the Asterisks of this file",
                    f"did you mean {near[0]}?" if near else "name it under nodes",
                )

    def _check_tls(self, tls: sections.AmiTls, ami: Place) -> None:
        """Refuse TLS settings that have no effect because TLS is not enabled."""
        given = [
            name
            for name in type(tls).model_fields
            if name != "enabled" and (*ami, "tls", name) in self._source.lines
        ]
        if given and (*ami, "tls", "enabled") not in self._source.lines:
            self._fault(
                (*ami, "tls", given[0]),
                "has no effect without enabled",
                "write enabled: true beside it, or enabled: false for clear text",
            )

    def _check_instance(
        self,
        instance: sections.InstanceSettings,
        database: sections.DatabaseSettings,
    ) -> None:
        """Check that there can be several services, and that their Asterisks exist."""
        if instance.name and not database.url.startswith("postgresql"):
            self._fault(
                ("instance", "name"),
                "needs PostgreSQL: only one service can run on an SQLite file",
                "delete the section, or write the URL of a PostgreSQL under"
                " database.url",
            )
        if instance.nodes and not instance.name:
            self._fault(
                ("instance", "nodes"),
                "has no effect without name",
                "write a name of this service beside it, or delete the section",
            )
        self._check_node_list(instance.nodes, ("instance", "nodes"))

    def _check_missed(
        self, missed: sections.MissedSettings, queues: Mapping[str, object]
    ) -> None:
        """Check that the queue for other missed calls is in this file."""
        known = {folded(name) for name in queues}
        if missed.queue is not None and queues and folded(missed.queue) not in known:
            near = get_close_matches(missed.queue, list(queues), n=1)
            self._fault(
                ("missed", "queue"),
                f"{shown(missed.queue)} is none of the queues of this file",
                f"did you mean {near[0]}?" if near else "name it under queues",
            )

    def _check_names(self, names: list[str]) -> None:
        known: dict[str, str] = {}
        for name in names:
            place = ("queues", name)
            try:
                parse_queue_name(name)
            except BadValue as bad:
                self._problem(place, bad.problem)
            other = known.setdefault(folded(name), name)
            if other != name:
                at = ("queues", other)
                where = f"line {self._source.line(at)}"
                if (file := self._source.file(at)) != self._source.file(place):
                    where += f" of {file or 'the settings file'}"
                self._fault(
                    place,
                    f"is the same queue as {other} in {where}: Asterisk does not "
                    "tell small letters from capitals",
                    "delete one of the two",
                )

    def _merged(
        self,
        name: str,
        defaults: Layer[queue_layers.QueueLayer],
        own: Layer[queue_layers.QueueLayer],
    ) -> dict[str, Any]:
        """Merge the layers of a queue and check the rules between its settings."""
        values = queue_layers.merge_layers(defaults.section, own.section)
        wrong = defaults.wrong | own.wrong
        called_from = {*map(folded, values["nodes"] or self._nodes_known)}
        if (
            values["outbound_channel"] is None
            and "outbound_channel" not in wrong
            and not called_from <= self._nodes_with_channel
        ):
            self._fault(
                ("queues", name, "outbound_channel"),
                "is missing",
                "write here or under defaults how to reach the outside, "
                "e.g. PJSIP/{number}@trunk",
            )
        judged = dict(values)
        if wrong & set(queue_layers.TARGET):
            judged.update(dict.fromkeys(queue_layers.TARGET))
        for group in wrong & {"numbers", "attempts", "retry", "opening_hours"}:
            del judged[group]
        for broken in queue_layers.broken_rules(judged):
            place = self._said(name, own, broken.settings)
            self._problem(place, broken.problem)
        return values

    def _said(
        self, name: str, own: Layer[queue_layers.QueueLayer], settings: Iterable[str]
    ) -> Place:
        """Return which layer gives one of several settings: the queue or defaults."""
        places: list[Place] = [
            (*layer, *setting.split("."))
            for layer in (("queues", name), ("defaults",))
            for setting in settings
        ]
        return next(place for place in places if place in self._source.lines)

    def _secret(
        self, ami: Layer[sections.AmiSection], place: Place
    ) -> SecretStr | None:
        """Return the secret of an AMI user; it must be given in one place only."""
        given: list[Place] = [
            (*place, name) for name in ("secret", "secret_file") if name in ami.given
        ]
        # With several Asterisks nobody could tell whose secret it is.
        is_only = len(place) == 1
        variable = self._environ.get(SECRET_VARIABLE, "") if is_only else ""
        if len(given) > 1:
            given.sort(key=self._source.line)
            first = self._source.line(given[0])
            self._fault(
                given[1],
                f"the secret is given twice, here and in line {first}",
                "delete one of the two",
            )
        elif given and variable:
            self._fault(
                given[0],
                "the secret is given twice, here and in the environment as "
                f"{SECRET_VARIABLE}",
                "delete one of the two",
            )
        elif not given and not variable and "secret" not in ami.wrong:
            self._fault(
                (*place, "secret"),
                "is missing",
                f"write secret or secret_file here, or set {SECRET_VARIABLE} in the "
                "environment"
                if is_only
                else "write secret or secret_file here",
            )
        elif variable:
            try:
                return SecretStr(check_secret(variable))
            except BadValue as bad:
                self._fault(
                    (*place, "secret"),
                    f"{SECRET_VARIABLE} in the environment {bad.problem.what}",
                )
        elif ami.section.secret_file is not None:
            try:
                return SecretStr(read_secret(ami.section.secret_file))
            except BadValue as bad:
                self._problem((*place, "secret_file"), bad.problem)
        return ami.section.secret

    def _history_passwords(
        self, history: Layer[sections.HistorySection], place: Place
    ) -> dict[str, SecretStr | None]:
        """Return the passwords of the databases that are not in their URLs."""
        section = history.section
        return {
            "queue_log_password": self._history_password(
                history,
                (*place, "queue_log"),
                section.queue_log_url,
                section.queue_log_password_file,
                QUEUE_LOG_PASSWORD_VARIABLE,
            ),
            "cdr_password": self._history_password(
                history,
                (*place, "cdr"),
                section.cdr_url,
                section.cdr_password_file,
                CDR_PASSWORD_VARIABLE,
            ),
        }

    def _history_password(
        self,
        history: Layer[sections.HistorySection],
        which: Place,
        url: str | None,
        file: str | None,
        variable_name: str,
    ) -> SecretStr | None:
        """Return the password of a database, if it is not in its URL."""
        *above, name = which
        # With several Asterisks nobody could tell whose password it is.
        variable = self._environ.get(variable_name, "") if len(above) == 1 else ""
        if f"{name}_url" in history.wrong:
            return None
        place: Place = (*above, f"{name}_password_file")
        if file is not None and (url or "sqlite").startswith("sqlite"):
            self._fault(
                place,
                "there is no database with a password",
                f"name one in {name}_url, or delete this line",
            )
        elif file is not None and variable:
            self._fault(
                place,
                "the password is given twice, here and in the environment as "
                f"{variable_name}",
                "delete one of the two",
            )
        elif (file or variable) and has_password(url or ""):
            where = variable_name if variable else f"{name}_password_file"
            self._fault(
                (*above, f"{name}_url"),
                f"the password is given twice, here and in {where}",
                "delete the one in the address: USER@HOST",
            )
        elif file is not None:
            try:
                return SecretStr(read_secret(file))
            except BadValue as bad:
                self._problem(place, bad.problem)
        elif variable:
            try:
                return SecretStr(check_secret(variable))
            except BadValue as bad:
                self._fault(
                    place,
                    f"{variable_name} in the environment {bad.problem.what}",
                )
        return None


def _inner(
    layer: Layer[sections.NodeSection], name: str, section: S, value: object
) -> Layer[S]:
    """Return a group of settings of a node."""
    given = value.get(name) if isinstance(value, dict) else None
    fields = type(section).model_fields
    return Layer(
        section,
        frozenset(given) if isinstance(given, dict) else frozenset(),
        frozenset(fields) if name in layer.wrong else frozenset(),
    )


def _histories_of(history: sections.HistorySettings) -> Iterator[tuple[str, ...]]:
    """Yield the records that an Asterisk's calls are read from."""
    if not history.enabled:
        return
    if history.queue_log_file:
        yield ("file", history.queue_log_file)
    if history.queue_log_url:
        yield ("table", history.queue_log_url, history.queue_log_table)
    if history.cdr_csv:
        yield ("file", history.cdr_csv)
    if history.cdr_url:
        yield ("table", history.cdr_url, history.cdr_table)


def _included_directory(top: object) -> str | None:
    """Return the directory of files with queues, if a valid one is given."""
    include = top.get("include") if isinstance(top, dict) else None
    path = include.get("queues") if isinstance(include, dict) else None
    try:
        return sections.IncludeSettings(queues=path).queues
    except ValidationError:
        return None


def with_included_queues(source: Source) -> Source:
    """Add the queues of the included files to the contents of a settings file.

    A file that cannot be read is a fault, and its queues are not added.
    """
    top = source.value
    directory = _included_directory(top)
    if directory is None or not isinstance(top, dict):
        return source
    own = top.get("queues")
    if own is not None and not isinstance(own, dict):
        return source
    queues: dict[str, object] = dict(own or {})
    lines, hashes = dict(source.lines), set(source.hashes)
    faults, files = list(source.faults), dict[str, str]()
    try:
        paths = sorted(
            entry.path
            for entry in os.scandir(directory)
            if entry.name.endswith(".yaml") and not entry.name.startswith(".")
        )
    except OSError as error:
        message, remedy = file_trouble(error, directory)
        if isinstance(error, FileNotFoundError):
            remedy = f"mkdir {directory}, or delete this line"
        place = ("include", "queues")
        problem = Problem("", f"{directory} {message}", remedy)
        faults.append(Fault(source.line(place), place, problem))
        paths = []
    for path in paths:
        try:
            file = read_source(read_file(path, if_missing="try again", may_block=False))
        except ConfigErrors as unreadable:
            problems = unreadable.problems
            faults += [
                Fault(0, (), Problem("", one.what, one.remedy), path)
                for one in problems
            ]
            continue
        except SourceFaults as unreadable:
            faults += [attrs.evolve(one, file=path) for one in unreadable.faults]
            continue
        faults += [attrs.evolve(one, file=path) for one in file.faults]
        found, more = _queues_of(file, path)
        faults += more
        for name, value in found.items():
            place = ("queues", name)
            if name in queues:
                where = files.get(name, "the settings file")
                line = file.line(place)
                problem = Problem(
                    "",
                    f"is given twice, here and in line {lines[place]} of {where}",
                    "delete one of the two",
                )
                faults.append(Fault(line, place, problem, path))
                continue
            queues[name] = value
            files[name] = path
            lines |= {at: line for at, line in file.lines.items() if at[:2] == place}
            hashes |= {at for at in file.hashes if at[:2] == place}
    value = {**top, "queues": queues or None}
    return Source(value, lines, faults, frozenset(hashes), files)


def _queues_of(file: Source, path: str) -> tuple[dict[str, object], list[Fault]]:
    """Return the queues of an included file, and what is wrong with the rest of it."""

    def fault(place: Place, what: str, remedy: str) -> Fault:
        return Fault(file.line(place), place, Problem("", what, remedy), path)

    top = file.value
    if top is None:
        return {}, []
    if not isinstance(top, dict):
        return {}, [fault((), f"the file {_GROUP} (got {_kind(top)})", _NAME_A_QUEUE)]
    faults = [
        fault(
            (name,),
            "is not allowed here: an included file has queues only",
            "write it in the settings file",
        )
        for name in top
        if name != "queues"
    ]
    queues = top.get("queues")
    if queues is not None and not isinstance(queues, dict):
        what = f"{_GROUP} (got {_kind(queues)})"
        return {}, [*faults, fault(("queues",), what, _NAME_A_QUEUE)]
    return queues or {}, faults


def read_secret(path: str) -> str:
    try:
        with open_plain(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST_SECRET_FILE_BYTES + 1)
    except NoPlainFile:
        raise BadValue(f"{path} is no plain file") from None
    except (OSError, ValueError) as error:
        message, remedy = file_trouble(error, path)
        raise BadValue(f"{path} {message}", remedy) from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BadValue(
            f"{path} is open to every user of this machine "
            f"(its mode is {stat.S_IMODE(mode):04o})",
            f"chmod 640 {path}",
        )
    try:
        if len(data) > _LARGEST_SECRET_FILE_BYTES:
            raise BadValue("is far too long")
        text = data.decode("utf-8")
        return check_secret(text.removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError:
        raise BadValue(f"the secret in {path} is no UTF-8 text") from None
    except BadValue as bad:
        raise BadValue(f"the secret in {path} {bad.problem.what}") from None


def user_name() -> str:
    """Return the name of the user whose rights this process has."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with the id {uid}"


def file_trouble(error: OSError | ValueError, path: str) -> tuple[str, str]:
    match error:
        case FileNotFoundError():
            return "does not exist", ""
        case PermissionError():
            name = user_name()
            remedy = f"run the command with sudo, or let the user {name} read it"
            if name == _SERVICE_USER:
                remedy = f"chgrp {name} {path}; chmod 640 {path}"
            return f"may not be read by the user {name}", remedy
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason.lower()}", ""
        case _:
            return "cannot be a file name", ""


def _prune(data: dict[str, Any], place: Place) -> None:
    """Remove a setting; if the place is in a list, remove the whole list."""
    *above, name = [part for part in place if isinstance(part, str)]
    for part in above:
        data = data[part]
    data.pop(name, None)


def meant(name: str, known: Iterable[str], homes: Mapping[str, str]) -> str:
    """Return a suggestion for an unknown name."""
    known = list(known)
    tidy = name.strip().lower().replace("-", "_")
    if _OTHER_WORDS.get(tidy) in known:
        return f"did you mean {_OTHER_WORDS[tidy]}?"
    if "monday" in known and (days := _days_meant(tidy)):
        return f"write each day on a line of its own: {', '.join(days)}"
    near = get_close_matches(tidy, known, n=1)
    # The exact name of a setting elsewhere counts more than a similar name here.
    home = "" if get_close_matches(tidy, near, cutoff=0.9) else homes.get(tidy)
    if home:
        return f"it belongs under {home}"
    return f"did you mean {near[0]}?" if near else ""


def _days_meant(name: str) -> tuple[str, ...]:
    """Return the days of a range such as mon_fri; empty if it is not a range."""
    days = queue_layers.DAYS_OF_WEEK
    ends = {"weekdays": ("mon", "fri"), "weekend": ("sat", "sun")}.get(name)
    first, _, last = name.replace("_to_", "_").partition("_")
    numbers = [
        number
        for end in ends or (first, last)
        for number, day in enumerate(days)
        if len(end) > 1 and day.startswith(end)
    ]
    if len(numbers) != 2:
        return ()
    begin, end = numbers
    return days[begin : end + 1] if begin <= end else days[begin:] + days[: end + 1]


def _is_setting(value: object) -> bool:
    return value is not None and not isinstance(value, dict)


def _kind(value: object) -> str:
    # Not the text itself: `secret:s3cret` is a text instead of a group.
    return "text" if isinstance(value, str) else shown(value)


def _regroup(value: object, place: Place, group: type[Section]) -> str:
    if isinstance(value, bool) and "enabled" in group.model_fields:
        return f"write {place[-1]}: {{enabled: {shown(value)}}}"
    if isinstance(value, list):
        return "delete the - in front of each line"
    if isinstance(value, str) and re.match(r"[a-z_]+:[^ ]", value):
        return "write a space after the colon: `name: value`"
    return ""
