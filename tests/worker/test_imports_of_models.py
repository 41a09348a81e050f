"""What a fork server imports for the models of its workers, and what follows from that."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.backend import ModelFile, TorchSource
from bench.cards.pretrained import imports_of
from bench.runtimes.loaded import worker_to_load
from bench.runtimes.processes import Launcher, launcher, thread_environment
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import find_runtime
from bench.worker.__main__ import Server


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "harmless_library.py").write_text("")
    (tmp_path / "threaded_library.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, args=[9]).start()\n"
    )
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('no driver')\n")
    yield tmp_path
    for path in tmp_path.glob("*_library.py"):
        sys.modules.pop(path.stem, None)


def server(*, fork_safe: bool = True) -> Server:
    backend: Any = SimpleNamespace(forms=("torch",))
    return Server(socket.socketpair()[0], backend, forks=fork_safe)


def test_what_a_module_needs_is_imported_before_the_fork(modules: Path) -> None:
    one = server()
    one.preload(["harmless_library"])
    assert "harmless_library" in sys.modules
    assert one.forks


def test_where_workers_are_fresh_interpreters_the_server_imports_nothing(modules: Path) -> None:
    server(fork_safe=False).preload(["harmless_library"])
    assert "harmless_library" not in sys.modules


def test_after_an_import_that_starts_a_thread_nothing_is_forked(modules: Path) -> None:
    one = server()
    one.preload(["threaded_library"])
    assert not one.forks
    one.preload(["harmless_library"])
    assert "harmless_library" not in sys.modules


def test_what_cannot_be_imported_is_left_to_the_worker(modules: Path) -> None:
    one = server()
    one.preload(["broken_library", "no_such_library_at_all", "harmless_library"])
    assert one.forks
    assert "harmless_library" in sys.modules


ADAPTER = """
import sys
from bench.worker.canary import Canary


class Telling(Canary):
    forms = ("torch",)

    def version(self):
        found = [name for name in sys.modules if name.endswith("_library")]
        return " ".join(["fresh" if sys.argv[1] == "--worker" else "forked", *found])
"""


@pytest.fixture
def processes(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setenv("PYTHONPATH", str(modules))
    (modules / "telling_adapter.py").write_text(ADAPTER)
    with launcher(tmp_path / "logs", timeout_s=20) as started:
        yield started


TELLING = Runtime("telling", "telling_adapter:Telling", {}, forms=("torch",))


def test_a_real_worker_is_forked_with_what_its_model_needs(processes: Launcher) -> None:
    assert processes.worker(TELLING, 1).version() == "forked"
    assert processes.worker(TELLING, 1, ("harmless_library",)).version() == (
        "forked harmless_library"
    )


def test_an_onnx_file_needs_what_its_runtime_does_and_nothing_of_a_module(
    processes: Launcher,
) -> None:
    file = ModelFile("net", torch=TorchSource(Path("nets.py"), "net", imports=("broken_library",)))
    compiling = replace(TELLING, imports_to_load=("harmless_library",))
    for forms, imports in (
        (("onnx",), ("harmless_library",)),
        (("onnx", "torch"), ("harmless_library", "broken_library")),
    ):
        asked: list[Sequence[str]] = []
        only: Any = SimpleNamespace(worker=lambda *given, asked=asked: asked.append(given[2]))
        worker_to_load(only, replace(compiling, forms=forms), 1, file)
        assert asked == [imports]
    assert worker_to_load(processes, compiling, 1, ModelFile("net")).version() == (
        "forked harmless_library"
    )


def test_a_real_worker_is_a_fresh_interpreter_where_an_import_started_a_thread(
    processes: Launcher,
) -> None:
    for _ in range(2):
        assert processes.worker(TELLING, 1, ("threaded_library",)).version() == "fresh"


def test_a_checkpoint_names_its_class_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "deepseek-v4"}')
    assert imports_of(str(tmp_path)) == (
        "transformers.modeling_utils",
        "transformers.models.deepseek_v4.modeling_deepseek_v4",
    )
    (tmp_path / "config.json").write_text('{"model_type": "../os"}')
    assert imports_of(str(tmp_path)) == ("transformers.modeling_utils",)
    assert imports_of(str(tmp_path / "missing")) == ("transformers.modeling_utils",)


#: As the fork server of torch does it for a checkpoint; what cannot be forked is told by module.
WATCHING = """
import json, sys
from bench.backends.torch.eager import TorchEager
from bench.cards.pretrained import imports_of
from bench.contract.fresh import Watched
watched = Watched()
watched.importing([*TorchEager.preload, *imports_of(sys.argv[1])])
print(json.dumps(watched.facts()))
"""


def started_by_a_checkpoint(folder: Path, path: Path | None = None) -> dict[str, dict[str, Any]]:
    (folder / "config.json").write_text('{"model_type": "bert"}')
    found = find_runtime("torch")
    variables = {**os.environ, **thread_environment(1), **found.environment}
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    command = [sys.executable, "-c", WATCHING, str(folder)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    facts: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_importing_the_class_of_a_checkpoint_starts_nothing_that_cannot_be_forked(
    tmp_path: Path,
) -> None:
    for needed in ("torch", "transformers"):
        pytest.importorskip(needed)
    assert not any(started_by_a_checkpoint(tmp_path).values())


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_it_would_be_noticed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = tmp_path / "transformers"
    (package / "models" / "bert").mkdir(parents=True)
    for folder in (package, package / "models", package / "models" / "bert"):
        (folder / "__init__.py").touch()
    (package / "modeling_utils.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (tmp_path / "libcuda.so.1").write_bytes(b"x" * 5000)
    (package / "models" / "bert" / "modeling_bert.py").write_text(
        "import mmap\n"
        f"with open({str(tmp_path / 'libcuda.so.1')!r}, 'rb') as file:\n"
        "    MAPPED = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
    )
    found = started_by_a_checkpoint(tmp_path, tmp_path)
    assert found["threads_started_by"] == {"transformers.modeling_utils": 1}
    told = {"transformers.models.bert.modeling_bert": ["libcuda.so.1"]}
    assert found["drivers_started_by"] == told


def test_two_sources_are_the_same_whatever_they_import() -> None:
    assert TorchSource(Path("a.py"), "f", imports=("os",)) == TorchSource(Path("a.py"), "f")
