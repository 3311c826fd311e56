"""Which directory records an evidence file needs.

Obeys `spec/evidence.md` §3. Everything from the root down to the keys that may have signed is taken,
in all versions known: which of them count for a statement, the verifier decides by its time.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT
from protocol.directory_view import DirectoryView
from protocol.limits import EVIDENCE_RECORDS_MAX
from protocol.signing import Signed


def collect_records(view: DirectoryView, codes: Iterable[str]) -> list[Signed]:
    """The signed records that show whose keys spoke for these agencies.

    All roots; all versions of the agencies, of their successors, and of the agencies that
    registered them; all versions of the centres that ever hosted any of these.
    """
    digests = [root.digest for root in view.root_versions()]
    hosts: dict[str, None] = {}
    waiting, seen = list(codes), set[str]()
    while waiting:
        code = waiting.pop(0)
        if code in seen or len(digests) >= EVIDENCE_RECORDS_MAX:
            continue
        seen.add(code)
        for version in view.agency_versions(code):
            digests.append(version.digest)
            hosts[version.value.host] = None
            waiting.extend(version.value.successors)
            if version.value.registrar not in (ROLE_ROOT, ROLE_LEVEL_1):
                waiting.append(version.value.registrar)
    digests += [version.digest for host in hosts for version in view.centre_versions(host)]
    things = (view.thing(digest) for digest in dict.fromkeys(digests))
    return [thing for thing in things if thing is not None]
