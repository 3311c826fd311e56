"""What click says by itself, in the reader's language: headings of help, and what is wrong with the words.

Obeys DESIGN §7. Only through what click offers for it: a context with its own formatter, and the
attributes of its exceptions. Where a parser's sentence has none, it stays as click wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import click

from node.cli.texts import say
from protocol.catalogue import Language

_SECTIONS: Final = {"Options": "options", "Commands": "commands", "Positional arguments": "arguments"}
"""Click's headings → keys of the table."""
_NO_COMMAND: Final = "Missing command."
"""Click's sentence where options stand alone; it has no attribute to tell it by."""


class Formatter(click.HelpFormatter):
    """Click's, with headings from the table."""

    language: Language = "vi"

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line that shows how a command is typed."""
        super().write_usage(prog, args, f"{say('usage line', self.language)} " if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        """A heading, click's own ones in the reader's language."""
        super().write_heading(say(_SECTIONS[heading], self.language) if heading in _SECTIONS else heading)


class SpokenContext(click.Context):
    """A context whose help is in the language of its desk."""

    def make_formatter(self) -> click.HelpFormatter:
        """As click makes it."""
        return _formatter(self, getattr(self.obj, "language", "vi"))


def usage_line(context: click.Context, language: Language) -> str:
    """How the command is typed, for any command."""
    formatter = _formatter(context, language)
    context.command.format_usage(context, formatter)
    return formatter.getvalue().rstrip("\n")


def _formatter(context: click.Context, language: Language) -> Formatter:
    formatter = Formatter(width=context.terminal_width, max_width=context.max_content_width)
    formatter.language = language
    return formatter


def complaint(error: click.ClickException, language: Language) -> str:
    """What is wrong with what was typed."""
    match error:
        case click.MissingParameter():
            return say("usage missing", language, what=_hint(error))
        case click.NoSuchCommand():
            return _with_guesses(say("usage no command", language, name=error.command_name), error, language)
        case click.NoSuchOption():
            return _with_guesses(say("usage no option", language, name=error.option_name), error, language)
        case click.BadParameter():
            return say("usage value", language, what=_hint(error), reason=_reason(error, language))
    if error.message == _NO_COMMAND:
        return say("usage missing", language, what="COMMAND")
    return error.format_message()


def _with_guesses(sentence: str, error: Any, language: Language) -> str:
    guesses: Iterable[str] = error.possibilities or ()
    return " ".join([sentence, *(say("usage guess", language, name=name) for name in guesses)])


def _hint(error: click.BadParameter) -> str:
    """The option or argument as it is typed."""
    hint = error.param_hint
    if hint is None and error.param is not None:
        hint = error.param.get_error_hint(error.ctx)
    return hint if isinstance(hint, str) else " / ".join(hint or ())


def _reason(error: click.BadParameter, language: Language) -> str:
    """What would be right, where the type of the parameter tells."""
    wanted = None if error.param is None else error.param.type
    if isinstance(wanted, click.Choice):
        return say("usage choice", language, choices=", ".join(map(str, wanted.choices)))
    if isinstance(wanted, click.IntRange) and None not in (wanted.min, wanted.max):
        return say("usage range", language, least=wanted.min, most=wanted.max)
    return error.message
