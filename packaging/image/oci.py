# SPDX-License-Identifier: MIT
"""An image in one file that docker and podman load.

The file is an OCI image layout (``index.json``) and at the same time what ``docker
save`` writes (``manifest.json``), for programs that know only that. Layers are given as
tar files; nothing here knows what is in them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_CHUNK: Final = 1 << 20


@attrs.frozen
class Layer:
    """One layer, compressed."""

    file: Path
    #: SHA-256 of the compressed file, and of the tar in it.
    digest: str
    diff_id: str


def compress(tar: Path, to: Path) -> Layer:
    """Compress a tar file to a layer; the same tar gives the same bytes."""
    plain = hashlib.sha256()
    with (
        tar.open("rb") as source,
        to.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
    ):
        while chunk := source.read(_CHUNK):
            plain.update(chunk)
            packed.write(chunk)
    with to.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Layer(to, f"sha256:{digest}", f"sha256:{plain.hexdigest()}")


def pack(
    root: Path,
    below: Iterable[str],
    to: Path,
    epoch: int,
    owner: Callable[[str], tuple[int, int]],
) -> None:
    """Write directories of a root file system as a tar: sorted, with one time.

    Args:
        root: the root file system.
        below: what to pack, with all that is below it.
        to: the tar file.
        epoch: the time of all files, in seconds since 1970.
        owner: returns user and group of a path.
    """
    paths = set()
    for name in below:
        top = root / name
        paths |= {top, *(top.rglob("*") if top.is_dir() else ())}
        # The directories above it keep the modes that they have in the layers below.
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(paths):
            name = str(path.relative_to(root))
            entry = tar.gettarinfo(path, arcname=name)
            # Hard links would depend on the order of the files.
            if entry.islnk():
                entry.type, entry.size = tarfile.REGTYPE, path.stat().st_size
            entry.mtime = epoch
            entry.uid, entry.gid = owner(name)
            entry.uname = entry.gname = ""
            if entry.isreg():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)


def write(
    to: Path,
    name: str,
    layers: Iterable[Layer],
    config: Mapping[str, Any],
    *,
    architecture: str,
    created: str,
) -> None:
    """Write the image.

    Args:
        to: the file.
        name: its name with its tag.
        layers: its layers, the lowest first.
        config: how it is run: User, Env, Entrypoint and so on.
        architecture: as Go and Debian call it: amd64, arm64.
        created: a time in ISO 8601.
    """
    layers = list(layers)
    image = _json(
        {
            "created": created,
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
            "history": [
                {"created": created, "created_by": one.file.name} for one in layers
            ],
        }
    )
    described = [
        {"mediaType": _LAYER, "digest": one.digest, "size": one.file.stat().st_size}
        for one in layers
    ]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _described(_CONFIG, image),
            "layers": described,
        }
    )
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                **_described(_MANIFEST, manifest),
                "platform": {"architecture": architecture, "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": name,
                },
            }
        ],
    }
    for_docker = [
        {
            "Config": _blob(_digest(image)),
            "RepoTags": [name],
            "Layers": [_blob(one.digest) for one in layers],
        }
    ]
    files = {
        "index.json": _json(index),
        "manifest.json": _json(for_docker),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        _blob(_digest(image)): image,
        _blob(_digest(manifest)): manifest,
    }
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, contents in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(contents)
            tar.addfile(entry, io.BytesIO(contents))
        for one in layers:
            entry = tarfile.TarInfo(_blob(one.digest))
            entry.size = one.file.stat().st_size
            with one.file.open("rb") as file:
                tar.addfile(entry, file)


def _json(contents: Any) -> bytes:
    return json.dumps(contents, indent=1, sort_keys=True).encode()


def _digest(contents: bytes) -> str:
    return f"sha256:{hashlib.sha256(contents).hexdigest()}"


def _described(kind: str, contents: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(contents), "size": len(contents)}


def _blob(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/")
