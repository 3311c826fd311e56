"""The national PKI at a node: anchors, intermediates and revocation lists from files, and what records show by them.

Obeys `protocol/spec/pki.md`. Judging is `protocol/credentials.py`. Files are read at the start and looked at again
every few minutes, in a worker; so a revocation list that is fetched anew into its file counts without a restart.
Nothing of the tree of trust depends on any of this, unless the operator says so (`require_pki`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from node.directory import Directory
from node.environment import Environment
from node.logs import Log
from node.tasks import Ready
from protocol.credentials import EXTENSION, Verdict, judge
from protocol.directory import AgencyRecord, CentreRecord
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known, centre_keys, own_keys, revoked_of
from protocol.errors import ConfigurationError, TrucError
from protocol.limits import CRL_BYTES_MAX, MIB, MINUTE_MS
from protocol.pki import Anchors, Certificate, RevocationList, check_strength, read_certificates, read_crl

T = TypeVar("T")

LOOK_AGAIN_S: Final = 300
"""How old a change of a file may be before it counts; lists are issued daily or weekly."""
CERTIFICATE_FILE_BYTES_MAX: Final = MIB
VERDICT_MS: Final = MINUTE_MS
"""How long a verdict is remembered while nothing it was found by changes; time alone turns it slowly."""
VERDICTS_MAX: Final = 20_000
"""Remembered verdicts; about 0.5 KB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PkiSettings:
    """Which files, and whether agencies without a valid certificate are dealt with."""

    anchors: tuple[Path, ...] = ()
    intermediates: tuple[Path, ...] = ()
    crls: tuple[Path, ...] = ()
    require: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.anchors, *self.intermediates, *self.crls)


class Pki:
    """What certificates show, by the files of now. Belongs to the loop; files are read in a worker."""

    def __init__(self, settings: PkiSettings, *, directory: Directory, environment: Environment, log: Log) -> None:
        self.settings: Final = settings
        self._directory: Final = directory
        self._environment: Final = environment
        self._log: Final = log
        self.anchors = Anchors()
        self.problems: tuple[TrucError, ...] = ()
        """Files that cannot be used at present."""
        self._marks: tuple[object, ...] = ()
        self._verdicts: dict[tuple[bytes, bytes], tuple[int, Verdict | None]] = {}

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Read the files, then again whenever they have changed, until cancelled.

        Raises:
            ConfigurationError: `pki_file`, `pki_file_content` (of anchors or intermediates, at the start).
        """
        if not self.settings.files:
            task_status.started()
            return
        await self.look_again(first=True)
        task_status.started()
        while True:
            await trio.sleep(LOOK_AGAIN_S)
            await self.look_again()

    async def look_again(self, *, first: bool = False) -> None:
        """Read the files if one of them has changed. One that can no longer be used leaves the certificates as they
        were, and of the lists only those that can be read; both are told. Raises: as `run`, if it is the first time."""
        marks, found = await self._environment.run_document(_load_if_changed, self.settings, self._marks)
        self._marks = marks
        if found is None:
            return
        if first and found.refused:
            raise found.refused[0]
        news = {str(problem) for problem in found.problems} - {str(problem) for problem in self.problems}
        for problem in found.problems:
            if str(problem) in news:
                self._log.warning("pki_file", code=problem.code, **problem.detail)
        self.anchors = Anchors(
            anchors=self.anchors.anchors if found.refused else found.anchors,
            intermediates=self.anchors.intermediates if found.refused else found.intermediates,
            crls=found.crls,
        )
        self.problems = found.problems
        self._verdicts.clear()
        self._log.info("pki_loaded", anchors=len(self.anchors.anchors), crls=len(self.anchors.crls))

    # --- verdicts -----------------------------------------------------------------------------

    def of_agency(self, code: str, view: DirectoryView | None = None) -> Verdict | None:
        """What the certificate of an agency shows about the keys that speak for it now; by its host's record if it
        lists no keys and has no certificate of its own. None for a code that nobody registered. `view`: the directory
        as it is shown, if that is not the one that steps are computed by."""
        view = self._directory if view is None else view
        agency = view.find_agency(code)
        if agency is None:
            return None
        if not agency.value.keys and EXTENSION not in agency.value.extensions:
            host = view.find_centre(agency.value.host)
            if host is not None and EXTENSION in host.value.extensions:
                return self._centre(host, view)
        return self._agency(agency, view)

    def of_centre(self, code: str, view: DirectoryView | None = None) -> Verdict | None:
        """What the certificate of a centre shows about its operational keys. None for an unknown centre."""
        view = self._directory if view is None else view
        centre = view.find_centre(code)
        return None if centre is None else self._centre(centre, view)

    def missing(self, agency: str) -> str:
        """The code of why an agency's certificate does not do, where the operator demands a valid one; else empty."""
        verdict = self.of_agency(agency) if self.settings.require else None
        if verdict is None or verdict.error is None:
            return ""
        return verdict.error.code

    def _agency(self, known: Known[AgencyRecord], view: DirectoryView) -> Verdict:
        host = view.find_centre(known.value.host)

        def find(now_ms: int) -> Verdict:
            keys = own_keys(view, known.value, now_ms, revoked_of(view, known.value))
            return judge(known.value, sorted(keys.keys), self.anchors, now_ms)

        return self._remembered((known.digest, b"" if host is None else host.digest), find)

    def _centre(self, known: Known[CentreRecord], view: DirectoryView) -> Verdict:
        def find(now_ms: int) -> Verdict:
            keys = centre_keys(view, known.value.code, now_ms)
            return judge(known.value, sorted(keys.keys), self.anchors, now_ms)

        return self._remembered((known.digest, b""), find)

    def _remembered(self, records: tuple[bytes, bytes], find: Callable[[int], Verdict]) -> Verdict:
        now_ms = self._environment.monotonic_ms()
        until_ms, verdict = self._verdicts.get(records, (0, None))
        if verdict is not None and now_ms < until_ms:
            return verdict
        if len(self._verdicts) >= VERDICTS_MAX:
            self._verdicts.clear()
        verdict = find(self._environment.now_ms())
        self._verdicts[records] = (now_ms + VERDICT_MS, verdict)
        return verdict


# --- in the worker --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the files hold. `refused`: what is wrong with anchors and intermediates; `problems`: with any of them."""

    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]
    crls: tuple[RevocationList, ...]
    refused: tuple[ConfigurationError, ...]
    problems: tuple[TrucError, ...]


def _load_if_changed(settings: PkiSettings, marks: tuple[object, ...]) -> tuple[tuple[object, ...], _Found | None]:
    """How the files look now, and what they hold if that is another look than before."""
    now = tuple(map(_mark, settings.files))
    return now, None if now == marks else _load(settings)


def _mark(path: Path) -> object:
    try:
        looked = path.stat()
    except OSError as error:
        return error.errno
    return looked.st_mtime_ns, looked.st_size, looked.st_ino


def _load(settings: PkiSettings) -> _Found:
    refused: list[ConfigurationError] = []
    problems: list[ConfigurationError] = []
    anchors = _each(settings.anchors, _authorities, CERTIFICATE_FILE_BYTES_MAX, refused)
    intermediates = _each(settings.intermediates, _authorities, CERTIFICATE_FILE_BYTES_MAX, refused)
    crls = _each(settings.crls, read_crl, CRL_BYTES_MAX, problems)
    return _Found(
        anchors=tuple(one for group in anchors for one in group),
        intermediates=tuple(one for group in intermediates for one in group),
        crls=tuple(crls),
        refused=tuple(refused),
        problems=(*refused, *problems),
    )


def _authorities(file: bytes) -> tuple[Certificate, ...]:
    """Raises: FormatError, TrustError: it cannot be read, or is too weak to be relied on."""
    found = read_certificates(file)
    for certificate in found:
        check_strength(certificate, holder=False)
    return found


def _each(
    paths: Iterable[Path], read: Callable[[bytes], T], bytes_max: int, problems: list[ConfigurationError]
) -> list[T]:
    """What each file holds; what is wrong with one is added to the problems."""
    found: list[T] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                found.append(read(file.read(bytes_max + 1)))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problems.append(ConfigurationError("pki_file", path=str(path), reason=reason))
        except TrucError as error:
            reason = " ".join((error.code, *map(str, error.detail.values())))
            problems.append(ConfigurationError("pki_file_content", path=str(path), reason=reason))
    return found
