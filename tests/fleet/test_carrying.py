"""What a node's agent carries: contents in, pieces of files out, each once and in order."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from bench.fleet.ray.node import Item, Measuring, Node

#: In place of `bench.fleet.agent`: appends to a file of the run, and tells.
_WRITES = """
import json, pathlib, sys
run, texts = pathlib.Path(sys.argv[1]), sys.argv[2:]
run.mkdir(exist_ok=True)
for text in texts:
    with (run / "records.jsonl").open("a") as file:
        file.write(text)
    size = (run / "records.jsonl").stat().st_size
    print(json.dumps({"wrote": "records.jsonl", "size": size}), flush=True)
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(sys.executable, {"BENCH_CACHE": str(tmp_path)})


def a_lease(run: Path, sent: dict[str, int], *texts: str) -> Measuring:
    command = [sys.executable, "-c", _WRITES, str(run), *texts]
    return Measuring("lease", run, command, os.environ, sent)


def told(measuring: Measuring) -> list[Item]:
    """All that a lease tells, asked for again and again."""
    found: list[Item] = []
    while not found or found[-1][0] != "ended":
        found += measuring.events(len(found), 10.0)
    return found


def pieces(items: list[Item]) -> list[tuple[int, bytes]]:
    return [(what["offset"], what["data"]) for kind, what in items if kind == "grew"]


def test_a_content_comes_in_pieces_and_goes_on_where_it_was_cut(node: Node) -> None:
    data = b"weights" * 100
    sha256 = hashlib.sha256(data).hexdigest()
    assert node.lacks([sha256]) == {sha256: 0}
    assert node.take(sha256, 0, data[:300], False) is None
    assert node.lacks([sha256]) == {sha256: 300}
    assert node.take(sha256, 300, data[300:], True) is None
    assert node.lacks([sha256]) == {}


def test_a_content_that_arrives_damaged_is_told_and_not_kept(node: Node, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"right").hexdigest()
    trouble = node.take(sha256, 0, b"wrong", True)
    assert trouble is not None
    assert "arrived damaged" in trouble
    assert node.lacks([sha256]) == {sha256: 0}


def test_a_file_grows_over_the_leases_of_a_run_without_a_gap(tmp_path: Path) -> None:
    sent: dict[str, int] = {}
    first = told(a_lease(tmp_path / "run", sent, "one\n", "two\n"))
    second = told(a_lease(tmp_path / "run", sent, "three\n"))
    assert pieces(first) == [(0, b"one\n"), (4, b"two\n")]
    assert pieces(second) == [(8, b"three\n")]
    assert first[-1][1]["error"] is None


def test_what_the_driver_did_not_get_of_a_stopped_lease_comes_with_the_next(
    tmp_path: Path,
) -> None:
    sent: dict[str, int] = {}
    stopped = a_lease(tmp_path / "run", sent, "one\n", "two\n")
    while len(stopped.events(0, 10.0)) < 3:  # two pieces and the end, none of them got
        pass
    stopped.end()
    stopped.take_back(1)  # it got the first piece
    assert pieces(told(a_lease(tmp_path / "run", sent, "three\n"))) == [(4, b"two\nthree\n")]


def test_how_what_measured_ended_is_told_with_what_it_printed_last(tmp_path: Path) -> None:
    dies = (
        "import os, sys; print('no device', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    )
    measuring = Measuring("x", tmp_path / "run", [sys.executable, "-c", dies], os.environ, {})
    error = told(measuring)[-1][1]["error"]
    assert error == "agent-died: what measured died of SIGKILL; it printed last: no device."
