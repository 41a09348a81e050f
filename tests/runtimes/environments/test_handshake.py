"""Real processes of other interpreters: what is wrong with one is told in one sentence."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from interpreters import bare_python, python_with_numpy, script

from bench.backend import Device, ModelFile, Options
from bench.errors import BenchError, Unavailable
from bench.runtimes.client import Worker
from bench.runtimes.environments.interpreter import Interpreter
from bench.runtimes.handshake import check_greeting
from bench.runtimes.probe import probe
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.runtime import Runtime
from bench.worker import PROTOCOL

CANARY = "bench.worker.canary:Canary"
ONNXRUNTIME = "bench.backends.onnxruntime.adapter:OnnxRuntime"
LOAD = (ModelFile("canary"), Device("cpu", "", ""), Options())


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    with launcher(tmp_path / "logs", timeout_s=20) as started:
        yield started


@pytest.fixture
def start(processes: Launcher) -> Callable[..., Worker]:
    names: dict[str, str] = {}

    def started(python: object, reference: str = CANARY, **more: object) -> Worker:
        name = names.setdefault(str(python), f"side{len(names)}")
        place = Interpreter(name, str(python), "Correct it.", **more)  # type: ignore[arg-type]
        return processes.worker(Runtime("canary", reference, {}, interpreter=place), 1)

    return started


def refusal(start: Callable[..., Worker], python: object, **more: object) -> str:
    """Why no worker can be had; told again without another try."""
    with pytest.raises(Unavailable) as caught:
        start(python, **more)
    with pytest.raises(Unavailable) as again:
        start(python, **more)
    assert again.value is caught.value
    assert str(caught.value).startswith("canary@side") or "environment side" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_worker_in_another_interpreter_measures_and_tells_its_versions(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = start(python_with_numpy(tmp_path / "venv"))
    found = probe(worker)
    assert found.version == "1"
    assert found.greeting.numpy == np.__version__
    worker.load(*LOAD)
    worker.bind({})
    assert (worker.block(calls=3, discard=1) > 0).all()
    assert worker.packages() == {"numpy": np.__version__}


def test_it_sees_nothing_of_the_interpreter_of_bench(
    start: Callable[..., Worker],
    tmp_path: Path,
    plugin_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(plugin_path))
    with pytest.raises(Unavailable) as caught:
        probe(
            start(
                python_with_numpy(tmp_path / "venv"),
                ONNXRUNTIME,
            )
        )
    assert "No module named 'onnxruntime'" in str(caught.value)
    assert str(caught.value).endswith("Correct it.")
    assert "pip install 'infer-bench" not in str(caught.value)


@pytest.mark.parametrize("fork_safe", [True, False])
def test_a_third_partys_adapter_runs_there_forked_or_not(
    start: Callable[..., Worker],
    tmp_path: Path,
    plugin_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fork_safe: bool,
) -> None:
    folder = tmp_path / "adapters"
    folder.mkdir()
    shutil.copy(plugin_path / "stand_in.py", folder / "elsewhere.py")
    with (folder / "elsewhere.py").open("a") as file:
        file.write(f"\n\nStandIn.fork_safe = {fork_safe}\n")
    monkeypatch.syspath_prepend(str(folder))
    worker = start(python_with_numpy(tmp_path / "venv"), "elsewhere:StandIn")
    assert "ok" in [device.id for device in probe(worker).devices]


def test_an_interpreter_that_is_missing_or_none_is_told(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    assert "/nowhere/python does not exist" in refusal(start, "/nowhere/python")
    plain = tmp_path / "plain"
    plain.write_text("text")
    assert f"{plain} can't be executed: Permission denied" in refusal(start, plain)
    orphan = script(tmp_path / "orphan", "")
    orphan.write_text("#!/nowhere/sh\n")
    assert "starts with an interpreter that no longer exists" in refusal(start, orphan)
    other = script(tmp_path / "other", "echo I am no Python >&2; exit 7")
    assert "ended with exit code 7 (I am no Python) before it could identify" in refusal(
        start, other
    )


def test_an_interpreter_without_numpy_or_with_a_broken_one_is_told(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    bare = bare_python(tmp_path / "bare")
    text = refusal(start, bare)
    assert "can't import numpy: No module named 'numpy'" in text
    assert f"{bare} -m pip install numpy" in text
    broken = bare_python(tmp_path / "broken")
    site = next((tmp_path / "broken").glob("lib/python*/site-packages"))
    (site / "numpy.py").write_text("raise OSError('libopenblas.so: wrong ELF class\\nand more')")
    assert "can't import numpy: libopenblas.so: wrong ELF class." in refusal(start, broken)
    old = bare_python(tmp_path / "old")
    site = next((tmp_path / "old").glob("lib/python*/site-packages"))
    (site / "numpy.py").write_text("__version__ = '1.19.5'")
    assert "has numpy 1.19.5, but workers need 1.24 or later" in refusal(start, old)


def test_a_runtime_that_dies_on_import_is_told_with_its_last_words(
    start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = python_with_numpy(tmp_path / "venv")
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "onnxruntime.py").write_text(
        "import os, signal, sys\nprint('driver mismatch', file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    with pytest.raises(BenchError, match=r"died of SIGSEGV \(driver mismatch\)") as caught:
        start(python, ONNXRUNTIME)
    assert "onnxruntime.py" not in str(caught.value)


def test_another_version_of_bench_that_forces_itself_in_is_found_out(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    """A wrapper that puts an installed bench first, as images of vendors may."""
    python = python_with_numpy(tmp_path / "venv")
    other = tmp_path / "other" / "bench" / "worker"
    other.mkdir(parents=True)
    (other.parent / "__init__.py").write_text("")
    (other / "__init__.py").write_text("PROTOCOL = 999\n")
    source = Path(__file__).parents[3] / "bench" / "worker"
    for name in ("hello.py", "warden.py", "family.py"):
        shutil.copy(source / name, other / name)
    wrapper = script(
        tmp_path / "wrapper",
        f'BENCH_WORKER_PATH="{tmp_path / "other"}" exec "{python}" "$@"',
    )
    assert f"protocol 999, this is {PROTOCOL}" in refusal(start, wrapper)


def test_a_set_up_script_that_fails_is_told_and_one_that_works_is_sourced(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    python = python_with_numpy(tmp_path / "venv")
    failing = tmp_path / "failing.sh"
    failing.write_text("echo toolkit not found >&2; return 1\n")
    assert "failed with exit code 1 (toolkit not found)" in refusal(start, python, setup=failing)


def test_a_set_up_script_brings_modules_into_the_path(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    """As CANN's set_env.sh does for its module acl."""
    python = python_with_numpy(tmp_path / "venv")
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "onnxruntime.py").write_text("__version__ = '9.9'\n")
    setup = tmp_path / "set_env.sh"
    setup.write_text(f'export PYTHONPATH="{vendor}:$PYTHONPATH"\n')
    worker = start(python, ONNXRUNTIME, setup=setup)
    assert worker.version() == "9.9"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"hello": PROTOCOL + 1, "python": "3.11.1", "numpy": "2.0"}, "protocol"),
        ({"hello": PROTOCOL, "python": "2.7.18"}, "is Python 2.7.18, but workers need 3.9"),
        ({"hello": PROTOCOL, "python": "3.8.18"}, "is Python 3.8.18, but workers need 3.9"),
        ({"hello": PROTOCOL, "python": "3.9.0", "numpy": "1.23.5"}, "numpy 1.23.5"),
        ({"hello": PROTOCOL, "python": "3.9.0", "numpy": None}, "numpy None"),
    ],
)
def test_a_greeting_that_does_not_fit_is_refused(message: dict, words: str) -> None:
    with pytest.raises(Unavailable, match=words):
        check_greeting(message, "x@side", "/usr/bin/python", None)


@pytest.mark.parametrize("version", ["3.9.0", "3.10.13", "3.13.0rc1"])
@pytest.mark.parametrize("numpy", ["1.24.0", "1.26.4", "2.5.0.dev0"])
def test_a_greeting_that_fits_is_taken(version: str, numpy: str) -> None:
    message = {"hello": PROTOCOL, "python": version, "numpy": numpy}
    assert check_greeting(message, "x", "python", None).numpy == numpy


def _old_pythons() -> list[str]:
    """Interpreters that are too old, where this machine has some."""
    names = [f"python{version}" for version in ("2.7", "3.6", "3.7", "3.8")]
    on_path = [found for name in names if (found := shutil.which(name))]
    kept = os.path.expanduser("~/.pyenv/versions")
    return on_path + [p for v in ("2.7", "3.8") for p in glob.glob(f"{kept}/{v}*/bin/python")]


def test_a_python_that_is_too_old_can_still_say_so(start: Callable[..., Worker]) -> None:
    for python in _old_pythons():
        with pytest.raises(Unavailable) as caught:
            start(python)
        if "before it could identify" not in str(caught.value):  # a shim for what isn't there
            assert "workers need 3.9 or later" in str(caught.value)
            return
    pytest.skip("no Python older than 3.9 on this machine")
