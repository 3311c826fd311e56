"""The command `truc`: global options, the list of commands, and what an outcome becomes.

Obeys DESIGN §7. Starting must be quick, so this module imports neither network, store nor
cryptography; the exit codes are `grammar.ExitCode` and stand in `truc --help`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from node.cli.desk import Desk, Refused, exit_code_of, problem_of, tell
from node.cli.grammar import LANGUAGES, ExitCode, Lazy, language_of, localise
from node.cli.texts import say
from node.cli.usage import complaint, usage_line
from protocol.errors import ConfigurationError, TrucError

PLACES: Final = {
    "init": "node.cli.setup:init",
    "join": "node.cli.join:join",
    "anchor": "node.cli.anchor:anchor",
    "run": "node.cli.setup:run",
    "node": "node.cli.look:node",
    "doctor": "node.cli.doctor:doctor",
    "peers": "node.cli.look:peers",
    "directory": "node.cli.directory:directory",
    "send": "node.cli.send:send",
    "outbox": "node.cli.boxes:outbox",
    "inbox": "node.cli.boxes:inbox",
    "show": "node.cli.boxes:show",
    "fetch": "node.cli.fetch:fetch",
    "answer": "node.cli.boxes:answer",
    "trace": "node.cli.boxes:trace",
    "evidence": "node.cli.evidence:evidence",
    "access": "node.cli.access:access",
    "audit": "node.cli.access:audit",
    "keys": "node.cli.setup:keys",
    "authority": "node.cli.authority:authority",
}
"""Command → where it is; in the order in which an operator meets them."""

_PATH: Final = click.Path(path_type=Path)


class Root(Lazy):
    """The root group; knows the reader's language before anything is parsed."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> click.Context:
        """Set the language first: usage errors and help need it."""
        language = language_of(args)
        localise(self, "truc", language)
        desk = Desk(language)
        context = super().make_context(info_name, args, parent, obj=desk, **extra)
        context.call_on_close(desk.close)
        return context

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        with formatter.section(say("exit codes", ctx.obj.language)):
            formatter.write_dl([(str(int(code)), say(f"exit {code.name}", ctx.obj.language)) for code in ExitCode])


@click.group(cls=Root, places=PLACES, name="truc", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=_PATH)
@click.option("--socket", type=_PATH)
@click.option("--url")
@click.option("--token", envvar="TRUC_TOKEN", show_envvar=True)
@click.option("--ca", type=_PATH)
@click.option("--json", "as_json", is_flag=True)
@click.option("--lang", type=click.Choice(LANGUAGES), expose_value=False)  # known before: `Root.make_context`
@click.version_option(package_name="truc-node", prog_name="truc")
@click.pass_context
def truc(
    context: click.Context,
    config: Path | None,
    socket: Path | None,
    url: str | None,
    token: str | None,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Its words stand in the table of texts."""
    desk: Desk = context.obj
    desk.config, desk.url, desk.token, desk.ca = config, url or "", token or "", ca
    named = os.environ.get("TRUC_SOCKET")
    desk.socket = socket if socket is not None else Path(named) if named and config is None else None
    desk.as_json = as_json
    context.params["lang"] = desk.language  # `truc authority` asks for it there


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. The entry point of the distribution."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    desk = Desk(language_of(words))
    desk.as_json = "--json" in words
    try:
        result = _invoke(words)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _usage(error, desk)
    except Refused as error:
        tell(desk, error.problem)
        return ExitCode.REFUSED
    except TrucError as error:
        tell(desk, problem_of(error))
        return exit_code_of(error)
    except BrokenPipeError:
        _forget_output()
        return ExitCode.PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        click.echo(say("interrupted", desk.language), err=True)
        return ExitCode.INTERRUPTED
    except Exception as error:  # the outermost frame of the command: a traceback helps nobody
        if os.environ.get("TRUC_DEBUG"):
            raise
        tell(desk, problem_of(ConfigurationError("internal_error", reason=type(error).__name__)))
        return ExitCode.INTERNAL
    return result if isinstance(result, int) else ExitCode.DONE


def _invoke(words: list[str]) -> object:
    """As click's own `main`, which would keep broken pipes and Ctrl-C for itself."""
    with truc.make_context("truc", words) as context:
        return truc.invoke(context)


def _usage(error: click.ClickException, desk: Desk) -> int:
    """What is wrong with what was typed, and how it is typed; a group alone asks for its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(usage_line(context, desk.language), err=True)
    click.echo(f"{say('usage', desk.language)}: {complaint(error, desk.language)}", err=True)
    click.echo(f"  → {say('usage next', desk.language)}", err=True)
    return ExitCode.USAGE


def _forget_output() -> None:
    """Whoever read our output is gone; Python must not complain again when it ends."""
    void = os.open(os.devnull, os.O_WRONLY)
    os.dup2(void, sys.stdout.fileno())
    os.close(void)


if __name__ == "__main__":
    sys.exit(main())
