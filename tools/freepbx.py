# SPDX-License-Identifier: MIT
"""Build the FreePBX module: ``python tools/freepbx.py [DIRECTORY]``, by default dist.

The module is freepbx/callbackqueue with the dialplan, the prompts and the licence of
this version. The same sources give the same archive, byte for byte.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_MODULE: Final = _ROOT / "freepbx/callbackqueue"
_NAME: Final = "callbackqueue"
#: Each copied file, or directory with its files, with its place in the module.
_COPIED: Final = {
    "LICENSE": "LICENSE",
    "dialplan/callback-queue.conf": "dialplan/callback-queue.conf",
    "sounds/LICENSE-voices.txt": "prompts/LICENSE-voices.txt",
    "sounds/en/callback-queue": "prompts/en",
    "sounds/ru/callback-queue": "prompts/ru",
}


def version() -> str:
    """Return the version of the module, as in module.xml."""
    text = (_MODULE / "module.xml").read_text("utf-8")
    (found,) = re.findall(r"^\t<version>([\d.]+)</version>$", text, re.M)
    return str(found)


def files() -> Iterator[tuple[str, Path]]:
    """Yield the path of each file in the module, and where its contents are."""
    for path in sorted(_MODULE.rglob("*")):
        if path.is_file():
            yield path.relative_to(_MODULE).as_posix(), path
    for source, place in _COPIED.items():
        path = _ROOT / source
        if path.is_file():
            yield place, path
            continue
        for one in sorted(path.rglob("*")):
            if one.is_file():
                yield f"{place}/{one.relative_to(path).as_posix()}", one


def unpacked(directory: Path) -> Path:
    """Write the module as a directory below another one; return it."""
    module = directory / _NAME
    for place, path in files():
        (module / place).parent.mkdir(parents=True, exist_ok=True)
        (module / place).write_bytes(path.read_bytes())
    return module


def archive() -> bytes:
    """Return the module as FreePBX's Module Admin takes it: a .tgz file."""
    packed = io.BytesIO()
    # Without a time and names of users, so that it depends on the contents only.
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for place, path in sorted(files()):
            entry = tarfile.TarInfo(f"{_NAME}/{place}")
            data = path.read_bytes()
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def main(arguments: list[str]) -> None:
    """Write the archive."""
    directory = Path(arguments[0] if arguments else _ROOT / "dist")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{_NAME}-{version()}.tgz"
    path.write_bytes(archive())
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
