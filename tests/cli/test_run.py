"""`truc run` as an operator starts it: the real network, the real API, signals, a port that is taken."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.cli.conftest import truc
from tests.cli.real_node import founded, run_to_its_end, running
from tests.support.ports import free_port


def test_a_node_runs_answers_and_stops_at_a_signal(tmp_path: Path) -> None:
    config = founded(tmp_path / "a", free_port())
    with running(config, tmp_path / "notify") as process:
        assert truc("--config", config, "--json", "node").json["joined"] is False
        assert "not_joined" in truc("--config", config, "--json", "doctor", expect=1).out
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        events = [json.loads(line)["event"] for line in process.stderr]
    assert events[-2:] == ["stopping", "stopped"]
    truc("--config", config, "node", expect=3)


def test_a_port_that_another_daemon_has_is_told_with_its_address(tmp_path: Path) -> None:
    port = free_port()
    first, second = founded(tmp_path / "a", port), founded(tmp_path / "b", port)
    with running(first, tmp_path / "notify"):
        ran = run_to_its_end(second)
        assert truc("--config", first, "--json", "node").json["centre"] == "00.22.W00"
    assert ran.returncode == 4
    last = json.loads(ran.stderr.splitlines()[-1])
    assert (last["event"], last["code"]) == ("start_failed", "address_taken")
    assert str(port) in last["en"]
