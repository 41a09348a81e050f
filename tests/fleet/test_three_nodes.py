"""A fleet of three raylets on this machine: what each measures arrives, and every death has a name.

The nodes are real (`ray start`), with an environment, a cache and a runtime each; only what is
measured is a stand-in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fleet_driving
import psutil
import pytest
from fleet_driving import ENDLESS, Driving, a_suite, cells_of
from ray_nodes import LocalNode, local_nodes

from bench.cell import Cell
from bench.fleet.transport import Grew, Joined
from bench.spec import Suite
from bench.store.run import read_run

pytest.importorskip("ray", reason="a fleet needs Ray: pip install 'infer-bench[fleet]'")
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]


@dataclass
class Fleet:
    address: str
    nodes: dict[str, LocalNode]
    driving: Driving
    suite: Suite
    endless: Suite
    cells: tuple[Cell, ...]
    endless_cells: tuple[Cell, ...]


@pytest.fixture(scope="module")
def fleet(
    plugin_path: Path, doubling_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Three nodes, the third without the model's runtime."""
    folder = tmp_path_factory.mktemp("fleet")
    environment = {
        **os.environ,
        "PYTHONPATH": str(plugin_path),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "BENCH_ENVIRONMENTS": str(folder / "environments"),
        "OF_THE_SHELL": "1",
    }
    broken = folder / "broken"
    shutil.copytree(plugin_path, broken)
    (broken / "stand_in.py").write_text('raise ImportError("libstand.so: cannot open")\n')
    environments = [environment, environment, {**environment, "PYTHONPATH": str(broken)}]
    with pytest.MonkeyPatch.context() as patch, local_nodes(folder, environments) as found:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(plugin_path))
        patch.setattr(sys, "path", [*sys.path, str(plugin_path)])
        address, nodes = found
        suite = a_suite(doubling_model)
        endless = a_suite(doubling_model, **ENDLESS)
        cells = cells_of(suite, folder / "cache")
        driving = Driving(address, folder / "out", 3)
        try:
            driving.transport.nodes()  # takes them, whichever test is the first
            yield Fleet(
                address,
                {node.name: node for node in nodes},
                driving,
                suite,
                endless,
                cells,
                cells_of(endless, folder / "cache"),
            )
        finally:
            driving.transport.close()


def the_run(fleet: Fleet, node: str) -> Path:
    """The newest run that came from a node."""
    return max((fleet.driving.folder / node).iterdir(), key=lambda path: path.stat().st_ctime_ns)


def family_of(fleet: Fleet, node: str) -> list[psutil.Process]:
    """What measures on a node, the agent first."""
    agent = fleet.nodes[node].one("-m bench.fleet.agent")
    return [agent, *agent.children(recursive=True)]


def gone(processes: list[psutil.Process], timeout_s: float = 15) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    with contextlib.suppress(psutil.NoSuchProcess):
        return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
    return True


def test_each_node_says_what_it_has_and_why_not(fleet: Fleet) -> None:
    found = {facts.name: facts for facts in fleet.driving.transport.nodes()}
    assert set(found) == {"n1", "n2", "n3"}
    assert "stand-in:ok" in found["n1"].devices
    assert found["n3"].devices == {}
    assert "libstand.so" in found["n3"].backends[0].unavailable
    assert found["n2"].resources == {"n2": 1.0}
    assert all(abs(facts.clock_offset_s) < 5 for facts in found.values())


def test_nodes_measure_side_by_side_and_what_arrives_are_ordinary_runs(fleet: Fleet) -> None:
    """The model is a file that only the driver has by that path."""
    kept = fleet.suite.models[0]
    driving, suite, cells = fleet.driving, fleet.suite, fleet.cells
    for mine in (cells[:1], cells[1:]):  # of the second its files go on where the first's ended
        begun = [driving.begin(n, suite, cells, mine, run=f"run-{n}") for n in ("n1", "n2")]
        for lease in begun:
            assert driving.ended(lease).error is None
    for node in ("n1", "n2"):
        stored = read_run(the_run(fleet, node))
        assert [r.cell_id for r in stored.records] == [cell.id for cell in fleet.cells]
        assert all(record.status == "ok" for record in stored.records)
        assert stored.header.machine_name == node
        assert stored.header.models == (kept,)
        assert all(stored.samples(cell.id) for cell in fleet.cells)
        assert not stored.skipped
    # A record reached the driver before the lease was over, and after its samples.
    came = [e for e in fleet.driving.seen if isinstance(e, Grew) and e.node == "n1"]
    names = [event.path.partition("/")[0] for event in came]
    assert names.index("samples") < names.index("records.jsonl")
    assert names.count("records.jsonl") == len(cells[1:])


def test_nothing_of_ray_is_around_what_is_measured_and_a_killed_agent_has_a_name(
    fleet: Fleet,
) -> None:
    lease = fleet.driving.begin("n1", fleet.endless, fleet.endless_cells, fleet.endless_cells)
    fleet.driving.measures("n1")
    family = family_of(fleet, "n1")
    raylet = fleet.nodes["n1"].one("raylet/raylet")
    for process in family:
        environment = process.environ()
        assert not [name for name in environment if name.startswith("RAY_")]
        assert "ray/core" not in environment.get("LD_PRELOAD", "")
        assert environment["OF_THE_SHELL"] == "1"
        assert process.nice() == raylet.nice()
    assert "CUDA_VISIBLE_DEVICES" not in family[0].environ()
    assert family[0].environ().get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")
    family[0].kill()
    error = fleet.driving.ended(lease).error
    assert error is not None
    assert error.startswith("agent-died: what measured died of SIGKILL")
    assert gone(family)


def test_a_node_without_the_runtime_fails_its_cells_with_a_name(fleet: Fleet) -> None:
    lease = fleet.driving.begin("n3", fleet.suite, fleet.cells, fleet.cells[:1])
    assert fleet.driving.ended(lease).error is None
    (record,) = read_run(the_run(fleet, "n3")).records
    assert record.failure is not None
    assert record.failure.kind == "unavailable"
    assert "libstand.so" in record.failure.message


def test_a_killed_worker_fails_its_cell_and_the_lease_goes_on(fleet: Fleet) -> None:
    lease = fleet.driving.begin("n2", fleet.endless, fleet.endless_cells, fleet.endless_cells[:1])
    fleet.driving.measures("n2")
    agent = family_of(fleet, "n2")[0]
    for process in agent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert fleet.driving.ended(lease).error is None
    (record,) = read_run(the_run(fleet, "n2")).records
    assert record.failure is not None
    assert record.failure.kind == "crashed"


@pytest.mark.long
def test_a_second_driver_does_not_measure_on_the_same_nodes(fleet: Fleet, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            fleet_driving.__file__,
            fleet.address,
            str(tmp_path),
            fleet.suite.models[0],
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "no node can measure. n1: another `bench fleet` is measuring there" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("stopped", ["-m bench.fleet.agent", "ray::Node"])
def test_what_is_stopped_for_long_is_given_up_and_its_node_may_measure_again(
    fleet: Fleet, stopped: str
) -> None:
    """SIGSTOP in place of a partition, a debugger, a laptop that sleeps."""
    lease = fleet.driving.begin("n1", fleet.endless, fleet.endless_cells, fleet.endless_cells)
    fleet.driving.measures("n1")
    family = family_of(fleet, "n1")
    process = fleet.nodes["n1"].one(stopped)
    process.send_signal(signal.SIGSTOP)
    try:
        if stopped.startswith("ray"):
            assert "no answer for" in fleet.driving.lost("n1").why
        else:
            error = fleet.driving.ended(lease).error
            assert error is not None
            assert "was stopped (SIGSTOP)" in error
        assert gone(family), "two would measure there at once"
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    if stopped.startswith("ray"):
        fleet.driving.wait(lambda e: isinstance(e, Joined) and e.facts.name == "n1", 120)
    lease = fleet.driving.begin("n1", fleet.suite, fleet.cells, fleet.cells[:1])
    assert fleet.driving.ended(lease).error is None


@pytest.mark.long
def test_a_raylet_that_is_stopped_loses_its_node_and_frees_it(fleet: Fleet) -> None:
    fleet.driving.begin("n3", fleet.suite, fleet.cells, fleet.cells[:1])
    raylet = fleet.nodes["n3"].one("raylet/raylet")
    raylet.send_signal(signal.SIGSTOP)
    try:
        fleet.driving.lost("n3", 120)
    finally:
        raylet.send_signal(signal.SIGCONT)


def test_a_killed_node_is_lost_and_leaves_nothing_that_measures(fleet: Fleet) -> None:
    fleet.driving.begin("n2", fleet.endless, fleet.endless_cells, fleet.endless_cells)
    fleet.driving.measures("n2")
    family = family_of(fleet, "n2")
    fleet.nodes["n2"].one("raylet/raylet").kill()
    assert fleet.driving.lost("n2").node == "n2"
    assert gone(family)


def test_a_driver_that_is_killed_leaves_free_nodes(fleet: Fleet, tmp_path: Path) -> None:
    fleet.driving.transport.close()
    program = [sys.executable, fleet_driving.__file__, fleet.address, str(tmp_path)]
    driver = subprocess.Popen([*program, fleet.suite.models[0]], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "measuring\n"
    family = family_of(fleet, "n1")
    driver.kill()
    driver.wait()
    assert gone(family)
