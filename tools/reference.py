# SPDX-License-Identifier: MIT
"""Write the reference pages of ``docs/`` anew: ``python tools/reference.py``.

What stands in a page between ``<!-- generated: NAME -->`` and ``<!-- end -->`` is made
from the program: settings from their model and the samples in ``etc/``, commands from
the command line, operations of the API from its description, the dialplan from its
file. A test compares the pages with what this module makes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import yaml
from attrs import Factory, frozen

from fastagi import dialplan
from fastagi.command import cli
from fastagi.config import sections
from fastagi.config.listing import written
from fastagi.config.values import Section
from fastagi.web import settings as web_settings

ROOT: Final = Path(__file__).parents[1]
_GENERATED: Final = re.compile(
    r"(?P<start><!-- generated: (?P<name>[a-z ]+) -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)


# -- Markdown --------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Return a text without a meaning in Markdown, except links to pages of docs/."""
    text = re.sub(r"([\\*<\[\]`|])", r"\\\1", text)
    return re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](\1)", text)


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _words(text: str) -> str:
    return _plain(" ".join(text.split()))


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table; the cells are Markdown already."""
    head, *others = rows
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in others:
        yield f"| {' | '.join(row)} |"
    yield ""


def _comment(lines: list[str]) -> Iterator[str]:
    """Yield a comment of a sample as Markdown; its indented lines are a list."""
    in_list = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        words = line.strip()
        if in_list != (indent >= 2):
            yield ""
        in_list = indent >= 2
        term, gap, rest = words.removeprefix("- ").partition("  ")
        if indent >= 4:
            yield f"  {_plain(words)}"
        elif in_list and gap:
            yield f"- {_code(term)}: {_plain(rest.strip())}"
        elif in_list:
            yield f"- {_plain(words.removeprefix('- '))}"
        else:
            yield _plain(re.sub(r" {2,}", " ", words))


# -- Settings --------------------------------------------------------------------------

_SETTING: Final = re.compile(r"^(?P<indent> *)#?(?P<name>[a-z_]+):(?: (?P<value>.*))?$")
_RULER: Final = re.compile(r"^(-- .* )?-+$")


@frozen
class _Told:
    """What a sample says about a setting or a group of settings.

    Attributes:
        comment: the lines before it.
        example: its value in the sample; None: it is a group.
    """

    comment: list[str] = Factory(list)
    example: str | None = None

    @property
    def meaning(self) -> Iterator[str]:
        """What it means, without its unit and its default."""
        words = ("Unit: ", "Default: ")
        return _comment([one for one in self.comment if not one.startswith(words)])

    def word(self, name: str) -> str:
        """Return the unit or the default."""
        (found,) = [one for one in self.comment if one.startswith(f"{name}: ")]
        return found.removeprefix(f"{name}: ")


def _read_sample(name: str) -> dict[str, _Told]:
    """Return what a sample says, by the path of each setting and group."""
    told: dict[str, _Told] = {}
    groups: list[str] = []
    comment: list[str] = []
    for line in (ROOT / "etc" / name).read_text("utf-8").splitlines():
        found = _SETTING.match(line)
        if found:
            groups = groups[: len(found["indent"]) // 2]
            path = ".".join([*groups, found["name"]])
            told.setdefault(path, _Told(comment, found["value"]))
            if found["value"] is None:
                groups.append(found["name"])
        remark = re.match(r" *# (.*)$", line)
        if remark is None:
            comment = []
        elif not _RULER.match(remark[1]):
            comment = [*comment, remark[1]]
    return told


def _default(told: _Told, section: type[Section], name: str) -> str:
    """Return the default of a setting: the model's, or words of the sample."""
    words = told.word("Default")
    built_in = getattr(section(), name)
    if words.startswith("("):
        return _plain(words.strip("()"))
    if built_in is None:
        return _code(words)
    value = written(built_in)
    if isinstance(value, str):
        return _code(value or '""')
    return _code(
        yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]
    )


def _group(
    sample: Mapping[str, _Told], kind: type[Section], path: str
) -> Iterator[str]:
    """Yield the settings of a group, then the groups in it."""
    inner: list[tuple[str, type[Section]]] = []
    for name in kind.model_fields:
        told = sample[f"{path}.{name}"]
        if told.example is None:
            inner.append((f"{path}.{name}", type(getattr(kind(), name))))
            continue
        unit, default = told.word("Unit"), _default(told, kind, name)
        yield f"- **{_code(name)}**: {_plain(unit)}; default: {default}"
        yield ""
        yield from (f"  {line}".rstrip() for line in told.meaning)
        yield ""
        yield f"  Example: {_code(f'{name}: {told.example}')}"
        yield ""
    for below, group in inner:
        yield f"{'#' * (below.count('.') + 2)} {_code(below)}"
        yield ""
        yield from sample[below].meaning
        yield ""
        yield from _group(sample, group, below)


def _settings(
    name: str, kinds: Mapping[str, type[Section]], fixed: tuple[str, ...] = ()
) -> Iterator[str]:
    sample = _read_sample(name)
    for path, kind in kinds.items():
        yield f"## {_code(path)}"
        yield ""
        yield from sample[path].meaning
        yield ""
        if path in fixed:
            yield "A change takes effect at the next start of the service."
            yield ""
        yield from _group(sample, kind, path)


def _settings_of_service() -> Iterator[str]:
    return _settings("callback-queue.yaml", sections.SECTIONS, sections.FIXED_SECTIONS)


def _settings_of_web() -> Iterator[str]:
    return _settings("callback-queue-web.yaml", web_settings.SECTIONS)


# -- Commands --------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    return _command(cli.main, "callback-queue", 2)


def _command(command: click.Command, name: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"{'#' * level} {_code(name)}"
    yield ""
    yield from _help(command)
    yield _code(usage)
    yield ""
    rows = [
        (_code(option.get_help_record(context)[0]), _words(_option(option, context)))
        for option in command.get_params(context)
        if isinstance(option, click.Option)
        and option is not command.get_help_option(context)
        and option.get_help_record(context)
    ]
    if rows:
        yield from _table(("option", "meaning"), *rows)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _command(found, f"{name} {sub}", min(level + 1, 4))


def _help(command: click.Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines[0] == "\b":
            # Examples, whose lines keep their ends.
            yield from ("```sh", *lines[1:], "```")
        else:
            yield from map(_plain, lines)
        yield ""


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    return record[1] if record else ""


# -- The HTTP API ----------------------------------------------------------------------


def _operations() -> Iterator[str]:
    api = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))
    for tag in api["tags"]:
        yield f"## {tag['name']}"
        yield ""
        if tag.get("description"):
            yield _words(tag["description"])
            yield ""
        for path, methods in api["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(api, f"{method.upper()} {path}", operation)


def _operation(
    api: Mapping[str, Any], name: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f"### {operation['summary']}"
    yield ""
    yield _code(name)
    yield ""
    for paragraph in operation.get("description", "").split("\n\n"):
        yield _plain(paragraph.strip())
        yield ""
    rows = [
        (
            _code(one["name"]) + (" (needed)" if one.get("required") else ""),
            one["in"],
            _kind(api, one["schema"]),
            _words(one.get("description") or one["schema"].get("description", "")),
        )
        for one in operation.get("parameters", [])
    ]
    if rows:
        yield from _table(("parameter", "in", "type", "meaning"), *rows)
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        yield f"Body: {_kind(api, content['schema'])}."
        yield ""
        yield from _fields(api, content["schema"])
    answers = [
        (_code(status), _words(answer.get("description", "")))
        for status, answer in sorted(operation["responses"].items())
    ]
    yield from _table(("status", "answer"), *answers)


def _resolved(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        found: Any = api
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


def _kind(api: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return the type of a value in words."""
    if "$ref" in schema:
        inner = _resolved(api, schema)
        if "enum" in inner:
            return _kind(api, inner)
        return _code(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return ", ".join(_code(str(value)) for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(api, one) for one in schema[several])
    if "const" in schema:
        return _code(json.dumps(schema["const"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(api, schema.get('items', {}))}"
    return str(kind)


def _fields(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    found = _resolved(api, schema)
    rows = [
        (
            _code(name) + (" (needed)" if name in found.get("required", []) else ""),
            _kind(api, value),
            _words(_resolved(api, value).get("description", "")),
        )
        for name, value in found.get("properties", {}).items()
    ]
    if rows:
        yield from _table(("field", "type", "meaning"), *rows)


def _objects() -> Iterator[str]:
    api = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))
    for name, schema in sorted(api["components"]["schemas"].items()):
        if "properties" not in schema:
            continue
        yield f"### {_code(name)}"
        yield ""
        if schema.get("description"):
            yield _words(schema["description"])
            yield ""
        yield from _fields(api, schema)


# -- The dialplan ----------------------------------------------------------------------

_DIALPLAN: Final = ROOT / "dialplan/callback-queue.conf"


def _contexts() -> Iterator[str]:
    """Yield each context with the first paragraph that explains it."""
    rows = [("context", "what it does")]
    comment: list[str] = []
    for line in _DIALPLAN.read_text("utf-8").splitlines():
        if line.startswith("; ---"):
            comment = []
        elif line.startswith(";"):
            comment.append(line.lstrip("; "))
        elif found := re.fullmatch(r"\[([\w-]+)\]", line):
            rows.append((_code(found[1]), _words(" ".join(comment))))
            comment = []
        elif line.strip():
            comment = []
    yield from _table(*rows)


def _variables() -> Iterator[str]:
    """Yield the variables that the head of the dialplan tells an admin to set."""
    head = _DIALPLAN.read_text("utf-8").partition("; ----")[0]
    rows = [("variable", "meaning")]
    found = re.findall(
        r"^;   (CALLBACK_\w+)((?: +\S.*)?\n(?:; {10,}.*\n)*)", head, re.MULTILINE
    )
    for name, text in found:
        text = text.replace("\n;", " ").replace(" (below)", "")
        rows.append((_code(name), _words(text)))
    yield from _table(*rows)


def _told(enumeration: type[Any]) -> dict[str, str]:
    """Return the values of an enumeration with the comments before them."""
    told: dict[str, str] = {}
    comment: list[str] = []
    for line in inspect.getsource(enumeration).splitlines():
        words = line.strip()
        if words.startswith("#: "):
            comment.append(words[3:])
        elif comment and words.startswith("# "):
            comment.append(words[2:])
        elif found := re.fullmatch(r'[A-Z_]+ = "(.*)"', words):
            told[found[1]] = " ".join(comment)
            comment = []
    return told


def _answers() -> Iterator[str]:
    told = _told(dialplan.Answer).items()
    rows = [(_code(value), _words(text)) for value, text in told]
    yield from _table(("CALLBACK_STATUS", "meaning"), *rows)


def _requests() -> Iterator[str]:
    told = _told(dialplan.Path).items()
    rows = [(_code(f"agi://…/{path}"), _words(text)) for path, text in told]
    yield from _table(("AGI request", "what is asked"), *rows)


#: Each page with its generated blocks.
PAGES: Final[Mapping[str, Mapping[str, Callable[[], Iterator[str]]]]] = {
    "settings": {"settings": _settings_of_service},
    "web-settings": {"settings": _settings_of_web},
    "commands": {"commands": _commands},
    "api-operations": {"operations": _operations, "objects": _objects},
    "dialplan": {
        "contexts": _contexts,
        "variables": _variables,
        "requests": _requests,
        "answers": _answers,
    },
}


def generated(page: str, text: str) -> str:
    """Return the text of a page with its generated blocks made anew."""
    made: list[str] = []

    def block(found: re.Match[str]) -> str:
        made.append(found["name"])
        lines = "\n".join(PAGES[page][found["name"]]()).strip()
        lines = re.sub(r"\n{3,}", "\n\n", lines)
        return f"{found['start']}\n{lines}\n\n{found['end']}"

    text = _GENERATED.sub(block, text)
    if sorted(made) != sorted(PAGES[page]):
        raise ValueError(f"docs/{page}.md has the blocks {made}, not {[*PAGES[page]]}")
    return text


def main() -> None:
    """Write the pages anew."""
    for page in PAGES:
        path = ROOT / f"docs/{page}.md"
        path.write_text(generated(page, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
