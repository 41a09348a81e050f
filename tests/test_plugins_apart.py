"""What other distributions bring breaks itself alone: backends, tasks and packages of models."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench.cards.tasks import find_task
from bench.discover import card_paths, load_backend
from bench.errors import BenchError, Unavailable, WorkerCrashed
from bench.runtimes.declarations import reference_backends

# Forks this process: one in which other tests loaded runtimes may not survive that.
pytestmark = pytest.mark.alone

#: Pytest would print the stacks of the process that dies.
DIES = "import ctypes, faulthandler\nfaulthandler.disable()\nctypes.string_at(0)\n"
TASK = """
import ctypes, faulthandler, os, sys
from bench.cards.tasks.classification import Classification

class Dying(Classification):
    name = "dying"

    def columns(self, outputs, data, card):
        os.environ["LEFT_BY_A_TASK"] = "1"
        return {"label": outputs}

    def scores(self, columns, confidence):
        faulthandler.disable()
        ctypes.string_at(0)

    def change(self, this, other, confidence):
        return lambda: None
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a distribution, and files to be filled in."""
    monkeypatch.delenv("BENCH_IN_PROCESS", raising=False)
    info = tmp_path / "acme_dying-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dying\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bench.backends]\nacme-dying = acme_dying_backend:Backend\n"
        "[bench.tasks]\ndying = acme_dying_task:Dying\n"
        "[bench.models]\nacme-dying = acme_dying_parent.models\n"
    )
    package = tmp_path / "acme_dying_parent" / "models"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("raise AssertionError('a package of models is not run')")
    (package / "acme-model.toml").write_text("")
    (tmp_path / "acme_dying_backend.py").write_text("class Backend: name = 'acme-dying'\n")
    (tmp_path / "acme_dying_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (DIES, "died of SIGSEGV"),
        ("import faulthandler, os; faulthandler.disable(); os.abort()", "died of SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out-of-memory killer"),
        ("import os; os._exit(0)", "it ended the program"),
        ("raise RuntimeError", "can't be loaded: RuntimeError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_backend_whose_import_ends_the_process_is_unavailable_and_the_others_are_listed(
    code: str, words: str, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed / "acme_dying_backend.py").write_text(code)
    with pytest.raises(Unavailable, match=words):
        load_backend("acme-dying")
    assert "acme_dying_backend" not in sys.modules
    assert "acme-dying" not in [one.name for one in reference_backends.__wrapped__()]
    assert main(["doctor", "--backends"]) == 0
    listed = capsys.readouterr().out
    assert "acme-dying" in listed
    assert "onnxruntime" in listed


def test_a_backend_that_can_be_imported_is_that_class(installed: Path) -> None:
    assert load_backend("acme-dying") is sys.modules["acme_dying_backend"].Backend  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [DIES, "import sys; sys.exit()", "raise RuntimeError", "1 / 0"])
def test_a_package_that_its_models_cannot_be_found_in_hides_no_other_models(
    code: str, installed: Path
) -> None:
    assert "acme-model" in card_paths()
    for name in [name for name in sys.modules if name.startswith("acme_dying_parent")]:
        del sys.modules[name]
    (installed / "acme_dying_parent" / "__init__.py").write_text(code)
    found = card_paths()
    assert "acme-model" not in found
    assert "fashion-student" in found


def test_a_task_that_reads_address_zero_is_one_sentence_and_what_it_sets_stays_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LEFT_BY_A_TASK", raising=False)
    find_task.cache_clear()
    task = find_task("dying")
    given: Any = SimpleNamespace()
    stored = task.columns(np.arange(3), given, given)
    np.testing.assert_array_equal(stored["label"], np.arange(3))
    with pytest.raises(WorkerCrashed, match=r"the task dying \(.*\): .* died of SIGSEGV"):
        task.scores({}, 0.95)
    with pytest.raises(BenchError, match="can't be sent to another process"):
        task.change({}, {}, 0.95)
