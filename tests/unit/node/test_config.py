"""The configuration file: defaults, every kind of mistake, all of them at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from node.config import (
    FILE_BYTES_MAX,
    Config,
    ConfigurationMistakes,
    PeerConfig,
    SignerConfig,
    TlsConfig,
    load_config,
    make_config,
    parse_config,
)
from node.config_values import SocketAddress
from protocol.catalogue import next_step, text
from protocol.errors import ConfigurationError
from tests.support.errors import expects, record

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "configs" / "node.example.toml"
VERSION_1 = ROOT / "tests" / "vectors" / "config_v1.toml"
FILE = Path("/etc/truc/node.toml")
LEAST: dict[str, Any] = {"config_version": 1, "node": {"centre": "00.22.W00"}}
PEER = {
    "centre": "00.12.W00",
    "peer_id": "12D3KooWGzBXWNvHpLALvz3jhwdhy5rmX3qt2cU6hHK3qVX9ybXJ",
    "addresses": ["/ip4/203.0.113.12/tcp/4601"],
}


def config(**changes: Any) -> Config:
    return make_config(LEAST | changes, FILE)


def mistakes(values: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, code) of everything found wrong; each sentence can be formed in both languages."""
    with expects("config_invalid", ConfigurationError) as caught:
        make_config(values, FILE)
    error = caught[0]
    assert isinstance(error, ConfigurationMistakes)
    for mistake in error.mistakes:
        record(mistake.code)
        assert text(mistake, "vi") in text(error, "vi")
        assert text(mistake, "en") in text(error, "en")
        assert next_step(mistake, "vi") != next_step(mistake, "en")
    return [(mistake.field, mistake.code) for mistake in error.mistakes]


def only_mistake(**changes: Any) -> tuple[str, str]:
    found = mistakes(LEAST | changes)
    assert len(found) == 1, found
    return found[0]


# --- what is right --------------------------------------------------------------------------


def test_the_example_equals_the_defaults() -> None:
    assert load_config(EXAMPLE) == make_config(LEAST, EXAMPLE)


def test_the_example_documents_every_key_and_no_other() -> None:
    shown = tomllib.loads(EXAMPLE.read_text().replace("#| ", ""))
    assert _keys_of(shown) == _keys_of_model(Config)


def test_every_key_of_the_example_is_explained_in_both_languages() -> None:
    comment: list[str] = []
    before = ""
    for line in EXAMPLE.read_text().splitlines():
        if line.startswith("# "):
            comment = [*comment, line] if before.startswith("# ") else [line]
        elif "=" in line:
            words = " ".join(comment)
            assert not words.isascii(), f"no Vietnamese above {line}"
            assert " / " in words or any(other.isascii() for other in comment), f"no English above {line}"
        elif not line:
            comment = []
        before = line


def test_the_optional_parts_of_the_example_are_valid() -> None:
    read = parse_config(EXAMPLE.read_text().replace("#| ", "").encode(), EXAMPLE)
    assert read.peers[0].centre == "00.12.W00"
    assert read.api.tls is not None
    assert read.api.unix_users == {"1001": "sys_aaaaaaaaaaaaaaaaaaaaaaaaaa"}


def test_a_file_of_version_1_is_read_with_every_key_set() -> None:
    read = load_config(VERSION_1)
    folder = VERSION_1.parent
    assert (read.log.level, read.log.format, read.log.file) == ("warning", "text", folder / "log/node.log")
    assert read.node.root_digest == bytes(range(32))
    assert read.node.listen == ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/4601")
    assert [peer.centre for peer in read.peers] == ["00.22.W00", "00.38.W01"]
    assert read.unix_socket == Path("/run/truc/api.sock")
    assert (read.api.unix_mode, read.api.unix_group) == (0o600, "vanthu")
    assert read.api.tcp == SocketAddress("::1", 4681)
    assert read.api.tls is not None
    assert (read.api.tls.address, read.api.tls.certificate) == (("10.0.0.5", 4643), folder / "tls/certificate.pem")
    assert read.delivery.retention_days == 0
    assert read.keystore.credential_file == folder / "credential"
    assert (read.pki.anchors, read.pki.require_pki) == ((folder / "pki/root.pem",), True)
    assert [(one.agency, one.uid, one.deadline_seconds) for one in read.signers] == [("H38.12", 998, 10)]
    assert read.metrics.loopback_port == 9464
    defaults = config().model_dump(exclude={"config_version"})
    assert all(read.model_dump()[section] != value for section, value in defaults.items())


def test_relative_paths_start_at_the_files_folder_and_tilde_is_home() -> None:
    assert config().data_dir == Path("/etc/truc/data")
    assert config(data_dir="../x").data_dir == Path("/etc/truc/../x")
    assert config(data_dir="~/x").data_dir == Path(os.path.expanduser("~/x"))  # noqa: PTH111  # the independent spelling
    assert make_config(LEAST, Path("here.toml")).data_dir == Path.cwd() / "data"


def test_the_unix_socket_lies_in_the_data_folder_unless_named() -> None:
    assert config().unix_socket == Path("/etc/truc/data/api.sock")
    assert config(data_dir="/srv").unix_socket == Path("/srv/api.sock")
    assert config(api={"unix_socket": "run/a.sock"}).unix_socket == Path("/etc/truc/run/a.sock")


def test_listeners_and_modes_have_an_off_and_a_number_form() -> None:
    assert config(api={"tcp": ""}).api.tcp is None
    assert config(api={"unix_mode": 0o600}).api.unix_mode == 0o600
    assert config(api={"tcp": "127.9.9.9:1"}).api.tcp == ("127.9.9.9", 1)


def test_values_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        config().log.level = "debug"  # type: ignore[misc]


# --- what is wrong --------------------------------------------------------------------------


def test_five_mistakes_are_named_at_once_with_their_paths() -> None:
    found = mistakes(
        {
            "config_version": 1,
            "nodes": {},
            "node": {"centre": "G22", "listen": ["/ip4/127.0.0.1/tcp/1", "/ip4/300.0.0.1/tcp/1"]},
            "api": {"tcp": "0.0.0.0:4680"},
            "delivery": {"retention_days": -1},
        }
    )
    assert set(found) == {
        ("nodes", "config_key_unknown"),
        ("node.centre", "config_form"),
        ("node.listen[1]", "config_form"),
        ("api.tcp", "config_plain_listener"),
        ("delivery.retention_days", "config_range"),
    }


def test_a_compulsory_key_is_missed() -> None:
    assert mistakes({}) == [("config_version", "config_key_missing"), ("node", "config_key_missing")]


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        ({"config_version": 0}, "config_version", "config_range"),
        ({"config_version": True}, "config_version", "config_type"),
        ({"log": {"level": "loud"}}, "log.level", "config_choice"),
        ({"log": 3}, "log", "config_type"),
        ({"log": {"file": 3}}, "log.file", "config_type"),
        ({"data_dir": ""}, "data_dir", "config_form"),
        ({"data_dir": "a\0b"}, "data_dir", "config_form"),
        ({"data_dir": "~no-such-user-here/x"}, "data_dir", "config_form"),
        ({"peers": "x"}, "peers", "config_type"),
        ({"peers": [PEER | {"addresses": []}]}, "peers[0].addresses", "config_range"),
        ({"peers": [PEER | {"peer_id": "Qm0"}]}, "peers[0].peer_id", "config_form"),
        ({"peers": [PEER | {"port": 1}]}, "peers[0].port", "config_key_unknown"),
        ({"peers": [PEER, PEER]}, "peers", "config_repeated"),
        ({"peers": [PEER | {"centre": "00.22.W00"}]}, "peers", "config_repeated"),
        ({"peers": [PEER] * 1001}, "peers", "config_range"),
        ({"api": {"unix_mode": "0777777"}}, "api.unix_mode", "config_form"),
        ({"api": {"unix_mode": "0444"}}, "api.unix_mode", "config_form"),
        ({"api": {"unix_mode": 0o1777}}, "api.unix_mode", "config_form"),
        ({"api": {"unix_group": "g" * 65}}, "api.unix_group", "config_range"),
        ({"api": {"unix_users": {"root": "sys_aaaaaaaaaaaaaaaaaaaaaaaaaa"}}}, "api.unix_users.root", "config_form"),
        ({"api": {"unix_users": {"1001": "sys_aaaaaaaaaaaaaaaaaaaaaaaaab"}}}, "api.unix_users.1001", "config_form"),
        ({"api": {"unix_users": []}}, "api.unix_users", "config_type"),
        ({"api": {"tcp": 4680}}, "api.tcp", "config_type"),
        ({"api": {"tcp": "localhost:4680"}}, "api.tcp", "config_form"),
        ({"api": {"tcp": "127.0.0.1"}}, "api.tcp", "config_form"),
        ({"api": {"tcp": "127.0.0.1:65536"}}, "api.tcp", "config_form"),
        ({"api": {"tcp": "[127.0.0.1]:80"}}, "api.tcp", "config_form"),
        ({"api": {"tcp": "[fe80::1]:80"}}, "api.tcp", "config_plain_listener"),
        ({"api": {"tcp": "10.0.0.5:80"}}, "api.tcp", "config_plain_listener"),
        ({"api": {"hosts": ["Trục"]}}, "api.hosts[0]", "config_form"),
        ({"api": {"tls": {"address": "10.0.0.5:1", "certificate": "c"}}}, "api.tls.key", "config_key_missing"),
        ({"api": {"limits": {"connections_max": 1.5}}}, "api.limits.connections_max", "config_type"),
        ({"delivery": {"expiry_default_days": 91}}, "delivery.expiry_default_days", "config_range"),
        ({"delivery": {"window_offers": 10**30}}, "delivery.window_offers", "config_range"),
        ({"metrics": {"loopback_port": 65_536}}, "metrics.loopback_port", "config_range"),
    ],
)
def test_a_mistake_is_named_with_its_path(changes: dict[str, Any], place: str, code: str) -> None:
    assert only_mistake(**changes) == (place, code)


@pytest.mark.parametrize("digest", ["00", "G" * 64, "A" * 64, 5])
def test_the_root_digest_is_sixty_four_small_hex_digits(digest: object) -> None:
    assert only_mistake(node=LEAST["node"] | {"root_digest": digest}) == ("node.root_digest", "config_form")


@pytest.mark.parametrize("centre", ["00.22.W0", "0.22.W00", "00.22.w00", "00.22.W00 ", "٠٠.22.W00", "H38.12"])
def test_a_centre_code_has_exactly_one_form(centre: str) -> None:
    assert only_mistake(node={"centre": centre}) == ("node.centre", "config_form")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:4601",
        "/ip4/127.0.0.1/udp/4601",
        "/ip4/127.0.0.1/tcp/4601/ws",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/dns4/a..b/tcp/1",
        "/dns4/" + "a" * 300 + "/tcp/1",
        "/onion/abc/tcp/1",
        "ip4/127.0.0.1/tcp/1/",
    ],
)
def test_addresses_that_nobody_can_listen_on_or_dial_are_refused(address: str) -> None:
    assert only_mistake(node=LEAST["node"] | {"listen": [address]}) == ("node.listen[0]", "config_form")
    assert only_mistake(node=LEAST["node"] | {"announce": [address]}) == ("node.announce[0]", "config_form")


def test_names_are_dialled_not_listened_on_and_wildcards_the_other_way_round() -> None:
    named, wild = "/dns/a.example/tcp/1", "/ip4/0.0.0.0/tcp/1"
    assert only_mistake(node=LEAST["node"] | {"listen": [named]}) == ("node.listen[0]", "config_form")
    assert only_mistake(node=LEAST["node"] | {"announce": [wild]}) == ("node.announce[0]", "config_form")
    assert config(node=LEAST["node"] | {"listen": [wild], "announce": [named]}).node.announce == (named,)


def test_a_mistake_never_repeats_a_credential_that_was_put_in_the_wrong_place() -> None:
    with expects("config_invalid", ConfigurationError) as caught:
        make_config(LEAST | {"keystore": {"passphrase": "mat-khau-bi-mat"}}, FILE)
    assert "mat-khau" not in text(caught[0], "vi") + str(caught[0])


SIGNER = {"socket": "signer.sock", "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}


@pytest.mark.parametrize("key", ["", "zz", "00" * 31, "00" * 32, 7])
def test_a_signer_is_named_with_a_key_that_can_verify(key: Any) -> None:
    assert only_mistake(signers=[SIGNER | {"public_key": key}]) == ("signers[0].public_key", "config_form")


def test_a_signer_is_for_an_agency_code_and_no_agency_has_two() -> None:
    assert only_mistake(signers=[SIGNER | {"agency": "00.22.W00"}]) == ("signers[0].agency", "config_form")
    assert only_mistake(signers=[SIGNER, SIGNER]) == ("signers", "config_repeated")
    assert config(signers=[SIGNER]).signers[0].socket == Path("/etc/truc/signer.sock")


def test_certificates_are_not_demanded_without_anchors_to_judge_them_by() -> None:
    assert only_mistake(pki={"require_pki": True}) == ("pki.require_pki", "pki_required_without_anchors")
    assert config(pki={"require_pki": True, "anchors": ["a.pem"]}).pki.anchors == (Path("/etc/truc/a.pem"),)


# --- what is no configuration at all --------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with expects("config_missing", ConfigurationError) as caught:
        load_config(tmp_path / "node.toml")
    assert str(tmp_path) in text(caught[0], "vi")
    with expects("config_missing", ConfigurationError):
        load_config(tmp_path)


@pytest.mark.parametrize("document", [b"[node", b"\xff\xfe", b"a = 1\na = 2", b"x=" + b"[" * 5000])
def test_what_is_not_toml_is_said_with_the_parsers_words(document: bytes) -> None:
    with expects("config_not_toml", ConfigurationError) as caught:
        parse_config(document, FILE)
    assert len(str(caught[0].detail["reason"])) > 10


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with expects("config_not_toml", ConfigurationError):
        load_config(tmp_path / "big.toml")


def test_a_file_of_a_later_release_is_not_guessed_at() -> None:
    with expects("config_newer", ConfigurationError):
        make_config({"config_version": 2, "unknown": True}, FILE)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_configuration_or_one_documented_error(document: bytes) -> None:
    try:
        parse_config(document, FILE)
    except ConfigurationError as error:
        assert text(error, "vi") != text(error, "en")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(Config.model_fields)), st.data())
def test_any_value_in_any_place_is_taken_or_named(section: str, draw: st.DataObject) -> None:
    model = _section(Config.model_fields[section].annotation)
    key = draw.draw(st.sampled_from(sorted(model.model_fields))) if model else ""
    value = draw.draw(_values)
    inner = LEAST.get(section, {}) | {key: value} if key else value
    try:
        make_config(LEAST | {section: inner}, FILE)
    except ConfigurationMistakes as error:
        assert all(mistake.field.startswith(section) for mistake in error.mistakes)
    except ConfigurationError as error:
        assert (section, error.code) == ("config_version", "config_newer")


def _keys_of(values: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in values.items():
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        place = f"{path}{key}"
        is_table = isinstance(inner, dict) and place != "api.unix_users"
        found |= _keys_of(inner, f"{place}.") if is_table else {place}
    return found


def _keys_of_model(model: type[BaseModel], path: str = "") -> set[str]:
    inside: dict[str, type[BaseModel]] = {"peers": PeerConfig, "signers": SignerConfig, "api.tls": TlsConfig}
    found: set[str] = set()
    for key, field in model.model_fields.items():
        place = f"{path}{key}"
        inner = inside[place] if place in inside else _section(field.annotation)
        found |= _keys_of_model(inner, f"{place}.") if inner else {place}
    return found


def _section(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
