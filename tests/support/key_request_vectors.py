"""Makes the vectors of key requests: `python -m tests.support.key_request_vectors`.

`key_request.json`: signed things, `{"name", "hex", "fields"}`, or with `"error"` (and the `"field"`)
where the request must not be believed. A test compares the committed file with what this module makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from protocol.encoding import decode, encode
from protocol.errors import TrucError
from protocol.key_request import KEY_REQUEST, KeyRequest, proved_key_request
from protocol.signing import Ed25519Signer, Signed, Verifier, countersign, sign
from tests.support.statement_vectors import plain
from tests.support.tree import START_MS, entry_of, key_seed
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

ONE, TWO, STRANGER = (Ed25519Signer(key_seed(11, name)) for name in ("one", "two", "stranger"))
ANCHOR: Final = bytes(range(32))
ROOT_KEY: Final = KeyRequest(created_ms=START_MS, purpose="root", keys=(entry_of(ONE),), holder="Ông An", anchor=ANCHOR)
FOUNDING: Final = replace(ROOT_KEY, anchor=bytes(32))
LEVEL_1: Final = replace(
    ROOT_KEY, purpose="level-1", keys=(entry_of(ONE), entry_of(TWO)), extensions={200: "tương lai"}
)
BEAT: Final = replace(ROOT_KEY, purpose="heartbeat", registrar="H38")


def signed(value: KeyRequest, *signers: Ed25519Signer) -> Signed:
    """The request with these signatures."""
    thing = sign(KEY_REQUEST.name, KEY_REQUEST.encode(value), signers[0])
    for signer in signers[1:]:
        thing = countersign(thing, signer)
    return thing


def key_requests() -> list[Row]:
    """Good and bad requests."""
    good = [
        _good("a root key for a tree", signed(ROOT_KEY, ONE)),
        _good("a root key for a tree that is to be founded", signed(FOUNDING, ONE)),
        _good("two keys for level-1, and an extension", signed(LEVEL_1, ONE, TWO)),
        _good("a heartbeat key", signed(BEAT, ONE)),
        _good("a further signature proves nothing and spoils nothing", signed(ROOT_KEY, ONE, STRANGER)),
    ]
    small = replace(ROOT_KEY.keys[0], raw=bytes(32))
    other = replace(ROOT_KEY.keys[0], algorithm="ecdsa-p256")
    gone = replace(ROOT_KEY.keys[0], revoked_ms=START_MS)
    short = replace(ROOT_KEY.keys[0], until_ms=START_MS)
    broken = replace(signed(ROOT_KEY, ONE), statement=KEY_REQUEST.encode(replace(ROOT_KEY, holder="Bà Bình")))
    bad = [
        _bad("a key that did not sign", signed(LEVEL_1, ONE)),
        _bad("a stranger signed", signed(ROOT_KEY, STRANGER)),
        _bad("another statement than what was signed", broken),
        _bad("a key that does not count yet", signed(replace(ROOT_KEY, created_ms=START_MS - 600_000), ONE)),
        _bad("an unknown purpose", signed(replace(ROOT_KEY, purpose="boss"), ONE)),
        _bad("a root key of a registrar", signed(replace(ROOT_KEY, registrar="H38"), ONE)),
        _bad("a heartbeat key of nobody", signed(replace(BEAT, registrar=""), ONE)),
        _bad("a heartbeat key of no registrar", signed(replace(BEAT, registrar="boss"), ONE)),
        _bad("a heartbeat key without a tree", signed(replace(BEAT, anchor=bytes(32)), ONE)),
        _bad("a holder with blanks around the name", signed(replace(ROOT_KEY, holder=" An"), ONE)),
        _bad("a holder with an invisible character", signed(replace(ROOT_KEY, holder="A\u200bn"), ONE)),
        _bad("one key twice", signed(replace(LEVEL_1, keys=(*ROOT_KEY.keys, *ROOT_KEY.keys)), ONE)),
        _bad("a small-order key", signed(replace(ROOT_KEY, keys=(small,)), ONE)),
        _bad("a key of an algorithm that proves nothing here", signed(replace(ROOT_KEY, keys=(other,)), ONE)),
        _bad("a revoked key", signed(replace(ROOT_KEY, keys=(gone,)), ONE)),
        _bad("a key that ends before it begins", signed(replace(ROOT_KEY, keys=(short,)), ONE)),
        _bad("no key", _changed({4: []})),
        _bad("ten keys", _changed({4: decode(KEY_REQUEST.encode(ROOT_KEY), bytes_max=65_536)[4] * 10})),
        _bad("no holder", _changed({5: ""})),
        _bad("an unknown key below 128", _changed({99: 1})),
        _bad("a default written out", _changed({6: ""})),
        _bad("another format", sign("truc/key-request/2", KEY_REQUEST.encode(ROOT_KEY), ONE)),
    ]
    return good + bad


def _changed(changes: dict[int, Any]) -> Signed:
    wire = {**decode(KEY_REQUEST.encode(ROOT_KEY), bytes_max=65_536), **changes}
    return sign(KEY_REQUEST.name, encode(wire), ONE)


def _good(name: str, thing: Signed) -> Row:
    value = proved_key_request(thing, Verifier())
    return {"name": name, "hex": thing.to_wire().hex(), "fields": plain(value)}


def _bad(name: str, thing: Signed) -> Row:
    try:
        proved_key_request(thing, Verifier())
    except TrucError as error:
        return {"name": name, "hex": thing.to_wire().hex(), "error": error.code, "field": error.field}
    raise AssertionError(f"{name} is believed")


FILES: Final[dict[str, Callable[[], list[Row]]]] = {"key_request": key_requests}


def main() -> None:
    """Write the file again."""
    for name, make in FILES.items():
        (FOLDER / f"{name}.json").write_text(written(make()), "utf-8")
        print(f"tests/vectors/{name}.json")


if __name__ == "__main__":
    main()
