# SPDX-License-Identifier: MIT
"""The bill of materials of a wheel, in CycloneDX 1.6.

It has every library that the wheel needs, with those of its extras and the libraries
that they need in turn, in the versions of constraints.txt; and the JavaScript libraries
that are inside of the wheel. The same wheel gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: The extras of the wheel that an administrator installs.
EXTRAS: Final = ("mysql", "postgres", "web")
_LOCK: Final = "fastagi/web/console/static/vendor/lock.json"
_LICENCE: Final = "License :: OSI Approved :: "
#: A text without these is a name; otherwise it is the whole licence.
_LONGEST_NAME: Final = 60


class BadEnvironment(Exception):
    """The libraries of this environment are not those of constraints.txt."""


def make(wheel: Path, sdist: Path, constraints: str, epoch: int) -> str:
    """Return the bill of materials of a wheel as JSON.

    Args:
        wheel: the wheel.
        sdist: the source distribution of the same version.
        constraints: the contents of constraints.txt.
        epoch: when the release was made, in seconds since 1970.

    Raises:
        BadEnvironment: a library is missing here, or has another version.
    """
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (one for one in opened.namelist() if one.endswith("/METADATA"))
        about = BytesParser().parsebytes(opened.read(name))
        vendored = list(_vendored(opened))
    root = _root(about, wheel, sdist)
    needs = _needs(about, _pinned(constraints))
    libraries = [_library(dist, always) for dist, always, _ in needs.values()]
    components = [*libraries, *vendored]
    edges = {name: found for name, (_, _, found) in needs.items()}
    edges[""] = {canonicalize_name(one.name) for one in _wanted(about, set(EXTRAS))}
    refs = {name: _purl(dist) for name, (dist, _, _) in needs.items()}
    refs[""] = root["bom-ref"]
    inside = [one["bom-ref"] for one in vendored]
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, _sha256(wheel))}",
        "version": 1,
        "metadata": {
            "timestamp": f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "lifecycles": [{"phase": "build"}],
            "component": root,
        },
        "components": sorted(components, key=lambda one: one["bom-ref"]),
        "dependencies": [
            {
                "ref": ref,
                "dependsOn": sorted(
                    [refs[one] for one in edges.get(name, ())]
                    + (inside if name == "" else [])
                ),
            }
            for name, ref in sorted(refs.items(), key=lambda pair: pair[1])
        ]
        + [{"ref": ref, "dependsOn": []} for ref in sorted(inside)],
    }
    return json.dumps(bom, indent=2, ensure_ascii=False) + "\n"


# -- the wheel


def _root(about: Message, wheel: Path, sdist: Path) -> dict[str, Any]:
    name, version = str(about["Name"]), str(about["Version"])
    return {
        "type": "application",
        "bom-ref": f"pkg:pypi/{canonicalize_name(name)}@{version}",
        "name": name,
        "version": version,
        "description": str(about["Summary"]),
        "licenses": _licences(about),
        "purl": f"pkg:pypi/{canonicalize_name(name)}@{version}",
        "externalReferences": [
            {
                "type": "distribution",
                "url": file.name,
                "hashes": [{"alg": "SHA-256", "content": _sha256(file)}],
            }
            for file in (sdist, wheel)
        ],
    }


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# -- Python libraries


def _pinned(constraints: str) -> dict[str, Requirement]:
    """Return the lines of constraints.txt that apply here, by name."""
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    found = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(one.name): one
        for one in found
        if one.marker is None or one.marker.evaluate()
    }


def _needs(
    about: Message, pinned: Mapping[str, Requirement]
) -> dict[str, tuple[metadata.Distribution, bool, set[str]]]:
    """Return all libraries by name: each, whether always needed, what it needs."""
    always = set(_reached(about, set(), pinned))
    everything = _reached(about, set(EXTRAS), pinned)
    return {
        name: (dist, name in always, needs)
        for name, (dist, needs) in everything.items()
    }


def _reached(
    about: Message, extras: set[str], pinned: Mapping[str, Requirement]
) -> dict[str, tuple[metadata.Distribution, set[str]]]:
    found: dict[str, tuple[metadata.Distribution, set[str]]] = {}
    waiting = list(_wanted(about, extras))
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        # "" stands for the library without its extras.
        new = {"", *requirement.extras} - {e for n, e in seen if n == name}
        if not new:
            continue
        seen |= {(name, extra) for extra in new}
        dist = _installed(name, pinned)
        wanted = list(_wanted(dist.metadata, set(requirement.extras)))  # type: ignore[arg-type]
        needs = found.setdefault(name, (dist, set()))[1]
        needs |= {canonicalize_name(one.name) for one in wanted}
        waiting += wanted
    return found


def _wanted(about: Message, extras: set[str]) -> Iterator[Requirement]:
    """Yield what a library needs with some of its extras, on this Python."""
    own = canonicalize_name(str(about["Name"]))
    for line in about.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == own:
            continue
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({"extra": extra}) for extra in {"", *extras}
        ):
            yield requirement


def _installed(name: str, pinned: Mapping[str, Requirement]) -> metadata.Distribution:
    remedy = "run `rm .venv/ready; make .venv/ready`"
    try:
        dist = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise BadEnvironment(f"{name} is not installed here: {remedy}") from None
    if name not in pinned:
        raise BadEnvironment(f"constraints.txt has no line for {name}: add one")
    if dist.version not in pinned[name].specifier:
        raise BadEnvironment(
            f"{name} {dist.version} is installed here, and constraints.txt has"
            f" {pinned[name]}: {remedy}"
        )
    return dist


def _purl(dist: metadata.Distribution) -> str:
    return f"pkg:pypi/{canonicalize_name(dist.metadata['Name'])}@{dist.version}"


def _library(dist: metadata.Distribution, always: bool) -> dict[str, Any]:
    about: Any = dist.metadata
    component = {
        "type": "library",
        "bom-ref": _purl(dist),
        "name": about["Name"],
        "version": dist.version,
        "scope": "required" if always else "optional",
        "purl": _purl(dist),
    }
    if licences := _licences(about):
        component["licenses"] = licences
    return component


def _licences(about: Message) -> list[dict[str, Any]]:
    if expression := about.get("License-Expression"):
        return [{"expression": str(expression)}]
    names = [
        str(line).removeprefix(_LICENCE)
        for line in about.get_all("Classifier", [])
        if str(line).startswith(_LICENCE)
    ]
    if not names and (text := str(about.get("License") or "").strip()):
        names = [re.split(r"[\r\n]", text)[0][:_LONGEST_NAME]]
    return [{"license": {"name": name}} for name in sorted(set(names))]


# -- what is inside of the wheel


def _vendored(wheel: zipfile.ZipFile) -> Iterable[dict[str, Any]]:
    """Yield the JavaScript libraries, with the files of each."""
    for name, about in sorted(json.loads(wheel.read(_LOCK)).items()):
        ref = f"pkg:npm/{name}@{about['version']}"
        digest = base64.b64decode(about["integrity"].removeprefix("sha512-")).hex()
        yield {
            "type": "library",
            "bom-ref": ref,
            "name": name,
            "version": about["version"],
            "scope": "required",
            "hashes": [{"alg": "SHA-512", "content": digest}],
            "licenses": [{"license": {"id": about["licence"]}}],
            "purl": ref,
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"{ref}#{target}",
                    "name": str(Path(_LOCK).with_name(target)),
                    "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
                }
                for target, file in sorted(about["files"].items())
            ],
        }
