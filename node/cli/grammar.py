"""How `truc` reads its words: commands loaded when named, help in the reader's language, exit codes.

Obeys DESIGN §7 (grammar, `vi`/`en`, stable exit codes, answers in < 150 ms: a command's module and
whatever it needs are imported when the command is called, not before). What is said stands in
`texts.py`; what commands share is `desk.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import IntEnum
from importlib import import_module
from typing import Any, Final

import click

from node.cli.texts import TEXTS, say
from node.cli.usage import SpokenContext
from protocol.catalogue import Language


class ExitCode(IntEnum):
    """What a script may rely on; documented in `truc --help`."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    LOCAL = 4
    INTERNAL = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


LANGUAGES: Final[tuple[Language, ...]] = ("vi", "en")
LOCALE_VARIABLES: Final = ("TRUC_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


def language_of(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> Language:
    """The reader's language: `--lang`, else the locale, else Vietnamese."""
    for at, word in reversed(list(enumerate(arguments))):
        told = word.partition("=")[2] if word.startswith("--lang=") else ""
        if word == "--lang" and at + 1 < len(arguments):
            told = arguments[at + 1]
        if told in LANGUAGES:
            return "en" if told == "en" else "vi"
    known = os.environ if variables is None else variables
    locale = next((known[name] for name in LOCALE_VARIABLES if known.get(name)), "")
    return "en" if locale.startswith("en") else "vi"


def localise(command: click.Command, path: str, language: Language) -> None:
    """Put the texts of the table into a command and its options; `path` is like `access add`."""
    command.help = say(f"help {path}", language)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            key = f"option {path} {parameter.name}"
            parameter.help = say(key if key in TEXTS else f"option {parameter.name}", language)


class _Spoken(click.Command):
    """Click's own `--help`, with our text."""

    context_class = SpokenContext

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option, in the reader's language."""
        option = super().get_help_option(ctx)
        if option is not None and ctx.obj is not None:
            option.help = say("option help", ctx.obj.language)
        return option


class Verb(_Spoken):
    """A command that also takes `--json` and `--lang`, and says what it is in the reader's language."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += [
            click.Option(["--json", "as_json"], is_flag=True, expose_value=False, callback=_set_json),
            click.Option(["--lang"], type=click.Choice(LANGUAGES), expose_value=False, callback=_set_language),
        ]


class Verbs(_Spoken, click.Group):
    """A group whose commands are Verbs and get their words from the table."""

    command_class = Verb

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, in the reader's language."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            localise(command, f"{self.name} {cmd_name}", ctx.obj.language)
        return command


class Lazy(_Spoken, click.Group):
    """The root: names of modules instead of commands, until one is called."""

    def __init__(self, *arguments: Any, places: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._places: Final = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: as an operator meets them."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module now."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        if isinstance(command, Verb | Verbs):
            localise(command, cmd_name, ctx.obj.language)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per command, from the table: help imports nothing."""
        with formatter.section(say("commands", ctx.obj.language)):
            formatter.write_dl(
                [(name, say(f"help {name}", ctx.obj.language).split(". ")[0].rstrip(".")) for name in self._places]
            )


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.obj.as_json = True


def _set_language(context: click.Context, _parameter: click.Parameter, value: Language | None) -> None:
    if value is not None:
        context.obj.language = value
