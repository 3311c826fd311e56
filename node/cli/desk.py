"""What all commands share: how to reach the node, how to speak, and what an outcome becomes.

Obeys DESIGN §7: commands are clients of the API over the Unix socket (or `--url` with a token) and
never open the database. Texts of outcomes come from the catalogue, or from the node's own answer,
which may be newer than this program.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from node.cli.grammar import ExitCode
from node.cli.texts import TEXTS, say
from protocol.catalogue import Language, next_step, text
from protocol.errors import ConfigurationError, NetworkError, StoreError, TrucError

if TYPE_CHECKING:
    from node.cli.client import Client

CONFIG_PLACES: Final = (Path("node.toml"), Path("/etc/truc/node.toml"))
CONFIG_BYTES_MAX: Final = 1024 * 1024


class Refused(Exception):  # an outcome that the node told us
    """The node said no; `problem` is its answer (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("code", "")))
        self.problem: Final = problem


class Speaking(Protocol):
    """Whoever tells an outcome: in the reader's language, or as JSON if that is wanted."""

    @property
    def language(self) -> Language:
        """The reader's."""
        ...

    def show(self, answer: object) -> bool:
        """Print as JSON if that is wanted; whether it was."""
        ...


class Desk:
    """One call of `truc`: global options, output, the way to the node."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.as_json = False
        self.socket: Path | None = None
        self.config: Path | None = None
        self.url = ""
        self.token = ""
        self.ca: Path | None = None
        self._client: Client | None = None

    # --- speaking -----------------------------------------------------------------------------

    def word(self, key: str, **values: object) -> str:
        """A text of the table in the reader's language."""
        return say(key, self.language, **values)

    def known(self, key: str, otherwise: str) -> str:
        """A text for a word of the node; a newer node may know words that stand in no table yet."""
        return say(key, self.language) if key in TEXTS else otherwise

    def say(self, key: str, **values: object) -> None:
        """One line for people; nothing in JSON mode."""
        if not self.as_json:
            click.echo(self.word(key, **values))

    def show(self, answer: object) -> bool:
        """Print an answer as JSON if that is wanted; whether it was."""
        if self.as_json:
            click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return self.as_json

    def note(self, key: str, **values: object) -> None:
        """One line on standard error: progress and warnings."""
        if not self.as_json:
            click.echo(self.word(key, **values), err=True)

    # --- the node -----------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The way to the node, made at the first use.

        Raises:
            ConfigurationError: neither a socket nor a configuration is known.
        """
        if self._client is None:
            from node.cli.client import Client

            self._client = (
                Client.over_url(self.url, self.token, self.ca) if self.url else Client.over_socket(self._at())
            )
        return self._client

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.close()

    @property
    def is_local(self) -> bool:
        """Whether the node is on this machine, as far as the options tell."""
        return not self.url

    def config_path(self) -> Path:
        """The configuration file: `--config`, TRUC_CONFIG, ./node.toml, /etc/truc/node.toml."""
        named = self.config or (Path(value) if (value := os.environ.get("TRUC_CONFIG")) else None)
        if named is not None:
            return named
        return next((path for path in CONFIG_PLACES if path.is_file()), CONFIG_PLACES[-1])

    def config_values(self) -> dict[str, Any]:
        """The configuration as TOML has it, unchecked: enough to find the socket, without pydantic.

        Raises:
            ConfigurationError: `config_missing`, `config_not_toml`.
        """
        import tomllib

        path = self.config_path()
        try:
            with path.open("rb") as file:
                return tomllib.loads(file.read(CONFIG_BYTES_MAX).decode())
        except OSError as error:
            raise ConfigurationError("config_missing", file=str(path), reason=error.strerror or "?") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError("config_not_toml", file=str(path), reason=str(error)) from error

    def data_dir(self) -> Path:
        """The data folder that the configuration names. Raises: as `config_values`."""
        return self._path_of(self.config_values().get("data_dir", "data"))

    def _at(self) -> Path:
        if self.socket is not None:
            return self.socket
        values = self.config_values()
        api = values.get("api", {})
        named = api.get("unix_socket", "") if isinstance(api, dict) else ""
        return self._path_of(named) if named else self._path_of(values.get("data_dir", "data")) / "api.sock"

    def _path_of(self, value: object) -> Path:
        return self.config_path().absolute().parent / Path(str(value)).expanduser()


# --- outcomes -------------------------------------------------------------------------------


def exit_code_of(error: TrucError) -> ExitCode:
    """Whose fault decides the exit code."""
    if error.code == "internal_error":
        return ExitCode.INTERNAL
    if isinstance(error, NetworkError):
        return ExitCode.UNREACHABLE
    return ExitCode.LOCAL if isinstance(error, ConfigurationError | StoreError) else ExitCode.REFUSED


def problem_of(error: TrucError) -> dict[str, Any]:
    """An outcome of this program in the form in which the node tells its own."""
    texts = {"vi": text(error, "vi"), "en": text(error, "en")}
    return {
        "code": error.code,
        "field": error.field,
        **texts,
        "next": {"vi": next_step(error, "vi"), "en": next_step(error, "en")},
    }


def tell(desk: Speaking, problem: Mapping[str, Any]) -> None:
    """Print an outcome: code, text, next step; each finding on a line of its own."""
    if desk.show(dict(problem)):
        return
    for item in (problem.get("findings") or []) if len(problem.get("findings") or []) > 1 else [problem]:
        where = f" [{item['field']}]" if item.get("field") else ""
        click.echo(f"{item.get('code', '?')}{where}: {_in(item, desk.language)}", err=True)
        step = _next(item, desk.language)
        if step:
            click.echo(f"  → {step}", err=True)


def _in(item: Mapping[str, Any], language: Language) -> str:
    return str(item.get(language) or item.get("detail") or item.get("title") or "")


def _next(item: Mapping[str, Any], language: Language) -> str:
    step = item.get("next") or item.get("next_step") or item.get(f"next_{language}") or ""
    return str(step.get(language, "")) if isinstance(step, Mapping) else str(step)
