"""The user's own Python code runs as a guest: nothing that it does steers the harness."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from bench import guest as guests
from bench.errors import SpecError
from bench.guest import changes, guest, own_modules, stay


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit()",
        "import sys; sys.exit('done')",
        "quit()",
        "import os; os._exit(0)",
        "raise GeneratorExit",
        "import argparse; p = argparse.ArgumentParser(); p.add_argument('data'); p.parse_args()",
    ],
)
def test_a_guest_that_ends_the_program_is_an_error_in_one_sentence(code: str) -> None:
    ended = r"net\.py: it ended the program"
    with pytest.raises(SpecError, match=ended) as caught, guest("net.py"):
        exec(code, {})
    assert "\n" not in str(caught.value)
    assert os._exit.__module__ == "posix"


def test_other_errors_of_a_guest_pass() -> None:
    with pytest.raises(ZeroDivisionError), guest("net.py"):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), guest("net.py"):
        raise KeyboardInterrupt


#: What a guest does, and how it would be seen afterwards.
SETS = {
    "arguments": ("sys.argv.append('x')", lambda: list(sys.argv)),
    "environment": ("os.environ['OMP_NUM_THREADS'] = '7'", lambda: dict(os.environ)),
    "a variable that is gone": ("os.environ.pop('PATH')", lambda: dict(os.environ)),
    "folder": ("os.chdir('/')", os.getcwd),
    "path": ("sys.path.insert(0, '/nowhere')", lambda: list(sys.path)),
    "interrupts": (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        lambda: signal.getsignal(signal.SIGINT),
    ),
    "timers": ("signal.alarm(1000)", lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0),
    "log level": ("logging.disable(50)", lambda: logging.root.manager.disable),
    "log handlers": (
        "logging.root.addHandler(logging.NullHandler())",
        lambda: list(logging.root.handlers),
    ),
    "warnings": ("warnings.simplefilter('error')", lambda: list(warnings.filters)),
    "seeds": ("random.seed(3)", random.getstate),
    "numpy's seeds": ("np.random.seed(3)", lambda: np.random.get_state()[1].tolist()),
    "numpy's errors": ("np.seterr(all='raise')", np.geterr),
    "recursion": ("sys.setrecursionlimit(3000)", sys.getrecursionlimit),
    "file mode": ("os.umask(0o777)", guests._umask),
    "hook": ("sys.excepthook = print", lambda: sys.excepthook),
    "output": ("sys.stdout = open(os.devnull, 'w')", lambda: sys.stdout),
}


@pytest.mark.parametrize("what", SETS)
def test_what_a_guest_sets_is_set_back(what: str) -> None:
    code, see = SETS[what]
    before = see()
    with guest("net.py"):
        exec(code, {**globals()})
    assert see() == before


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("torch.set_num_threads(3)", "get_num_threads"),
        ("torch.set_default_dtype(torch.float64)", "get_default_dtype"),
        ("torch.set_grad_enabled(False)", "is_grad_enabled"),
        ("torch.set_default_device('meta')", "get_default_device"),
        ("torch.set_float32_matmul_precision('medium')", "get_float32_matmul_precision"),
        ("torch.use_deterministic_algorithms(True)", "are_deterministic_algorithms_enabled"),
    ],
)
def test_what_a_guest_sets_for_torch_is_set_back_and_told(code: str, read: str) -> None:
    torch = pytest.importorskip("torch")
    before = getattr(torch, read)()
    changes()
    with guest("net.py"):
        exec(code, {"torch": torch})
    assert getattr(torch, read)() == before
    assert list(changes()) == ["net.py"]


@pytest.mark.parametrize(
    "code",
    [
        "backends.fp32_precision = 'tf32'",
        "backends.cuda.matmul.fp32_precision = 'tf32'",
        "backends.cudnn.fp32_precision = 'tf32'",
        "backends.mkldnn.matmul.fp32_precision = 'bf16'",
        "backends.cuda.matmul.allow_tf32 = True",
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_a_guest_may_set_the_precision_of_float32_by_older_and_newer_switches(
    code: str, exact: bool
) -> None:
    """Those that read the older ones get an error from torch where a newer one was set."""
    torch = pytest.importorskip("torch")
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has the older switches alone")
    backends = torch.backends

    def seen() -> list[object]:
        places = (backends, backends.cuda.matmul, backends.cudnn, backends.mkldnn.matmul)
        older = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
        return [*(place.fp32_precision for place in places), *older]

    with guest("before.py"):  # which leaves torch as it is
        if exact:
            backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False
        before = seen()
        changes()
        with guest("net.py"):
            exec(code, {"backends": backends})
        assert seen() == before
        assert "torch's float32 precision" in changes()["net.py"]


def test_every_guest_begins_with_the_same_random_numbers() -> None:
    drawn = []
    for _ in range(2):
        with guest("net.py"):
            drawn.append((random.random(), np.random.rand()))
    assert drawn[0] == drawn[1]


def test_standard_output_stays_clean_whoever_prints(tmp_path: Path) -> None:
    """Python, a child process, C's own buffer, and what is called at exit."""
    (tmp_path / "prints.py").write_text(
        "import atexit, ctypes, os, subprocess\n"
        "print('printed')\nos.system('echo from a child')\n"
        "ctypes.CDLL(None).printf(b'from C\\n')\natexit.register(print, 'at exit')\n"
    )
    code = (
        "from bench.guest import guest\n"
        "with guest('prints.py'): exec(open('prints.py').read(), {})\n"
        "print('{}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{}\n"
    for words in ("printed", "from a child", "from C", "at exit"):
        assert words in done.stderr


def test_a_file_finds_what_it_set_for_itself_when_it_runs_again(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "beside_it.py").write_text("N = 1\n")
    file = tmp_path / "net.py"
    with guest("net.py", file):
        sys.path.insert(0, str(tmp_path / "more"))
        os.environ["MY_MODE"] = "fast"
        import beside_it  # type: ignore[import-not-found]
    assert "beside_it" not in sys.modules
    assert own_modules(file) == [beside_it]
    with guest("net.py", file):
        assert sys.modules["beside_it"] is beside_it
        assert os.environ["MY_MODE"] == "fast"
        assert str(tmp_path / "more") in sys.path
    assert "MY_MODE" not in os.environ


def test_two_files_that_import_modules_of_one_name_get_their_own(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "arch_of_a_guest.py").write_text(f"WIDTH = {number}\n")
        with guest("net.py", tmp_path / f"v{number}" / "net.py"):
            sys.path.insert(0, str(tmp_path / f"v{number}"))
            import arch_of_a_guest  # type: ignore[import-not-found]

            assert number == arch_of_a_guest.WIDTH


def test_a_worker_keeps_what_the_module_needs_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MY_MODE", "slow")
    file = tmp_path / "net.py"
    with guest("net.py", file):
        os.environ["MY_MODE"] = "fast"
    assert os.environ["MY_MODE"] == "slow"
    stay(file)
    assert os.environ["MY_MODE"] == "fast"


def test_what_torch_sets_for_its_compiler_is_not_laid_to_a_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    changes()
    with guest("net.py"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/somewhere"
    assert changes() == {}
    with guest("net.py"):
        os.environ["OF_THE_GUEST"] = "1"
    assert changes() == {"net.py": ["environment variables"]}
    assert "OF_THE_GUEST" not in os.environ
