# SPDX-License-Identifier: MIT
"""Imports point one way: a layer imports only earlier ones."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastagi

PACKAGE = Path(fastagi.__file__).parent

#: Each layer and those it may import besides itself.
_PURE = {
    "errors",
    "dialplan",
    "garbage",
    "masking",
    "plain_file",
    "patience",
    "sqlite_uri",
}
_SERVICE = _PURE | {"runtime", "domain", "speech", "config", "store", "history"}
_NODE = _SERVICE | {"wire", "ami", "agi", "dialogue", "service"}
_APP = _NODE | {"node", "doors"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "dialplan": set(),
    "garbage": set(),
    "masking": set(),
    "plain_file": set(),
    "patience": set(),
    "sqlite_uri": set(),
    "runtime": {"errors", "masking"},
    "wire": {"errors"},
    "domain": {"errors"},
    "speech": set(),
    # The history defines which columns it needs.
    "config": {"errors", "plain_file", "domain", "history"},
    "store": {"patience", "sqlite_uri", "errors", "runtime", "domain"},
    "reports": {"errors", "domain", "store"},
    "ami": {"errors", "plain_file", "runtime", "wire"},
    "agi": {"errors", "runtime", "wire"},
    "dialogue": {"errors", "wire", "agi"},
    "history": {
        "patience",
        "sqlite_uri",
        "errors",
        "dialplan",
        "plain_file",
        "domain",
    },
    "service": _SERVICE,
    "node": _NODE,
    "doors": {"errors", "runtime", "domain", "service"},
    "checks": _NODE | {"node", "doors"},
    # Reads Asterisk's files like the checks, and writes the settings of the service.
    "setup": {"errors", "dialplan", "domain", "config", "checks"},
    "app": _APP,
    # A process of its own: of the service it knows the commands and their JSON.
    "web": {
        "errors",
        "garbage",
        "masking",
        "plain_file",
        "patience",
        "sqlite_uri",
        "domain",
        "config",
        "store",
        "reports",
        "service",
        "doors",
    },
    "command": _APP | {"app", "checks", "setup", "reports", "web"},
}
#: Packages without network, database and clock.
PURE = {
    "wire": {"twisted", "sqlalchemy"},
    "domain": {"twisted", "sqlalchemy"},
    "speech": {"twisted", "sqlalchemy"},
}


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the dotted name of every module that a file imports, wherever it does."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def modules() -> list[Path]:
    """Return every module but the migrations, which Alembic loads by path."""
    return [path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts]


def layer_of(path: Path) -> str:
    """Return the layer a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_layers_before_it(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "fastagi" or len(parts) < 2 or parts[1] == "__version__":
            continue
        other = parts[1]
        assert other == layer or other in ALLOWED[layer], f"{path.name} imports {name}"


def test_the_command_line_knows_of_the_service_only_its_commands() -> None:
    names = imports(PACKAGE / "command" / "cli.py")
    known = {name for name in names if name.split(".")[1:2] in (["service"], ["doors"])}
    parts = {name.split(".")[2] for name in known if name.count(".") > 1}
    assert parts == {"client", "codec", "commands"}


def test_the_web_process_knows_only_the_commands_of_the_service() -> None:
    for path in (PACKAGE / "web").rglob("*.py"):
        names = [name.split(".") for name in imports(path)]
        assert "twisted" not in {name[0] for name in names}, path
        known = {tuple(name[1:3]) for name in names if len(name) > 2}
        service = {part for part in known if part[0] in {"service", "doors"}}
        allowed = {("service", "commands"), ("doors", "codec"), ("doors", "live_json")}
        assert service <= allowed, path


def test_the_web_process_loads_no_twisted() -> None:
    """It would be 20 MB of memory for nothing."""
    modules = ("live", "records", "run", "service_client")
    loading = "; ".join(f"import fastagi.web.{name}" for name in modules)
    code = f"import sys; {loading}; print('twisted' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_commands_know_neither_socket_nor_json() -> None:
    names = {name.split(".")[0] for name in imports(PACKAGE / "service/commands.py")}
    assert not names & {"twisted", "sqlalchemy", "pydantic", "json", "click", "socket"}


def test_the_command_line_loads_the_libraries_of_the_web_process_only_for_it() -> None:
    found = _loaded_by("import fastagi.command.cli")
    assert "click" in found
    assert not found & {"fastapi", "uvicorn", "jinja2", "httpx", "starlette"}


def _loaded_by(code: str) -> set[str]:
    """Return the packages that a new process has loaded after an import."""
    code += "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("layer", ["service", "node", "doors", "app"])
def test_what_time_it_is_only_the_clock_says(layer: str) -> None:
    """Only ``fastagi.runtime.clock`` tells time, never a reactor's ``seconds()``."""
    for path in [path for path in modules() if layer_of(path) == layer]:
        names = set(imports(path))
        assert not names & {"time", "twisted.internet.interfaces.IReactorTime"}, path
        text = path.read_text()
        assert not re.search(r"\bdatetime\.(now|utcnow|today)\(", text), path


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_message_is_taken_apart_by_its_punctuation(path: Path) -> None:
    """`fastagi.errors.Problem` has the parts: a path may hold any of these, too."""
    taken = re.search(r"""partition\((f?["'])(; | - |: )\1\)""", path.read_text())
    assert taken is None, taken


@pytest.mark.parametrize("layer", PURE)
def test_the_pure_layers_know_neither_network_nor_database(layer: str) -> None:
    for path in (PACKAGE / layer).rglob("*.py"):
        known = {name.split(".")[0] for name in imports(path)}
        assert not known & PURE[layer], path


def test_no_layer_is_forgotten() -> None:
    layers = {layer_of(path) for path in modules()} - {"__init__"}
    assert layers == set(ALLOWED)


def test_the_order_has_no_circle() -> None:
    def reach(layer: str, seen: tuple[str, ...]) -> None:
        assert layer not in seen, f"{layer} imports itself by way of {seen}"
        for other in ALLOWED[layer] - {layer}:
            reach(other, (*seen, layer))

    for layer in ALLOWED:
        reach(layer, ())
