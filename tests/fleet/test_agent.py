"""What a node measures of a run: lease after lease in one run directory, and only while it is
wanted."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from bench.cell import Cell
from bench.fleet.files import pack
from bench.fleet.transport import Order
from bench.spec import Suite
from bench.store.run import read_run

TARGETS = ("stand-in:ok?us=20", "stand-in:ok?us=21")
#: Whatever an agent does here takes seconds.
LONGEST_S = 120


@pytest.fixture(scope="module")
def planned(
    plugin_path: Path, doubling_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Suite, tuple[Cell, ...]]:
    """A suite and its cells, planned as `bench run` does."""
    suite = Suite(
        models=(str(doubling_model),),
        targets=TARGETS,
        scenarios=("single-stream",),
        threads=1,
        precision=0.5,
        min_invocations=2,
        max_time_s=1.0,
    )
    code = (
        "import sys; from pathlib import Path; from bench.spec import Suite; "
        "from bench.measure.prepare import prepare; "
        "from bench.measure.listener import QuietProgress\n"
        "suite = Suite.model_validate_json(sys.argv[1])\n"
        "with prepare(suite, QuietProgress(), Path(sys.argv[2])) as prepared:\n"
        "    for p in prepared.plan.cells: print(p.cell.model_dump_json())"
    )
    cache = str(tmp_path_factory.mktemp("cache"))
    done = subprocess.run(
        [sys.executable, "-c", code, suite.model_dump_json(exclude_unset=True), cache],
        env=with_plugins(plugin_path),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stderr
    return suite, tuple(Cell.model_validate_json(line) for line in done.stdout.splitlines())


def with_plugins(plugin_path: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(plugin_path)}


def keep_wanted(stream: IO[str]) -> None:
    """Say once a second that the lease is wanted, until the stream is closed."""
    with contextlib.suppress(OSError, ValueError):
        while True:
            stream.write("\n")
            stream.flush()
            time.sleep(1)


def end_if_it_hangs(process: subprocess.Popen[str]) -> None:
    """Whoever reads what it tells would wait for ever: it dies, and says where all its threads
    were."""
    try:
        process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)


class Agent:
    """An agent that is started by hand, and fed like one on a node."""

    def __init__(self, folder: Path, environment: dict[str, str], order: Order) -> None:
        self.folder, self.environment, self.order = folder, environment, order
        self.run = folder / "runs" / order.run

    def start(self, cells: list[str]) -> subprocess.Popen[str]:
        lease = self.folder / "lease.json"
        order = json.loads(self.order.to_json())
        lease.write_text(json.dumps({"cells": cells, "order": order, "lock": "node.lock"}))
        store = self.folder / "store"
        arguments = [str(self.run), str(lease), str(store)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.fleet.agent", *arguments],
            env={**self.environment, "PYTHONFAULTHANDLER": "1"},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        threading.Thread(target=keep_wanted, args=(process.stdin,), daemon=True).start()
        threading.Thread(target=end_if_it_hangs, args=(process,), daemon=True).start()
        return process

    def carry_out(self, cells: list[str]) -> list[dict[str, Any]]:
        """What it told of a whole lease."""
        process = self.start(cells)
        assert process.stdout is not None
        told = [json.loads(line) for line in process.stdout]
        process.wait(60)
        return told


@pytest.fixture
def agent(planned: Any, environment: dict[str, str], tmp_path: Path) -> Agent:
    suite, cells = planned
    packed = pack(suite.models)
    (tmp_path / "store").mkdir()
    for sha256, path in packed.contents.items():
        shutil.copyfile(path, tmp_path / "store" / sha256)
    # The driver's path is nobody's here.
    trees = json.loads(json.dumps(packed.trees).replace(suite.models[0], "/nowhere/doubling.onnx"))
    suite = suite.model_copy(update={"models": ("/nowhere/doubling.onnx",)})
    order = Order("run-1", suite, cells, "board-7", "tuesday", trees, command="bench fleet run x")
    return Agent(tmp_path, environment, order)


@pytest.mark.slow
def test_a_run_directory_grows_lease_after_lease_and_no_cell_is_measured_twice(
    agent: Agent,
) -> None:
    first, second = (cell.id for cell in agent.order.planned)
    told = agent.carry_out([first])
    assert told[-1] == {"wrote": "records.jsonl", "size": told[-1]["size"]}
    stored = read_run(agent.run)
    assert [record.cell_id for record in stored.records] == [first]
    assert [cell.id for cell in stored.header.cells] == [first, second]
    assert (stored.header.machine_name, stored.header.label) == ("board-7", "tuesday")
    assert stored.header.command == "bench fleet run x"
    before = (agent.run / "records.jsonl").read_bytes()

    told = agent.carry_out([first, second])
    stored = read_run(agent.run)
    assert [record.cell_id for record in stored.records] == [first, second]
    assert all(record.status == "ok" for record in stored.records)
    assert (agent.run / "records.jsonl").read_bytes().startswith(before)
    # Whoever follows the files has all of them, each as long as it was told to be.
    sizes = {line["wrote"]: line["size"] for line in told if "wrote" in line}
    assert sizes["records.jsonl"] == (agent.run / "records.jsonl").stat().st_size
    assert stored.remarks == []


@pytest.mark.slow
def test_what_this_machine_does_not_plan_is_refused_and_nothing_is_measured(agent: Agent) -> None:
    other = agent.order.planned[0].model_copy(update={"threads": 7})
    agent.order = Order("run-1", agent.order.suite, (other,), "board-7", files=agent.order.files)
    told = agent.carry_out([other.id])
    assert told[-1]["error"].startswith("plan: this machine doesn't plan doubling")
    assert "Here threads is 1, not 7" in told[-1]["error"]
    assert not agent.run.exists()


@pytest.mark.slow
def test_an_agent_that_nobody_wants_any_more_frees_the_node(
    agent: Agent, planned: Any, environment: dict[str, str]
) -> None:
    endless = {"max_time_s": 300.0, "min_invocations": 900, "max_invocations": 1000}
    agent.order = Order(
        "run-1",
        agent.order.suite.model_copy(update=endless),
        agent.order.planned,
        "board-7",
        files=agent.order.files,
    )
    process = agent.start([agent.order.planned[0].id])
    assert process.stdout is not None
    for line in process.stdout:
        if "invocations" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.stdin.close()  # its driver's node is dead
    began = time.monotonic()
    process.wait(15)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert time.monotonic() - began < 15
