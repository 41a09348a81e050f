"""What most tests need: a stand-in backend on the path, a tiny model, and the real command."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from warm_bench import WarmBench

if TYPE_CHECKING:
    from bench.trials.portability.cases import NodeTests

PLUGINS = Path(__file__).parent / "plugins"

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

# Hundreds of processes import what is tested. Where bytecode may not be kept, each would compile it
# anew: most of a second every time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a module makes once for all its tests is made in one process of pytest-xdist, not in
    each."""
    for item in items:
        known = getattr(item, "_fixtureinfo", None)
        if known is None or item.get_closest_marker("xdist_group"):
            continue
        module = item.nodeid.partition("::")[0]
        found = (one for several in known.name2fixturedefs.values() for one in several)
        if any(one.scope == "module" and one.baseid == module for one in found):
            item.add_marker(pytest.mark.xdist_group(module))


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, put on the path, installs the stand-in backend like a distribution would."""
    folder = tmp_path_factory.mktemp("plugins")
    for plugin in PLUGINS.glob("*.py"):
        (folder / plugin.name).write_bytes(plugin.read_bytes())
    info = folder / "stand_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bench.backends]\nstand-in = stand_in:StandIn\nmissing = stand_in:Missing\n"
        "skewed = skewed:Skewed\nforgetful = forgetful:Forgetful\nfragile = fragile:Fragile\n"
        "tunable = tunable:TunableBackend\n"
    )
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of pytest-xdist; who writes into it takes a lock."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@pytest.fixture(autouse=True)
def no_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private environments of whoever runs the tests take no part in them."""
    monkeypatch.setenv("BENCH_ENVIRONMENTS", str(tmp_path / "environments"))


@pytest.fixture(autouse=True)
def one_thread_of_torch() -> None:
    """Threads of several workers of pytest-xdist that wait for each other by spinning take many
    times as long."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def gradients_of_torch_left_as_found() -> Iterator[None]:
    """A session that a test leaves open keeps its process in inference mode, where other tests
    fail: the one to fail is that which left it."""
    before = _records_gradients()
    yield
    assert _records_gradients() == before, "a session of PyTorch was left open"


def _records_gradients() -> bool:
    torch = sys.modules.get("torch")
    return torch is None or torch.is_grad_enabled()


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """For tests that derive intervals again and again, and compare them whatever they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.record.estimate._BOOTSTRAP_RESAMPLES", 10)
        yield


@pytest.fixture(scope="session")
def doubling_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``y = x + x`` on float32 (batch, 4)."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("models") / "doubling.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def onnx_tests(shared_folder: Path) -> NodeTests:
    """ONNX's node tests as files, written once, since making them takes seconds."""
    from bench.trials.portability.cases import node_tests

    with (shared_folder / "onnx-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return node_tests(shared_folder / "onnx-tests")


@pytest.fixture
def environment(plugin_path: Path, tmp_path: Path) -> dict[str, str]:
    """Variables for a `bench` process that knows the stand-in and keeps its caches to itself."""
    return {
        **os.environ,
        "PYTHONPATH": str(plugin_path),
        "BENCH_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "80",
        "CI": "",  # hints are for people, and CI runs these tests too
    }


@pytest.fixture(scope="session")
def warm_bench() -> Iterator[WarmBench]:
    """Starts commands without importing bench for each."""
    warm = WarmBench()
    yield warm
    warm.close()


@pytest.fixture
def bench(warm_bench: WarmBench, environment: dict[str, str], tmp_path: Path) -> Bench:
    """Run the real command in an empty folder."""

    def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        # A configuration that a test writes is one that it means.
        meant = {"BENCH_CONFIG": "bench.toml"} if (tmp_path / "bench.toml").exists() else {}
        return warm_bench.run(arguments, tmp_path, {**meant, **environment}, timeout)

    return run
