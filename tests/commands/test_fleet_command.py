"""`bench fleet`: planned as `bench run` plans, on stand-in nodes; and bad input in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_card import save_model
from standin_fleets import facts, node

from bench.commands import cli
from bench.commands import fleet as fleet_command
from bench.errors import SpecError
from bench.fleet.file import FleetFile
from bench.fleet.nodes import NodeFacts, from_doctor
from bench.fleet.simulated import Simulated
from bench.store.find import find_runs
from bench.store.run import read_run

Bench = Callable[..., Result]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    save_model(tmp_path / "m.onnx")
    path = tmp_path / "suite.toml"
    path.write_text(f'name = "s"\nmodels = ["{tmp_path}/m.onnx"]\ntargets = ["onnxruntime:cpu"]\n')
    return path


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    monkeypatch.chdir(tmp_path)

    def call(nodes: Sequence[NodeFacts], *arguments: object, fails: bool = False) -> Result:
        def connect(file: FleetFile, address: str | None) -> Simulated:
            return Simulated([node(one) for one in nodes])

        monkeypatch.setattr(fleet_command, "_connect", connect)
        result = CliRunner().invoke(cli.cli, ["fleet", *map(str, arguments)], standalone_mode=False)
        if fails:
            assert isinstance(result.exception, SpecError), result.exception
        elif result.exception is not None:
            raise result.exception
        return result

    return call


def ort(name: str, **changes: object) -> NodeFacts:
    return facts(name, "onnxruntime:cpu", **changes)


def test_a_node_is_planned_for_by_what_its_doctor_told(
    bench: Bench, suite: Path, tmp_path: Path
) -> None:
    nodes = [ort("a", threads=2), ort("b", threads=48, machine="big")]
    result = bench(nodes, "run", suite, "-o", tmp_path / "out", "--label", "march")
    assert result.return_value == 0, result.output
    runs = {run.path.name: run for run in map(read_run, find_runs([tmp_path / "out"]))}
    assert {name: {c.threads for c in run.header.cells} for name, run in runs.items()} == {
        "a": {2},
        "b": {48},
    }
    assert {run.header.label for run in runs.values()} == {"march"}
    assert "bench matrix" not in result.output, "nobody sits there to type it"
    again = bench(nodes, "run", suite, "-o", tmp_path / "out", fails=True)
    assert "it already exists" in str(again.exception)
    whole = bench(nodes, "run", "--resume", tmp_path / "out")
    assert "0 cells to measure" in whole.output


@pytest.mark.parametrize(
    ("fleet_file", "words"),
    [
        (
            "[nodes.a]\n[nodes.gpu2]\n",
            "no node of the cluster is called `gpu2`. The cluster has: a, b.",
        ),
        ("[node.a]\n", "`node` is not a known key. Did you mean `nodes`?"),
        ("[nodes.a]\nhost = 'x'\nnode_id = 'y'\n", "only one of host, node_id"),
        ("[nodes.a]\nhost = 'x'\n[nodes.b]\nhost = 'x'\n", "a and b would be the same machine"),
        ("[nodes.a]\ntargets = ['openvino:cpu']\n", "names openvino:cpu, which that node does not"),
        ("[nodes.'a b']\n", "'a b' is not a valid node name"),
        ("[nodes.a]\nprice_per_hour = -1\n", "price_per_hour"),
    ],
)
def test_what_is_wrong_with_a_fleet_file_is_said_in_a_sentence(
    bench: Bench, suite: Path, tmp_path: Path, fleet_file: str, words: str
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(fleet_file)
    result = bench(
        [ort("a"), ort("b")], "run", suite, "--fleet", path, "-o", tmp_path / "out", fails=True
    )
    assert words in str(result.exception)
    assert str(path) in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_target_that_nobody_has_is_refused_with_who_has_what(
    bench: Bench, suite: Path, tmp_path: Path
) -> None:
    nodes = [facts("a", "openvino:cpu"), facts("b", "torch:cpu", "torch:cuda:0")]
    result = bench(nodes, "run", suite, "-o", tmp_path / "out", fails=True)
    assert str(result.exception) == (
        "no node of the fleet has onnxruntime:cpu: a has openvino:cpu; b has torch:cpu, "
        "torch:cuda:0."
    )
    assert not (tmp_path / "out").exists()


def test_a_fleet_file_restricts_a_node_to_some_of_its_targets(
    bench: Bench, suite: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[nodes.a]\ntargets = ['openvino:cpu']\n[nodes.b]\nkind = 'mine'\n")
    nodes = [facts("a", "onnxruntime:cpu", "openvino:cpu"), ort("b")]
    bench(nodes, "run", suite, "--fleet", path, "-o", tmp_path / "out")
    assert [run.name for run in find_runs([tmp_path / "out"])] == ["b"]


def test_an_unknown_allowance_and_flags_beside_resume_are_refused(
    bench: Bench, suite: Path, tmp_path: Path
) -> None:
    result = bench([], "run", suite, "--allow", "everything", fails=True)
    assert "nodes can differ in versions, machine" in str(result.exception)
    result = bench([], "run", suite, "--resume", tmp_path, fails=True)
    assert "leave out SUITE" in str(result.exception)
    result = bench([], "run", "--resume", tmp_path, fails=True)
    assert "not a fleet's run" in str(result.exception)
    result = bench([], "run", suite, fails=True)
    assert "the fleet has no node" in str(result.exception)


def test_the_fleets_doctor_shows_devices_drivers_and_what_is_missing(bench: Bench) -> None:
    told = {
        "bench_version": "0.0.1",
        "threads": 8,
        "machine": {"cpu_model": "EPYC", "machine_id": "x"},
        "backends": [
            {
                "name": "torch",
                "environment": None,
                "version": "2.6",
                "devices": [{"id": "cuda:0", "vendor": "NVIDIA", "name": "H200", "driver": "570"}],
                "unavailable": None,
                "absent": {"npu": "torch:npu is not available: no torch_npu."},
            },
            {
                "name": "openvino",
                "environment": None,
                "version": "",
                "devices": [],
                "unavailable": "openvino is not installed.",
                "absent": {},
            },
        ],
    }
    found = from_doctor("gpu", told, clock_offset_s=400.0)
    result = bench([found], "doctor")
    assert "gpu  EPYC, 8 threads" in result.output
    assert "torch:cuda:0  H200, driver 570; torch 2.6" in result.output
    assert "missing: torch:npu is not available" in result.output
    assert "missing: openvino: openvino is not installed." in result.output
    assert "gpu has bench 0.0.1" in result.output
    assert "ahead of the" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    printed = bench([found], "doctor", "--json")
    assert NodeFacts.from_json(json.loads(printed.output)[0]) == found


def test_a_doctor_that_says_too_little_is_told_as_too_old() -> None:
    with pytest.raises(SpecError, match=r"a: .*bench_version, threads: its bench is too old"):
        from_doctor("a", {"backends": [], "machine": {}})
