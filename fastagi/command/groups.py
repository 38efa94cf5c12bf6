# SPDX-License-Identifier: MIT
"""Groups of commands: in the order of their use, with a suggestion for a wrong name.

And whole numbers as arguments, which are named so in an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Final

import click

#: How similar a suggested name is at least, from 0 to 1; that of another group: more.
_SIMILAR: Final = 0.65
_SIMILAR_ELSEWHERE: Final = 0.75
_MOST_SUGGESTIONS: Final = 3
#: Words of other programs, and the commands that do this here.
_OTHER_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ban": ("block",),
    "blacklist": ("block", "unblock"),
    "blocked": ("block", "unblock"),
    "blocklist": ("block", "unblock"),
    "delete": ("remove", "cancel"),
    "install": ("setup",),
    "ls": ("list",),
    "rm": ("remove", "cancel"),
    "remove": ("cancel",),
    "start": ("run",),
    "uninstall": ("setup",),
}


class WholeNumber(click.IntRange):
    """A whole number within limits."""

    name = "whole number"


class Commands(click.Group):
    """A group whose help lists the commands in the order in which they were added."""

    #: Groups in it are of this class, too.
    group_class = type

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, the most used first."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant.

        Raises:
            UsageError: there is none of this name; the nearest ones are suggested.
        """
        name = str(args[0])
        is_known = self.get_command(ctx, name) is not None
        # Completion in the shell resolves what is not complete yet.
        if is_known or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        found = f"No such command {name!r}."
        if meant := _meant(ctx, name):
            found += f" Did you mean {' or '.join(repr(one) for one in meant)}?"
        raise click.UsageError(found, ctx)


def _meant(context: click.Context, name: str) -> list[str]:
    """Return the commands that a wrong name may mean, the likeliest first.

    One of another group is suggested if it has just this name, or if no command of this
    group comes near.
    """
    word = name.lower().replace("_", "-")
    here, root = context.command, context.find_root()
    assert isinstance(here, click.Group)
    assert isinstance(root.command, click.Group)
    own = {(*_words(context), one): one for one in here.commands}
    every = {path: path[-1] for path in _paths(root.command, _words(root))}
    near = (
        _nearest(word, own, 1.0)
        or _nearest(word, every, 1.0)
        or _nearest(word, own, _SIMILAR)
        or _nearest(word, every, _SIMILAR_ELSEWHERE)
    )
    return [" ".join(path) for path in near]


def _nearest(
    word: str, names: Mapping[tuple[str, ...], str], least: float
) -> list[tuple[str, ...]]:
    """Return the nearest of some commands, given with their names."""
    others = _OTHER_WORDS.get(word, ())
    scores = {
        path: 1.0 if name in others else SequenceMatcher(None, word, name).ratio()
        for path, name in names.items()
    }
    near = [path for path, score in scores.items() if score >= least]
    near.sort(key=lambda path: -scores[path])
    # Those that are far less similar than the best one would only confuse.
    best = [path for path in near if scores[path] >= scores[near[0]] - 0.1]
    return best[:_MOST_SUGGESTIONS]


def _words(context: click.Context) -> tuple[str, ...]:
    return tuple(context.command_path.split())


def _paths(group: click.Group, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of all commands in a group, and of those below."""
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from _paths(command, (*above, name))
